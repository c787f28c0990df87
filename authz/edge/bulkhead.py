"""Caps how many checks wait for others at once, in all and for one agent (a bulkhead)."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass


class BulkheadFullError(Exception):
    """So many checks wait that one more may not."""


@dataclass(frozen=True, slots=True)
class BulkheadStatus:
    """How full it is.

    Attributes:
        waiting: checks that wait for others now.
        limit: how many may at once.
    """

    waiting: int
    limit: int


class Bulkhead:
    """The places to wait: for a key that may just have been published, or for a decision point.

    A bound in all for our own sake, and one for each agent, so that one with made-up keys or ever
    new requests leaves room for the others.
    """

    def __init__(self, limit: int, lend: Callable[[], AbstractContextManager[None]]) -> None:
        """Take how many; ``lend`` lets another thread work while one waits."""
        self._limit = limit
        self._limit_of_one = max(1, limit // 2)
        self._lend = lend
        self._lock = threading.Lock()
        self._agents: Counter[str] = Counter()

    def status(self) -> BulkheadStatus:
        """Return how many wait now."""
        return BulkheadStatus(self._agents.total(), self._limit)

    @contextmanager
    def waiting(self, agent: str) -> Iterator[None]:
        """Be one of those who wait. Raises BulkheadFullError."""
        with self._lock:
            is_full = self._agents.total() >= self._limit
            if is_full or self._agents[agent] >= self._limit_of_one:
                raise BulkheadFullError
            self._agents[agent] += 1
        try:
            with self._lend():
                yield
        finally:
            with self._lock:
                self._agents[agent] -= 1
                if not self._agents[agent]:
                    del self._agents[agent]
