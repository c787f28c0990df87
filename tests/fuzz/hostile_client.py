"""A hostile HTTP/2 client: draws what it sends, which is frames of any kind, and octets besides."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from support import header_blocks as blocks
from support.http2 import (
    ACK,
    BLOCK,
    CONTINUATION,
    DATA,
    EARLY_PATH,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITIZED,
    REFUSED_PATH,
    SETTINGS,
    fields,
    frame,
    rst_stream,
    settings,
    window_update,
)

Draw = Callable[..., Any]

NUMBERS = st.integers(0, 255)
PAYLOADS = (
    st.binary(max_size=40)
    | st.sampled_from([BLOCK, b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0" * 8, b"\0\4\0\0\0\0"])
    | st.integers(0, 900).map(lambda size: b"p" * size)
)
PATHS = st.sampled_from([b"/check", b"/other", REFUSED_PATH, EARLY_PATH])
FLAGS = st.sampled_from([0, END_STREAM, END_HEADERS, END_STREAM | END_HEADERS, PADDED, PRIORITIZED])


@dataclass
class Step:
    """What happens next: octets come, in pieces; then time passes, and output is taken or not."""

    octets: bytes
    cut: int
    seconds: float
    takes: bool


def steps(draw: Draw) -> Iterator[Step]:
    """Draw what comes: mostly a valid beginning, then frames whose streams follow each other.

    A tame connection has no error of the connection, or few states but the first would be reached.
    """
    begin = PREFACE + settings() + frame(SETTINGS, ACK, 0)
    if draw(st.integers(0, 15)) == 0:
        begin = draw(st.binary(max_size=30)) if draw(st.booleans()) else PREFACE
    yield Step(begin, 0, 0.0, takes=True)
    streams, is_tame = _Streams(), draw(NUMBERS) % 3 != 0
    for _ in range(draw(st.integers(1, 12))):
        octets = b""
        for _ in range(draw(st.integers(1, 6))):
            octets += _drawn(draw, streams, is_tame=is_tame)
        if not is_tame and draw(st.integers(0, 9)) == 0:
            octets = octets[: draw(st.integers(0, len(octets)))]
        seconds = draw(st.sampled_from([0.0, 0.0, 0.0, 0.1, 1.0, 4.0, 11.0]))
        yield Step(octets, draw(NUMBERS), seconds, takes=draw(st.integers(0, 3)) > 0)


@dataclass
class _Streams:
    """What was opened so far: the last stream, and those to send content on."""

    last: int = -1
    unended: list[int] = field(default_factory=list)


def _drawn(draw: Draw, streams: _Streams, *, is_tame: bool) -> bytes:
    """Draw a call or a frame, right or wrong."""
    kind = draw(st.sampled_from(TAME if is_tame or streams.last < 0 else [*WILD]))
    if kind == "end" and is_tame:
        kind = kind if streams.unended else "call"
    if kind not in OPENING and streams.last < 0:
        return b""
    stream_id = _stream(draw, streams, kind, is_tame=is_tame)
    if kind in OPENING and stream_id % 2:
        streams.last = max(streams.last, stream_id)
        streams.unended += [stream_id] if kind == "open" else []
    return WILD[kind](draw, stream_id)


def _stream(draw: Draw, streams: _Streams, kind: str, *, is_tame: bool) -> int:
    """Draw the stream that a frame is on."""
    last = streams.last
    if kind in OPENING and (is_tame or draw(NUMBERS) % 8):
        return last + 2
    if kind == "end" and is_tame:
        return streams.unended.pop(draw(st.integers(0, len(streams.unended) - 1)))
    back: int = draw(st.integers(0, 6)) if is_tame else 2
    if is_tame:
        return max(last - 2 * back, 1)
    near = [last, last, max(last - 2 * back, 1)] if last > 0 else []
    stream_id: int = draw(st.sampled_from([last + 2, *near, 0, 2, last + 10]))
    return stream_id


def _open(draw: Draw, stream_id: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream_id, _block(draw))


def _call(draw: Draw, stream_id: int) -> bytes:
    return _open(draw, stream_id) + frame(DATA, END_STREAM, stream_id, draw(PAYLOADS))


def _end(draw: Draw, stream_id: int) -> bytes:
    return frame(DATA, draw(st.sampled_from([0, END_STREAM])), stream_id, draw(PAYLOADS))


def _widen(draw: Draw, stream_id: int) -> bytes:
    of = draw(st.sampled_from([0, stream_id]))
    return window_update(of, draw(st.sampled_from([1, 50, 5000])))


def _change(draw: Draw, _: int) -> bytes:
    return settings((draw(st.sampled_from([1, 3, 4])), draw(st.sampled_from([0, 1, 30, 20_000]))))


def _reset(_: Draw, stream_id: int) -> bytes:
    return rst_stream(stream_id)


def _octets(draw: Draw, _: int) -> bytes:
    return bytes(draw(st.binary(max_size=30)))


def _cut_block(draw: Draw, stream_id: int) -> bytes:
    block, flags = _block(draw), draw(FLAGS)
    at = draw(st.integers(0, len(block)))
    begun = frame(HEADERS, flags & ~END_HEADERS, stream_id, block[:at])
    return begun + frame(CONTINUATION, flags | END_HEADERS, stream_id, block[at:])


def _odd_block(draw: Draw, stream_id: int) -> bytes:
    more = draw(st.sampled_from([b"\xbe", b""]) | st.binary(max_size=60))
    block = draw(st.sampled_from([b"", BLOCK])) + more
    return frame(HEADERS, END_HEADERS | draw(FLAGS), stream_id, block)


def _odd_setting(draw: Draw, _: int) -> bytes:
    return settings((draw(st.integers(0, 9)), draw(st.sampled_from([0, 1, 20_000, 1 << 31]))))


def _odd_frame(draw: Draw, stream_id: int) -> bytes:
    flags = draw(FLAGS) if draw(st.booleans()) else draw(NUMBERS)
    return frame(draw(st.integers(0, 11)), flags, stream_id, draw(PAYLOADS))


def _block(draw: Draw) -> bytes:
    """Draw a valid field block, which may change the table."""
    more = draw(st.integers(0, 7))
    block = fields(path=draw(PATHS))
    if more == 1:
        return block + b"\x40\x03x-a" + blocks.string(b"v" * draw(st.integers(0, 20)))
    if more == 2:
        return block + blocks.literal(b"content-length", b"%d" % draw(st.integers(0, 60)))
    if more == 3:
        return blocks.size_update(draw(st.integers(0, 4096))) + block
    return block if more == 4 else BLOCK


# What is drawn, by name: tame, and as well wild.
_TAME: Mapping[str, Callable[[Draw, int], bytes]] = {
    "call": _call,
    "open": _open,
    "end": _end,
    "reset": _reset,
    "widen": _widen,
    "settings": _change,
}
WILD: Mapping[str, Callable[[Draw, int], bytes]] = {
    **_TAME,
    "cut block": _cut_block,
    "odd block": _odd_block,
    "odd setting": _odd_setting,
    "odd frame": _odd_frame,
    "octets": _octets,
}
TAME = [*_TAME, "call", "call", "call", "open", "end"]
OPENING = {"call", "open", "cut block", "odd block"}
