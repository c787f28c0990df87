"""Frames by hand: what each one does, and the errors that RFC 9113 has for it."""

import pytest
from hyperframe.frame import PingFrame, SettingsFrame

from authz.transports.http2 import (
    Abandoned,
    ErrorCode,
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
    EARLY_PATH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LIMITS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    REFUSAL,
    REFUSED_PATH,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
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

PROTOCOL = ErrorCode.PROTOCOL_ERROR
CLOSED = ErrorCode.STREAM_CLOSED
SIZE = ErrorCode.FRAME_SIZE_ERROR
FLOW = ErrorCode.FLOW_CONTROL_ERROR
WHOLE = frame(HEADERS, END_HEADERS | END_STREAM, 1, BLOCK)
HIGHEST = (1 << 31) - 1

CONNECTION_ERRORS = [
    # Section 3.4 and 4.2
    ("too large", frame(DATA, 0, 1, b"x" * 16_385), SIZE),
    # 5.1, 5.1.1
    ("DATA on an idle stream", frame(DATA, 0, 1, b"x"), PROTOCOL),
    ("DATA on a skipped stream", opened(5) + frame(DATA, 0, 3, b"x"), PROTOCOL),
    ("RST_STREAM on an idle stream", rst_stream(1), PROTOCOL),
    ("RST_STREAM on an even stream", opened(3) + rst_stream(2), PROTOCOL),
    ("WINDOW_UPDATE on an idle stream", window_update(1, 5), PROTOCOL),
    ("an even stream", opened(2), PROTOCOL),
    ("a lower stream", opened(5) + opened(3), PROTOCOL),
    # 6.1
    ("DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
    ("DATA with too much padding", opened(1) + frame(DATA, PADDED, 1, b"\2x"), PROTOCOL),
    ("DATA without pad length", opened(1) + frame(DATA, PADDED, 1), SIZE),
    # 6.2
    ("HEADERS on stream 0", frame(HEADERS, END_HEADERS, 0, BLOCK), PROTOCOL),
    ("HEADERS with too much padding", frame(HEADERS, PADDED | 4, 1, b"\x09" + b"x"), PROTOCOL),
    ("HEADERS with half a priority", frame(HEADERS, PRIORITIZED | 4, 1, b"\0\0\0"), SIZE),
    # 6.3
    ("PRIORITY on stream 0", frame(PRIORITY, 0, 0, b"\0\0\0\1\0"), PROTOCOL),
    ("short PRIORITY on an idle stream", frame(PRIORITY, 0, 1, b"\0\0\0\1"), SIZE),
    ("own PRIORITY on an idle stream", frame(PRIORITY, 0, 1, b"\0\0\0\1\0"), PROTOCOL),
    # 6.4
    ("RST_STREAM on stream 0", rst_stream(0), PROTOCOL),
    ("short RST_STREAM", opened(1) + frame(RST_STREAM, 0, 1, b"\0\0\0"), SIZE),
    # 6.5, 6.5.2
    ("SETTINGS on a stream", frame(SETTINGS, 0, 1), PROTOCOL),
    ("SETTINGS of 5 bytes", frame(SETTINGS, 0, 0, b"\0\1\0\0\0"), SIZE),
    ("SETTINGS ACK with settings", frame(SETTINGS, ACK, 0, b"\0\1\0\0\0\0"), SIZE),
    ("ENABLE_PUSH of 2", settings((2, 2)), PROTOCOL),
    ("INITIAL_WINDOW_SIZE too large", settings((4, 1 << 31)), FLOW),
    ("MAX_FRAME_SIZE too small", settings((5, 16_383)), PROTOCOL),
    ("MAX_FRAME_SIZE too large", settings((5, 1 << 24)), PROTOCOL),
    # 6.6, 8.4
    ("PUSH_PROMISE", opened(1) + frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + BLOCK), PROTOCOL),
    # 6.7
    ("PING on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL),
    ("PING of 7 bytes", frame(PING, 0, 0, b"1234567"), SIZE),
    # 6.8
    ("GOAWAY on a stream", frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL),
    ("GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, b"\0" * 7), SIZE),
    # 6.9, 6.9.1, 6.9.2
    ("WINDOW_UPDATE of 0", window_update(0, 0), PROTOCOL),
    ("WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), SIZE),
    ("a window too large", window_update(0, HIGHEST), FLOW),
    (
        "all windows too large",
        WHOLE + window_update(1, HIGHEST - 65_535) + settings((4, 65_536)),
        FLOW,
    ),
    # 6.10
    ("CONTINUATION alone", frame(CONTINUATION, END_HEADERS, 1, BLOCK), PROTOCOL),
    (
        "CONTINUATION after the end",
        opened(1) + frame(CONTINUATION, END_HEADERS, 1, BLOCK),
        PROTOCOL,
    ),
    (
        "CONTINUATION of another stream",
        frame(HEADERS, 0, 1, BLOCK) + frame(CONTINUATION, END_HEADERS, 3, b""),
        PROTOCOL,
    ),
    ("a block interrupted", frame(HEADERS, 0, 1, BLOCK) + frame(PING, 0, 0, b"x" * 8), PROTOCOL),
    ("a block interrupted by a call", frame(HEADERS, 0, 1, BLOCK) + call(3), PROTOCOL),
    ("a block interrupted by the unknown", frame(HEADERS, 0, 1, BLOCK) + frame(99, 0, 0), PROTOCOL),
    # 4.3
    ("a bad block", frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), 9),
]

STREAM_ERRORS = [
    # 6.2 and 6.3, with RFC 7540 in 5.3.1
    ("DATA after the end", WHOLE + frame(DATA, 0, 1, b"x"), CLOSED),
    ("HEADERS after the end", WHOLE + opened(1), CLOSED),
    # 6.2, 6.3, and RFC 7540 in 5.3.1
    ("own priority", frame(HEADERS, 0x24, 1, b"\0\0\0\1\0" + BLOCK), PROTOCOL),
    ("own PRIORITY", opened(1) + frame(PRIORITY, 0, 1, b"\0\0\0\1\0"), PROTOCOL),
    ("short PRIORITY", opened(1) + frame(PRIORITY, 0, 1, b"\0\0\0\0"), SIZE),
    # 6.9, 6.9.1
    ("WINDOW_UPDATE of 0", opened(1) + window_update(1, 0), PROTOCOL),
    ("a window too large", opened(1) + window_update(1, HIGHEST), FLOW),
    # 8.1, 8.1.1
    ("trailers without an end", opened(1) + opened(1, b""), PROTOCOL),
    ("trailers with pseudo-header fields", opened(1) + WHOLE, PROTOCOL),
    ("less than content-length", call(1, b"xx", fields((b"content-length", b"3"))), PROTOCOL),
    ("more than content-length", call(1, b"xxx", fields((b"content-length", b"2"))), PROTOCOL),
    (
        "nothing of content-length",
        frame(HEADERS, 5, 1, fields((b"content-length", b"3"))),
        PROTOCOL,
    ),
]


@pytest.mark.parametrize(
    ("octets", "code"),
    [case[1:] for case in CONNECTION_ERRORS],
    ids=[c[0] for c in CONNECTION_ERRORS],
)
def test_errors_of_the_connection(octets: bytes, code: int) -> None:
    """An error of the connection ends it with GOAWAY, the code, and the last stream."""
    client = connected()
    client.send(octets)
    assert client.fault() == code
    assert client.send(call(7)) == []


@pytest.mark.parametrize(
    ("octets", "code"), [case[1:] for case in STREAM_ERRORS], ids=[c[0] for c in STREAM_ERRORS]
)
def test_errors_of_a_stream(octets: bytes, code: int) -> None:
    """An error of a stream resets it, and the connection goes on."""
    client = connected()
    client.send(octets)
    assert client.reset_code(1) == code
    assert client.send(call(3)) == [Request(3, b"/check", b"body", client.now)]
    assert client.server.answering == 1


def test_the_owner_learns_that_an_error_ended_its_call() -> None:
    """A stream that is reset after its request was handed on is abandoned."""
    client = connected()
    client.send(WHOLE)
    assert client.send(frame(DATA, 0, 1, b"x")) == [Abandoned(1)]


def test_all_calls_are_abandoned_with_the_connection() -> None:
    """The end of the connection abandons what is not answered, and nothing else."""
    client = connected()
    client.send(call(1), call(3), call(5), opened(7))
    client.respond(3)
    assert client.send(window_update(0, 0)) == [Abandoned(1), Abandoned(5)]
    assert client.server.is_idle


def test_hanging_up_abandons_calls() -> None:
    """A client that hangs up abandons its calls; answers to them are ignored."""
    client = connected()
    client.send(call(1))
    assert client.server.hang_up() == [Abandoned(1)]
    client.respond(1)
    assert client.server.is_closed
    assert not client.frames


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"X"]
)
def test_another_protocol(octets: bytes) -> None:
    """A connection that does not begin with the preface ends at once."""
    client = Client(ServerConnection(judged, LIMITS, 0.0))
    client.send(octets)
    assert client.fault() == PROTOCOL


@pytest.mark.parametrize(
    "octets", [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, ACK, 0), call(1)]
)
def test_the_first_frame_is_settings(octets: bytes) -> None:
    """A client that sends other frames before its SETTINGS is no client of HTTP/2."""
    client = Client(ServerConnection(judged, LIMITS, 0.0))
    client.send(PREFACE, octets)
    assert client.fault() == PROTOCOL


