"""JSON as RFC 8259 section 4 hopes for it: no doubled member, no depth, no number that is none.

``json.loads`` keeps the last of two members of one name, which is how two parsers come to read two
tokens in one; and takes NaN, which compares false with every limit.
"""

import json
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 16  # a token or a key set needs 6
MAX_NUMBER_CHARS: Final = 32  # 2**64 and a float fit; int() of 10**5 digits takes quadratic time


class StrictJsonError(ValueError):
    """The bytes are not JSON that every reader reads alike; the message holds none of them."""


def loads(data: bytes) -> Any:  # noqa: ANN401 - JSON is whatever it is; callers check the shape
    """Parse UTF-8 JSON. Raises StrictJsonError; the caller bounds the size beforehand."""
    try:
        value = _decoder.decode(data.decode("utf-8"))
    except StrictJsonError:
        raise
    except (ValueError, RecursionError):
        raise StrictJsonError("not JSON in UTF-8") from None
    _check_depth(value, MAX_DEPTH)
    if b"\\u" in data:  # only an escape can write half a character
        _check_text(value)
    return value


def _check_depth(value: object, levels: int) -> None:
    if not isinstance(value, dict | list):
        return
    if not levels:
        raise StrictJsonError(f"nested deeper than {MAX_DEPTH} levels")
    for child in value.values() if isinstance(value, dict) else value:
        _check_depth(child, levels - 1)


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
