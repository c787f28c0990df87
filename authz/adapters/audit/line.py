"""A line of the audit log: an encoded decision and operation, completed for each request."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from authz.adapters.audit.record import safe_json

MAX_ID_CHARS: Final = 128  # of ids that clients choose
_encode: Final = msgspec.json.Encoder().encode


class CacheUse(StrEnum):
    """The cache's part in a decision; a member's position is ``is_hit``."""

    MISS = "miss"
    HIT = "hit"


_CACHE: Final = tuple(use.value for use in CacheUse)  # plain texts are encoded in half the time


class _LineEnd(msgspec.Struct, frozen=True, gc=False):
    """The end of a line: the members that differ from request to request."""

    time: datetime
    request_id: str
    trace_id: str
    decision_id: str
    cache: str
    duration_us: int


class AuditLine(msgspec.Struct, frozen=True, gc=False):
    """A line that is not yet encoded: the costly parts as bytes, and the values of this request.

    Requests only make these. The writer's thread encodes many at a time: code that runs once among
    other code finds the processor's caches cold, and takes several times as long.
    """

    decision: bytes
    operation: bytes
    time_seconds: float
    request_id: str
    trace_id: str
    decision_id: str
    is_hit: bool
    seconds: float

    def encode(self) -> bytes:
        """Return the line's bytes, with its end."""
        return b"".join((self.decision, self.operation, tail_of(self), b"}\n"))


TailEncoder = Callable[[AuditLine], bytes]
"""Encodes the members that differ from request to request, without the end of the object."""


def tail_of(line: AuditLine) -> bytes:
    """Encode the members that differ from request to request, without the end of the object."""
    end = _LineEnd(
        datetime.fromtimestamp(line.time_seconds, UTC),
        line.request_id[:MAX_ID_CHARS],
        line.trace_id,
        line.decision_id,
        _CACHE[line.is_hit],
        int(line.seconds * 1e6),
    )
    return b"," + safe_json(_encode(end))[1:-1]


def tail_encoder(dropped: Collection[str]) -> TailEncoder:
    """Return what encodes ends of lines: ``tail_of``, or one that leaves dropped ids empty."""
    empty = dict.fromkeys({"request_id", "trace_id"}.intersection(dropped), "")
    if not empty:
        return tail_of
    return lambda line: tail_of(msgspec.structs.replace(line, **empty))
