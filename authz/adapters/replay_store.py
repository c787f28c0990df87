"""What may be used once only: remembered for as long as it would be good again (RFC 9449 11.1).

The store of one process. Replicas that must share what was used put another behind ``ReplayStore``.
"""

import heapq
import threading
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from authz.core.decision import SingleUseProof
from authz.core.reason import Denied, Reason
from authz.core.settings import Settings


class ReplaySettings(Settings):
    """Remembered DPoP proofs: in this process only, so each replica accepts a proof once."""

    entries: int = Field(default=200_000, ge=1, le=10_000_000)
    """Proofs remembered at most, some 250 bytes each; when full, requests with a proof are refused.
    """


class ReplayStore(Protocol):
    """Who remembers what was used."""

    def use(self, once: SingleUseProof, attempt: bytes, now: float) -> None:
        """Use it, in one step with the look whether it was; ``now`` in unix seconds.

        ``attempt`` names the HTTP request: a proxy may ask again for one and the same. Raises
        Denied(DPOP_PROOF) when another used it, Denied(OVERLOADED) when no more can be remembered.
        """


@dataclass(frozen=True, slots=True)
class ReplayStatus:
    """How full the store is.

    Attributes:
        remembered: proofs that were used and would be good again, as of the last use.
        limit: how many are remembered at most; then requests with one are refused.
    """

    remembered: int
    limit: int


class MemoryReplayStore:
    """Remembers in this process."""

    def __init__(self, settings: ReplaySettings) -> None:
        """Begin with nothing used."""
        self._limit = settings.entries
        self._lock = threading.Lock()  # never on the path of a cached decision: none is of a proof
        self._attempts: dict[bytes, bytes] = {}
        self._ends: list[tuple[float, bytes]] = []

    def use(self, once: SingleUseProof, attempt: bytes, now: float) -> None:
        """As ``ReplayStore.use``."""
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
        """Return how full it is."""
        return ReplayStatus(len(self._attempts), self._limit)
