"""The two clocks that the edge reads, as one value that tests can give."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of day, and the time that only goes on. Functions, as each check calls them.

    Attributes:
        wall: returns unix seconds; whoever sets the machine's clock may set it back.
        monotonic: returns seconds since some moment, and is never set back.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
