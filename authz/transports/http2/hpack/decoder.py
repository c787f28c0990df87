"""Decodes the header blocks of one connection (RFC 7541), with its dynamic table.

The work for a block is bounded by its length: one step for each field, and each octet of a literal
is read once. A field that a block repeats by its index is not copied.
"""

from itertools import chain
from typing import Final

from authz.transports.http2.hpack import huffman
from authz.transports.http2.hpack.errors import CompressionError, HeaderListTooLargeError
from authz.transports.http2.hpack.integers import read_integer
from authz.transports.http2.hpack.static_table import FIELDS, Field

_STATIC_ENTRIES: Final = len(FIELDS)
# Added to the size of a field in a header list (RFC 9113 6.5.2) and of an entry in the table (4.1).
_OVERHEAD_BYTES: Final = 32
# The size that each table begins with (RFC 9113 6.5.2). A larger one has to be signalled (4.2).
_INITIAL_TABLE_BYTES: Final = 4096
# If the size changed several times between blocks, the smallest and the last are signalled (4.2).
_MAX_SIZE_UPDATES: Final = 2

# How a field's first octet begins (6.1 to 6.3); less than these is a literal without indexing.
_INDEXED: Final = 0x80
_INSERTED: Final = 0x40
_SIZE_UPDATE: Final = 0x20
_HUFFMAN: Final = 0x80  # of a string's first octet (5.2)
_LONG_LENGTH: Final = 0x7F  # a string's length of several octets (5.2), and the mask of others
_LAST_STATIC: Final = _INDEXED + _STATIC_ENTRIES  # the last static entry, as an octet
_LONG_INDEX: Final = 0xFF  # an index of several octets


class HeaderDecoder:
    """The decoder of one connection.

    ``generation`` grows with each change of the dynamic table: while it stays, and a block did not
    change it, that block's fields are the same.
    """

    __slots__ = ("_entries", "_max_fields", "_max_list_bytes", "_max_table_bytes", "_table_bytes",
                 "_used_bytes", "generation")  # fmt: skip

    def __init__(
        self, *, max_table_bytes: int = _INITIAL_TABLE_BYTES, max_list_bytes: int, max_fields: int
    ) -> None:
        """Begin with an empty table.

        ``max_table_bytes`` is our SETTINGS_HEADER_TABLE_SIZE, and must be known to the peer before
        its first block if it is below 4096. ``max_list_bytes`` is counted as for
        SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 6.5.2): names, values, and 32 for each field.
        """
        self.generation = 0
        self._max_table_bytes = max_table_bytes
        self._max_list_bytes = max_list_bytes
        self._max_fields = max_fields
        self._table_bytes = min(max_table_bytes, _INITIAL_TABLE_BYTES)
        self._used_bytes = 0
        self._entries: list[Field] = []  # the newest is the last

    def decode(self, block: bytes) -> tuple[Field, ...]:
        """Return the fields of a header block, in order.

        Raises CompressionError for an invalid block, after which the connection can't continue, and
        HeaderListTooLargeError for a list beyond a limit: its block was read to the end, so that
        the table is the one that the peer's encoder assumes.
        """
        try:
            fields = self._read_fields(block, self._read_size_updates(block))
        except IndexError:
            raise CompressionError(
                "a block is truncated, or an index is not in the table"
            ) from None
        if len(fields) > self._max_fields:
            raise HeaderListTooLargeError(f"more than {self._max_fields} fields")
        size = sum(map(len, chain.from_iterable(fields))) + _OVERHEAD_BYTES * len(fields)
        if size > self._max_list_bytes:
            raise HeaderListTooLargeError(f"more than {self._max_list_bytes} bytes of fields")
        return tuple(fields)

    def _read_size_updates(self, block: bytes) -> int:
        """Follow the size updates that open a block (4.2, 6.3); return the position after them."""
        position = updates = 0
        while position < len(block) and _SIZE_UPDATE <= block[position] < _INSERTED:
            size, position = read_integer(block, position, 0x1F)
            updates += 1
            if size > self._max_table_bytes or updates > _MAX_SIZE_UPDATES:
                raise CompressionError(
                    "a table size update is too large, or the third of its block"
                )
            if size != self._table_bytes:
                self._table_bytes = size
                self.generation += 1
                self._evict()
        return position

    def _read_fields(self, block: bytes, position: int) -> list[Field]:
        """Read the fields behind the size updates (6.1, 6.2).

        This is the hot loop. Nearly all fields are indexes of one octet, so those are looked up
        here, and not by ``_entry``: the newest entry is index 62, and the last of the list.
        """
        fields: list[Field] = []
        entries, end = self._entries, len(block)
        while position < end:
            first = block[position]
            if _LAST_STATIC < first < _LONG_INDEX:
                field = entries[_LAST_STATIC - first]
                position += 1
            elif _INDEXED < first <= _LAST_STATIC:
                field = FIELDS[first - _INDEXED - 1]
                position += 1
            elif first >= _INDEXED:
                index, position = read_integer(block, position, 0x7F)
                field = self._entry(index)
            elif first >= _INSERTED:
                field, position = self._read_literal(block, position, 0x3F)
                self._insert(field)
            elif first >= _SIZE_UPDATE:
                raise CompressionError("a table size update is behind a field")
            else:
                field, position = self._read_literal(block, position, 0x0F)
            fields.append(field)
        return fields

    def _read_literal(self, block: bytes, position: int, prefix: int) -> tuple[Field, int]:
        """Read a literal whose name is an index or a string; return the position behind it."""
        index, position = read_integer(block, position, prefix)
        if index:
            name = self._entry(index)[0]
        else:
            name, position = _read_string(block, position)
        value, position = _read_string(block, position)
        return (name, value), position

    def _entry(self, index: int) -> Field:
        """Return the field of an index (2.3.3); IndexError if it is beyond the table."""
        if index > _STATIC_ENTRIES:
            return self._entries[_STATIC_ENTRIES - index]
        if index == 0:
            raise CompressionError("a field has the index 0")
        return FIELDS[index - 1]

    def _insert(self, field: Field) -> None:
        """Add an entry; one larger than the table empties it (4.4)."""
        self.generation += 1
        self._entries.append(field)
        self._used_bytes += _entry_bytes(field)
        self._evict()

    def _evict(self) -> None:
        """Drop the oldest entries until the table is within its size (4.3)."""
        while self._used_bytes > self._table_bytes:
            self._used_bytes -= _entry_bytes(self._entries.pop(0))


def _entry_bytes(field: Field) -> int:
    return len(field[0]) + len(field[1]) + _OVERHEAD_BYTES


def _read_string(block: bytes, position: int) -> tuple[bytes, int]:
    """Return a string (5.2) and the position behind it; IndexError if the block ends before."""
    first = block[position]
    length = first & _LONG_LENGTH
    if length < _LONG_LENGTH:  # nearly all strings: saves a call for each
        position += 1
    else:
        length, position = read_integer(block, position, _LONG_LENGTH)
    end = position + length
    if end > len(block):
        raise IndexError
    text = block[position:end]
    return (huffman.decode(text) if first & _HUFFMAN else text), end
