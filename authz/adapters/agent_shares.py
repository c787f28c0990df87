"""Bounds how many proofs of one agent are remembered, so that no agent fills the memory of all."""

import threading
from collections import Counter
from math import ceil
from typing import Final

from cachetools import TTLCache

from authz.adapters.store.store import StoreFullError

# Agents with proofs in force; beyond this number, the one that began first is counted anew.
MAX_AGENTS: Final = 100_000
_LONGEST_SECONDS: Final = 700.0  # that a proof is remembered: the longest max_age, and differences
_MOST_ENDS: Final = 1000  # seconds in which proofs of an agent end, with some that have passed


class AgentShares:
    """How many proofs of each agent are in force, by the second in which they end."""

    def __init__(self, most: int) -> None:
        """Begin without any; ``most`` is the most of one agent."""
        self._most = most
        self._lock = threading.Lock()
        self._now = 0.0
        self._agents: TTLCache[str, Counter[int]] = TTLCache(
            MAX_AGENTS, _LONGEST_SECONDS, lambda: self._now
        )

    def check(self, agent: str, now: float) -> None:
        """Require room for another proof; ``now`` is unix seconds. Raises StoreFullError."""
        with self._lock:
            self._now = now  # not the latest so far: after a clock that went forward all had ended
            ends = self._agents.get(agent)
            if ends is None:
                return
            if len(ends) >= _MOST_ENDS or ends.total() >= self._most:
                for second in [second for second in ends if second < now]:
                    del ends[second]
            if ends.total() >= self._most:
                raise StoreFullError("the agent has too many proofs that may still be used")

    def add(self, agent: str, until: float) -> None:
        """Count a proof that is remembered until then, in unix seconds."""
        with self._lock:
            ends = self._agents.get(agent, Counter())
            ends[ceil(until)] += 1
            self._agents[agent] = ends
