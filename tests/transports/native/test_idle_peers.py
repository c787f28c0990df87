"""An address that has all its connections: who gives way to a newcomer, and who stays."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.mesh import STRANGER
from support.frames import Hostile, connected
from support.inside import in_loop, native_of, open_calls
from support.ports import WAYPOINT, Port, listening, listening_plainly
from support.raw import Raw
from support.scripted import Scripted
from support.world import wait_until

PLACES = 4
Connect = Callable[[], Raw]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address has few places, and whoever is idle gives way at once."""
    monkeypatch.setattr("authz.transports.addresses.MAX_CONNECTIONS", PLACES)
    monkeypatch.setattr("authz.transports.native.idle_peers.IDLE_SECONDS", 0.0)
    monkeypatch.setattr("authz.transports.native.loop.SWEEP_SECONDS", 3600.0)  # only when told


@pytest.fixture
def port(tmp_path: Path, method: Scripted) -> Iterator[Port]:
    """A port that listens natively."""
    with listening_plainly(tmp_path, f"unix:{tmp_path}/s.sock", methods=method.methods) as port:
        yield port


@pytest.fixture
def connect(port: Port) -> Iterator[Connect]:
    """Open connections to the port, each of which has been taken."""
    with ExitStack() as opened:

        def connect() -> Raw:
            client = opened.enter_context(Raw(port.transport.addresses[0]))
            assert client.read()
            return client

        yield connect


def sweep(port: Port) -> None:
    """Have the loop look at its connections, and find those that are idle."""
    in_loop(port, lambda: native_of(port)._sweep(time.monotonic()))


def asks(client: Raw, number: int = 1) -> bool:
    """Make a call; return whether it is answered."""
    client.call(number, b"known")
    return client.answer(number) == b"known"


def is_turned_away(port: Port) -> bool:
    """Connect; return whether the server hangs up, instead of beginning HTTP/2."""
    with connected(port.transport.addresses[0]) as newcomer:
        return not newcomer.recv(1)


def was_ended(client: Raw) -> bool:
    """Return whether the server has hung up, or does in a moment, and said that it would."""
    client.read_to_end()
    return [one.last_stream_id for one in client.goaways()][-1] == 0


def test_a_newcomer_gets_the_place_of_the_oldest_that_never_asked(
    port: Port, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Silent connections keep nobody out; they are told to go, the oldest first."""
    silent = [connect() for _ in range(PLACES)]
    assert is_turned_away(port)
    assert f"{port.transport.addresses[0]} has no place for a new connection" in caplog.text
    sweep(port)
    for oldest in silent[:2]:
        assert asks(connect())
        assert was_ended(oldest)
    assert asks(silent[2])
    assert f"an idle connection on {port.transport.addresses[0]} was ended" in caplog.text


def test_callers_are_the_last_to_give_way(port: Port, connect: Connect) -> None:
    """They stay while others are silent; then the one that asked longest ago goes."""
    first, second = connect(), connect()
    assert asks(first)
    sweep(port)
    assert asks(second)
    silent = [connect() for _ in range(PLACES - 2)]
    sweep(port)
    assert asks(first, 3)
    sweep(port)
    sweep(port)
    for oldest in silent:
        newcomer = connect()
        assert was_ended(oldest)
        assert asks(newcomer)
    sweep(port)
    sweep(port)
    connect()
    second.read_to_end()
    assert [one.last_stream_id for one in second.goaways()][-1] == 1
    assert asks(first, 5)


def test_calls_under_way_are_never_ended(port: Port, connect: Connect, method: Scripted) -> None:
    """Whoever waits for an answer stays, whether its message has come or not."""
    waiting, *half_open = [connect() for _ in range(PLACES)]
    waiting.call(1, b"wait hold")
    assert method.held.acquire(timeout=30)
    for client in half_open:
        client.open(1)
    wait_until(lambda: open_calls(port) == PLACES)
    sweep(port)
    assert is_turned_away(port)
    method.go.set()
    assert waiting.answer(1) == b"wait hold"


def test_who_has_asked_since_the_last_look_stays(port: Port, connect: Connect) -> None:
    """What was idle then may be busy now: another gives way."""
    one, *others = [connect() for _ in range(PLACES)]
    sweep(port)
    assert asks(one)
    assert asks(connect())
    assert asks(one, 3)
    assert was_ended(others[0])


def test_a_short_silence_is_left_alone(
    port: Port, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that has just been opened has time to ask."""
    monkeypatch.setattr("authz.transports.native.idle_peers.IDLE_SECONDS", 3600.0)
    silent = [connect() for _ in range(PLACES)]
    sweep(port)
    assert is_turned_away(port)
    assert all(asks(client) for client in silent)


def test_a_flood_ends_no_caller(port: Port, connect: Connect) -> None:
    """While others are silent, if only for a moment yet, whoever has asked stays."""
    caller = connect()
    assert asks(caller)
    sweep(port)
    _silent = [connect() for _ in range(PLACES - 1)]
    for peer in list(native_of(port)._peers)[1:]:
        peer.begun += 3600.0
    sweep(port)
    assert is_turned_away(port)
    assert asks(caller, 3)


def test_a_refused_caller_counts_as_silent(tmp_path: Path, method: Scripted) -> None:
    """However often it calls, it gives way before a proxy that may ask."""
    with listening(tmp_path, methods=method.methods) as port, ExitStack() as opened:

        def calls(name: str) -> tuple[Hostile, str]:
            client = opened.enter_context(port.hostile("tls", name))
            return client, client.ends(client.call(b"known"))

        allowed, status = calls(WAYPOINT)
        assert status == "0"
        assert {calls(STRANGER)[1] for _ in range(PLACES - 1)} == {"7"}
        sweep(port)
        sweep(port)
        assert [calls(WAYPOINT)[1] for _ in range(PLACES - 1)] == ["0"] * (PLACES - 1)
        assert allowed.ends(allowed.call(b"known")) == "0"
