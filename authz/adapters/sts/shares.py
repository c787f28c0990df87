"""Gives each agent its share of the token service: requests in a second, and at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from cachetools import TTLCache

from authz.adapters.sts.limits import (
    BURST,
    IN_FLIGHT,
    IN_FLIGHT_OF_AGENT,
    RATE_A_SECOND,
)

# Agents whose rate is remembered: of more, the one that asked longest ago begins anew.
MAX_AGENTS: Final = 10_000


class TooFastError(Exception):
    """Signals that an agent has asked too often, or has too many requests under way."""


class FullError(Exception):
    """Signals that too many requests are under way, of all agents."""


@dataclass(slots=True)
class _Bucket:
    """What an agent may still ask for: tokens of the bucket, and when they were counted."""

    left: float
    at: float


class Shares:
    """The shares of the agents. For the loop's thread."""

    def __init__(self) -> None:
        """Begin without requests."""
        self._now = 0.0
        self._buckets: TTLCache[str, _Bucket] = TTLCache(
            MAX_AGENTS, BURST / RATE_A_SECOND, lambda: self._now
        )
        self._running: Counter[str] = Counter()

    @property
    def running(self) -> int:
        """Return how many requests are under way."""
        return self._running.total()

    @contextmanager
    def request(self, agent: str, now: float) -> Iterator[None]:
        """Count a request of an agent while it is under way; ``now`` in monotonic seconds.

        Raises TooFastError, FullError.
        """
        self._take(agent, now)
        if self._running[agent] >= IN_FLIGHT_OF_AGENT:
            raise TooFastError
        if self._running.total() >= IN_FLIGHT:
            raise FullError
        self._running[agent] += 1
        try:
            yield
        finally:
            self._running[agent] -= 1
            if not self._running[agent]:
                del self._running[agent]

    def _take(self, agent: str, now: float) -> None:
        """Take a token of the agent's bucket. Raises TooFastError."""
        self._now = now
        bucket = self._buckets.get(agent) or _Bucket(BURST, now)
        left = min(BURST, bucket.left + (now - bucket.at) * RATE_A_SECOND)
        if left < 1:
            self._buckets[agent] = _Bucket(left, now)
            raise TooFastError
        self._buckets[agent] = _Bucket(left - 1, now)
