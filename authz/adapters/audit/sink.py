"""The protocol of the audit log's sinks, and the sink that ``audit.path`` names."""

from pathlib import Path
from typing import Protocol

from authz.adapters.audit.output import Output
from authz.adapters.audit.settings import STANDARD_OUTPUT


class Sink(Protocol):
    """The place to which whole lines go. One thread calls everything but ``reopen``.

    A sink keeps the lines that it can't write now: the log asks again, and gives no further lines
    before these are out. A call may take as long as a write does, also for a slow reader: only the
    log's thread waits. A line that is out need not be durable yet.
    """

    @property
    def waiting(self) -> int:
        """Return how many of the lines taken are not out yet."""

    def follow(self) -> None:
        """Open the sink, or open it anew where that is needed; called before every write.

        Raises OSError: the log calls again, but an error in the first call ends the start.
        """

    def take(self, lines: bytes) -> None:
        """Take whole lines; called only while none waits."""

    def flush(self) -> None:
        """Write the waiting lines. Raises OSError: lines that are not out still wait as a whole."""

    def reopen(self) -> None:
        """Have the next ``follow`` open the sink anew. Called by other threads."""

    def close(self) -> None:
        """Close the sink."""


def sink_of(path: str) -> Sink:
    """Return the sink that ``audit.path`` names."""
    return Output(None if path == STANDARD_OUTPUT else Path(path))
