"""Calls that their clients keep open: they hold up nobody, and end."""

import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from authz.edge.methods import methods_of
from authz.edge.settings import ServerSettings, TransportKind
from authz.transports.grpcio import GrpcioTransport
from authz.transports.grpcio import rpc as grpcio
from authz.transports.grpcio.calls import RpcExecutor
from authz.transports.opening import open_transport
from authz.transports.transport import TransportError, TransportParts
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, TRAVEL, Server
from support.frames import CHECK, HEALTH, RESET, WATCH, Hostile, connected, framed
from support.ports import WAYPOINT, Port, answer_on_the_socket, ask, channel, listening, message_of
from support.world import PATIENCE_SECONDS, wait_until

CANCELLED, PERMISSION_DENIED, EXHAUSTED, UNIMPLEMENTED = "1", "7", "8", "12"
kinds = pytest.mark.parametrize("kind", ["unix", "tls"])


listening_by_grpcio = partial(listening, transport=TransportKind.GRPCIO)


def give_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let clients have another time for their calls than they have otherwise."""
    for name in ("RECEIVE_SECONDS", "SEND_SECONDS"):
        monkeypatch.setattr(f"authz.transports.grpcio.calls.{name}", seconds)
    monkeypatch.setattr("authz.transports.grpcio.calls.SWEEP_SECONDS", 0.05)


def calls_of(port: Port) -> RpcExecutor:
    """The calls that a server has."""
    assert isinstance(port.transport, GrpcioTransport)
    return port.transport._calls


def open_calls(port: Port) -> int:
    """How many of them are in any stage."""
    calls = calls_of(port)
    return len(calls._receiving._calls) + len(calls._working) + len(calls._sending._calls)


def half_open(client: Hostile, number: int) -> int:
    """A call whose message does not come, in one of several ways; its stream."""
    stream = client.open((CHECK, HEALTH)[number % 2])
    parts = (b"", b"\0", framed(b"x" * 100, 1_000_000), framed(b"", 1))
    if part := parts[number % len(parts)]:
        client.send(stream, part, ends=False)
    return stream


@kinds
def test_half_open_calls_hold_up_nobody(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many and however begun: others are answered meanwhile, and they end in time."""
    give_time(monkeypatch, 1.5)
    with listening_by_grpcio(tmp_path, threads=4) as port, port.hostile(kind) as client:
        streams = [half_open(client, number) for number in range(200)]
        client.flush()
        wait_until(lambda: open_calls(port) > 10)

        assert answer_on_the_socket(port) == "agent_invalid"
        assert {client.ends(stream) for stream in streams} == {CANCELLED}
        assert port.metric("authz_calls_ended_total", cause="half_open") == 200
        wait_until(lambda: open_calls(port) == 0)


@kinds
def test_no_place_is_taken_by_half_open_calls(tmp_path: Path, kind: str) -> None:
    """With more of them than checks may be under way, on many connections, the oldest give way."""
    with listening_by_grpcio(tmp_path, max_concurrent=8) as port:
        clients = [port.hostile(kind) for _ in range(4)]
        for number in range(40):
            half_open(clients[number % 4], number)
            clients[number % 4].flush()
        wait_until(lambda: port.metric("authz_calls_ended_total", cause="half_open") >= 32)

        for _ in range(20):
            assert answer_on_the_socket(port) == "agent_invalid"
        for client in clients:
            client.socket.close()
        wait_until(lambda: open_calls(port) == 0)


