"""The clocks that the edge reads, as one value that tests can replace; and callers' deadlines."""

import time
from collections.abc import Callable
from dataclasses import dataclass

Moment = tuple[float, float]
"""One moment by both clocks: wall, and monotonic."""
TimeRemaining = Callable[[], float | None]
"""Gives the seconds that a caller still waits; None for no deadline."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The wall clock and the monotonic clock, as functions: each check calls them.

    Attributes:
        wall: returns unix seconds; the machine's clock may be set back.
        monotonic: returns seconds since some moment, and is never set back.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic

    def moment(self) -> Moment:
        """Return the time by both clocks."""
        return self.wall(), self.monotonic()
