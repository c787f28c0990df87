"""The store of used single-use proofs, each remembered while it is valid (RFC 9449 section 11.1).

This is the store of one process. Replicas that must share a store implement ``ReplayStore``.
"""

import heapq
import threading
from dataclasses import dataclass
from typing import Protocol

from authz.adapters.replay_settings import ReplaySettings
from authz.core.decision import SingleUseProof
from authz.core.reason import Denied, Reason


class ReplayStore(Protocol):
    """The memory of used proofs.

    While a proof is valid, it lets only one of several requests with that proof pass, at once or
    one after the other. Whether that holds over a restart or for several replicas depends on the
    store.
    """

    def use(self, once: SingleUseProof, attempt: bytes, now: float) -> None:
        """Check that a proof is unused and mark it used, in one step; ``now`` is unix seconds.

        ``attempt`` names the HTTP request: a proxy may ask again for the same request. Raises
        Denied(DPOP_PROOF) if another request used the proof, Denied(OVERLOADED) if no more proofs
        can be remembered.
        """


@dataclass(frozen=True, slots=True)
class ReplayStatus:
    """The number of remembered proofs, and its limit.

    Attributes:
        remembered: used proofs that were still valid at the last use.
        limit: how many are remembered at most; at the limit, requests with a proof are refused.
    """

    remembered: int
    limit: int


class MemoryReplayStore:
    """A replay store in this process's memory."""

    def __init__(self, settings: ReplaySettings) -> None:
        """Begin with nothing used."""
        self._limit = settings.entries
        self._lock = threading.Lock()  # not on the path of cached decisions: none has a proof
        self._attempts: dict[bytes, bytes] = {}
        self._ends: list[tuple[float, bytes]] = []

    def use(self, once: SingleUseProof, attempt: bytes, now: float) -> None:
        """Mark a proof used, as ``ReplayStore.use``."""
        with self._lock:
            while self._ends and self._ends[0][0] < now:
                del self._attempts[heapq.heappop(self._ends)[1]]
            used_by = self._attempts.get(once.key)
            if used_by == attempt:
                return
            if used_by is not None:
                raise Denied(Reason.DPOP_PROOF, "the proof was used before")
            if len(self._attempts) >= self._limit:
                raise Denied(Reason.OVERLOADED, "the replay store is full")
            self._attempts[once.key] = attempt
            heapq.heappush(self._ends, (once.expires_at, once.key))

    def status(self) -> ReplayStatus:
        """Return how full the store is."""
        return ReplayStatus(len(self._attempts), self._limit)
