"""Encodes header lists without a dynamic table, so that a block is valid on each connection."""

from collections.abc import Iterable
from typing import Final

from authz.transports.http2.hpack import huffman
from authz.transports.http2.hpack.integers import write_integer
from authz.transports.http2.hpack.static_table import FIELDS, Field

_INDEXES: Final = {field: index for index, field in enumerate(FIELDS, 1)}
# The first of several entries of a name, which has the smallest index.
_NAME_INDEXES: Final = {name: index for (name, _), index in reversed(_INDEXES.items())}
# A dynamic table size update to 0 (RFC 7541 6.3). Our first block after the peer lowered
# SETTINGS_HEADER_TABLE_SIZE must open with an update (4.2); 0 is right for any value of it.
NO_TABLE: Final = b"\x20"


def encode(fields: Iterable[Field]) -> bytes:
    """Encode fields as a header block, with the static table and literals without indexing.

    No literal is marked "never indexed" (RFC 7541 7.1.3): our responses hold no secret of a client.
    """
    return b"".join([_write_field(field) for field in fields])


def _write_field(field: Field) -> bytes:
    index = _INDEXES.get(field)
    if index is not None:
        return write_integer(index, 0x7F, 0x80)  # 6.1
    name, value = field
    index = _NAME_INDEXES.get(name)
    if index is not None:
        return write_integer(index, 0x0F, 0x00) + _write_string(value)  # 6.2.2
    return b"\x00" + _write_string(name) + _write_string(value)


def _write_string(text: bytes) -> bytes:
    """Return a string literal (5.2), Huffman-coded only if that is shorter."""
    code = huffman.encode(text)
    if len(code) < len(text):
        return write_integer(len(code), 0x7F, 0x80) + code
    return write_integer(len(text), 0x7F, 0x00) + text
