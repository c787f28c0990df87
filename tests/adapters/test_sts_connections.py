"""The token service's connections make room for each other, and each agent has its share."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import ClassVar

import pytest

from authz.adapters.sts.arrivals import Arrivals, source_of
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


def _taken(arrivals: Arrivals, count: int) -> list[socket.socket]:
    async def take() -> list[socket.socket]:
        return [await arrivals.take() for _ in range(count)]

    return asyncio.run(take())


def test_each_source_has_its_turn() -> None:
    """Who opens many connections waits behind who opens one, in the order of each source."""
    a1, a2, a3, b1 = made = [socket.socket() for _ in range(4)]
    with closing(Arrivals(8)) as arrivals:
        for source, each in ((b"a", a1), (b"a", a2), (b"a", a3), (b"b", b1)):
            assert arrivals.put(source, each)
        assert _taken(arrivals, 4) == [a1, b1, a2, a3]
    for each in made:
        each.close()


def test_the_source_with_most_arrivals_loses_its_oldest() -> None:
    """Without room a flood closes its own connections, also if another one comes last."""
    a1, a2, b1 = made = [socket.socket() for _ in range(3)]
    with closing(Arrivals(2)) as arrivals:
        arrivals.put(b"a", a1)
        arrivals.put(b"a", a2)
        assert not arrivals.put(b"b", b1)
        assert a1.fileno() == -1
        assert _taken(arrivals, 2) == [a2, b1]
        arrivals.put(b"b", b1)
    assert b1.fileno() == -1  # closed with the arrivals
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
    ],
)
def test_a_network_of_ipv6_is_one_source(one: str, other: str, *, is_same: bool) -> None:
    """A host with IPv6 may have a whole /64, and so no more turns than one with IPv4."""
    assert (source_of(one) == source_of(other)) is is_same


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
