"""Limits how many checks wait on the network at once, in total and for one agent (a bulkhead)."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass


class BulkheadFullError(Exception):
    """Signals that too many checks already wait, in total or for the agent."""


@dataclass(frozen=True, slots=True)
class BulkheadStatus:
    """The number of waiting checks, and its limit.

    Attributes:
        waiting: checks that wait now.
        limit: how many may wait at once.
    """

    waiting: int
    limit: int


class Bulkhead:
    """The places to wait: for a newly published key, an introspection, or a decision point.

    The total limit protects the server. The limit for each agent leaves room for the others if an
    agent sends invented keys or ever new requests.
    """

    def __init__(self, limit: int, lend: Callable[[], AbstractContextManager[None]]) -> None:
        """Take the total limit; half of it is the limit for one agent.

        ``lend`` lets another thread work while the calling thread waits.
        """
        self._limit = limit
        self._limit_of_one = max(1, limit // 2)
        self._lend = lend
        self._lock = threading.Lock()
        self._agents: Counter[str] = Counter()

    def status(self) -> BulkheadStatus:
        """Return how many checks wait now."""
        return BulkheadStatus(self._agents.total(), self._limit)

    @contextmanager
    def waiting(self, agent: str) -> Iterator[None]:
        """Hold a place while the caller waits on the network. Raises BulkheadFullError."""
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
