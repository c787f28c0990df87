"""A line of the audit log: an encoded decision and operation, completed for each request."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from authz.adapters.audit.record import safe_json
from authz.adapters.audit.settings import DroppedField

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
        use = _LineEnd(
            datetime.fromtimestamp(self.time_seconds, UTC),
            self.request_id[:MAX_ID_CHARS],
            self.trace_id,
            self.decision_id,
            _CACHE[self.is_hit],
            int(self.seconds * 1e6),
        )
        return b"".join((self.decision, self.operation, b",", safe_json(_encode(use))[1:], b"\n"))


class Encodable(Protocol):
    """A line that can be encoded: an AuditLine, or a text of the log's own."""

    def encode(self) -> bytes:
        """Return the bytes, with the end of line."""


def line_encoder(drop: AbstractSet[DroppedField]) -> Callable[[Encodable], bytes]:
    """Return the writer's function that encodes lines, without the ids that are dropped."""
    ids = (DroppedField.REQUEST_ID, DroppedField.TRACE_ID)
    empty = {field.value: "" for field in ids if field in drop}

    def encode(line: Encodable) -> bytes:
        if isinstance(line, AuditLine):
            line = msgspec.structs.replace(line, **empty)
        return line.encode()

    return encode if empty else lambda line: line.encode()
