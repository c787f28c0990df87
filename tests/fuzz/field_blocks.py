"""Field blocks fuzzed (RFC 7541): our decoder and the hpack library's read the same, or refuse."""

from collections.abc import Callable
from typing import Any

import hpack
from hypothesis import strategies as st

from authz.transports.http2.hpack import HeaderDecoder
from support import header_blocks as blocks

Draw = Callable[..., Any]
MakeDecoder = Callable[..., HeaderDecoder]


def check(make: MakeDecoder, draw: Draw) -> tuple[str, str]:
    """Read drawn blocks of a connection beside the hpack library: the answer, and what is wrong."""
    size = draw(st.sampled_from([0, 64, 500, 4096]))
    ours, theirs = make(max_table_bytes=size), blocks.their_decoder(size)
    encoder = hpack.Encoder()
    encoder.header_table_size = size
    for _ in range(draw(st.integers(1, 5))):
        block = _some_block(draw, encoder)
        if blocks.updates_at_start(block) > blocks.MAX_UPDATES:  # refused by us only (4.2)
            return "skipped", ""
        read, expected = blocks.read_by_us(ours, block), blocks.read_by(theirs, block)
        if read != expected:
            return "read", f"{block!r} is read as {read}, and not as {expected}"
        if read is None:
            return "refused", ""
        if not blocks.same_table(ours, theirs):
            return "read", f"the table is another after {block!r}"
    return "read", ""


def _some_block(draw: Draw, encoder: hpack.Encoder) -> bytes:
    """Draw a block of the library's encoder, some octets of it changed, or one of pieces."""
    names = st.sampled_from([b":path", b"x-request-id", b"a" * 40]) | st.binary(max_size=8)
    values = st.sampled_from([b"", b"/", b"v" * 200]) | st.binary(max_size=20)
    if draw(st.booleans()):
        return b"".join(draw(st.lists(_pieces(names, values), max_size=6)))
    headers = draw(st.lists(st.tuples(names, values, st.booleans()), max_size=5))
    octets = bytearray(encoder.encode(headers, huffman=draw(st.booleans())))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2])) if octets else 0):
        octets[draw(st.integers(0, len(octets) - 1))] = draw(st.integers(0, 255))
    return bytes(octets)


def _pieces(
    names: st.SearchStrategy[bytes], values: st.SearchStrategy[bytes]
) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.binary(max_size=6),
        st.integers(0, 140).map(blocks.indexed),
        st.builds(blocks.inserted, names, values),
        st.builds(blocks.literal, names, values),
        st.integers(0, 600).map(blocks.size_update),
        st.binary(max_size=20).map(lambda code: b"\x00\x00" + bytes([0x80 | len(code)]) + code),
    )
