"""Calls that their clients keep open, on every transport: they hold up nobody, and end."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from authz.edge.methods import AUTHORIZATION
from authz.edge.settings import TransportKind
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from support.conformance.transport import Answerer
from support.frames import HEALTH, RESET, WATCH, Hostile, connected, half_open
from support.inside import give_time, has_ended, open_calls, unread_calls, working_calls
from support.ports import WAYPOINT, Port, answer_on_the_socket, ask, channel, listening, message_of
from support.world import PATIENCE_SECONDS, wait_until

CANCELLED, PERMISSION_DENIED, EXHAUSTED, UNIMPLEMENTED = "1", "7", "8", "12"
pytestmark = pytest.mark.usefixtures("each_transport")
kinds = pytest.mark.parametrize("kind", ["unix", "tls"])


@kinds
def test_half_open_calls_hold_up_nobody(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many and however begun: others are answered meanwhile, and they end in time."""
    give_time(monkeypatch, 1.5)
    with listening(tmp_path, threads=4) as port, port.hostile(kind) as client:
        streams = [half_open(client, number) for number in range(200)]
        client.flush()
        wait_until(lambda: open_calls(port) > 10)

        assert answer_on_the_socket(port) == "agent_invalid"
        assert {client.ends(stream) for stream in streams} <= {CANCELLED, RESET}
        assert port.metric("authz_calls_ended_total", cause="half_open") == 200
        wait_until(lambda: open_calls(port) == 0)


@kinds
def test_no_place_is_taken_by_half_open_calls(tmp_path: Path, kind: str) -> None:
    """With more of them than checks may be under way, on many connections, others are answered."""
    with listening(tmp_path, max_concurrent=8) as port:
        clients = [port.hostile(kind) for _ in range(4)]
        for number in range(40):
            half_open(clients[number % 4], number)
            clients[number % 4].flush()
        wait_until(lambda: open_calls(port) >= 8)

        for _ in range(20):
            assert answer_on_the_socket(port) == "agent_invalid"
        for client in clients:
            client.socket.close()
        wait_until(lambda: open_calls(port) == 0)


def test_who_may_not_ask_gets_no_further_than_headers(tmp_path: Path) -> None:
    """Its calls are refused before their message, any method's, and take no place and no thread."""
    with (
        listening(tmp_path, max_concurrent=2) as port,
        port.hostile("tls", TRAVEL) as client,
    ):
        streams = [half_open(client, number) for number in range(100)]
        client.flush()

        assert {client.ends(stream) for stream in streams} == {PERMISSION_DENIED}
        assert answer_on_the_socket(port) == "agent_invalid"
        assert port.metric("authz_callers_refused_total") == 100
        assert port.metric("authz_calls_ended_total", cause="half_open") == 0
        wait_until(lambda: open_calls(port) == 0)