def test_who_may_not_ask_gets_no_further_than_headers(tmp_path: Path) -> None:
    """Its calls are refused before their message, any method's, and take no place and no thread."""
    with (
        listening_by_grpcio(tmp_path, max_concurrent=2) as port,
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
    with listening_by_grpcio(tmp_path) as port, port.hostile(kind, window=0) as client:
        message = message_of(port).SerializeToString()
        streams = [client.call(message) for _ in range(50)]
        streams += [client.call(b"", HEALTH) for _ in range(50)]
        wait_until(lambda: len(calls_of(port)._sending._calls) > 10)

        assert answer_on_the_socket(port) == "agent_invalid"
        assert {client.ends(stream) for stream in streams} <= {CANCELLED, RESET}
        assert not client.messages
        assert port.metric("authz_calls_ended_total", cause="unread") == 100
        wait_until(lambda: open_calls(port) == 0)


def test_answers_that_nobody_reads_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are too many, the oldest is dropped."""
    monkeypatch.setattr("authz.transports.grpcio.calls.MAX_SENDING", 10)
    with listening_by_grpcio(tmp_path) as port, port.hostile(window=0) as client:
        streams = [client.call(b"", HEALTH) for _ in range(30)]

        client.read_until(lambda: len(client.statuses) == 20)  # threads may swap two of them
        assert {client.statuses.get(stream) for stream in streams} <= {CANCELLED, RESET, None}
        wait_until(lambda: open_calls(port) == 10)


@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_calls_that_are_given_up(tmp_path: Path, kind: str) -> None:
    """Nothing is left of a call that its client gives up at any moment, or hangs up on."""
    with listening_by_grpcio(tmp_path) as port:
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


@kinds
def test_unread_refusals_of_methods_that_are_not_there(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are counted and ended as all calls are, and who may not ask learns nothing by them."""
    give_time(monkeypatch, 1.0)
    monkeypatch.setattr("authz.transports.grpcio.calls.MAX_SENDING", 100)
    unread = partial(Port.metric, name="authz_calls_ended_total", cause="unread")
    with listening_by_grpcio(tmp_path) as port, port.hostile(kind) as client:
        assert client.ends(client.call(b"", "/no/method")) == UNIMPLEMENTED
        assert client.ends(client.call(b"", WATCH)) == UNIMPLEMENTED
        if kind == "unix":  # its buffers are small: unread answers stay with us
            for _ in range(2000):  # in h2 the square of it is work, while the server's pings wait
                client.open("/no/method")
            client.flush()
            wait_until(lambda: unread(port) > 1000)
            assert open_calls(port) <= 101
            wait_until(lambda: open_calls(port) == 0)
        else:
            with port.hostile(kind, TRAVEL) as stranger:
                assert stranger.ends(stranger.call(b"", "/no/method")) == PERMISSION_DENIED
        assert answer_on_the_socket(port) == "agent_invalid"


def test_a_call_without_a_message(tmp_path: Path) -> None:
    """A client that ends its side at once is told so."""
    with listening_by_grpcio(tmp_path) as port, port.hostile() as client:
        stream = client.open()
        client.send(stream, b"")
        client.flush()

        assert client.ends(stream) == UNIMPLEMENTED
        wait_until(lambda: open_calls(port) == 0)


def test_more_checks_than_may_be_under_way(tmp_path: Path) -> None:
    """They are refused at once, and others are answered when there is a place again."""
    gate = threading.Event()
    with listening_by_grpcio(tmp_path, max_concurrent=3) as port, port.hostile() as client:
        for _ in range(4):  # every thread of the pool
            calls_of(port)._pool.submit(gate.wait, PATIENCE_SECONDS)
        streams = [client.call(b"", HEALTH) for _ in range(5)]
        # Which two is left to grpcio: messages may reach us in another order than they were sent.
        client.read_until(lambda: len(client.statuses) >= 2)
        assert list(client.statuses.values()) == [EXHAUSTED] * 2
        gate.set()

        assert sorted(client.ends(stream) for stream in streams) == ["0"] * 3 + [EXHAUSTED] * 2
        assert client.ends(client.call(b"", HEALTH)) == "0"


def test_a_check_whose_client_is_gone_is_not_decided(tmp_path: Path) -> None:
    """A check that was given up while it waited for a thread costs no decision and no record."""
    gate = threading.Event()
    with listening_by_grpcio(tmp_path) as port, port.hostile() as client:
        for _ in range(4):
            calls_of(port)._pool.submit(gate.wait, PATIENCE_SECONDS)
        stream = client.call(message_of(port).SerializeToString())
        wait_until(lambda: len(calls_of(port)._working) == 1)
        client.reset(stream)
        assert client.ends(client.call(b"", "/no/method")) == UNIMPLEMENTED  # the reset was read
        gate.set()
        wait_until(lambda: open_calls(port) == 0)

        assert answer_on_the_socket(port) == "agent_invalid"
        wait_until(port.world.audit_records)
        assert [one["reason"] for one in port.world.audit_records()] == ["agent_invalid"]


@kinds
def test_a_stop_ends_in_its_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever clients hold open: calls without messages, unread answers, connections."""
    give_time(monkeypatch, PATIENCE_SECONDS)  # so that none ends before the stop
    with listening_by_grpcio(tmp_path) as port, port.hostile(kind, window=0) as client:
        idle = connected(port.transport.addresses[0])
        for number in range(100):
            half_open(client, number)
            client.call(b"", HEALTH)
            client.call(b"", WATCH)
        wait_until(lambda: open_calls(port) == 200)
        port.transport.stop(0.5)

        assert isinstance(port.transport, GrpcioTransport)
        server = port.transport._server
        assert server is not None
        assert not server.wait_for_termination(0)  # whether it is still waited for
        idle.close()


def test_sigterm_ends_a_server_whose_clients_do_not_read(tmp_path: Path) -> None:
    """Within its time to drain: with half-open calls, unread answers, and Watches of health."""
    issuer = Issuer(ISSUER, AUDIENCE)
    jwks = JwksServer(issuer)
    server = Server(tmp_path, "authz", f"{jwks.url}/jwks", drain="1s")
    try:
        server.wait_ready()
        with Hostile(connected(f"unix:{server.socket}"), window=0) as client:
            for number in range(200):
                client.call(b"", WATCH)
                client.call(b"", HEALTH)
                half_open(client, number)
            client.read_until(lambda: len(client.statuses) >= 200)
            server.process.signal(signal.SIGTERM)
            assert server.process.wait() == 0
    finally:
        server.process.stop()
        jwks.close()


def test_a_flood_of_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those over the limit are closed at once; a connection that was there goes on."""
    monkeypatch.setattr("authz.transports.addresses.MAX_CONNECTIONS", 10)
    with listening_by_grpcio(tmp_path) as port, port.hostile() as client:
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
        listening_by_grpcio(tmp_path, max_connection_age=1.0) as port,
        channel(port, port.world.authority.issue(WAYPOINT)) as proxy,
        port.hostile("tls") as old,
    ):
        asked_to_end = threading.Thread(target=old.read_until, args=(lambda: old.is_closed,))
        asked_to_end.start()
        while asked_to_end.is_alive():
            assert ask(proxy, port) == "allow"
        assert old.is_closed
        assert ask(proxy, port) == "allow"


def test_another_grpcio_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is used of grpcio beyond its public API is looked at before anything listens."""
    grpcio.require_known_grpcio()

    def receive(state: object, call: object) -> None:
        """Another one's way."""

    listen = (f"unix:{tmp_path}/other.sock",)
    settings = ServerSettings(listen=listen, transport=TransportKind.GRPCIO)
    with listening_by_grpcio(tmp_path) as port:
        for name, other in (("_receive_message", receive), ("_handle_unary_unary", receive)):
            with monkeypatch.context() as patch:
                patch.setattr(f"authz.transports.grpcio.rpc.{name}", other)
                parts = port.world.parts
                carrying = TransportParts(
                    settings, methods_of(parts.service), None, parts.metrics, parts.pool
                )
                with pytest.raises(TransportError, match="grpcio"):
                    open_transport(carrying)
