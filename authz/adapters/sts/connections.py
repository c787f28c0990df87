"""Counts the connections of the token service, and ends those that take too long or too much room.

All of it runs in the loop's thread.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from authz.core.decision import Agent


@dataclass(eq=False, slots=True)
class Connection:
    """A client's connection.

    Attributes:
        socket: its socket, from the accept on.
        end: monotonic seconds when it is ended, unless what it waits for comes before.
        transport: its transport once the handshake is done.
        handshake: the task of the handshake, until it is done.
        agent: the agent of its last request; "" before one.
        is_answering: whether a whole request waits for its answer.
        known: what authenticated the agent, and until when it holds.
    """

    socket: socket.socket
    end: float
    transport: asyncio.Transport | None = None
    handshake: "asyncio.Task[None] | None" = None
    agent: str = ""
    is_answering: bool = False
    known: "KnownClient | None" = None

    def abort(self) -> None:
        """End it at once; what was not sent yet is lost."""
        if self.handshake is not None:
            self.handshake.cancel()
        if self.transport is not None:
            self.transport.abort()


@dataclass(frozen=True, slots=True)
class KnownClient:
    """An agent that a connection's certificate has proven.

    Attributes:
        agent: the agent.
        trust: the CAs that it was proven by: other CAs need another proof.
        since, until: unix seconds between which the proof holds.
    """

    agent: Agent
    trust: object
    since: float
    until: float


@dataclass(slots=True)
class Connections:
    """The connections that are there, the oldest first; at most ``limit``."""

    limit: int
    _open: dict[Connection, None] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        """Iterate over those that are there now."""
        return iter(tuple(self._open))

    def add(self, connection: Connection) -> None:
        """Count a connection, for which ``make_room`` found room."""
        self._open[connection] = None

    def discard(self, connection: Connection) -> None:
        """Count a connection no longer."""
        self._open.pop(connection, None)

    def make_room(self) -> bool:
        """Find room for another connection, by ending one if need be; return whether there is room.

        First goes the oldest without a known agent: so a flood without certificates ends itself,
        and not the connections of agents. Then the oldest idle one of the agent that has most.
        """
        if len(self._open) < self.limit:
            return True
        idle = [connection for connection in self._open if not connection.is_answering]
        if not idle:
            return False
        unknown = (connection for connection in idle if not connection.agent)
        of_agent = Counter(connection.agent for connection in self._open)
        victim = next(unknown, None) or max(idle, key=lambda each: of_agent[each.agent])
        self.discard(victim)
        victim.abort()
        return True

    def end_old_handshakes(self, limit: int) -> None:
        """End the oldest handshakes beyond the limit: else silent ones would keep out others."""
        shaking = [connection for connection in self._open if connection.handshake is not None]
        for connection in shaking[: max(0, len(shaking) - limit)]:
            self.discard(connection)
            connection.abort()

    def sweep(self, now: float) -> None:
        """End the connections whose time has run out."""
        for connection in self:
            if now >= connection.end:
                self.discard(connection)
                connection.abort()
