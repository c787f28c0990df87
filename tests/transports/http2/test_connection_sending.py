"""Answers: what the client's windows let out, in what order, and what waits."""

import pytest
from hyperframe.frame import DataFrame, HeadersFrame

from authz.transports.http2 import Abandoned, Cause, Ended, ErrorCode, Refused, Request
from support.http2 import (
    BLOCK,
    END_HEADERS,
    HEAD,
    HEADERS,
    REFUSAL,
    TRAILERS,
    call,
    connected,
    frame,
    opened,
    rst_stream,
    settings,
    window_update,
)


def test_an_answer_whole() -> None:
    """An answer is HEADERS, DATA and the HEADERS that end it."""
    client = connected()
    client.send(call(1))
    client.respond(1)
    head, data, trailers = client.of(1)
    assert isinstance(head, HeadersFrame)
    assert isinstance(data, DataFrame)
    assert "END_STREAM" in trailers.flags
    assert client.sections(1)[1] == {"grpc-status": "0"}
    assert client.server.is_idle


def test_the_second_answer_of_a_shape_is_the_same() -> None:
    """An answer packed in one step has the frames of one that was not."""
    client = connected()
    client.send(call(1), call(3))
    client.respond(1, b"first!")
    client.respond(3, b"second")
    one, other = ([f.serialize()[9:] for f in client.of(stream)] for stream in (1, 3))
    assert (one[0], one[2]) == (other[0], other[2])
    assert [client.data(stream) for stream in (1, 3)] == [b"first!", b"second"]


def test_answers_to_streams_that_are_gone() -> None:
    """An answer to a stream that is reset, answered or unknown is ignored."""
    client = connected()
    client.send(call(1), call(3), rst_stream(1))
    client.respond(3)
    written = len(client.frames)
    for stream in (1, 3, 5, 2):
        client.respond(stream)
        client.server.refuse(stream, Refused(REFUSAL))
        client.server.begin(stream, HEAD)
        client.server.send(stream, b"x", replaces=True)
        client.server.finish(stream, TRAILERS)
        client.server.reset(stream, ErrorCode.CANCEL)
    client.take()
    assert len(client.frames) == written
    assert client.server.is_idle


def test_refusing_by_hand() -> None:
    """An owner may answer with a header section alone."""
    client = connected()
    client.send(call(1))
    client.server.refuse(1, Refused(REFUSAL))
    (only,) = client.take()
    assert "END_STREAM" in only.flags


def test_resetting_by_hand() -> None:
    """An owner may reset a call, which abandons nothing that it waits for."""
    client = connected()
    client.send(call(1))
    client.server.reset(1, ErrorCode.INTERNAL_ERROR)
    client.take()
    assert client.reset_code(1) == ErrorCode.INTERNAL_ERROR
    assert client.server.is_idle


def test_the_window_of_a_stream() -> None:
    """A stream's window holds its answer up, and no other's."""
    client = connected()
    client.send(settings((4, 3)), call(1), call(3))
    client.respond(1, b"answer")
    client.respond(3, b"ans")
    assert client.data(1) == b"ans"
    assert [len(client.of(stream)) for stream in (1, 3)] == [2, 3]
    assert (client.server.sending, client.server.answering) == (1, 0)
    client.send(window_update(1, 2))
    assert client.data(1) == b"answe"
    client.send(window_update(1, 1))
    assert client.data(1) == b"answer"
    assert len(client.sections(1)) == 2
    assert client.server.is_idle


def test_the_window_of_the_connection() -> None:
    """The connection's window holds all answers up; the oldest goes first."""
    client = connected()
    client.send(settings((4, 1 << 20)), *(call(stream) for stream in (1, 3, 5)))
    for stream in (1, 3, 5):
        client.respond(stream, bytes([stream]) * 40_000)
    assert [len(client.data(stream)) for stream in (1, 3, 5)] == [40_000, 25_535, 0]
    client.send(window_update(0, 20_000))
    assert [len(client.data(stream)) for stream in (1, 3, 5)] == [40_000, 40_000, 5535]
    client.send(window_update(0, 40_000))
    assert client.data(5) == b"\5" * 40_000
    assert client.server.is_idle


