"""What the loop does at a turn, and what it leaves to its backlog and to the pool."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.transports.native import calls
from authz.transports.native import peer as native
from authz.transports.native.backlog import Backlog
from support.frames import CHECK, WATCH, Hostile, framed
from support.inside import in_loop, native_of, open_calls, stalled
from support.ports import Port, listening, message_of
from support.scripted import KEPT_BYTES, Scripted
from support.world import PATIENCE_SECONDS, reason_of, wait_until

FRAME_BYTES = 16_384
LOOP, POOL = "transport", "check"  # names of threads
EXHAUSTED, INTERNAL = "8", "13"


@pytest.fixture
def port(tmp_path: Path, method: Scripted) -> Iterator[Port]:
    """A port that listens natively, with places for few checks."""
    with listening(tmp_path, methods=method.methods, max_concurrent=20) as port:
        yield port


def last(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let a slice last so long."""
    for module in ("backlog", "calls", "peer", "turns"):
        monkeypatch.setattr(f"authz.transports.native.{module}.SLICE_SECONDS", seconds)


def under_way(port: Port) -> int:
    """Count the checks that the loop and the pool have."""
    return in_loop(port, lambda: native_of(port)._backlog.under_way)


def received(client: Hostile, stream: int) -> bytes:
    """Return the message of an answer, once it has ended well."""
    assert client.ends(stream) == "0"
    return client.messages[stream][5:]


def long_call(client: Hostile, message: bytes) -> int:
    """Make a call whose message takes several frames, and return its stream."""
    stream, whole = client.open(), framed(message)
    for at in range(0, len(whole), FRAME_BYTES):
        client.send(stream, whole[at : at + FRAME_BYTES], ends=at + FRAME_BYTES >= len(whole))
    client.flush()
    return stream


