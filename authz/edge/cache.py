"""The cache of decisions, each kept for as long as nothing that it read has changed.

The key is the complete ``Request``, which by construction holds every input of a decision. It is
compared text by text, so that no two requests can be confused. A digest would take less memory but
twice the time, and hashing 2 KB releases the interpreter's lock.

An entry is valid only while its generation of keys and revocations is the current one, its time to
live has not run out on the monotonic clock, and ``valid_until`` has not passed on the wall clock.
So neither a removed key nor a clock that was set back can make it live longer. A new policy begins
with an empty cache.
"""

from dataclasses import dataclass
from sys import getsizeof
from typing import Final

import msgspec

from authz.core.bounded_map import BoundedMap
from authz.core.request import Request
from authz.edge.cache_settings import CacheSettings
from authz.edge.rendering import RenderedDecision

ENTRY_BYTES: Final = 600  # measured: a request without its texts, dict slots, entry, numbers
CALL_BYTES: Final = 300  # likewise, a call without its texts


class CacheEntry(msgspec.Struct, frozen=True, gc=False):
    """A remembered decision.

    A Struct without garbage collection: 100,000 ordinary objects would make each full collection a
    pause of tens of milliseconds, and no entry can be a part of a cycle.

    Attributes:
        rendered: the decision's response and record.
        operation: the audit record's part on the operation.
        valid_until: unix seconds, from the inputs of the decision and from the time to live; 0 if
            it must not be cached.
        fresh_until: monotonic seconds, from the time to live.
        generation: of keys and revocations when the decision was begun.
    """

    rendered: RenderedDecision
    operation: bytes
    valid_until: float
    fresh_until: float = 0.0
    generation: int = -1


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """The size of the cache.

    Attributes:
        entries: decisions held, valid or stale; a decision that was used again may count twice.
    """

    entries: int


class DecisionCache:
    """A bounded map from requests to decisions."""

    def __init__(self, settings: CacheSettings) -> None:
        """Begin empty, with the limits of the settings."""
        self._entries: BoundedMap[Request, CacheEntry] = BoundedMap(
            settings.entries, settings.max_bytes, _entry_bytes
        )
        self._get = self._entries.get  # on the fast path

    def get(
        self, request: Request, now: float, monotonic: float, generation: int
    ) -> CacheEntry | None:
        """Return the request's entry if it is still valid. ``now`` is unix seconds."""
        entry = self._get(request)
        if (
            entry is None
            or now >= entry.valid_until
            or monotonic >= entry.fresh_until
            or generation != entry.generation
        ):
            return None
        return entry

    def put(self, request: Request, entry: CacheEntry) -> None:
        """Remember an entry, unless the cache is off."""
        self._entries.put(request, entry)

    def status(self) -> CacheStatus:
        """Return the number of entries."""
        return CacheStatus(len(self._entries))


def _entry_bytes(request: Request, entry: CacheEntry) -> int:
    texts = [request.method, request.host, request.path, request.proxy]
    texts += (request.principal, request.certificate)
    for pair in request.headers + request.context:  # this runs for each new request: no generators
        texts += pair
    data = 0
    for _, value in request.metadata:
        data += len(value)
    for call in request.calls:
        texts += (call.method, call.name, *call.tools)
        data += CALL_BYTES + len(call.arguments)
    # Joined, all texts take the widest one's character size: too much, never too little.
    return (
        ENTRY_BYTES + getsizeof("".join(texts)) + data + len(entry.operation) + entry.rendered.size
    )
