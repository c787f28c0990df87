"""Keeps the connections that wait for their handshake, and gives each source its turn.

Handshakes have a pace. Were they made in the order of arrival, one host that opens connections
faster would keep out all others.
"""

import asyncio
import socket
from collections import deque
from ipaddress import ip_address
from typing import Final

_NETWORK_BYTES: Final = 8  # an IPv4 address, or the /64 network that a host with IPv6 may have


def source_of(host: str) -> bytes:
    """Return what counts as one source, of an address that a socket tells."""
    return ip_address(host.partition("%")[0]).packed[:_NETWORK_BYTES]


class Arrivals:
    """Accepted connections by their source, at most ``limit``. In the loop's thread."""

    def __init__(self, limit: int) -> None:
        """Begin without connections."""
        self._limit = limit
        self._of: dict[bytes, deque[socket.socket]] = {}  # first the source whose turn is next
        self._waiting = asyncio.Semaphore(0)

    def put(self, source: bytes, accepted: socket.socket) -> bool:
        """Add a connection; return whether there was room.

        Without room, the oldest of the source that has most is closed.
        """
        self._of.setdefault(source, deque()).append(accepted)
        if sum(map(len, self._of.values())) <= self._limit:
            self._waiting.release()
            return True
        most = max(self._of, key=lambda each: len(self._of[each]))
        self._pop(most).close()
        return False

    async def take(self) -> socket.socket:
        """Wait for a connection, and return the oldest of the source whose turn it is."""
        await self._waiting.acquire()
        source = next(iter(self._of))
        taken = self._pop(source)
        if source in self._of:
            self._of[source] = self._of.pop(source)  # to the end
        return taken

    def close(self) -> None:
        """Close all that wait."""
        for accepted in [each for queue in self._of.values() for each in queue]:
            accepted.close()
        self._of.clear()

    def _pop(self, source: bytes) -> socket.socket:
        queue = self._of[source]
        oldest = queue.popleft()
        if not queue:
            del self._of[source]
        return oldest