def test_our_preface() -> None:
    """We begin with SETTINGS that tell our limits, and credit for the connection."""
    client = Client(ServerConnection(judged, LIMITS, 0.0))
    first, second = client.take()
    assert isinstance(first, SettingsFrame)
    assert first.settings == {3: 1000, 4: 1 << 20, 6: 16 << 10}
    assert (second.stream_id, second.window_increment) == (0, (4 << 20) - 65_535)


def test_acknowledgements() -> None:
    """SETTINGS and PING are acknowledged, and acknowledgements are not."""
    client = connected()
    client.send(settings((1, 0), (2, 0), (2, 1), (3, 7), (5, 20_000), (6, 1), (99, 5)))
    client.send(frame(PING, 0, 0, b"12345678"), frame(PING, ACK, 0, b"87654321"))
    acked, pong = client.frames
    assert isinstance(acked, SettingsFrame)
    assert "ACK" in acked.flags
    assert isinstance(pong, PingFrame)
    assert (pong.opaque_data, set(pong.flags)) == (b"12345678", {"ACK"})


def test_frames_without_effect() -> None:
    """PRIORITY, unknown frames, flags that mean nothing, GOAWAY: all are read and ignored."""
    client = connected()
    client.send(
        frame(PRIORITY, 0, 9, b"\0\0\0\3\0"),
        frame(PRIORITY, 0, 2, b"\0\0\0\3\0"),
        frame(0x63, 0xFF, 0x7FFFFFFF, b"anything"),
        frame(GOAWAY, 0, 0, b"\0" * 8 + b"words"),
        frame(PING, 0xFE, 0, b"12345678"),
    )
    assert client.fault() is None
    assert client.send(frame(HEADERS, 0xD2 | 5, 1, BLOCK)) == [
        Request(1, b"/check", b"", client.now)
    ]


