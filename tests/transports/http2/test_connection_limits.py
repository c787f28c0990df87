"""What one client can make us keep or do: each limit, and the most that passes."""

from collections.abc import Callable
from typing import Any

import pytest

from authz.transports.http2 import (
    Abandoned,
    Cause,
    Ended,
    ErrorCode,
    Rate,
    Refused,
    Request,
    ServerConnection,
    TurnedAway,
)
from support.http2 import (
    ACK,
    BLOCK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LIMITS,
    PING,
    PREFACE,
    PRIORITY,
    REFUSED_PATH,
    SETTINGS,
    TOO_LARGE,
    Client,
    call,
    connected,
    fields,
    frame,
    judged,
    opened,
    rst_stream,
    settings,
    window_update,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM
RATE = Rate(burst=10, per_second=2)


def test_concurrent_streams() -> None:
    """A stream beyond the limit is refused, may be tried again, and one that ends makes room."""
    client = connected(max_streams=3)
    client.send(opened(1), call(3), call(5), call(7))
    assert client.reset_code(7) == ErrorCode.REFUSED_STREAM
    client.respond(3)
    assert client.send(call(9)) == [Request(9, b"/check", b"body", client.now)]
    assert client.fault() is None


def test_refused_streams_keep_the_table_in_step() -> None:
    """The block of a refused stream is decoded."""
    client = connected(max_streams=1)
    client.send(opened(1), opened(3, BLOCK + b"\x40\x03x-a\x01b"), rst_stream(1))
    assert client.send(call(5, block=BLOCK + b"\xbe")) == [
        Request(5, b"/check", b"body", client.now)
    ]


@pytest.mark.parametrize(
    "more", [[(b"x-large", b"x" * 16_300)], [(b"x-%d" % number, b"") for number in range(130)]]
)
def test_large_field_sections(more: list[tuple[bytes, bytes]]) -> None:
    """A field section that is too large is answered so, and the connection goes on."""
    block = fields(*more)
    client = connected()
    client.send(
        frame(HEADERS, 0, 1, block[:9000]),
        frame(CONTINUATION, END_HEADERS, 1, block[9000:]),
        frame(DATA, END_STREAM, 1, b"body"),
    )
    assert client.sections(1) == [{":status": "431"}]
    assert client.send(call(3)) == [Request(3, b"/check", b"body", client.now)]


def test_continuation_floods() -> None:
    """A block that does not end ends the connection, in bytes and in frames (CVE-2024-27316)."""
    for piece, sent in ((b"x" * 16_384, 3), (b"", 16)):
        client = connected()
        client.send(frame(HEADERS, 0, 1, piece))
        client.send(*(frame(CONTINUATION, 0, 1, piece) for _ in range(sent)))
        assert client.fault() is None
        client.send(frame(CONTINUATION, 0, 1, piece[:1] or piece))
        assert client.fault() == CALM


def rapid_reset(number: int) -> bytes:
    """Open a call and give it up (CVE-2023-44487)."""
    return call(2 * number + 1) + rst_stream(2 * number + 1)


def malformed(number: int) -> bytes:
    """Make the server reset a call (CVE-2025-8671)."""
    return call(2 * number + 1) + window_update(2 * number + 1, 0)


FLOODS: list[tuple[str, str, Callable[[int], bytes]]] = [
    ("rapid resets", "resets", rapid_reset),
    ("resets of half a call", "resets", lambda n: opened(2 * n + 1) + rst_stream(2 * n + 1)),
    ("made you reset", "provoked_resets", malformed),
    ("upper case", "provoked_resets", lambda n: call(2 * n + 1, block=fields((b"A", b"")))),
    ("ended streams", "provoked_resets", lambda n: call(2 * n + 1) + frame(DATA, 0, 2 * n + 1)),
    ("settings", "settings_frames", lambda _: settings()),
    ("settings ACK", "settings_frames", lambda _: frame(SETTINGS, ACK, 0)),
    ("pings", "pings", lambda _: frame(PING, 0, 0, b"12345678")),
    ("ping ACK", "pings", lambda _: frame(PING, ACK, 0, b"12345678")),
    ("window updates", "window_updates", lambda _: window_update(0, 1)),
    ("late window updates", "window_updates", lambda _: window_update(1, 1)),
    ("priorities", "idle_frames", lambda _: frame(PRIORITY, 0, 99, b"\0\0\0\1\0")),
    ("unknown frames", "idle_frames", lambda _: frame(77, 0, 0, b"")),
    ("late resets", "idle_frames", lambda _: rst_stream(1)),
    ("goaways", "idle_frames", lambda _: frame(GOAWAY, 0, 0, b"\0" * 8)),
    ("empty data", "small_data", lambda _: frame(DATA, 0, 3)),
    ("small data", "small_data", lambda _: frame(DATA, 0, 3, b"x" * 1023)),
    ("late small data", "small_data", lambda _: frame(DATA, 0, 5, b"x")),
    ("late ends", "small_data", lambda _: frame(DATA, END_STREAM, 5)),
    ("late headers", "idle_frames", lambda _: opened(5)),
]


@pytest.mark.parametrize(("limit", "octets"), [f[1:] for f in FLOODS], ids=[f[0] for f in FLOODS])
def test_floods(limit: str, octets: Callable[[int], bytes]) -> None:
    """A rate lets its burst pass, and what time gives back; one more ends the connection."""
    rates: dict[str, Any] = {"settings_frames": Rate(100, 0), limit: RATE}
    client = connected(**rates)
    client.now = 100.0
    client.send(call(1), opened(3), opened(5), window_update(5, 0))
    client.respond(1)
    client.now = 200.0
    number = 10
    for _ in range(10):
        client.send(octets(number))
        number += 1
    assert client.fault() is None
    client.now += 1.0
    client.send(octets(number), octets(number + 1))
    assert client.fault() is None
    client.send(octets(number + 2))
    assert client.fault() == CALM
    assert client.server.fault is not None
    assert "too many" in client.server.fault.words


@pytest.mark.parametrize("limit", ["pings", "window_updates", "idle_frames", "small_data"])
def test_frames_that_come_with_calls_are_limited_by_calls(limit: str) -> None:
    """Clients that send such frames with each call can go on for as long as they call."""
    octets = next(one[2] for one in FLOODS if one[1] == limit)
    rates: dict[str, Any] = {limit: Rate(burst=10, per_second=0, per_stream=2)}
    client = connected(**rates)
    client.send(call(1), opened(3))
    for number in range(5, 205, 2):
        client.send(call(number), octets(0), octets(0))
        client.respond(number)
    assert client.fault() is None


def test_skipped_streams_earn_nothing() -> None:
    """A client that leaves out streams has not opened them."""
    client = connected(pings=Rate(burst=10, per_second=0, per_stream=1))
    client.send(*[frame(PING, 0, 0, b"12345678")] * 10, call(1001))
    client.send(frame(PING, 0, 0, b"12345678"))
    assert client.fault() is None
    client.send(call(1_000_001), *[frame(PING, 0, 0, b"12345678")] * 2)
    assert client.fault() == CALM


def test_defaults_let_honest_proxies_live() -> None:
    """A second of an overloaded Envoy passes: 5,000 resets, its updates, a ping."""
    client = connected()
    for number in range(5000):
        client.send(call(2 * number + 1), rst_stream(2 * number + 1))
        client.now += 0.0002
    client.send(*(window_update(0, 1000) for _ in range(1000)), frame(PING, 0, 0, b"12345678"))
    assert client.fault() is None


def test_settings_are_counted_too() -> None:
    """One frame with thousands of settings counts as many."""
    client = connected(settings_frames=Rate(burst=100, per_second=0))
    client.send(settings(*((99, 1) for _ in range(1500))))
    assert client.fault() is None
    client.send(settings(*((99, 1) for _ in range(1500))))
    assert client.fault() == CALM


def test_acknowledgements_that_nobody_reads() -> None:
    """Acknowledgements wait for an owner that can't write, up to a bound."""
    client = connected(pings=Rate(burst=100_000, per_second=0))
    for _ in range(3000):
        client.server.receive(frame(PING, 0, 0, b"12345678") * 2, 0.0)
    assert client.server.buffered_bytes < (64 << 10) + 100
    client.take()
    assert client.fault() == CALM


def test_large_messages() -> None:
    """A message that is too large is answered so at once, and the rest is not wanted."""
    client = connected(max_body_bytes=20_000)
    client.send(opened(1), *[frame(DATA, 0, 1, b"x" * 10_000)] * 2)
    assert not client.of(1)
    client.send(frame(DATA, 0, 1, b"x"))
    assert client.sections(1) == [{":status": "200", "grpc-status": "8"}]
    assert client.reset_code(1) == ErrorCode.NO_ERROR
    client.send(frame(DATA, END_STREAM, 1, b"x" * 10_000))
    assert client.server.buffered_bytes == 0
    assert client.events == [TurnedAway(Refused(TOO_LARGE))]


def test_a_large_message_that_is_refused() -> None:
    """A refusal waits for so much of a request and no more, and is the answer then."""
    client = connected(max_body_bytes=20_000, max_buffered_bytes=1)
    client.send(opened(1, fields(path=REFUSED_PATH)), *[frame(DATA, 0, 1, b"x" * 10_000)] * 2)
    assert not client.of(1)
    client.send(frame(DATA, 0, 1, b"x"))
    assert client.sections(1) == [{":status": "404"}]
    assert client.data(1) == b"not here"
    assert client.reset_code(1) == ErrorCode.NO_ERROR


def test_a_large_message_in_one_frame() -> None:
    """A whole message that is too large is answered, and nothing need be reset."""
    client = connected(max_body_bytes=10)
    client.send(call(1, b"x" * 11), call(3, b"x" * 10))
    assert client.sections(1) == [{":status": "200", "grpc-status": "8"}]
    assert client.reset_code(1) is None
    assert client.events == [
        TurnedAway(Refused(TOO_LARGE)),
        Request(3, b"/check", b"x" * 10, client.now),
    ]


def test_many_messages_at_once() -> None:
    """The message with which the connection holds too much is answered as one too large."""
    client = connected(max_buffered_bytes=30_000)
    client.send(*(opened(stream) + frame(DATA, 0, stream, b"x" * 9000) for stream in (1, 3, 5)))
    client.send(call(7, b"x" * 4000), frame(DATA, 0, 1, b"x" * 1024))
    assert client.sections(7) == [{":status": "200", "grpc-status": "8"}]
    assert not client.of(1)
    client.send(frame(DATA, 0, 3, b"x" * 2000))
    assert client.sections(3) == [{":status": "200", "grpc-status": "8"}]
    assert client.server.buffered_bytes == 19_024


def test_credit_is_given_back() -> None:
    """The largest messages, several at once, never wait for a window."""
    client = connected()
    sent, windows = 0, {0: 4 << 20, 1: 1 << 20, 3: 1 << 20, 5: 1 << 20}
    client.send(opened(1), opened(3), opened(5))
    for _ in range(255):
        for stream in (1, 3, 5):
            client.send(frame(DATA, 0, stream, b"x" * 16_384))
            windows[stream] -= 16_384
            windows[0] -= 16_384
            sent += 16_384
        for one in client.frames:
            windows[one.stream_id] += one.window_increment
        client.frames.clear()
        assert min(windows.values()) >= 16_384
    for stream in (1, 3, 5):
        (request,) = client.send(frame(DATA, END_STREAM, stream, b"x" * 16_384))
        assert isinstance(request, Request)
        assert len(request.body) == 4 << 20


def test_credit_for_what_is_ignored() -> None:
    """Content of streams that are gone uses the connection's window, and is given back (6.9)."""
    client = connected()
    client.send(opened(1), window_update(1, 0))
    client.send(*[frame(DATA, 0, 1, b"x" * 16_384)] * 128)
    assert [f.window_increment for f in client.of(0)] == [2 << 20]


def test_half_open_calls_end() -> None:
    """A request that does not come whole in time is reset, however it dribbles."""
    client = connected(receive_seconds=5.0)
    client.send(opened(1))
    client.now = 3.0
    client.send(opened(3), frame(DATA, 0, 1, b"x"))
    assert client.expire(4.9) == []
    assert client.expire(5.0) == [Ended(Cause.HALF_OPEN)]
    assert client.reset_code(1) == ErrorCode.CANCEL
    assert client.server.receiving == 1
    assert client.server.buffered_bytes == 0


def test_half_a_frame_ends_the_connection() -> None:
    """A frame, or a field block, that does not come whole in time ends the connection."""
    for octets in (call(1)[:20], frame(HEADERS, 0, 1, BLOCK)):
        client = connected(receive_seconds=5.0)
        client.now = 100.0
        client.send(call(9))
        client.respond(9)
        client.now = 103.0
        client.send(octets.replace(b"\0\0\0\1", b"\0\0\0\x0b"))
        assert client.expire(107.9) == []
        assert client.expire(108.0) == [Ended(Cause.HALF_OPEN)]
        assert client.fault() == CALM


def test_slow_frames_that_come_live() -> None:
    """A connection that always has half a frame waiting is no slow one."""
    client = connected(receive_seconds=5.0)
    octets = b"".join(call(stream) for stream in range(1, 41, 2))
    for at in range(0, len(octets), 50):
        client.send(octets[at : at + 50])
        client.expire(client.now + 2.0)
    assert client.fault() is None
    assert sum(isinstance(event, Request) for event in client.events) == 20


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", ErrorCode.PROTOCOL_ERROR),
        (PREFACE[:10], ErrorCode.PROTOCOL_ERROR),
        (PREFACE, ErrorCode.PROTOCOL_ERROR),
        (PREFACE + settings(), ErrorCode.SETTINGS_TIMEOUT),
    ],
)
def test_slow_openings(sent: bytes, code: ErrorCode) -> None:
    """A client whose first frames, or acknowledgement, do not come in time is no client."""
    client = Client(ServerConnection(judged, LIMITS, 50.0))
    client.send(sent)
    assert client.expire(59.9) == []
    assert client.expire(60.0) == [Ended(Cause.HALF_OPEN)]
    assert client.fault() == code


