"""Header compression: what the decoder refuses, what it remembers, and that its work is bounded."""

import sys
from contextlib import suppress
from typing import Any

import pytest

from authz.transports.http2.hpack import CompressionError, HeaderListTooLargeError, huffman
from support.header_blocks import (
    decoder,
    indexed,
    inserted,
    literal,
    size_update,
    string,
    table_of,
)

# A code of each kind of invalid end: eight ones, a zero, and EOS itself (5.2).
LONG_PADDING, ZERO_PADDING, EOS = b"\xff", b"\x00", b"\xff\xff\xff\xff"
INVALID = {
    "index 0": b"\x80",
    "index beyond the static table": indexed(62),
    "index far beyond": indexed(1 << 20),
    "name beyond the static table": b"\x7e" + string(b"v"),
    "index without its end": b"\xff",
    "index of seven octets": b"\xff" + b"\x80" * 5 + b"\x00",
    "index of ones": b"\xff" * 9,
    "name without its value": b"\x41",
    "name without its text": b"\x40\x05nam",
    "length without its end": b"\x41\x7f\x80",
    "length beyond the block": b"\x41\x05text",
    "length beyond 32 bits": b"\x41\x7f\xff\xff\xff\xff\x7f",
    "padding of an octet": b"\x41\x82\x1f" + LONG_PADDING,
    "padding with a zero": b"\x41\x81" + ZERO_PADDING,
    "only padding": b"\x41\x81" + LONG_PADDING,
    "EOS": b"\x41\x84" + EOS,
    "EOS inside": b"\x41\x85\x1f" + EOS,
    "size update above the limit": size_update(4097),
    "size update behind a field": b"\x82" + size_update(0),
    "three size updates": size_update(0) + size_update(1) + size_update(2),
    "size update without its end": b"\x3f",
}


@pytest.mark.parametrize("block", INVALID.values(), ids=INVALID.keys())
def test_invalid_blocks_are_refused(block: bytes) -> None:
    """A block that breaks a rule of RFC 7541 raises CompressionError."""
    with pytest.raises(CompressionError):
        decoder().decode(block)


def test_a_block_cut_anywhere_is_refused_or_shorter() -> None:
    """A block that ends early gives its whole fields, or is refused: never another field."""
    fields = ((b"name", b"value"), (b":path", b"/" * 200), (b"x" * 130, b""))
    block = b"".join([inserted(name, value) for name, value in fields])
    whole = {0, *(len(inserted(*field)) for field in fields[:1])}
    whole |= {len(inserted(*fields[0]) + inserted(*fields[1])), len(block)}
    for end in range(len(block) + 1):
        if end in whole:
            count = sorted(whole).index(end)
            assert decoder().decode(block[:end]) == fields[:count]
        else:
            with pytest.raises(CompressionError):
                decoder().decode(block[:end])