def test_the_reserved_bit_is_ignored() -> None:
    """The highest bit of a stream's number, and of an increment, means nothing (4.1, 6.9)."""
    client = connected()
    reserved = 1 << 31
    assert client.send(call(1 | reserved)) == [Request(1, b"/check", b"body", client.now)]
    client.send(window_update(0, 1 | reserved))
    assert client.fault() is None


def test_padding_priority_and_continuation() -> None:
    """A request may come padded, with a priority, and in as many frames as it likes."""
    client = connected()
    priority = b"\x80\0\0\3\x10"
    events = client.send(
        frame(HEADERS, PADDED | PRIORITIZED, 1, b"\3" + priority + BLOCK[:5] + b"\0\0\0"),
        frame(CONTINUATION, 0, 1, BLOCK[5:9]),
        frame(CONTINUATION, 0, 1),
        frame(CONTINUATION, END_HEADERS, 1, BLOCK[9:]),
        frame(DATA, PADDED, 1, b"\2first\0\0"),
        frame(DATA, 0, 1),
        frame(DATA, PADDED, 1, b"\0second"),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, fields()[:0]),
    )
    assert events == [Request(1, b"/check", b"firstsecond", client.now)]


def test_trailers_of_a_request_end_it() -> None:
    """Trailers are checked, and nothing of them is used."""
    client = connected()
    client.send(opened(1), frame(DATA, 0, 1, b"body"))
    block = b"\x00\x05x-end\x01y"
    assert client.send(frame(HEADERS, 5, 1, block)) == [Request(1, b"/check", b"body", client.now)]


def test_a_content_length_that_is_right() -> None:
    """A request whose content has the length that it says is handed on."""
    client = connected()
    block = fields((b"content-length", b"4"))
    assert client.send(call(1, b"body", block)) == [Request(1, b"/check", b"body", client.now)]
    assert client.send(call(3, b"body", block)) == [Request(3, b"/check", b"body", client.now)]


def test_closed_streams() -> None:
    """On a stream that both ends ended, DATA and HEADERS are errors, and other frames are late."""
    for octets, code in ((frame(DATA, 0, 1, b"x"), CLOSED), (opened(1), CLOSED)):
        client = connected()
        client.send(call(1))
        client.respond(1)
        late = (window_update(1, 1), rst_stream(1), frame(PRIORITY, 0, 1, b"\0\0\0\3\0"))
        client.send(*late)
        assert client.fault() is None
        client.send(octets)
        assert client.fault() == code


def test_streams_that_the_client_reset() -> None:
    """A client that sends DATA on a stream that it reset breaks the protocol."""
    client = connected()
    client.send(opened(1), rst_stream(1))
    client.send(frame(DATA, 0, 1, b"x"))
    assert client.fault() == CLOSED


