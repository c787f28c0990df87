"""Decisions that were made before, for as long as nothing that they read has changed.

The key is a digest of the whole ``Request``, which is every input of a decision by construction.
An entry is good only while its key-set generation is the current one, its time to live has not run
out on the monotonic clock, and ``valid_until`` has not passed on the wall clock: so neither a key
that was removed nor a clock that was set back can make it live longer. A new policy begins with an
empty cache.

Bounded by two halves: new entries and those used again go to the young half; when it is full it
becomes the old one, and what was in the old one is dropped. No list to keep in order, no lock: a
race between threads can lose an entry, never change one.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from msgspec import msgpack
from pydantic import Field

from authz.request import Request
from authz.settings import Duration, Settings

Value = TypeVar("Value")


class CacheSettings(Settings):
    """How many decisions are remembered, and for how long."""

    entries: int = Field(default=50_000, ge=0, le=5_000_000)
    """Decisions remembered at most; 0 for none."""
    ttl: Duration = Field(default=30.0, ge=0.0, le=3600.0)
    """Longest time that an allow is remembered; less when a token or certificate ends before."""
    deny_ttl: Duration = Field(default=1.0, ge=0.0, le=60.0)
    """Longest time that a deny is remembered."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[Value]):
    """A remembered decision.

    Attributes:
        valid_until: unix seconds, from what the decision read.
        fresh_until: monotonic seconds, from the configured time to live.
        generation: of the key sets when the decision was begun.
    """

    value: Value
    valid_until: float
    fresh_until: float
    generation: int


class DecisionCache(Generic[Value]):
    """A bounded map from requests to decisions."""

    def __init__(self, entries: int) -> None:
        """Hold that many entries at most."""
        self._half = entries // 2
        self._young: dict[bytes, Entry[Value]] = {}
        self._old: dict[bytes, Entry[Value]] = {}
        self._encoder = msgpack.Encoder()

    def key(self, request: Request) -> bytes:
        """SHA-256 over an encoding with lengths, in which no two requests look alike."""
        return sha256(self._encoder.encode(request)).digest()

    def get(self, key: bytes, now: float, monotonic: float, generation: int) -> Value | None:
        """The value that is still good, or None. ``now`` in unix seconds."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self._keep(key, entry)
        if (
            now >= entry.valid_until
            or monotonic >= entry.fresh_until
            or generation != entry.generation
        ):
            return None
        return entry.value

    def put(self, key: bytes, entry: Entry[Value]) -> None:
        """Remember, unless the cache is off."""
        if self._half:
            self._keep(key, entry)

    def _keep(self, key: bytes, entry: Entry[Value]) -> None:
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[key] = entry

    def __len__(self) -> int:
        """Entries held, good or stale; one used again may count twice."""
        return len(self._young) + len(self._old)
