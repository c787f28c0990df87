"""What a hostile client does to the native transport, and what it does to nobody else."""

import os
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2 as pb

from authz.edge.methods import AUTHORIZATION
from authz.transports.native.loop import Loop
from lab.ca import Authority
from support.frames import CLOSED, HEALTH, WATCH, connected, framed, grpc_context, secured
from support.ports import SERVER, WAYPOINT, ask_once, listening, message_of
from support.world import wait_until

NOT_ALLOWED, EXHAUSTED, INVALID = "7", "8", "3"
_HANG_UP_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER, of 0 seconds


def test_watchers_that_hang_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave room for others, though we learn that they are gone as we tell the status."""
    monkeypatch.setattr("authz.transports.native.watches.MAX_WATCHES", 3)
    with listening(tmp_path) as port:
        for _ in range(10):
            with port.hostile() as client:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HANG_UP_AT_ONCE)
                for _ in range(3):
                    client.send(client.open(WATCH), framed(b""))
                client.flush()
        with port.hostile() as client:
            watch = client.call(b"", WATCH)
            client.read_until(lambda: watch in client.messages or watch in client.statuses)
            assert watch in client.messages


@pytest.mark.parametrize("method", [WATCH, HEALTH])
@pytest.mark.parametrize("size", [5_000, 60_000, 1_000_000])
def test_health_of_a_service_with_an_endless_name(
    tmp_path: Path, method: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused: a Watch would keep the name, and to read it holds up others. No fault of ours.

    The largest is in pieces, as the client's windows and frames are smaller.
    """
    message = framed(pb.HealthCheckRequest(service="x" * size).SerializeToString())
    with listening(tmp_path) as port, port.hostile() as client:
        stream = client.open(method)
        for at in range(0, len(message), 16_384):
            client.send(stream, message[at : at + 16_384], ends=at + 16_384 >= len(message))
            client.flush()
        assert client.ends(stream) == INVALID
    assert "internal error" not in caplog.text


def test_a_call_that_begins_before_its_ca_is_removed(tmp_path: Path) -> None:
    """It is not decided: whoever is trusted no more asks nothing, and is not taken for nobody."""
    with listening(tmp_path) as port, port.hostile("tls") as client:
        stream = client.open()
        client.flush()
        assert client.ends(client.call(b"", HEALTH)) == "0"  # so the headers were read
        other = Authority(tmp_path / "other", "other")
        port.write(other.issue(SERVER, dns=("localhost",)), other)
        wait_until(lambda: port.tls.authorities == (other.certificate,))

        client.send(stream, framed(message_of(port).SerializeToString()))
        client.flush()

        # The connection ends too, perhaps before: this client reads nothing after a GOAWAY.
        assert client.ends(stream) in (NOT_ALLOWED, CLOSED)
        assert port.metric("authz_callers_refused_total") >= 1
        assert port.world.audit_records() == []


class _Answerer:
    """Takes a while for each answer, and notes in what order it is asked.

    Attributes:
        asked: the messages.
        decides: whether it answers in the second step.
    """

    def __init__(self, *, decides: bool) -> None:
        """Begin with nothing asked."""
        self.asked: list[bytes] = []
        self.decides = decides

    def begin(self, data: bytes, _proxy: str = "", /) -> "bytes | _Asked":
        """Answer with the message."""
        return _Asked(self, data) if self.decides else self.answer(data)

    def answer(self, data: bytes) -> bytes:
        """Take longer than a slice of time."""
        self.asked.append(data)
        time.sleep(0.002)
        return data


@dataclass
class _Asked:
    answerer: _Answerer
    data: bytes

    def decide(self, _time_remaining: object, *, may_wait: bool) -> bytes:
        """Answer."""
        assert not may_wait
        return self.answerer.answer(self.data)


@pytest.mark.parametrize("decides", [False, True])
def test_who_asks_much_at_once_waits_for_it_alone(tmp_path: Path, *, decides: bool) -> None:
    """Others are answered in between, be it remembered or not: each connection has its turn."""
    answerer = _Answerer(decides=decides)
    methods = {AUTHORIZATION: {"Check": answerer}}
    with (
        listening(tmp_path, methods=methods) as port,
        port.hostile() as greedy,
        port.hostile() as client,
    ):
        calls = [greedy.prepare(b"greedy") for _ in range(400)]
        greedy.flush()
        wait_until(lambda: b"greedy" in answerer.asked)
        for _ in range(3):
            assert client.ends(client.call(b"modest")) == "0"

        at_last = len(answerer.asked) - answerer.asked[::-1].index(b"modest")
        assert at_last < 200
        # In whatever order: what a later read brings may be decided before the backlog is.
        assert [greedy.ends(stream) for stream in calls] == ["0"] * 400
        assert answerer.asked.count(b"greedy") == 400


