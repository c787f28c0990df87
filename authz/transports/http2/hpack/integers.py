"""Integers of a header block (RFC 7541 5.1): a prefix of an octet, and octets of seven bits."""

from typing import Final

from authz.transports.http2.hpack.errors import CompressionError

# 5.1 gives an integer no largest size, but demands a limit. Five octets hold 35 bits; the
# largest value that means anything is a table size, which is a setting of 32 bits (RFC 9113 6.5.1).
_MAX_OCTETS: Final = 5  # behind the prefix
_MORE: Final = 0x80  # the bit of an octet that another octet follows


def read_integer(block: bytes, position: int, prefix: int) -> tuple[int, int]:
    """Return the integer at a position, and the position behind it.

    ``prefix`` is the mask of the integer's bits in its first octet. Raises CompressionError for an
    integer of more than six octets, and IndexError if the block ends before it does.
    """
    value = block[position] & prefix
    position += 1
    if value < prefix:
        return value, position
    for shift in range(0, 7 * _MAX_OCTETS, 7):
        octet = block[position]
        position += 1
        value += (octet & 0x7F) << shift
        if octet < _MORE:
            return value, position
    raise CompressionError("an integer is longer than six octets")


def write_integer(value: int, prefix: int, pattern: int) -> bytes:
    """Return an integer behind the bits of ``pattern``; ``prefix`` is its largest value there."""
    if value < prefix:
        return bytes([pattern | value])
    octets = bytearray([pattern | prefix])
    value -= prefix
    while value >= _MORE:
        octets.append(value & 0x7F | _MORE)
        value >>= 7
    octets.append(value)
    return bytes(octets)
