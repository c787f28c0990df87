"""Strict JSON: unique member names (RFC 8259 section 4), bounded depth, finite and short numbers.

``json.loads`` keeps the last of two members of the same name, so that two parsers may read
different tokens from one text. It also takes NaN, which compares false with every limit.
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
# The values that Python code must check, half a microsecond each: in rare JSON, or JSON to be
# refused.
MAX_ODD_VALUES: Final = 4096
# Only an escape can write half a surrogate pair: it has no UTF-8 form.
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# An escape of the colon: colons count members.
_COLON: Final = re.compile(rb"\\u003[aA]")
_CONTAINERS: Final = frozenset({dict, list})
_UNSURE: Final = object()
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
# Maps the characters of numbers to "0", and those that may precede a number to ",". A number that
# is too long is a "," and a long run of "0". A line of dashes in a text may look the same.
_NUMBERS: Final = bytes.maketrans(b"123456789.+-eE \t\n\r:[", b"0" * 14 + b"," * 6)
_LONG_RUN: Final = b"," + b"0" * MAX_NUMBER_CHARS
_LONG_NUMBER: Final = re.compile(rb"[\s,:\[]-?[0-9][0-9.+eE-]{%d}" % (MAX_NUMBER_CHARS - 1))


class StrictJsonError(ValueError):
    """The bytes are not JSON that every parser reads alike; the message holds none of them."""


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
    """Parse JSON into a msgspec type. Raises StrictJsonError, whose message names members."""
    try:
        return msgspec.convert(loads(data, max_depth), type_)
    except msgspec.ValidationError as error:
        raise StrictJsonError(str(error)) from None


def values_at_most(data: bytes) -> int:
    """Return an upper bound of the values in the bytes, which each cost time and memory.

    Without parsing: it counts the bytes that may precede a value; texts contain these too.
    """
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def nested_values(values: Iterable[object]) -> list[Any]:
    """Return the values within the objects and lists among the values: the next level."""
    level = list(values)  # the loops are all in C: there may be thousands of values
    return list(chain(*map(dict.values, of_type(dict, level)), *of_type(list, level)))


def has_children(values: Iterable[object]) -> bool:
    """Tell whether any of the values is an object or a list, even if empty."""
    return not _CONTAINERS.isdisjoint(map(type, values))


def of_type(kind: type[T], values: Iterable[object]) -> list[T]:
    """Return the values that are instances of a type, with ``isinstance`` called from C."""
    found: list[Any] = list(filter(kind.__instancecheck__, values))
    return found


def _plain(data: bytes) -> object:
    """Return the value of plain JSON, in a third of the time; ``_UNSURE`` for anything else.

    The library refuses the same as the careful decoder, but for doubled members and long numbers.
    Each colon of the bytes follows a member's name or is in a text, unless it is escaped: if the
    value, written again, has as many colons, no member was lost. Half a surrogate pair can't be
    written again.
    """
    if _has_long_number(data) or (b"\\" in data and _COLON.search(data)):
        return _UNSURE
    try:
        value = _decode(data)
        return value if _encode(value).count(b":") == data.count(b":") else _UNSURE
    except (ValueError, RecursionError):  # the library's errors are ValueErrors
        return _UNSURE


def _has_long_number(data: bytes) -> bool:
    """Tell whether there may be a long number: never False if there is, perhaps True if not."""
    data = b"," + data
    return _LONG_RUN in data.translate(_NUMBERS) and _LONG_NUMBER.search(data) is not None


def _decode_carefully(data: bytes) -> object:
    """Return the value, with each object and number checked. Raises StrictJsonError."""
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
    """Refuse half a surrogate pair (RFC 8259 section 8.2), which readers treat differently."""
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