def test_calls_that_are_given_up_in_the_read_that_brings_them(tmp_path: Path) -> None:
    """Nothing is decided for them."""
    answerer = _Answerer(decides=False)
    methods = {AUTHORIZATION: {"Check": answerer}}
    with listening(tmp_path, methods=methods) as port, port.hostile() as client:
        for _ in range(50):
            stream = client.open()
            client.send(stream, framed(b"x"))
            client.give_up(stream)
        client.flush()
        assert client.ends(client.call(b"last")) == "0"
        assert answerer.asked == [b"last"]


def test_who_asks_much_leaves_places_for_others(tmp_path: Path) -> None:
    """However many checks a connection has under way, one with few has room for another."""
    gate = threading.Event()
    methods = {AUTHORIZATION: {"Check": _Waiting(gate)}}
    with (
        listening(tmp_path, methods=methods, max_concurrent=36) as port,
        port.hostile() as greedy,
        port.hostile() as client,
    ):
        streams = [greedy.call(b"greedy") for _ in range(40)]
        assert [greedy.ends(stream) for stream in streams[32:]] == [EXHAUSTED] * 8
        modest = [client.call(b"modest") for _ in range(3)]
        gate.set()
        assert [client.ends(stream) for stream in modest] == ["0"] * 3
        assert [greedy.ends(stream) for stream in streams[:32]] == ["0"] * 32


@dataclass
class _Waiting:
    """Answers once it may."""

    gate: threading.Event

    def begin(self, _data: bytes, _proxy: str = "", /) -> "_Waiting":
        """Decide later."""
        return self

    def decide(self, _time_remaining: object, *, may_wait: bool) -> bytes | None:
        """Wait, in a thread that may."""
        return b"" if may_wait and self.gate.wait(60) else None


def test_long_messages_that_wait_for_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may hold so many bytes; beyond that they are refused, and there is room again later."""
    monkeypatch.setattr("authz.transports.native.calls.MAX_HELD_BYTES", 50_000)
    gate = threading.Event()
    methods = {AUTHORIZATION: {"Check": _Waiting(gate)}}
    with listening(tmp_path, methods=methods) as port, port.hostile() as client:
        message = b"x" * 20_000

        def ask() -> int:
            stream = client.open()
            client.send(stream, framed(message)[:10_000], ends=False)
            client.send(stream, framed(message)[10_000:])
            client.flush()
            return stream

        streams = [ask() for _ in range(4)]
        assert client.ends(streams[3]) == EXHAUSTED
        assert client.ends(client.call(b"", HEALTH)) == "0"
        gate.set()
        assert [client.ends(stream) for stream in streams[:3]] == ["0"] * 3
        assert client.ends(ask()) == "0"


def test_more_handshakes_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a further one the oldest that is not done is given up; connections in use stay."""
    monkeypatch.setattr("authz.transports.native.transport.MAX_HANDSHAKES", 3)
    with listening(tmp_path) as port, port.hostile("tls") as client:
        silent = [connected(port.transport.addresses[0]) for _ in range(5)]
        assert silent[0].recv(1) == b""
        with port.hostile("tls") as other:
            assert other.ends(other.call(b"", HEALTH)) == "0"
        assert client.ends(client.call(b"", HEALTH)) == "0"
        for opened in silent:
            opened.close()


def test_a_chain_of_a_hundred_certificates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused before it is read, which would take 50 ms: anybody can send it."""
    with listening(tmp_path) as port:
        authority = port.world.authority
        svid = authority.issue(WAYPOINT)
        chain = tmp_path / "chain.pem"
        chain.write_text(svid.certificate_pem + authority.path.read_text() * 100)
        long = replace(svid, certificate_path=chain)
        with (
            suppress(OSError),  # a reset, or the end
            secured(port.transport.addresses[0], grpc_context(authority.path, long)) as client,
        ):
            assert client.recv(1) == b""
        wait_until(lambda: "too long" in caplog.text)
        assert ask_once(port, svid) == "allow"


def test_a_thread_that_is_late() -> None:
    """It does not write to the descriptor that the loop had, which another file may have by now."""
    loop = Loop(lambda: False, lambda _now: None)
    loop.start()
    loop.end(60)
    descriptors = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
    loop.ask(lambda: None)
    for descriptor in descriptors:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(descriptor)
        os.close(descriptor)