def test_answers_of_one_frame_keep_to_the_connection_s_window() -> None:
    """Of answers that each fit into a frame, the last waits where the window ends."""
    client = connected()
    streams = range(1, 11, 2)
    client.send(settings((4, 1 << 20)), *map(call, streams))
    for stream in streams:
        client.respond(stream, b"x" * 16_000)
    assert [len(client.data(stream)) for stream in streams] == [16_000] * 4 + [1535]
    client.send(window_update(0, 14_465))
    assert client.server.is_idle


def test_a_small_answer_does_not_overtake() -> None:
    """Credit of the connection goes to the answer that waits, and not to a later one."""
    client = connected()
    client.send(settings((4, 1 << 20)), call(1), call(3))
    client.respond(1, b"x" * 70_000)
    client.server.receive(window_update(0, 100), client.now)
    client.respond(3, b"small")
    assert len(client.data(1)) == 65_635
    assert client.data(3) == b""


def test_credit_ends_with_its_stream() -> None:
    """Credit of a stream that is answered neither stays nor counts for later windows (6.9.2)."""
    client = connected()
    client.send(call(1), window_update(1, (1 << 31) - 1 - 65_535))
    client.respond(1)
    client.send(settings((4, 100_000)))
    assert client.fault() is None


def test_changed_windows_change_streams_under_way() -> None:
    """A new INITIAL_WINDOW_SIZE changes all windows by the difference, below zero too (6.9.2)."""
    client = connected()
    client.send(settings((4, 10)), call(1))
    client.respond(1, b"x" * 30)
    client.send(settings((4, 4)), window_update(1, 5))
    assert len(client.data(1)) == 10
    client.send(window_update(1, 2))
    assert len(client.data(1)) == 11
    client.send(settings((4, 30)))
    assert len(client.data(1)) == 30


def test_credit_before_the_answer() -> None:
    """Credit that came before the answer counts."""
    client = connected()
    client.send(settings((4, 1)), call(1), window_update(1, 4))
    client.respond(1, b"12345")
    assert client.data(1) == b"12345"
    assert client.server.is_idle


def test_frames_are_as_large_as_the_client_takes() -> None:
    """Content and blocks are cut to the client's MAX_FRAME_SIZE."""
    client = connected()
    client.send(settings((4, 1 << 20)), call(1))
    client.server.respond(
        1, HEAD + b"\0\1a\x7f\xa1\x9c\x01" + b"b" * 20_000, b"x" * 20_000, TRAILERS
    )
    assert [(f.type, f.body_len) for f in client.take()] == [
        (1, 16_384),
        (9, len(HEAD) + 7 + 20_000 - 16_384),
        (0, 16_384),
        (0, 20_000 - 16_384),
        (1, len(TRAILERS)),
    ]
    client.send(settings((5, 17_000)), call(3))
    client.respond(3, b"x" * 17_001)
    assert [f.body_len for f in client.of(3) if f.type == 0] == [17_000, 1]


def test_an_answer_in_parts() -> None:
    """An owner may answer in parts, as long as it likes."""
    client = connected()
    client.send(call(1))
    client.server.begin(1, HEAD)
    client.server.send(1, b"one")
    client.take()
    client.server.send(1, b"two")
    assert client.server.answering == 1
    client.server.finish(1, TRAILERS)
    client.take()
    assert client.data(1) == b"onetwo"
    assert len(client.sections(1)) == 2
    assert client.server.is_idle


def test_a_reader_that_does_not_read_costs_the_latest_part() -> None:
    """A part that replaces others drops those of which nothing was written."""
    client = connected()
    client.send(settings((4, 5)), call(1))
    client.server.begin(1, HEAD)
    for number in range(100):
        client.server.send(1, b"%03d" % number, replaces=True)
    client.take()
    assert client.server.buffered_bytes <= 6
    client.send(window_update(1, 100))
    assert client.data(1) == b"000001099"


def test_a_call_in_parts_is_abandoned_by_a_reset() -> None:
    """An owner that answers in parts learns that nobody waits for more."""
    client = connected()
    client.send(call(1), call(3))
    client.server.begin(1, HEAD)
    client.server.begin(3, HEAD)
    client.server.finish(3, TRAILERS)
    assert client.send(rst_stream(1)) == [Abandoned(1)]


