"""Header compression: our blocks are read by others, and are the same on each connection."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.transports.http2.hpack import NO_TABLE, Field, encode, huffman
from authz.transports.http2.hpack.huffman_code import CODES
from support.header_blocks import decoder

FIELDS = st.lists(st.tuples(st.binary(max_size=200), st.binary(max_size=200)), max_size=10)
STATIC = st.sampled_from(hpack.table.HeaderTable.STATIC_TABLE)


@given(FIELDS | st.lists(STATIC | st.tuples(STATIC.map(lambda f: f[0]), st.binary()), max_size=10))
def test_blocks_are_read_by_others_and_leave_no_entry(fields: list[Field]) -> None:
    """The hpack library and our decoder read each block, twice alike, and insert nothing."""
    block = encode(fields)
    theirs, ours = hpack.Decoder(max_header_list_size=1 << 20), decoder()
    for _ in range(2):
        assert [tuple(field) for field in theirs.decode(block, raw=True)] == fields
        assert ours.decode(block) == tuple(fields)
    assert not theirs.header_table.dynamic_entries
    assert ours.generation == 0


@pytest.mark.parametrize(
    ("field", "block"),
    [
        ((b":status", b"200"), "88"),
        ((b":status", b"204"), "89"),
        ((b":status", b"401"), "08" + "826801"),
        ((b"content-type", b"application/grpc"), "0f10" + "8b1d75d0620d263d4c4d6564"),
        ((b"x", b"{"), "00" + "0178" + "017b"),
    ],
)
def test_blocks_are_what_the_rfc_says(field: Field, block: str) -> None:
    """Static entries are an index, other fields literals, Huffman-coded only where shorter."""
    expected = bytes.fromhex(block)
    assert encode([field]) == expected


def test_the_size_update_removes_a_table() -> None:
    """Behind ``NO_TABLE`` a decoder that lowered its table's size reads our block."""
    theirs = hpack.Decoder()
    theirs.max_allowed_table_size = 0  # it would refuse a block that opens without an update
    assert [
        tuple(f) for f in theirs.decode(NO_TABLE + encode([(b":status", b"200")]), raw=True)
    ] == [(b":status", b"200")]


def test_the_huffman_code_is_the_standards() -> None:
    """The code of each octet is the one in RFC 7541 appendix B, as the hpack library has it."""
    theirs = zip(
        hpack.huffman_constants.REQUEST_CODES,
        hpack.huffman_constants.REQUEST_CODES_LENGTH,
        strict=True,
    )
    assert {symbol: 1 << bits | code for symbol, (code, bits) in enumerate(theirs)} == CODES | {
        256: (1 << 31) - 1
    }


@given(st.binary(max_size=500))
def test_huffman_codes_are_read_back(text: bytes) -> None:
    """Any text is read back, and its code is the hpack library's."""
    coder = hpack.huffman.HuffmanEncoder(
        hpack.huffman_constants.REQUEST_CODES, hpack.huffman_constants.REQUEST_CODES_LENGTH
    )
    code = huffman.encode(text)
    assert code == coder.encode(text)
    assert huffman.decode(code) == text
