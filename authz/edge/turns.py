"""Has the calls of one agent take turns, so that it never holds all connections to a store."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MAX_WAIT_SECONDS: Final = 1.0  # also for a caller without a deadline


class NoTurnError(Exception):
    """Signals that an agent's other calls took all of the time."""


class _Turns:
    """The turns of an agent, and how many calls know of them."""

    def __init__(self, at_once: int) -> None:
        self.places = threading.Semaphore(at_once)
        self.users = 0


class Turns:
    """Lets each agent make ``at_once`` calls at once; its others wait, and nobody else's do."""

    def __init__(self, at_once: int) -> None:
        """Begin without calls."""
        self._at_once = at_once
        self._lock = threading.Lock()
        self._agents: dict[str, _Turns] = {}

    @contextmanager
    def turn(self, agent: str, seconds: float) -> Iterator[None]:
        """Wait for a turn, for ``seconds`` at most, and hold it. Raises NoTurnError."""
        with self._lock:
            turns = self._agents.setdefault(agent, _Turns(self._at_once))
            turns.users += 1
        try:
            if not turns.places.acquire(timeout=min(max(0.0, seconds), MAX_WAIT_SECONDS)):
                raise NoTurnError
            try:
                yield
            finally:
                turns.places.release()
        finally:
            with self._lock:
                turns.users -= 1
                if not turns.users:
                    del self._agents[agent]
