"""The protocol of the audit log's sinks, and the sink that ``audit.path`` names."""

from pathlib import Path
from typing import Protocol

from authz.adapters.audit.settings import STANDARD_OUTPUT
from authz.adapters.audit.sinks.output import Output


class Sink(Protocol):
    """The place to which complete lines are written. One thread calls all methods but ``reopen``.

    A sink keeps the lines that it can't write now: the log calls it again, and gives no further
    lines before these are written. A call may take as long as a write, even to a slow reader: only
    the log's thread waits. A written line need not be durable yet.
    """

    @property
    def waiting(self) -> int:
        """Return how many of the lines taken are not yet written."""

    def follow(self) -> None:
        """Open the sink, or open it again if that is necessary; called before every write.

        Raises OSError: the log calls again, but an error in the first call ends the start.
        """

    def take(self, lines: bytes) -> None:
        """Take complete lines; called only while no line waits."""

    def flush(self) -> None:
        """Write the waiting lines.

        Raises OSError: lines that are not written still wait completely.
        """

    def reopen(self) -> None:
        """Make the next ``follow`` open the sink again. Called by other threads."""

    def close(self) -> None:
        """Close the sink."""


def sink_of(path: str) -> Sink:
    """Return the sink that ``audit.path`` names."""
    return Output(None if path == STANDARD_OUTPUT else Path(path))
