"""The token service's connections make room for each other, and each agent has its share."""

import socket
from collections.abc import Iterator
from typing import ClassVar

import pytest

from authz.adapters.sts.connections import Connection, Connections
from authz.adapters.sts.limits import (
    BURST,
    IN_FLIGHT,
    IN_FLIGHT_OF_AGENT,
    RATE_A_SECOND,
)
from authz.adapters.sts.shares import FullError, Shares, TooFastError


class _Transport:
    """As much of a transport as the end of a connection needs."""

    def __init__(self) -> None:
        self.is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A socket that nobody uses."""
    with socket.socket() as made:
        yield made


class _Counted(str):
    """A name that keeps what it is compared with."""

    __slots__ = ()
    compared: ClassVar[list[object]] = []

    def __eq__(self, other: object) -> bool:
        """Keep a comparison."""
        self.compared.append(other)
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def _connection(sock: socket.socket, agent: str = "", *, end: float = 10.0) -> Connection:
    connection = Connection(sock, end, agent=agent)
    connection.transport = _Transport()  # type: ignore[assignment] # all that is used
    return connection


def _filled(sock: socket.socket, *agents: str) -> tuple[Connections, list[Connection]]:
    made = [_connection(sock, agent) for agent in agents]
    connections = Connections(len(made))
    for connection in made:
        connections.add(connection)
    return connections, made


def _is_ended(connection: Connection) -> bool:
    transport: object = connection.transport
    assert isinstance(transport, _Transport)
    return transport.is_aborted


def test_there_is_room_until_the_limit(sock: socket.socket) -> None:
    """Nobody is ended for a connection that fits."""
    connections, (first, *_) = _filled(sock, "", "")
    connections.limit = 3
    assert connections.make_room()
    assert not _is_ended(first)


def test_a_connection_without_an_agent_gives_way_first(sock: socket.socket) -> None:
    """A flood without certificates ends its own connections, not an older one of an agent."""
    connections, (known, flood, later) = _filled(sock, "a", "", "")
    assert connections.make_room()
    assert [_is_ended(each) for each in (known, flood, later)] == [False, True, False]
    assert len(connections) == 2


def test_of_agents_the_one_with_most_connections_gives_way(sock: socket.socket) -> None:
    """An agent that opens many connections ends its own oldest one."""
    connections, (one, many, more) = _filled(sock, "a", "b", "b")
    assert connections.make_room()
    assert [_is_ended(each) for each in (one, many, more)] == [False, True, False]


def test_to_make_room_takes_no_time() -> None:
    """With hundreds of connections of agents, the loop's thread does not compare all with all."""
    with socket.socket() as sock:
        connections, _ = _filled(sock, _Counted("a"), *(["b"] * 500))
        assert connections.make_room()
    assert len(_Counted.compared) < 10


def test_a_request_under_way_never_gives_way(sock: socket.socket) -> None:
    """While each connection waits for an answer, there is no room for another."""
    connections, made = _filled(sock, "a", "")
    for connection in made:
        connection.is_answering = True
    assert not connections.make_room()
    assert len(connections) == 2


def test_a_connection_ends_at_its_time(sock: socket.socket) -> None:
    """The sweep ends what took too long, and nothing else."""
    late, soon = _connection(sock, end=5.0), _connection(sock, end=5.1)
    connections = Connections(2)
    connections.add(late)
    connections.add(soon)
    connections.sweep(5.0)
    assert _is_ended(late)
    assert not _is_ended(soon)
    assert list(connections) == [soon]


def test_an_agent_has_a_rate_of_its_own() -> None:
    """An agent that has used up its burst waits for its rate; another agent does not notice."""
    shares = Shares()
    for _ in range(int(BURST)):
        with shares.request("a", 1.0):
            pass
    with pytest.raises(TooFastError), shares.request("a", 1.0):
        pass
    with shares.request("b", 1.0):
        pass
    with shares.request("a", 1.0 + 1.5 / RATE_A_SECOND):
        pass
    with pytest.raises(TooFastError), shares.request("a", 1.0 + 1.5 / RATE_A_SECOND):
        pass


def test_an_agent_never_holds_all_places() -> None:
    """An agent may have a part of the requests under way; all agents together have a limit too."""
    shares = Shares()
    held = [shares.request("a", 1.0) for _ in range(IN_FLIGHT_OF_AGENT)]
    for one in held:
        one.__enter__()
    with pytest.raises(TooFastError), shares.request("a", 1.0):
        pass
    others = [
        shares.request(f"b{number // IN_FLIGHT_OF_AGENT}", 1.0)
        for number in range(IN_FLIGHT - IN_FLIGHT_OF_AGENT)
    ]
    for one in others:
        one.__enter__()
    assert shares.running == IN_FLIGHT
    with pytest.raises(FullError), shares.request("c", 1.0):
        pass
    held[0].__exit__(None, None, None)
    with shares.request("c", 1.0):
        pass
    for one in (*held[1:], *others):
        one.__exit__(None, None, None)
    assert shares.running == 0
