"""Header blocks (RFC 7541) and decoders for tests: pieces of blocks, our decoder and another."""

import hpack

from authz.transports.http2.hpack import CompressionError, Field, HeaderDecoder
from authz.transports.http2.hpack.integers import write_integer

MAX_UPDATES = 2  # of the table's size, at a block's start (4.2): the library takes more


def decoder(
    max_table_bytes: int = 4096, max_list_bytes: int = 1 << 20, max_fields: int = 1000
) -> HeaderDecoder:
    """Make a decoder whose limits are out of the way unless they are given."""
    return HeaderDecoder(
        max_table_bytes=max_table_bytes, max_list_bytes=max_list_bytes, max_fields=max_fields
    )


def table_of(of: HeaderDecoder) -> list[Field]:
    """Return the dynamic table, the newest entry first, as RFC 7541 prints it."""
    return of._entries[::-1]


def string(text: bytes) -> bytes:
    """Write a string that is not Huffman-coded (5.2)."""
    return write_integer(len(text), 0x7F, 0x00) + text


def inserted(name: bytes, value: bytes) -> bytes:
    """Write a literal with incremental indexing and a new name (6.2.1)."""
    return b"\x40" + string(name) + string(value)


def literal(name: bytes, value: bytes) -> bytes:
    """Write a literal without indexing, with a new name (6.2.2)."""
    return b"\x00" + string(name) + string(value)


def indexed(index: int) -> bytes:
    """Write an indexed field (6.1)."""
    return write_integer(index, 0x7F, 0x80)


def size_update(size_bytes: int) -> bytes:
    """Write a dynamic table size update (6.3)."""
    return write_integer(size_bytes, 0x1F, 0x20)


def their_decoder(max_table_bytes: int) -> hpack.Decoder:
    """Make the library's decoder, whose limits are those of ours."""
    theirs = hpack.Decoder(max_header_list_size=1 << 30)
    theirs.max_allowed_table_size = max_table_bytes
    theirs.header_table_size = min(max_table_bytes, 4096)
    return theirs


def same_table(ours: HeaderDecoder, theirs: hpack.Decoder) -> bool:
    """Tell whether the tables have the same entries and sizes."""
    return (
        table_of(ours) == list(theirs.header_table.dynamic_entries)
        and ours._table_bytes == theirs.header_table_size
    )


def updates_at_start(block: bytes) -> int:
    """Count the size updates that open a block."""
    count = position = 0
    while position < len(block) and block[position] >> 5 == 1:
        try:
            _, used = hpack.hpack.decode_integer(block[position:], 5)
        except hpack.HPACKError:
            break
        count, position = count + 1, position + used
    return count


def read_by(theirs: hpack.Decoder, block: bytes) -> list[Field] | None:
    """Return what the library reads; None if it refuses."""
    try:
        return [(name, value) for name, value in theirs.decode(block, raw=True)]
    except hpack.HPACKError:
        return None


def read_by_us(ours: HeaderDecoder, block: bytes) -> list[Field] | None:
    """Return what we read; None if we refuse."""
    try:
        return list(ours.decode(block))
    except CompressionError:
        return None
