"""JSON as RFC 8259 section 4 hopes for it: no doubled member, no depth, no number that is none.

``json.loads`` keeps the last of two members of one name, which is how two parsers come to read two
tokens in one; and takes NaN, which compares false with every limit.
"""

import json
import re
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, NoReturn, TypeVar

import msgspec

T = TypeVar("T")
MAX_DEPTH: Final = 16  # a token or a key set needs 6
MAX_NUMBER_CHARS: Final = 32  # 2**64 and a float fit; int() of 10**5 digits takes quadratic time
# Of what has to be looked at in Python, half a microsecond each: what nobody writes, or is refused.
MAX_ODD_VALUES: Final = 4096
# Only an escape can write half a surrogate pair: those are UTF-8 nowhere.
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# An escape of the colon, by which members are counted.
_COLON: Final = re.compile(rb"\\u003[aA]")
_CONTAINERS: Final = frozenset({dict, list})
_UNSURE: Final = object()
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
# Makes "0" of what numbers are written with, and "," of what stands before one: a number that is
# too long is a run of the first after one of the second. So may be a line of dashes in a text.
_NUMBERS: Final = bytes.maketrans(b"123456789.+-eE \t\n\r:[", b"0" * 14 + b"," * 6)
_LONG_RUN: Final = b"," + b"0" * MAX_NUMBER_CHARS
_LONG_NUMBER: Final = re.compile(rb"[\s,:\[]-?[0-9][0-9.+eE-]{%d}" % (MAX_NUMBER_CHARS - 1))


class StrictJsonError(ValueError):
    """The bytes are not JSON that every reader reads alike; the message holds none of them."""


def loads(data: bytes, max_depth: int = MAX_DEPTH) -> object:
    """Parse UTF-8 JSON. Raises StrictJsonError; the caller bounds the size beforehand."""
    value = _plain(data)
    is_plain = value is not _UNSURE
    if not is_plain:
        value = _decode_carefully(data)
    if data.count(b"{") + data.count(b"[") > max_depth:  # with fewer it can't be nested deeper
        _check_depth(value, max_depth)
    if not is_plain and _HALF.search(data):
        _check_text(value)
    return value


def load_as(data: bytes, type_: type[T], max_depth: int = MAX_DEPTH) -> T:
    """As ``loads``, for a type of ours. Raises StrictJsonError, whose message names members."""
    try:
        return msgspec.convert(loads(data, max_depth), type_)
    except msgspec.ValidationError as error:
        raise StrictJsonError(str(error)) from None


def values_at_most(data: bytes) -> int:
    """How many values the bytes hold at most, without parsing: each costs time and memory.

    They are counted by the bytes that may begin one, which stand in texts too.
    """
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def nested_values(values: Iterable[object]) -> list[Any]:
    """The values in those of the values that are objects and lists: the level below them."""
    level = list(values)  # and all in C: there may be thousands
    return list(chain(*map(dict.values, of_type(dict, level)), *of_type(list, level)))


def has_children(values: Iterable[object]) -> bool:
    """Whether any of the values is an object or a list, were it an empty one."""
    return not _CONTAINERS.isdisjoint(map(type, values))


def of_type(kind: type[T], values: Iterable[object]) -> list[T]:
    """Those of the values that are instances of a type: ``isinstance``, in C."""
    found: list[Any] = list(filter(kind.__instancecheck__, values))
    return found


def _plain(data: bytes) -> object:
    """The value of plain JSON, in a third of the time; ``_UNSURE`` of all else.

    The library refuses what we do, but for doubled members and long numbers. Each colon of the
    bytes is one after a member's name or one in a text, unless an escape writes it: where the
    value, written again, has as many, no member was lost. Half a surrogate pair can't be written.
    """
    if _has_long_number(data) or (b"\\" in data and _COLON.search(data)):
        return _UNSURE
    try:
        value = _decode(data)
        return value if _encode(value).count(b":") == data.count(b":") else _UNSURE
    except (ValueError, RecursionError):  # the library's errors are ValueErrors
        return _UNSURE


def _has_long_number(data: bytes) -> bool:
    """Whether there may be one: it is never missed, but a text can look like one."""
    data = b"," + data
    return _LONG_RUN in data.translate(_NUMBERS) and _LONG_NUMBER.search(data) is not None


def _decode_carefully(data: bytes) -> object:
    """The value, with each object and number looked at. Raises StrictJsonError."""
    if values_at_most(data) > MAX_ODD_VALUES:
        raise StrictJsonError(f"not plain JSON, and of more than {MAX_ODD_VALUES} values")
    try:
        return _decoder.decode(data.decode("utf-8"))
    except StrictJsonError:
        raise
    except (ValueError, RecursionError):
        raise StrictJsonError("not JSON in UTF-8") from None


def _check_depth(value: object, max_depth: int) -> None:
    level = [value]
    for _ in range(max_depth):
        level = nested_values(level)
        if not level:
            return
    if has_children(level):
        raise StrictJsonError(f"nested deeper than {max_depth} levels")


def _check_text(value: object) -> None:
    """Refuse half a surrogate pair (RFC 8259 section 8.2): readers replace, drop or refuse it."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise StrictJsonError("an escape is half a character") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise StrictJsonError("a member name occurs twice")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARS:
        raise StrictJsonError("a number is too long")
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_NUMBER_CHARS:
        raise StrictJsonError("a number is too long")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise StrictJsonError("a number is out of range")
    return value


def _constant(_: str) -> NoReturn:
    raise StrictJsonError("NaN and Infinity are not JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
