"""JSON as RFC 8259 section 4 hopes for it: no doubled member, no depth, no number that is none.

``json.loads`` keeps the last of two members of one name, which is how two parsers come to read two
tokens in one; and takes NaN, which compares false with every limit.
"""

import json
import re
from typing import Any, Final, NoReturn, TypeVar

import msgspec

T = TypeVar("T")
MAX_DEPTH: Final = 16  # a token or a key set needs 6
MAX_NUMBER_CHARS: Final = 32  # 2**64 and a float fit; int() of 10**5 digits takes quadratic time
# Only an escape can write half a surrogate pair: those are UTF-8 nowhere.
_HALF: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_CONTAINERS: Final = (dict, list)
_UNSURE: Final = object()
_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder().encode
# Makes "0" of what numbers are written with: a number that is too long is a run of them, if not the
# only one.
_NUMBERS: Final = bytes.maketrans(b"123456789.+-eE", b"0" * 14)
_LONG_NUMBER: Final = b"0" * (MAX_NUMBER_CHARS + 1)


class StrictJsonError(ValueError):
    """The bytes are not JSON that every reader reads alike; the message holds none of them."""


def loads(data: bytes, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401 - callers check the shape
    """Parse UTF-8 JSON. Raises StrictJsonError; the caller bounds the size beforehand."""
    value = _plain(data)
    if value is _UNSURE:
        value = _told(data)
    if data.count(b"{") + data.count(b"[") > max_depth:  # with fewer it can't be nested deeper
        _check_depth(value, max_depth)
    if _HALF.search(data):
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


def _plain(data: bytes) -> Any:  # noqa: ANN401 - likewise
    """The value of plain JSON, in a third of the time; ``_UNSURE`` of all else.

    The library refuses what we do, but for doubled members and long numbers. Without escapes each
    colon of the bytes is one after a member's name or one in a text: where the value, written
    again, has as many, no member was lost.
    """
    if b"\\" in data or _LONG_NUMBER in data.translate(_NUMBERS):
        return _UNSURE
    try:
        value = _decode(data)
        return value if _encode(value).count(b":") == data.count(b":") else _UNSURE
    except (ValueError, RecursionError):  # the library's errors are ValueErrors
        return _UNSURE


def _told(data: bytes) -> Any:  # noqa: ANN401 - likewise
    """The value, with each object and number looked at. Raises StrictJsonError."""
    try:
        return _decoder.decode(data.decode("utf-8"))
    except StrictJsonError:
        raise
    except (ValueError, RecursionError):
        raise StrictJsonError("not JSON in UTF-8") from None


def _check_depth(value: object, max_depth: int) -> None:
    level = [value] if isinstance(value, _CONTAINERS) else []
    for _ in range(max_depth):
        if not level:
            return
        level = [
            child
            for one in level
            for child in (one.values() if isinstance(one, dict) else one)
            if isinstance(child, _CONTAINERS)
        ]
    if level:
        raise StrictJsonError(f"nested deeper than {max_depth} levels")


def _check_text(value: object) -> None:
    """Refuse half a surrogate pair (RFC 8259 section 8.2): readers replace, drop or refuse it."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise StrictJsonError("an escape is half a character") from None
    elif isinstance(value, dict):
        for name, child in value.items():
            _check_text(name)
            _check_text(child)
    elif isinstance(value, list):
        for child in value:
            _check_text(child)


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