def test_streams_that_we_reset_ignore_what_was_on_its_way() -> None:
    """Frames for a stream that we ended are read, decoded, accounted for, and ignored."""
    client = connected()
    client.send(opened(1), window_update(1, 0))
    indexed = b"\x40\x03x-a\x01b"
    client.send(frame(DATA, 0, 1, b"x"), frame(HEADERS, END_HEADERS, 1, indexed), rst_stream(1))
    assert client.fault() is None
    assert client.send(frame(HEADERS, 5, 3, BLOCK + b"\xbe")) == [
        Request(3, b"/check", b"", client.now)
    ]
    assert client.server.buffered_bytes == 0


def test_a_reset_abandons_a_call() -> None:
    """A client that gives a call up abandons it, whether it came whole or not."""
    client = connected()
    client.send(call(1), opened(3))
    assert client.send(rst_stream(1), rst_stream(3)) == [Abandoned(1)]
    assert client.server.is_idle


def test_a_refused_request_is_answered_when_it_ends() -> None:
    """A request that judge refuses never reaches the owner; its content is not kept."""
    client = connected()
    client.send(opened(1, fields(path=REFUSED_PATH)))
    assert not client.of(1)
    client.send(frame(DATA, END_STREAM, 1, b"x" * 1000))
    assert client.sections(1) == [{":status": "404"}]
    assert client.data(1) == b"not here"
    assert client.reset_code(1) is None
    assert client.events == [TurnedAway(Refused(REFUSAL, b"not here"))]


def test_an_early_refusal_does_not_wait() -> None:
    """Where the owner wants it so, the headers are answered, and the rest is not wanted (8.1)."""
    early = Refused(REFUSAL, is_early=True)
    client = Client(ServerConnection(lambda _: early, LIMITS, 0.0))
    client.send(PREFACE, settings(), opened(1))
    assert client.sections(1) == [{":status": "404"}]
    assert client.reset_code(1) == ErrorCode.NO_ERROR
    assert client.events == [TurnedAway(early)]


def test_an_early_refusal_and_the_rest_of_its_request() -> None:
    """What follows is ignored: it was on its way."""
    client = connected()
    client.send(opened(1, fields(path=EARLY_PATH)), frame(DATA, 0, 1, b"x" * 2000))
    assert client.sections(1) == [{":status": "404"}]
    assert client.reset_code(1) == ErrorCode.NO_ERROR
    client.send(frame(DATA, END_STREAM, 1, b"x" * 2000))
    assert client.fault() is None
    assert client.server.is_idle


def test_a_refusal_waits() -> None:
    """A refusal waits for the end of the request, whose frames are held to the rules."""
    block = fields(path=REFUSED_PATH)
    client = connected()
    client.send(opened(1, block), *[frame(DATA, 0, 1, b"x" * 16_384)] * 40)
    assert client.server.buffered_bytes == 0
    assert [one.type for one in client.of(1)] == [WINDOW_UPDATE]
    client.send(frame(DATA, END_STREAM, 1))
    assert client.sections(1) == [{":status": "404"}]
    client.send(opened(3, block), frame(DATA, 0, 3, b"x" * 2000), opened(3, b""))
    assert client.reset_code(3) == PROTOCOL


def test_judge_sees_each_block_once() -> None:
    """A block that came before is not judged again, unless the table changed since."""
    seen: list[object] = []

    def judge(section: object) -> bytes | Refused:
        seen.append(section)
        return b"judged"

    client = Client(ServerConnection(judge, LIMITS, 0.0))
    client.send(PREFACE, settings(), call(1), call(3), call(5))
    assert len(seen) == 1
    indexed = BLOCK + b"\x40\x03x-a\x01b"
    client.send(call(7, block=indexed), call(9, block=indexed), call(11))
    assert len(seen) == 4
    client.send(call(13), call(15, block=BLOCK + b"\xbe"), call(17, block=BLOCK + b"\xbe"))
    assert len(seen) == 5


def test_a_closed_table_of_the_client() -> None:
    """A client whose table is smaller hears once that we use none (RFC 7541 4.2)."""
    client = connected()
    client.send(settings((1, 100)), call(1), call(3))
    client.respond(1)
    client.respond(3)
    first, second = (client.of(stream)[0].data for stream in (1, 3))
    assert first == b"\x20" + second
    assert client.sections(1) == client.sections(3)


def test_settings_that_come_twice() -> None:
    """The last value of a setting counts, and the smallest table is told (RFC 7541 4.2)."""
    client = connected()
    client.send(settings((4, 0), (1, 0), (4, 3), (1, 4096)), call(1))
    client.respond(1)
    assert client.data(1) == b"ans"
    assert client.of(1)[0].data[:1] == b"\x20"
