"""A line of the audit log: an encoded decision and operation, completed for each request."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from authz.adapters.audit.records.record import safe_json

MAX_ID_CHARS: Final = 128  # of ids that clients choose
_encode: Final = msgspec.json.Encoder().encode
_encode_lines: Final = msgspec.json.Encoder().encode_lines


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


def tail_of(line: AuditLine) -> bytes:
    """Encode the members that differ from request to request, without the end of the object."""
    return b"," + safe_json(_encode(_end_of(line)))[1:-1]


def _end_of(line: AuditLine) -> _LineEnd:
    return _LineEnd(
        datetime.fromtimestamp(line.time_seconds, UTC),
        line.request_id[:MAX_ID_CHARS],
        line.trace_id,
        line.decision_id,
        _CACHE[line.is_hit],
        int(line.seconds * 1e6),
    )


class TailEncoder:
    """Encodes the ends of many lines at once, in two thirds of the time."""

    def __init__(self, dropped: Collection[str] = ()) -> None:
        """Begin. Of the fields in ``dropped``, request_id and trace_id are ends of lines."""
        self._empty = dict.fromkeys({"request_id", "trace_id"}.intersection(dropped), "")

    def tails(self, lines: Sequence[AuditLine]) -> list[bytes]:
        """Return ``tail_of`` each line, without its first comma.

        Raises what a line raises that can't be encoded.
        """
        if self._empty:
            lines = [msgspec.structs.replace(line, **self._empty) for line in lines]
        objects = safe_json(_encode_lines([_end_of(line) for line in lines]))
        # JSON has no line feed within a text, so this stands between two objects alone.
        return objects[len(b"{") : -len(b"}\n")].split(b"}\n{")
