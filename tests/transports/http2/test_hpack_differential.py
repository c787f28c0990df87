"""Header compression: our decoder and the hpack library's read the same, from random connections.

Blocks come from the hpack library's encoder, and from octets in random order. The two differ in one
point: a third size update of a block is refused by us only. An encoder may send two at most
(RFC 7541 4.2), and the rule bounds what a block of updates costs.
"""

import hpack
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from support.header_blocks import (
    MAX_UPDATES,
    decoder,
    indexed,
    inserted,
    literal,
    read_by,
    read_by_us,
    same_table,
    size_update,
    their_decoder,
    updates_at_start,
)

NAMES = st.sampled_from([b":path", b"x-request-id", b"cookie", b"a" * 70]) | st.binary(max_size=40)
VALUES = st.sampled_from([b"", b"/", b"GET", b"v" * 300]) | st.binary(max_size=150)
SIZES = st.sampled_from([0, 32, 100, 500, 4096, 10_000])
HEADERS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=6)
BLOCKS = st.lists(st.tuples(st.lists(SIZES, max_size=2), HEADERS, st.booleans()), max_size=8)


@settings(deadline=None)
@given(blocks=BLOCKS)
def test_what_an_encoder_writes_is_read_alike(
    blocks: list[tuple[list[int], list[tuple[bytes, bytes, bool]], bool]],
) -> None:
    """Blocks of a connection are read as they were meant, with the library's table."""
    encoder, ours, theirs = hpack.Encoder(), decoder(max_table_bytes=10_000), their_decoder(10_000)
    for sizes, headers, is_coded in blocks:
        for size in sizes:
            # Of a size that is set again, the library would signal a third update some time later.
            if size != encoder.header_table_size:
                encoder.header_table_size = size
        block = encoder.encode(headers, huffman=is_coded)
        fields = ours.decode(block)
        assert fields == tuple((name, value) for name, value, _ in headers)
        assert [tuple(field) for field in theirs.decode(block, raw=True)] == list(fields)
        assert same_table(ours, theirs)


PIECES = st.one_of(
    st.binary(max_size=6),
    st.integers(0, 140).map(indexed),
    st.builds(inserted, NAMES, VALUES),
    st.builds(literal, NAMES, VALUES),
    st.integers(0, 600).map(size_update),
    st.sampled_from(
        [b"\x41\x84\xff\xff\xff\xff", b"\x41\x82\x1f\xff", b"\x7e\x01v", b"\x7f\x05\x00"]
    ),
)


@settings(deadline=None, max_examples=200)
@given(blocks=st.lists(st.lists(PIECES, max_size=8).map(b"".join), min_size=1, max_size=4))
def test_hostile_blocks_are_read_or_refused_alike(blocks: list[bytes]) -> None:
    """Blocks in random order of octets are refused by both, or read by both as the same fields."""
    assume(all(updates_at_start(block) <= MAX_UPDATES for block in blocks))
    ours, theirs = decoder(max_table_bytes=500), their_decoder(500)
    for block in blocks:
        fields = read_by_us(ours, block)
        assert fields == read_by(theirs, block), block
        if fields is None:
            return
        assert same_table(ours, theirs)


@settings(deadline=None, max_examples=200)
@given(code=st.binary(max_size=40))
def test_huffman_codes_are_read_or_refused_alike(code: bytes) -> None:
    """Any octets are a text to both, or invalid to both."""
    block = b"\x00\x00" + bytes([0x80 | len(code)]) + code
    assert read_by_us(decoder(), block) == read_by(their_decoder(4096), block)