def test_what_is_remembered_waits_for_a_slice_only(
    port: Port, method: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog is decided a slice at a time, and what comes meanwhile is answered in between."""
    last(monkeypatch, 0.0)  # which is one check
    with port.hostile() as busy, port.hostile() as other:
        streams = [busy.prepare(message) for message in (b"hold", b"1", b"2", b"3")]
        busy.flush()
        assert method.held.acquire(timeout=PATIENCE_SECONDS)  # in the first slice
        known = other.call(b"known")
        method.go.set()

        assert received(other, known) == b"known"
        assert [received(busy, stream) for stream in streams] == [b"hold", b"1", b"2", b"3"]
    assert method.order == [b"hold", b"known", b"1", b"2", b"3"]
    assert {thread for _, thread in method.steps} == {LOOP}


def test_what_is_remembered_overtakes_what_is_not(
    port: Port, method: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one connection, too, and of one read: it does not wait until what is before is decided."""
    last(monkeypatch, 0.0)
    with port.hostile() as client:
        messages = [b"1", b"2", b"3", b"4", b"5", b"6", b"known"]
        streams = [client.prepare(message) for message in messages]
        client.flush()
        assert [received(client, stream) for stream in streams] == messages
    assert method.order.index(b"known") < method.order.index(b"6")


def test_a_slice_has_many_checks(
    port: Port, method: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it lasts, the backlog is decided in the order in which it came, of all callers."""
    last(monkeypatch, PATIENCE_SECONDS)
    with port.hostile() as one, port.hostile() as two:
        with stalled(port):
            streams = [(one, one.call(b"1")), (one, one.call(b"2"))]
            streams += [(two, two.call(b"3")), (two, two.call(b"4"))]
        answers = [received(client, stream) for client, stream in streams]

    assert answers == [b"1", b"2", b"3", b"4"]
    first, second = {b"1", b"2"}, {b"3", b"4"}
    assert {*method.order[:2]} in (first, second), "of a connection after the other"
    assert sorted(method.order) == [b"1", b"2", b"3", b"4"]


def test_what_has_to_wait_goes_to_the_pool(port: Port, method: Scripted) -> None:
    """And holds up nobody: neither what is remembered nor what is decided at once."""
    with port.hostile() as client:
        waits = client.call(b"wait and hold")
        assert method.held.acquire(timeout=PATIENCE_SECONDS)
        for message in (b"known", b"other"):
            assert received(client, client.call(message)) == message
        method.go.set()
        assert received(client, waits) == b"wait and hold"

    threads = [(b"wait and hold", POOL), (b"known", LOOP), (b"other", LOOP)]
    assert method.steps == threads
    assert under_way(port) == 0


@pytest.mark.parametrize(("more", "thread"), [(0, LOOP), (1, POOL)])
def test_long_messages_are_read_in_the_pool(
    port: Port, method: Scripted, more: int, thread: str
) -> None:
    """One that is longer than the loop reads goes to the pool whole, a remembered one too."""
    for word in (b"known", b"other"):
        message = word.ljust(calls.MAX_READ_HERE_BYTES + more, b".")
        with port.hostile() as client:
            assert received(client, long_call(client, message)) == message[:KEPT_BYTES]
        assert method.steps[-1] == (message[:KEPT_BYTES], thread)
    assert under_way(port) == 0


def test_the_deadline_of_what_waits(port: Port, method: Scripted) -> None:
    """What is left is counted from the headers on, wherever the check was meanwhile."""
    with grpc.insecure_channel(port.transport.addresses[-1]) as channel:
        check = channel.unary_unary(CHECK, bytes, bytes)
        for message in (b"now", b"wait", b"wait".ljust(calls.MAX_READ_HERE_BYTES + 1)):
            check(message, timeout=PATIENCE_SECONDS)
        with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
            check(b"wait and hold", timeout=0.3)
        wait_until(lambda: open_calls(port) == 0)  # its client has reset it

        assert under_way(port) == 1, "a thread is still at it"
        method.go.set()
        wait_until(lambda: under_way(port) == 0)
    *left, short = method.remaining  # gRPC rounds up
    assert all(one is not None and 0 < one < PATIENCE_SECONDS + 1 for one in left)
    assert short is not None
    assert short < 1


@pytest.mark.parametrize("message", [b"at once", b"wait"])
def test_what_was_given_up_is_not_decided(port: Port, method: Scripted, message: bytes) -> None:
    """Neither by the loop nor by the pool, whether the client resets it or hangs up."""
    with port.hostile() as client, port.hostile() as other:
        with stalled(port):
            client.reset(client.prepare(message))
            other.call(message)
            other.socket.close()
        wait_until(lambda: len(native_of(port)._peers) == 1)
        assert received(client, client.call(b"known")) == b"known"
        wait_until(lambda: under_way(port) == 0)

    decided = [one for one in method.order if one == message]
    assert len(decided) <= 1, "only of the client whose end was not seen yet"


def test_what_can_not_be_decided_in_time_is_refused_at_once(
    port: Port, method: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pace of the backlog: its caller, and those behind it, would have given up."""
    monkeypatch.setattr(Backlog, "has_time", lambda *_: False)
    with grpc.insecure_channel(port.transport.addresses[-1]) as channel:
        check = channel.unary_unary(CHECK, bytes, bytes)
        with stalled(port):
            native_of(port)._backlog._pace.seconds = 10.0  # seconds from one decision to the next
            calls = [check.future(b"%d" % n, timeout=PATIENCE_SECONDS) for n in range(8)]
            time.sleep(0.5)  # until all are at the server's socket; fewer would do as well
        for call in calls:
            call.result()
    hurried = [left for left in method.remaining if left is not None and left < 0]
    assert 0 < len(hurried) < 8


def test_no_more_than_may_be_under_way(port: Port, method: Scripted) -> None:
    """More are refused, remembered ones are answered all the same, and places are free again.

    One connection leaves two of twenty places to others.
    """
    with port.hostile() as client, port.hostile() as stranger:
        held = [client.call(b"wait and hold") for _ in range(18)]
        wait_until(lambda: under_way(port) == 18)

        assert received(stranger, stranger.call(b"other")) == b"other"
        assert client.ends(client.call(b"other")) == EXHAUSTED
        long = long_call(client, b".".ljust(calls.MAX_READ_HERE_BYTES + 1))
        assert client.ends(long) == EXHAUSTED
        assert received(client, client.call(b"known")) == b"known"
        method.go.set()
        for stream in held:
            assert received(client, stream) == b"wait and hold"
        assert received(client, client.call(b"other")) == b"other"
    assert under_way(port) == 0


def test_an_overload_is_refused_by_the_backlog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While too many checks wait for the loop, more are refused as they come."""
    # Before it connects: a greeting that took long to read would have its calls read in parts.
    last(monkeypatch, PATIENCE_SECONDS)
    with listening(tmp_path) as port, port.hostile() as client:
        pool = port.world.parts.pool
        monkeypatch.setattr(pool, "_max_queued", 20)
        monkeypatch.setattr(Backlog, "has_time", lambda *_: False)
        message = message_of(port).SerializeToString()
        with stalled(port):
            streams = [client.prepare(message) for _ in range(30)]
            client.flush()
        answers = [received(client, stream) for stream in streams]

        reasons = [reason_of(pb.CheckResponse.FromString(answer)) for answer in answers]
        assert reasons == ["agent_invalid"] * 20 + ["overloaded"] * 10
        assert pool.status().queued == 0


def test_a_fault_of_a_method_ends_its_call_only(
    port: Port, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception in either step, in any thread, is INTERNAL and says nothing of itself."""
    with port.hostile() as client:
        messages = (b"begin!", b"decide!", b"known", b"other")
        for _ in range(2):
            streams = [client.prepare(message) for message in messages]
            client.flush()
            assert [client.ends(stream) for stream in streams] == [INTERNAL, INTERNAL, "0", "0"]
        assert client.ends(client.call(b"wait!")) == "0"
    assert under_way(port) == 0
    assert caplog.text.count("internal error in the transport: RuntimeError") == 4
    assert "secret" not in caplog.text


@pytest.mark.parametrize("step", ["take", "finish", "_watch"])
def test_a_fault_of_a_connection_ends_it_only(
    port: Port, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception where a connection is served hangs up on it, and others are served."""
    with port.hostile() as client, port.hostile() as other:
        assert received(other, other.call(b"known")) == b"known"
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise RuntimeError

            patch.setattr(calls.Calls, step, fail)
            patch.setattr(Backlog, "has_time", lambda *_: False)  # else finish() is not needed
            client.call(b"", WATCH if step == "_watch" else CHECK)
            client.read_until(lambda: client.is_closed)
        assert received(other, other.call(b"other")) == b"other"
    assert under_way(port) == 0
    wait_until(lambda: not native_of(port)._peers)


def test_a_fault_in_a_sweep_ends_its_connection_only(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connections after it are swept all the same."""
    swept: list[native.Peer] = []
    sweep = native.Peer.sweep

    def fail_once(peer: native.Peer, now: float) -> None:
        if not swept:
            swept.append(peer)
            raise RuntimeError
        if peer not in swept:
            swept.append(peer)
        sweep(peer, now)

    monkeypatch.setattr(native.Peer, "sweep", fail_once)
    with port.hostile() as first, port.hostile() as second:
        first.read_until(lambda: first.is_closed)
        wait_until(lambda: len(swept) == 2)
        assert received(second, second.call(b"known")) == b"known"


def test_a_fault_of_the_work_itself(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever escapes from it, the loop goes on."""
    with port.hostile() as client:
        with monkeypatch.context() as patch:

            def fail(_: object) -> bool:
                raise RuntimeError

            patch.setattr(Backlog, "work", fail)
            patch.setattr(Backlog, "has_time", lambda *_: False)
            assert received(client, client.call(b"known")) == b"known"
            waits = client.call(b"other")
            assert received(client, client.call(b"known")) == b"known"
        assert received(client, waits) == b"other"