def test_answers_wait_until_output_is_taken() -> None:
    """An owner that takes no output keeps streams under way, and so the client from more."""
    client = connected(max_output_bytes=1000, max_streams=10)
    for stream in range(1, 41, 2):
        client.server.receive(call(stream), 0.0)
        client.server.respond(stream, HEAD, b"x" * 400, TRAILERS)
    assert client.server.buffered_bytes < 1000 + 450 + 10 * 450 + 10 * 13
    assert client.server.sending == 10
    client.take()
    assert client.server.is_idle
    answered = [stream for stream in range(1, 41, 2) if client.data(stream)]
    assert all(client.reset_code(stream) is None for stream in answered)
    assert len(answered) == 12


def test_a_response_that_a_window_holds_up_before_the_request_ends() -> None:
    """A request that is answered early goes on while its answer waits, and is not reset then."""
    client = connected(max_body_bytes=10)
    client.send(settings((4, 4)), opened(1, BLOCK))
    client.send(frame(0, 0, 1, b"x" * 11))
    assert client.reset_code(1) == ErrorCode.NO_ERROR


def test_unread_answers_end() -> None:
    """An answer that is not taken in time is reset; one that moves on is no better."""
    client = connected(send_seconds=10.0)
    client.send(settings((4, 0)), call(1), call(3))
    client.respond(1)
    client.server.begin(3, HEAD)
    client.server.send(3, b"part")
    client.expire(100.0)
    client.send(window_update(1, 1))
    assert client.expire(109.9) == []
    assert sorted(map(repr, client.expire(110.0))) == sorted(
        map(repr, [Ended(Cause.UNREAD), Abandoned(3), Ended(Cause.UNREAD)])
    )
    assert client.reset_code(1) == client.reset_code(3) == ErrorCode.CANCEL
    assert client.server.is_idle


def test_output_that_is_not_taken_ends_the_connection() -> None:
    """A connection whose output nobody takes ends."""
    client = connected(send_seconds=10.0)
    client.server.receive(frame(6, 0, 0, b"12345678"), 0.0)
    assert client.server.expire(5.0) == []
    assert client.server.expire(15.0) == [Ended(Cause.UNREAD)]
    assert client.server.is_closed


def test_pending_answers_are_bounded() -> None:
    """The oldest answer is reset where more wait than may."""
    client = connected(max_pending_bytes=1000)
    client.send(settings((4, 0)), *(call(stream) for stream in (1, 3, 5)))
    for stream in (1, 3, 5):
        client.respond(stream, b"x" * 400)
    assert client.reset_code(1) == ErrorCode.CANCEL
    assert client.send(window_update(0, 1)) == [Ended(Cause.UNREAD)]
    assert client.server.sending == 2


def test_many_blocked_answers_do_not_make_updates_dear() -> None:
    """A WINDOW_UPDATE looks at the answers that can go on, not at those that wait for their own."""
    client = connected()
    client.send(settings((4, 0)), *(call(stream) for stream in range(1, 1001, 2)))
    for stream in range(1, 1001, 2):
        client.respond(stream)
    assert client.server.sending == 500
    assert not client.server._streams.ready
    client.send(window_update(0, 1))
    assert not client.server._streams.ready
    client.send(settings((4, 100)))
    assert client.server.is_idle


@pytest.mark.parametrize("size", [0, 1, 65_535])
def test_answers_of_all_sizes(size: int) -> None:
    """An answer of any size comes as it is."""
    client = connected()
    assert client.send(call(1)) == [Request(1, b"/check", b"body", client.now)]
    client.respond(1, b"x" * size)
    assert client.data(1) == b"x" * size
    assert client.server.is_idle
    client.send(frame(HEADERS, END_HEADERS | 1, 3, BLOCK))
    assert client.server.answering == 1


def test_an_end_that_is_said_when_the_windows_have_just_opened() -> None:
    """An answer that waited is ended once, though its end is what lets the rest of it out."""
    client = connected()
    client.send(call(1))
    client.server.begin(1, HEAD)
    client.server.send(1, b"x" * 70_000)
    client.take()
    client.server.receive(window_update(0, 1 << 20) + window_update(1, 1 << 20), 0.0)

    client.server.finish(1, TRAILERS)

    client.take()
    assert len(client.data(1)) == 70_000
    assert client.sections(1)[1] == {"grpc-status": "0"}
    assert client.server.is_idle
