"""Makes room for a new connection when an address has as many as it may have.

Whoever opens them all and asks nothing would keep new proxies out. So an idle connection gives way
to a newcomer: one that never asked, the oldest first. Only where all have asked it is the one that
asked longest ago: so a flood of connections ends none of a proxy.
"""

from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from authz.transports.native.peer import Peer

# How long a connection may be idle without giving way. A proxy asks as soon as it has connected.
IDLE_SECONDS: Final = 1.0


class IdlePeers:
    """The queue of an address's connections that can be closed for new ones."""

    def __init__(self) -> None:
        """Begin with none."""
        self._idle: deque[Peer] = deque()

    def look(self, peers: Iterable[Peer], now: float) -> None:
        """Find those of an address's connections, the oldest first, that can give way.

        To look takes milliseconds for a full address: so this is for sweeps, and not for each
        newcomer. ``now`` is monotonic seconds.
        """
        idle = [peer for peer in peers if peer.is_idle]
        silent = [peer for peer in idle if not peer.asked_at]
        rested = [peer for peer in silent or idle if _has_rested(peer, now)]
        self._idle = deque(sorted(rested, key=attrgetter("asked_at")))

    def free(self) -> bool:
        """End the next connection that is still idle; return whether there was one."""
        while self._idle:
            peer = self._idle.popleft()
            if peer.is_idle:
                peer.give_way()
                return True
        return False


def _has_rested(peer: Peer, now: float) -> bool:
    return now - max(peer.asked_at, peer.begun) >= IDLE_SECONDS
