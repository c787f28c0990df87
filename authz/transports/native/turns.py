"""Gives connections turns, so that none waits until all of another's read is answered.

A read of 64 KiB can hold a thousand calls, or five hundred messages that are expensive to refuse: a
tenth of a second and more. So a connection answers for SLICE_SECONDS when it has read. The rest of
its calls waits here, and nothing more is read from it. Between two polls the connections that wait
here share such a slice.
"""

import time
from typing import Final, Protocol

from authz.transports.native.loop import attempt

# Between two polls: the longest time that a remembered decision may have to wait.
SLICE_SECONDS: Final = 0.001
# For TLS handshakes, which take a millisecond each, between two polls. Otherwise a client that
# opens 4096 connections and then begins all handshakes at once would stop the loop for seconds.
HANDSHAKE_SLICE_SECONDS: Final = 0.003


class Laggard(Protocol):
    """A connection that has more to answer."""

    def go_on(self) -> bool:
        """Answer for SLICE_SECONDS; return whether there is more."""

    def on_fault(self) -> None:
        """Give up after an exception of ``go_on``. Never raises."""


class Turns:
    """The queue of connections that have more to answer."""

    def __init__(self) -> None:
        """Begin with none."""
        self._laggards: dict[Laggard, None] = {}
        self._turn = 0.0
        self._shaken_seconds = 0.0

    def add(self, laggard: Laggard) -> None:
        """Put a connection at the end, if it is not there."""
        self._laggards.setdefault(laggard)

    def remove(self, laggard: Laggard) -> None:
        """Forget a connection, if it is there."""
        self._laggards.pop(laggard, None)

    def has_time_to_shake_hands(self, now: float) -> bool:
        """Return whether a handshake may go on in the turn that began at ``now``.

        If not, epoll reports its socket again in the next turn, after those of others.
        """
        if now != self._turn:
            self._turn, self._shaken_seconds = now, 0.0
        return self._shaken_seconds < HANDSHAKE_SLICE_SECONDS

    def handshakes_took(self, seconds: float) -> None:
        """Note how long a handshake went on."""
        self._shaken_seconds += seconds

    def work(self) -> bool:
        """Let connections go on for a slice of time; return whether one has more."""
        laggards, clock = self._laggards, time.monotonic
        if not laggards:
            return False
        end = clock() + SLICE_SECONDS
        while laggards:
            laggard = next(iter(laggards))
            del laggards[laggard]
            if attempt(laggard.on_fault, laggard.go_on):
                laggards[laggard] = None
            if clock() >= end:
                break
        return bool(laggards)
