"""The sockets of the loop: files and addresses, limits, clients that do not read, and the end."""

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from authz.transports.http2 import ErrorCode
from authz.transports.native import channel, transport
from authz.transports.native import peer as native
from authz.transports.transport import TransportError
from support.frames import HEALTH, WATCH, connected, framed
from support.http2 import ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, frame
from support.inside import give_time, in_loop, native_of, stalled
from support.ports import Port, listening_plainly
from support.raw import Raw, block_of
from support.scripted import Scripted
from support.world import wait_until

TCP = "127.0.0.1:0"
MAX_ID = 2**31 - 1
NO_METHOD = block_of("/no/method")
REFUSED_CALLS = b"".join(
    frame(HEADERS, END_HEADERS | END_STREAM, n, NO_METHOD) for n in range(1, 120_000, 2)
)


@pytest.fixture(params=["unix", "tcp"])
def port(request: pytest.FixtureRequest, tmp_path: Path, method: Scripted) -> Iterator[Port]:
    """A port that listens natively: on a unix socket, or on TCP."""
    address = f"unix:{tmp_path}/s.sock" if request.param == "unix" else TCP
    with listening_plainly(tmp_path, address, methods=method.methods) as port:
        yield port


@pytest.fixture
def unix(tmp_path: Path, method: Scripted) -> Iterator[Port]:
    """A port that listens natively on a unix socket."""
    with listening_plainly(tmp_path, f"unix:{tmp_path}/s.sock", methods=method.methods) as port:
        yield port


def client_of(port: Port) -> Raw:
    """Open a connection to a port's address."""
    return Raw(port.transport.addresses[0])


def peers(port: Port) -> list[native.Peer]:
    """Return the connections that the server has."""
    return in_loop(port, lambda: list(native_of(port)._peers))


def ask_to_leave(port: Port) -> None:
    """Have the server ask every client to leave, as it does when connections are old."""
    for peer in peers(port):
        in_loop(port, partial(peer.leave, time.monotonic()))


def assert_answers(port: Port) -> None:
    """Another client is answered, remembered or not."""
    with client_of(port) as other:
        for stream_id, message in ((1, b"known"), (3, b"other")):
            other.call(stream_id, message)
            assert other.answer(stream_id) == message


# Addresses.


def test_a_socket_file_that_was_left(tmp_path: Path) -> None:
    """A server that ended without removing its socket does not keep the next from its place."""
    path = tmp_path / "s.sock"
    with closing(socket.socket(socket.AF_UNIX)) as old:
        old.bind(str(path))
        old.listen()
    assert path.is_socket()
    for _ in range(2):
        with listening_plainly(tmp_path, f"unix:{path}", methods=Scripted().methods) as port:
            assert_answers(port)
        assert not path.exists()


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    """Another server's socket, and a file that is no socket, stay where they are."""
    path, file = tmp_path / "s.sock", tmp_path / "file"
    file.write_text("precious")
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path))
        other.listen()
        for place in (path, file):
            with (
                pytest.raises(TransportError, match="can't listen"),
                listening_plainly(tmp_path / "w", f"unix:{place}"),
            ):
                pass
        connected(f"unix:{path}").close()
    assert file.read_text() == "precious"