def test_quiet_connections_live() -> None:
    """A connection without streams is for its owner to end."""
    client = connected()
    client.send(call(1))
    assert client.expire(1e9) == []
    client.respond(1)
    assert client.expire(2e9) == []
    assert client.fault() is None


def test_remembered_blocks_are_bounded() -> None:
    """Blocks that never repeat are forgotten, and long ones are not kept."""
    client = connected(max_remembered_blocks=10)
    for number in range(100):
        client.send(call(2 * number + 1, block=fields((b"x-id", b"%d" % number))))
    assert len(client.server._heads.plain) <= 10
    client.send(call(301, block=fields((b"x-id", b"%" * 1024))))
    assert max(map(len, client.server._heads.plain)) < 1024


def test_remembered_resets_are_bounded() -> None:
    """Of streams that we reset long ago, late frames are ignored too."""
    client = connected(max_remembered_resets=5, max_streams=0)
    client.send(*(opened(stream) for stream in range(1, 101, 2)))
    assert len(client.server._streams._ended_by_us) == 5
    client.send(*(frame(DATA, 0, stream, b"x") for stream in range(1, 101, 2)))
    assert client.fault() is None


def test_going_away() -> None:
    """Streams that were opened before the client knew are taken, later ones ignored (6.8)."""
    client = connected()
    client.send(call(1))
    client.server.go_away()
    client.server.go_away()
    client.take()
    assert client.goaways() == [(ErrorCode.NO_ERROR, 2**31 - 1)]
    (ping,) = [one for one in client.of(0) if one.type == PING]
    assert client.send(call(3)) == [Request(3, b"/check", b"body", client.now)]
    client.send(frame(PING, ACK, 0, ping.opaque_data))
    assert client.goaways()[1:] == [(ErrorCode.NO_ERROR, 3)]
    indexed = BLOCK + b"\x40\x03x-a\x01b"
    assert client.send(call(5), opened(7, indexed), frame(DATA, 1, 7, b"x")) == []
    client.respond(1)
    assert client.send(call(9)) == []
    client.respond(3)
    assert client.server.is_closed
    assert client.server.is_idle
    assert client.server.fault is None


def test_going_away_from_a_client_that_does_not_acknowledge() -> None:
    """The owner ends the wait for the acknowledgement."""
    client = connected()
    client.server.go_away()
    client.server.finish_going()
    client.server.finish_going()
    client.take()
    assert client.goaways() == [(ErrorCode.NO_ERROR, 2**31 - 1), (ErrorCode.NO_ERROR, 0)]
    assert client.server.is_closed


def test_finishing_without_going() -> None:
    """A connection that was not asked to go stays."""
    client = connected()
    client.server.finish_going()
    assert client.send(call(1)) == [Request(1, b"/check", b"body", client.now)]


def test_errors_while_going() -> None:
    """A connection that ends by an error while it goes abandons its calls."""
    client = connected()
    client.send(call(1))
    client.server.go_away()
    client.server.finish_going()
    assert client.send(frame(PING, 0, 0, b"1")) == [Abandoned(1)]
    assert client.goaways()[-1] == (ErrorCode.FRAME_SIZE_ERROR, 1)
