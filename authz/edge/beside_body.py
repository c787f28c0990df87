"""Bounds what a message holds besides its body, before protobuf reads it.

protobuf reads a message in one step, during which no other thread runs, and a client may fill a
message with tiny pieces: 4 MiB of header fields of seven bytes take 0.4 s. A body is a single
piece, and 4 MiB of it take a millisecond. So a body may be as long as a message, and the rest has a
separate bound.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.reason import Denied, Reason

# The slowest message takes protobuf 20 ms. By default, Envoy sends 60 KiB of headers, the path
# twice, and the metadata of other filters.
MAX_BESIDE_BODY_BYTES: Final = 256 * 1024
# The fields examined in each message that the body is nested in: by default, Envoy accepts 100
# headers, and writes them before the body.
MAX_FIELDS: Final = 2000
_VARINT_BYTES: Final = 10
_CONTINUES: Final = 0x80  # the bit of a varint's byte that says that another byte follows
# Wire types: the lowest bits of a tag, which has the field's number above them.
_KIND_BITS: Final = 7
_VARINT: Final = 0
_LENGTH: Final = 2
_FIXED_BYTES: Final = {1: 8, 5: 4}


@dataclass(frozen=True, slots=True)
class BodyPlace:
    """The place of the body in a message.

    Attributes:
        within: the numbers of the fields that it is nested in, the outermost first.
        bodies: the numbers of the fields that hold it.
    """

    within: tuple[int, ...]
    bodies: frozenset[int]


def require_few_bytes_beside(data: bytes, place: BodyPlace) -> None:
    """Require that a message has at most MAX_BESIDE_BODY_BYTES besides its body.

    Raises Denied(CHECK_MALFORMED).
    """
    if len(data) <= MAX_BESIDE_BODY_BYTES:
        return
    if len(data) - _body_bytes(data, place) > MAX_BESIDE_BODY_BYTES:
        detail = f"the message has more than {MAX_BESIDE_BODY_BYTES} bytes besides its body"
        raise Denied(Reason.CHECK_MALFORMED, detail)


def _body_bytes(data: bytes, place: BodyPlace) -> int:
    """Return the bytes of the body at the place where proxies write it.

    Elsewhere they do not count.
    """
    at, end = 0, len(data)
    for outer in place.within:
        inner = next((field for field in _fields(data, at, end) if field[0] == outer), None)
        if inner is None:
            return 0
        _, at, end = inner
    fields = _fields(data, at, end)
    return sum(after - begin for number, begin, after in fields if number in place.bodies)


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield each field's number, and where its content begins and ends: MAX_FIELDS at most.

    A field without a length has no number here. Ends early at an error that protobuf would find,
    and at a group, which none of our messages has.
    """
    try:
        for _ in range(MAX_FIELDS):
            tag, begin = _varint(data, at)
            number, kind = tag >> 3, tag & _KIND_BITS
            if kind == _LENGTH:
                length, begin = _varint(data, begin)
                at = begin + length
            else:
                number = 0
                at = _varint(data, begin)[1] if kind == _VARINT else begin + _FIXED_BYTES[kind]
            if at > end:
                return
            yield number, begin, at
    except (IndexError, KeyError):
        return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a varint, and where it ends. Raises IndexError."""
    value = 0
    for number, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & ~_CONTINUES) << 7 * number
        if not byte & _CONTINUES:
            return value, at + number + 1
    raise IndexError