@pytest.mark.parametrize("count", range(1, 9))
def test_padding_of_up_to_seven_ones_is_read(count: int) -> None:
    """A code is padded with ones to whole octets; eight texts need each number up to seven."""
    bits = "00000" * count + "1" * (-5 * count % 8)
    assert huffman.decode(int(bits, 2).to_bytes(len(bits) // 8)) == b"0" * count


def test_an_empty_block_has_no_fields() -> None:
    """An empty block is valid, and so is an empty string in either form."""
    assert decoder().decode(b"") == ()
    assert decoder().decode(b"\x00\x80\x00") == ((b"", b""),)


def test_an_integer_may_have_needless_zeros() -> None:
    """Zeros behind an integer are valid up to the limit of octets, as 5.1 lets an encoder write."""
    assert decoder().decode(b"\x41\x7f\x80\x80\x80\x80\x00" + b"v" * 127) == (
        (b":authority", b"v" * 127),
    )


def test_never_indexed_literals_stay_out_of_the_table() -> None:
    """A literal that must never be indexed is a field like others, and no entry."""
    reader = decoder()
    assert reader.decode(b"\x1f\x08" + string(b"Bearer t")) == ((b"authorization", b"Bearer t"),)
    assert reader.generation == 0
    assert table_of(reader) == []


def test_an_entry_may_name_the_one_that_it_evicts() -> None:
    """A name is read before the eviction that its entry causes (RFC 7541 4.4)."""
    reader = decoder(max_table_bytes=64)
    reader.decode(inserted(b"name", b"v" * 20))
    assert reader.decode(b"\x7e" + string(b"w" * 20)) == ((b"name", b"w" * 20),)
    assert table_of(reader) == [(b"name", b"w" * 20)]


def test_an_entry_larger_than_the_table_empties_it() -> None:
    """An entry that can't fit is a field, and leaves an empty table (RFC 7541 4.4)."""
    reader = decoder(max_table_bytes=64)
    reader.decode(inserted(b"a", b"b"))
    assert reader.decode(inserted(b"name", b"v" * 29)) == ((b"name", b"v" * 29),)
    assert table_of(reader) == []
    assert reader._used_bytes == 0


def test_an_entry_as_large_as_the_table_fits() -> None:
    """A table of 64 bytes holds an entry of 32 bytes of text."""
    reader = decoder(max_table_bytes=64)
    reader.decode(inserted(b"name", b"v" * 28))
    assert table_of(reader) == [(b"name", b"v" * 28)]


def test_size_updates_evict_and_grow_up_to_the_limit() -> None:
    """A smaller table drops the oldest entries; a table grows again up to what we announced."""
    reader = decoder(max_table_bytes=8192)
    reader.decode(inserted(b"a", b"1") + inserted(b"b", b"2"))
    assert reader.decode(size_update(34) + indexed(62)) == ((b"b", b"2"),)
    assert table_of(reader) == [(b"b", b"2")]
    reader.decode(size_update(0) + size_update(8192))
    assert table_of(reader) == []
    reader.decode(inserted(b"n", b"v" * 8000))
    assert table_of(reader) == [(b"n", b"v" * 8000)]


def test_a_larger_table_has_to_be_signalled() -> None:
    """A table begins with 4096 bytes, whatever larger size we announced (RFC 7541 4.2)."""
    reader = decoder(max_table_bytes=8192)
    reader.decode(inserted(b"n", b"v" * 4064))
    assert table_of(reader) == []


def test_the_generation_grows_with_each_change_only() -> None:
    """Inserts, evictions and changes of size change the generation; reading fields does not."""
    reader = decoder()
    seen = [reader.generation]
    for block in (
        inserted(b"a", b"1"),
        inserted(b"a", b"1"),
        inserted(b"b", b"2" * 4090),
        size_update(100),
        size_update(0),
    ):
        reader.decode(block)
        assert reader.generation > seen[-1]
        seen.append(reader.generation)
    for block in (b"\x82", literal(b"a", b"1"), size_update(0), b"\x1f\x08\x00", b""):
        reader.decode(block)
        assert reader.generation == seen[-1]


def test_the_list_is_limited_in_bytes() -> None:
    """A list is counted as SETTINGS_MAX_HEADER_LIST_SIZE says: names, values, 32 for each field."""
    block = literal(b"name", b"value") + b"\x82"  # 4 + 5 + 32, and 7 + 3 + 32
    assert len(decoder(max_list_bytes=83).decode(block)) == 2
    with pytest.raises(HeaderListTooLargeError, match="82 bytes"):
        decoder(max_list_bytes=82).decode(block)


def test_the_list_is_limited_in_fields() -> None:
    """A list of more fields than the limit is too large, whatever its bytes."""
    assert len(decoder(max_fields=3).decode(b"\x82" * 3)) == 3
    with pytest.raises(HeaderListTooLargeError, match="3 fields"):
        decoder(max_fields=3).decode(b"\x82" * 4)


@pytest.mark.parametrize("limits", [{"max_list_bytes": 100}, {"max_fields": 2}])
def test_the_table_is_in_step_behind_a_list_too_large(limits: dict[str, int]) -> None:
    """A list too large is read to its end, so that the next block finds its entries."""
    reader, unlimited = decoder(**limits), decoder()
    block = b"".join([inserted(b"name%d" % i, b"value") for i in range(5)])
    unlimited.decode(block)
    with pytest.raises(HeaderListTooLargeError):
        reader.decode(block)
    assert table_of(reader) == table_of(unlimited)
    assert reader.decode(indexed(62)) == ((b"name4", b"value"),)


def test_a_fault_behind_the_limit_is_still_refused() -> None:
    """An invalid block is a CompressionError even where its list is too large already."""
    with pytest.raises(CompressionError):
        decoder(max_fields=1).decode(b"\x82" * 9 + b"\x80")


class Counted(bytes):
    """A block that counts how often one of its octets is read."""

    reads = 0

    def __getitem__(self, at: Any) -> Any:
        """Count, and read."""
        self.reads += 1
        return super().__getitem__(at)


@pytest.mark.parametrize(
    "field",
    [indexed(62), b"\x7e\x00", b"\x0f\x2f\x00"],
    ids=["field", "name of an entry", "name of a literal"],
)
def test_a_bomb_costs_what_its_block_does(field: bytes) -> None:
    """A large entry that a block repeats by its index is never copied, and costs one step each.

    This is the attack of CVE-2016-6581: a block of 16 KB that stands for a list of 64 MB.
    """
    reader = decoder()
    reader.decode(inserted(b"n" * 4000, b""))
    block = Counted(field * (16384 // len(field)))
    fields = reader._read_fields(block, 0)
    assert block.reads <= 3 * len(block)
    assert len({id(name) for name, _ in fields}) == 1
    assert sys.getsizeof(fields) <= 10 * len(block)
    with pytest.raises(HeaderListTooLargeError):
        reader.decode(bytes(block))


def test_what_huffman_decoding_keeps_is_bounded() -> None:
    """Of all states each octet makes a step or is refused: 256 states at most, 256 steps each."""
    huffman.decode(huffman.encode(bytes(range(256))))
    for prefix in list(huffman._ROWS):
        for octet in range(256):
            with suppress(CompressionError):
                huffman._make_step(prefix, octet)
    assert len(huffman._ROWS) <= 256
    assert {len(row) for row in huffman._ROWS.values()} == {256}


def test_a_code_is_read_alike_the_second_time() -> None:
    """A text is read alike before its steps are made and when all of them exist."""
    code = huffman.encode(b"\xf9 once \xf9 and \x16 again")
    assert huffman.decode(code) == huffman.decode(code) == b"\xf9 once \xf9 and \x16 again"
