"""Header blocks (RFC 7541) and decoders for tests: pieces of blocks, a decoder, its table."""

from authz.transports.http2.hpack import Field, HeaderDecoder
from authz.transports.http2.hpack.integers import write_integer


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
