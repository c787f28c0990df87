"""The state of a sink, as metrics and readiness show it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """The state of a sink.

    Attributes:
        name, kind: the sink's, as in the config.
        queued: lines that wait in memory.
        written: lines that were delivered, since the start.
        dropped: lines for which there was no room, since the start.
        rejected: lines that the receiver will never take, since the start.
        errors: attempts that failed, whose lines are kept, since the start.
        is_failing: whether the last attempt failed.
        spooled_bytes: bytes on disk that wait for the receiver.
        refuses_allows: whether allows must be refused now, as their records may be lost here.
    """

    name: str
    kind: str
    queued: int
    written: int
    dropped: int
    rejected: int
    errors: int
    is_failing: bool
    spooled_bytes: int
    refuses_allows: bool
