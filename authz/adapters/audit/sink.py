"""The seam between the log's queue and where its lines go; what ``audit.path`` means."""

from pathlib import Path
from typing import Final, Protocol

from authz.adapters.audit.output import Output

_STANDARD_OUTPUT: Final = "-"


class Sink(Protocol):
    """Where whole lines go. One thread calls everything but ``reopen``.

    What can't be written now is kept: the log asks again, and gives no further lines before these
    are out. A call may take as long as a write does, and must not wait for a reader without end.
    """

    @property
    def waiting(self) -> int:
        """Return how many of the lines taken are not out yet."""

    def follow(self) -> None:
        """Open it, or open it anew where that is needed; called before every write.

        Raises OSError: it will be called again. At the start that ends the start.
        """

    def take(self, lines: bytes) -> None:
        """Take whole lines; only while none waits."""

    def flush(self) -> None:
        """Write what waits. Raises OSError: lines that are not out still wait, each in whole."""

    def reopen(self) -> None:
        """Have the next ``follow`` open it anew. Called by other threads."""

    def close(self) -> None:
        """Let go of it."""


def sink_of(path: str) -> Sink:
    """Return where ``audit.path`` leads."""
    return Output(None if path == _STANDARD_OUTPUT else Path(path))


def folder_of(path: str) -> Path | None:
    """Return the folder that has to be there for ``audit.path``; None where it needs none."""
    return None if path == _STANDARD_OUTPUT else Path(path).parent