def test_a_socket_of_another_server_is_not_removed(tmp_path: Path) -> None:
    """A server that stops late leaves the socket that a new one has put in its place."""
    path, fresh = tmp_path / "s.sock", tmp_path / "new.sock"
    with closing(socket.socket(socket.AF_UNIX)) as other:
        with listening_plainly(tmp_path, f"unix:{path}"):
            other.bind(str(fresh))
            other.listen()
            fresh.rename(path)
        connected(f"unix:{path}").close()


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Where one address is taken, the sockets of the others are gone after the stop."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(TransportError, match="in use"),
            listening_plainly(tmp_path, f"unix:{tmp_path}/s.sock", address),
        ):
            pass
    assert not (tmp_path / "s.sock").exists()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_address_of_the_machine(tmp_path: Path) -> None:
    """``[::]`` is reached over IPv6 and IPv4."""
    with listening_plainly(tmp_path, "[::]:0", methods=Scripted().methods) as port:
        number = port.transport.addresses[0].removeprefix("[::]:")
        for host in ("127.0.0.1", "::1"):
            with Raw(socket.create_connection((host, int(number)))) as client:
                client.call(1, b"known")
                assert client.answer(1) == b"known"


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Keep this process from opening anything more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_no_descriptor_is_left(
    port: Port, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections wait until there is one again; those that are there are answered meanwhile."""
    give_time(monkeypatch, 60.0)
    place = port.transport.addresses[0].removeprefix("unix:")
    with client_of(port) as before:
        before.call(1, b"known")
        assert before.answer(1) == b"known"
        late = socket.socket(socket.AF_UNIX if place.startswith("/") else socket.AF_INET)
        turns = native_of(port).progress()
        with no_descriptors():
            late.connect(place if place.startswith("/") else ("127.0.0.1", int(place[10:])))
            wait_until(lambda: "can't take connections" in caplog.text)
            before.call(3, b"known")
            assert before.answer(3) == b"known"
        with Raw(late) as client:
            client.call(1, b"known")
            assert client.answer(1) == b"known"
        assert native_of(port).progress() - turns < 1000, "it waits, and does not spin"


# Clients that do not read.


def test_who_does_not_read_is_not_read(unix: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its calls stay in the socket once much is unread; it is dropped in time, and counted."""
    give_time(monkeypatch, 60.0)
    with client_of(unix) as deaf:
        (peer,) = peers(unix)
        deaf.press(REFUSED_CALLS, peer._is_clogged)
        opened = in_loop(unix, lambda: peer._connection._streams.opened)  # after its last read
        for _ in range(3):
            assert_answers(unix)

        assert peer._connection._streams.opened == opened
        assert peer.buffered_bytes < 2 * native.MAX_UNREAD_BYTES
        monkeypatch.setattr(channel, "SEND_SECONDS", 0.2)
        wait_until(lambda: peer not in peers(unix))
        assert unix.metric("authz_calls_ended_total", cause="unread") == 1


def test_who_reads_late_misses_nothing(unix: Port) -> None:
    """What waited for the client comes in order once it reads, and its further calls are read."""
    with client_of(unix) as slow:
        (peer,) = peers(unix)
        rest = slow.press(REFUSED_CALLS, lambda: peer._channel.is_full)
        opened = peer._connection._streams.opened
        while sum(one.stream_id > 0 for one in slow.frames) < opened:
            assert slow.read()
        slow.send(rest[:2000])
        assert slow.answer(2 * opened + 21) == b""

        ended = [one.stream_id for one in slow.frames if one.stream_id]
        assert ended == list(range(1, 2 * len(ended), 2))
    assert_answers(unix)


def test_the_bytes_of_all_connections_are_bounded(
    unix: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When together they hold too much, those that hold most are ended, and no others."""
    with client_of(unix) as large, client_of(unix) as small:
        for client, frames in ((large, 20), (small, 1)):
            client.open(1)
            client.send(frame(DATA, 0, 1, framed(b"", 1_000_000)))
            for _ in range(frames):
                client.send(frame(DATA, 0, 1, b"x" * 10_000))
        wait_until(lambda: sum(one.buffered_bytes for one in peers(unix)) > 210_000)
        assert len(peers(unix)) == 2
        monkeypatch.setattr(transport, "MAX_BUFFERED_BYTES", 100_000)

        wait_until(lambda: len(peers(unix)) == 1)
        small.call(3, b"known")
        assert small.answer(3) == b"known"


# The end of connections.


def test_who_errs_learns_why(port: Port) -> None:
    """After a GOAWAY what is still on its way is read, so that it is not lost to a reset."""
    with client_of(port) as client:
        client.send(frame(DATA, 0, 1, b"x"))  # on an idle stream
        for _ in range(20):
            client.send(b"\xff" * 50_000)
        client.read_to_end()

        assert [ErrorCode(one.error_code) for one in client.goaways()] == [ErrorCode.PROTOCOL_ERROR]
        assert client.has_ended
        assert len(peers(port)) == 1
    wait_until(lambda: not peers(port))


def test_who_errs_and_stays(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not hang up after a GOAWAY is hung up on soon."""
    give_time(monkeypatch, 60.0)
    monkeypatch.setattr(native, "LINGER_SECONDS", 0.1)
    with client_of(port) as client:
        client.send(frame(DATA, 0, 1, b"x"))
        client.read_to_end()
        wait_until(lambda: not peers(port))


def test_who_is_asked_to_leave_loses_nothing(port: Port, method: Scripted) -> None:
    """Calls that were under way, and those made before the client knew, are answered."""
    with client_of(port) as client:
        client.call(1, b"wait and hold")
        assert method.held.acquire(timeout=60)
        ask_to_leave(port)
        client.call(3, b"known")
        assert client.answer(3) == b"known"
        (ping,) = client.pings()
        client.call(5, b"other")
        client.send(frame(PING, ACK, 0, ping.opaque_data))
        assert client.answer(5) == b"other"
        method.go.set()
        assert client.answer(1) == b"wait and hold"
        client.read_to_end()

        assert [one.last_stream_id for one in client.goaways()] == [MAX_ID, 5]
        assert client.has_ended
    wait_until(lambda: not peers(port))


def test_who_is_asked_to_leave_and_writes_on(port: Port) -> None:
    """Frames that cross the end of a connection do not take its last answer away."""
    with client_of(port) as client:
        client.call(1, b"known")
        ask_to_leave(port)
        while not client.pings():
            client.read()
        client.call(3, b"known")
        client.send(frame(PING, ACK, 0, client.pings()[0].opaque_data))
        with suppress(ConnectionError):
            for n in range(50):
                client.send(frame(PING, ACK, 0, n.to_bytes(8, "big")))
        client.read_to_end()

        answered = {one.stream_id for one in client.frames if "END_STREAM" in one.flags}
        assert answered == {1, 3}
        assert client.has_ended


def test_who_is_asked_to_leave_and_stays(
    port: Port, method: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that acknowledges nothing may open nothing soon, and a call can't stay for ever."""
    give_time(monkeypatch, 60.0)
    monkeypatch.setattr(native, "GOING_SECONDS", 0.1)
    monkeypatch.setattr(native, "AGE_GRACE_SECONDS", 1.0)
    with client_of(port) as client:
        client.call(1, b"wait and hold")
        assert method.held.acquire(timeout=60)
        ask_to_leave(port)
        while len(client.goaways()) < 2:
            client.read()
        client.call(3, b"known")
        client.read_to_end()

        assert [one.last_stream_id for one in client.goaways()] == [MAX_ID, 1]
        assert method.order == [b"wait and hold"], "what came after it is not begun"
    wait_until(lambda: not peers(port))


def test_a_stop_while_calls_are_under_way(unix: Port, method: Scripted, tmp_path: Path) -> None:
    """Nobody can connect from its beginning on; it ends as soon as the calls have."""
    with client_of(unix) as client, client_of(unix) as idle:
        client.call(1, b"wait and hold")
        assert method.held.acquire(timeout=60)
        stop = threading.Thread(target=unix.transport.stop, args=(60.0,))
        stop.start()
        wait_until(lambda: not (tmp_path / "s.sock").exists())
        while not client.pings():
            client.read()
        client.send(frame(PING, ACK, 0, client.pings()[0].opaque_data))
        idle.read_to_end()
        assert stop.is_alive()
        method.go.set()

        assert client.answer(1) == b"wait and hold"
        client.read_to_end()
        stop.join(60.0)
        assert not stop.is_alive()


def test_an_answer_after_the_end(unix: Port, method: Scripted) -> None:
    """What a thread decides after the stop goes nowhere, and into no descriptor of others."""
    with client_of(unix) as client:
        client.call(1, b"wait and hold")
        assert method.held.acquire(timeout=60)
        unix.transport.stop(0)
    before = {os.dup(0) for _ in range(20)}  # where our own descriptors were
    for number in before:
        os.close(number)
    counters = [os.eventfd(0, os.EFD_NONBLOCK) for _ in before]
    finished = unix.world.parts.pool.status().finished
    method.go.set()
    wait_until(lambda: unix.world.parts.pool.status().finished > finished)
    for counter in counters:
        with pytest.raises(BlockingIOError):  # nobody has rung
            os.eventfd_read(counter)
        os.close(counter)


# Watches, which last.


def test_a_watch_whose_client_is_gone(unix: Port) -> None:
    """It is forgotten, even if its client was gone before the first message."""
    watches = native_of(unix)._watches
    for _ in range(3):
        with client_of(unix) as client, stalled(unix):
            for stream_id in (1, 3, 5):
                client.call(stream_id, b"", WATCH)
            client.socket.close()
    wait_until(lambda: not peers(unix))
    assert in_loop(unix, lambda: len(watches._told)) == 0


def test_names_of_watches_are_short(unix: Port) -> None:
    """A Watch is kept for long, and so is its name: a long one is refused, as by Check."""
    long = b"\x0a\x80\x80\x04" + b"x" * 65_536
    with client_of(unix) as client:
        for stream_id, path in ((1, WATCH), (3, HEALTH)):
            message = framed(long)
            client.open(stream_id, path)
            for at in range(0, len(message), 16_384):
                client.send(
                    frame(DATA, at + 16_384 >= len(message), stream_id, message[at : at + 16_384])
                )
            assert client.answer(stream_id) == b""
        assert in_loop(unix, lambda: len(native_of(unix)._watches._told)) == 0


def test_progress(unix: Port) -> None:
    """A number grows while the loop turns, with nobody there too; while it hangs, it does not."""
    first = native_of(unix).progress()
    wait_until(lambda: native_of(unix).progress() > first)
    with stalled(unix):
        stuck = native_of(unix).progress()
        with client_of(unix) as client:
            client.call(1, b"known")
        assert native_of(unix).progress() == stuck
    wait_until(lambda: native_of(unix).progress() > stuck)
