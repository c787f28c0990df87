"""Bytes mean the same in whatever pieces they come, and with and without short cuts."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.transports.http2 import (
    Abandoned,
    Ended,
    ErrorCode,
    Limits,
    Rate,
    Request,
    ServerConnection,
)
from support.http2 import (
    BLOCK,
    CONTINUATION,
    DATA,
    EARLY_PATH,
    END_HEADERS,
    END_STREAM,
    FIELDS_TOO_LARGE,
    HEAD,
    HEADERS,
    PING,
    PREFACE,
    REFUSED_PATH,
    TOO_LARGE,
    TRAILERS,
    call,
    connected,
    fields,
    frame,
    judged,
    opened,
    read_frames,
    rst_stream,
    window_update,
)
from support.http2 import settings as settings_frame

LIMITS = Limits(
    too_large=TOO_LARGE,
    fields_too_large=FIELDS_TOO_LARGE,
    max_streams=6,
    max_body_bytes=60,
    max_buffered_bytes=100,
    max_output_bytes=400,
    connection_window=100,
    stream_window=30,
    max_remembered_blocks=3,
    idle_frames=Rate(burst=5, per_second=0, per_stream=1),
)
INDEXED = BLOCK + b"\x40\x03x-a\x01b"  # the block adds a field to the table
FROM_TABLE = BLOCK + b"\xbe"
BLOCKS = [
    BLOCK,
    BLOCK,
    fields(path=b"/other"),
    fields(path=REFUSED_PATH),
    fields(path=EARLY_PATH),
    fields((b"content-length", b"4")),
    fields((b"Bad", b"")),
    INDEXED,
    FROM_TABLE,
]

Outcome = tuple[list[Any], bytes, str]

# A step is the kind of frames and four small numbers; ``frames_of`` makes them follow each other.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["call"] * 6
            + ["cross", "batch"] * 2
            + ["open", "data", "end", "reset", "update", "late", "other"]
        ),
        st.integers(0, len(BLOCKS) - 1),
        st.integers(0, 70),
        st.integers(0, 7),
    ),
    max_size=25,
)


def frames_of(steps: list[tuple[str, int, int, int]]) -> bytes:
    """Write what a client sends: mostly valid, with errors in between."""
    last, octets = -1, [PREFACE, settings_frame((4, 40))]
    for kind, block, size, back in steps:
        earlier = max(1, last - 2 * back)
        if kind in {"call", "open", "cross"}:
            last += 2
            octets.append(opened(last, BLOCKS[block]))
        if kind == "batch":  # the headers of several calls before the first one's content
            batch = [last + 2, last + 4, last + 6]
            octets += [opened(one, BLOCKS[block]) for one in batch]
            octets += [frame(DATA, END_STREAM, one, b"b" * size) for one in batch]
            last += 6
        if kind == "call":
            octets.append(frame(DATA, END_STREAM, last, b"c" * size))
        octets += {
            "data": [frame(DATA, 0, earlier, b"d" * size)],
            "cross": [frame(DATA, END_STREAM, earlier, b"x" * size)],
            "end": [frame(DATA, END_STREAM, earlier, b"e" * size)],
            "reset": [rst_stream(earlier)],
            "update": [window_update(earlier * (size % 2), size * 20 + 1)],
            "late": [call(earlier)],
            "other": others(size, earlier),
        }.get(kind, [])
    return b"".join(octets)


def others(number: int, stream_id: int) -> list[bytes]:
    """Write one of the frames that are rare."""
    return [
        [frame(PING, 0, 0, b"12345678")],
        [settings_frame((4, number * 10))],
        [settings_frame((1, number))],
        [frame(99, 0, stream_id, b"x")],
        [frame(HEADERS, 0, 101, BLOCK), frame(CONTINUATION, END_HEADERS, 101)],
        [window_update(stream_id, 0)],
    ][number % 6]


def outcome(octets: bytes, cuts: list[int], *, takes_short_cuts: bool) -> Outcome:
    """Give a server the bytes in pieces, answer at once what it hands on, and return all of it."""
    server = ServerConnection(judged, LIMITS, 0.0, takes_short_cuts=takes_short_cuts)
    events: list[Any] = []
    bounds = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for begin, end in pairwise(bounds):
        events += server.receive(octets[begin:end], 0.0)
    for number, event in enumerate(event for event in events if isinstance(event, Request)):
        body = b"%03d" % event.stream_id * (number % 5)
        server.respond(event.stream_id, HEAD, body, TRAILERS)
    output = b"".join(iter(server.take_output, b""))
    assert read_frames(output)
    return events, output, str(server.fault)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.lists(st.integers(0, 5000), max_size=12))
def test_pieces(steps: list[tuple[str, int, int, int]], cuts: list[int]) -> None:
    """Whole, byte by byte, in random pieces, and without short cuts: the same, to the byte."""
    octets = frames_of(steps)
    whole = outcome(octets, [], takes_short_cuts=True)
    assert outcome(octets, [], takes_short_cuts=False) == whole
    assert outcome(octets, cuts, takes_short_cuts=True) == whole
    assert outcome(octets, list(range(len(octets))), takes_short_cuts=True) == whole


def test_the_pieces_cover_what_they_should() -> None:
    """The steps reach the short cut, and all kinds of events."""
    steps = [("call", 0, 10, 0)] * 5 + [("open", 0, 0, 0), ("reset", 0, 0, 2)]
    read = ServerConnection(judged, LIMITS, 0.0)
    assert read.receive(PREFACE + settings_frame() + call(1), 0.0)
    assert read._short_cut is not None
    assert read._short_cut.take(call(3), 0, len(BLOCK) << 8 | HEADERS, 0.0) == len(call(3))
    heads, ends = opened(5) + opened(7), frame(DATA, END_STREAM, 5) + frame(DATA, END_STREAM, 7)
    assert read._short_cut.take(heads, 0, len(BLOCK) << 8 | HEADERS, 0.0) == len(heads)
    assert read._short_cut.take_ends(ends, 0) == len(ends)
    events, _, fault = outcome(frames_of(steps), [], takes_short_cuts=True)
    assert fault == "None"
    assert {type(event) for event in events} == {Request, Abandoned}
    assert Ended not in {type(event) for event in events}


@pytest.mark.parametrize(
    ("name", "octets", "fault"),
    [
        (
            "a frame of another type ends nothing",
            opened(1) + frame(99, END_STREAM, 1, b"x") + frame(DATA, END_STREAM, 1, b"body"),
            None,
        ),
        (
            "trailers in two frames",
            opened(1) + frame(HEADERS, END_STREAM, 1, b"") + frame(CONTINUATION, END_HEADERS, 1),
            None,
        ),
        (
            "a stream that is skipped by the HEADERS before",
            opened(5) + frame(DATA, END_STREAM, 1, b"body"),
            ErrorCode.PROTOCOL_ERROR,
        ),
        (
            "a call within a block",
            frame(HEADERS, 0, 1, BLOCK[:3]) + call(1),
            ErrorCode.PROTOCOL_ERROR,
        ),
    ],
)
def test_what_looks_like_a_call(name: str, octets: bytes, fault: ErrorCode | None) -> None:
    """Two frames that are a call but for one thing are not read as one."""
    for takes_short_cuts in (True, False):
        client = connected(takes_short_cuts=takes_short_cuts)
        events = client.send(octets)
        assert client.fault() == fault, name
        assert len(events) == (fault is None), name


@pytest.mark.parametrize("kind", [DATA, PING, CONTINUATION, 99])
@pytest.mark.parametrize("before", [b"", call(1)])
def test_frames_that_are_laid_out_like_the_last_call(kind: int, before: bytes) -> None:
    """A read is first tried for calls like the last one: only HEADERS begin one."""
    outcomes = []
    for takes_short_cuts in (True, False):
        client = connected(takes_short_cuts=takes_short_cuts)
        client.send(before)
        stream_id, block = (3, BLOCK) if before else (1, b"")
        octets = frame(kind, END_HEADERS, stream_id, block)
        octets += frame(DATA, END_STREAM, stream_id, b"body")
        outcomes.append((client.send(octets), client.fault()))
    assert outcomes[0] == outcomes[1]
    assert Request not in {type(event) for event in outcomes[0][0]}


@pytest.mark.parametrize("takes_short_cuts", [True, False])
def test_skipped_streams_are_not_opened(takes_short_cuts: bool) -> None:  # noqa: FBT001 - a case
    """What streams earn is earned by those that were used, not by their numbers."""
    client = connected(takes_short_cuts=takes_short_cuts)
    assert client.server._streams.opened == 0
    client.send(call(1), call(3), call(9), opened(11), call(1001))
    assert client.server._streams.opened == 5


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 300)), max_size=30),
    st.integers(0, 300),
)
def test_answers_between_reads(calls: list[tuple[int, int, int]], window: int) -> None:
    """Answered read by read, with windows that change: the output is the same, to the byte."""

    def output(*, takes_short_cuts: bool) -> bytes:
        server = ServerConnection(judged, LIMITS, 0.0, takes_short_cuts=takes_short_cuts)
        written = []
        server.receive(PREFACE + settings_frame((4, window)), 0.0)
        for number, (asked, answered, update) in enumerate(calls):
            octets = call(2 * number + 1, b"q" * asked)
            octets += window_update(0, update) if update % 3 == 0 and update else b""
            for event in server.receive(octets, 0.0):
                if isinstance(event, Request):
                    server.respond(event.stream_id, HEAD, b"a" * answered, TRAILERS)
            if number % 3 == 0:
                written.append(server.take_output())
        return b"".join((*written, *iter(server.take_output, b"")))

    assert output(takes_short_cuts=True) == output(takes_short_cuts=False)