@kinds
def test_answers_that_nobody_reads(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no window for them they hold up nobody, and are dropped in time."""
    give_time(monkeypatch, 1.5)
    with listening(tmp_path) as port, port.hostile(kind, window=0) as client:
        message = message_of(port).SerializeToString()
        streams = [client.call(message) for _ in range(50)]
        streams += [client.call(b"", HEALTH) for _ in range(50)]
        wait_until(lambda: unread_calls(port) > 10)

        assert answer_on_the_socket(port) == "agent_invalid"
        assert {client.ends(stream) for stream in streams} <= {CANCELLED, RESET}
        assert not client.messages
        assert port.metric("authz_calls_ended_total", cause="unread") == 100
        wait_until(lambda: open_calls(port) == 0)


@kinds
def test_calls_that_are_given_up(tmp_path: Path, kind: str) -> None:
    """Nothing is left of a call that its client gives up at any moment, or hangs up on."""
    with listening(tmp_path) as port:
        with port.hostile(kind) as client:
            for number in range(300):
                client.reset(half_open(client, number))
                client.reset(client.call(b"", HEALTH))
            half_open(client, 0)
            client.flush()
        with port.hostile(kind, window=0) as client:
            client.call(b"")

        assert answer_on_the_socket(port) == "agent_invalid"
        wait_until(lambda: open_calls(port) == 0)


def test_a_call_without_a_message(tmp_path: Path) -> None:
    """A client that ends its side at once is told so."""
    with listening(tmp_path) as port, port.hostile() as client:
        stream = client.open()
        client.send(stream, b"")
        client.flush()

        assert client.ends(stream) == UNIMPLEMENTED
        wait_until(lambda: open_calls(port) == 0)


def test_more_checks_than_may_be_under_way(tmp_path: Path) -> None:
    """They are refused at once, and others are answered when there is a place again."""
    answerer = Answerer()
    methods = {AUTHORIZATION: {"Check": answerer}}
    with listening(tmp_path, methods=methods, max_concurrent=3) as port, port.hostile() as client:
        streams = [client.call(b"hold") for _ in range(5)]
        # Which two is left to grpcio: messages may reach us in another order than they were sent.
        client.read_until(lambda: len(client.statuses) >= 2)
        assert list(client.statuses.values()) == [EXHAUSTED] * 2
        answerer.go.set()

        assert sorted(client.ends(stream) for stream in streams) == ["0"] * 3 + [EXHAUSTED] * 2
        assert client.ends(client.call(b"a")) == "0"


def test_a_check_whose_client_is_gone_is_not_decided(tmp_path: Path) -> None:
    """A check that was given up while it waited for a thread costs no decision."""
    answerer, gate = Answerer(), threading.Event()
    methods = {AUTHORIZATION: {"Check": answerer}}
    with listening(tmp_path, methods=methods) as port, port.hostile() as client:
        for _ in range(4):  # every thread of the pool
            port.world.parts.pool.submit(gate.wait, PATIENCE_SECONDS)
        stream = client.call(b"hold")
        wait_until(lambda: working_calls(port) == 1)
        client.reset(stream)
        assert client.ends(client.call(b"", "/no/method")) == UNIMPLEMENTED  # the reset was read
        gate.set()
        wait_until(lambda: open_calls(port) == 0)

        assert client.ends(client.call(b"a")) == "0"
        assert len(answerer.remaining) == 1


@kinds
def test_a_stop_ends_in_its_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever clients hold open: calls without messages, unread answers, connections."""
    give_time(monkeypatch, PATIENCE_SECONDS)  # so that none ends before the stop
    with listening(tmp_path) as port, port.hostile(kind, window=0) as client:
        idle = connected(port.transport.addresses[0])
        for number in range(100):
            half_open(client, number)
            client.prepare(b"", HEALTH)
            client.prepare(b"", WATCH)
        client.flush()
        wait_until(lambda: open_calls(port) >= 200)
        port.transport.stop(0.5)

        assert has_ended(port)
        idle.close()


def test_sigterm_ends_a_server_whose_clients_do_not_read(
    tmp_path: Path, each_transport: TransportKind
) -> None:
    """Within its time to drain: with half-open calls, unread answers, and Watches of health."""
    issuer = Issuer(ISSUER, AUDIENCE)
    jwks = JwksServer(issuer)
    server = Server(
        tmp_path, "authz", f"{jwks.url}/jwks", drain=f"1s\n  transport: {each_transport}"
    )
    try:
        server.wait_ready()
        with Hostile(connected(f"unix:{server.socket}"), window=0) as client:
            for number in range(200):
                client.prepare(b"", WATCH)
                client.prepare(b"", HEALTH)
                half_open(client, number)
            assert client.ends(client.call(b"", "/no/method")) == UNIMPLEMENTED  # all was read
            server.process.signal(signal.SIGTERM)
            assert server.process.wait() == 0
    finally:
        server.process.stop()
        jwks.close()


def test_a_flood_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those over the limit are closed at once; a connection that was there goes on."""
    monkeypatch.setattr("authz.transports.addresses.MAX_CONNECTIONS", 10)
    with listening(tmp_path) as port, port.hostile() as client:
        flood = [connected(port.transport.addresses[-1]) for _ in range(30)]
        closed = sum(_is_closed(one.recv) for one in flood)

        assert 20 <= closed <= 22
        assert client.ends(client.call(b"", HEALTH)) == "0"
        for one in flood:
            one.close()
        wait_until(lambda: _answers(port))


def _is_closed(recv: Callable[[int], bytes]) -> bool:
    """Whether the server hung up, instead of beginning HTTP/2 with its settings."""
    try:
        return not recv(1)
    except OSError:
        return True


def _answers(port: Port) -> bool:
    return answer_on_the_socket(port) == "agent_invalid"


def test_connections_do_not_grow_old(tmp_path: Path) -> None:
    """A connection of the greatest age is asked to end, which costs no proxy a request."""
    with (
        listening(tmp_path, max_connection_age=1.0) as port,
        channel(port, port.world.authority.issue(WAYPOINT)) as proxy,
        port.hostile("tls") as old,
    ):
        asked_to_end = threading.Thread(target=old.read_until, args=(lambda: old.is_closed,))
        asked_to_end.start()
        while asked_to_end.is_alive():
            assert ask(proxy, port) == "allow"
        assert old.is_closed
        assert ask(proxy, port) == "allow"
