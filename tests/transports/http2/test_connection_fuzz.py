"""Hostile bytes: never an exception, bounded memory, and output that other libraries read."""

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.transports.http2 import Request
from support.http2 import (
    BLOCK,
    HEAD,
    PREFACE,
    TRAILERS,
    call,
    connected,
    fields,
    frame,
    opened,
    rst_stream,
    window_update,
)
from support.http2 import settings as settings_frame

STREAMS = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 11, (1 << 31) - 1, (1 << 31) + 1])
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([BLOCK, fields((b"x", b"y")), b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0" * 8]),
    st.integers(0, 16_400).map(bytes),
)
FRAMES = st.one_of(
    st.builds(frame, st.integers(0, 11), st.integers(0, 255), STREAMS, PAYLOADS),
    st.builds(
        frame, st.integers(0, 9), st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]), STREAMS, PAYLOADS
    ),
    st.builds(call, STREAMS, PAYLOADS),
    st.builds(opened, STREAMS),
    st.builds(rst_stream, STREAMS),
    st.builds(window_update, STREAMS, st.integers(0, 1 << 31)),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, (1 << 32) - 1)), max_size=4).map(
        lambda values: settings_frame(*values)
    ),
    st.binary(max_size=30),
)
MAX_BYTES = 300_000


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(FRAMES, st.floats(0, 3), st.integers(0, 300)), max_size=30), st.booleans()
)
def test_random_frames(steps: list[tuple[bytes, float, int]], takes_short_cuts: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever comes, in whatever order, the connection goes on or ends as it should."""
    client = connected(
        takes_short_cuts=takes_short_cuts,
        max_buffered_bytes=100_000,
        max_pending_bytes=20_000,
        max_output_bytes=20_000,
    )
    asked: set[int] = set()
    for octets, seconds, size in steps:
        for event in client.send(octets):
            if isinstance(event, Request):
                assert event.stream_id not in asked
                asked.add(event.stream_id)
                client.server.respond(event.stream_id, HEAD, b"x" * size, TRAILERS)
        client.expire(client.now + seconds)
        assert client.server.buffered_bytes < MAX_BYTES
    assert {f.stream_id for f in client.frames if f.type == 0} <= asked
    if client.server.fault:
        assert client.fault()


VALID = [
    PREFACE,
    settings_frame((4, 100_000)),
    call(1),
    call(3, b"x" * 300, fields((b"content-length", b"300"))),
    opened(5),
    frame(8, 0, 5, b"\0\0\1\0"),
    frame(0, 8, 5, b"\3abcdef\0\0\0"),
    frame(6, 0, 0, b"12345678"),
    frame(1, 5, 5, fields()[:0]),
    rst_stream(3),
    call(7, b"", BLOCK + b"\x40\x03x-a\x01b"),
    call(9),
]


@settings(max_examples=250, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=4), st.data())
def test_mutated_bytes(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    """A valid connection with some bytes changed, removed or doubled is read as well."""
    octets = bytearray(b"".join(VALID))
    for at, value in changes:
        octets[at % len(octets)] = value
    begin = data.draw(st.integers(0, len(octets)))
    end = data.draw(st.integers(begin, min(len(octets), begin + 40)))
    octets[begin:end] *= data.draw(st.integers(0, 2))
    client = connected()
    client.send(bytes(octets))
    client.send(bytes(octets[len(PREFACE) :]))
    for event in list(client.events):
        if isinstance(event, Request):
            client.respond(event.stream_id)
    client.expire(10.0)
    client.expire(20.0)
    assert client.server.is_closed or not client.server.sending
