"""Takes connections in turns, so that none waits for all that another asked in one read.

A read of 64 KiB can hold a thousand calls, or five hundred messages whose refusal is dear: a tenth
of a second and more. So a connection answers for SLICE_SECONDS where it reads. With what is left it
waits here, unread, and all that wait here have such a slice between two looks at the sockets.
"""

import time
from typing import Final, Protocol

from authz.transports.native.loop import attempt

# Between two looks at the sockets: so long may a remembered decision have to wait.
SLICE_SECONDS: Final = 0.001
# For handshakes of TLS, of a millisecond each, between two looks at the sockets. Whoever opened
# 4096 connections and then begins all at once would stop the loop for seconds.
HANDSHAKE_SLICE_SECONDS: Final = 0.003


class Laggard(Protocol):
    """A connection that has more to answer."""

    def go_on(self) -> bool:
        """Answer for SLICE_SECONDS; return whether there is more."""

    def on_fault(self) -> None:
        """Give up after an exception of ``go_on``. Never raises."""


class Turns:
    """The connections that have more to answer, the next one first."""

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

        If not, epoll tells of its socket again in the next turn, behind those of others.
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
