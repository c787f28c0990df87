"""The pace of a backlog: how long it takes from one decision to the next, of late."""

from typing import Final

# Over so many decisions. A machine that stands still for a third of a second says little of how
# fast it decides; what waited meanwhile, and is decided at once afterwards, says more.
WINDOW: Final = 32


class Pace:
    """Follows the decisions of a backlog.

    Attributes:
        seconds: from one decision to the next.
    """

    def __init__(self) -> None:
        """Begin at rest, with no decision known."""
        self.seconds = 0.0
        self._since: float | None = None

    @property
    def is_kept(self) -> bool:
        """Whether decisions are being made, so that the time until the next ones counts."""
        return self._since is not None

    def rest(self) -> None:
        """Note that nothing waits: the time until the next decision says nothing."""
        self._since = None

    def note(self, now: float, decided: int) -> None:
        """Note that so many decisions were made since the last note, until now (monotonic)."""
        if self._since is not None and decided:
            weight = min(1.0, decided / WINDOW)
            self.seconds += weight * ((now - self._since) / decided - self.seconds)
        self._since = now
