"""Reads the answers of the store's scripts: what is not as expected is no answer."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from authz.adapters.store.store import (
    AlreadyUsedError,
    Change,
    ExhaustedError,
    Listing,
    StoreAwayError,
    StoreForgotError,
    StoreFullError,
    Version,
)

_T = TypeVar("_T")
_MAX_SECONDS: Final = 1e9  # of two windows of a budget
_NUMBER: Final = re.compile(rb"[0-9]{1,18}")
# The second part of an answer, if it is not OK.
_FAULTS: Final[Mapping[bytes, Callable[[], Exception]]] = {
    b"USED": AlreadyUsedError,
    b"FORGOT": lambda: StoreForgotError("older than the store's memory: marks may be lost"),
    b"CLOCK": lambda: StoreForgotError("its clock and ours differ: it may forget marks too early"),
    b"FULL": lambda: StoreFullError("the store has as many entries of this kind as it may have"),
    b"REPLICA": lambda: StoreAwayError("it is a replica, and not the primary server"),
    b"OTHER": lambda: StoreAwayError("it has followed another server meanwhile"),
    b"ALONE": lambda: StoreAwayError("it has lost its replicas: another may be primary by now"),
}


def checked_answer(answer: object, tag: bytes) -> list[Any]:
    """Return what comes after an OK. Raises what the status says, and StoreAwayError."""
    parts = checked(answer, list)
    if len(parts) < 2 or parts[0] != tag:  # noqa: PLR2004 - tag and status
        raise garbage()
    status, rest = parts[1], parts[2:]
    if status == b"OK":
        return rest
    if status == b"EXHAUSTED":
        raise ExhaustedError(parse_number(_at(rest, 0)), _seconds(_at(rest, 1)))
    if isinstance(status, bytes) and status in _FAULTS:
        fault = _FAULTS[status]()
        raise fault
    raise garbage()


def checked(value: object, kind: type[_T]) -> _T:
    """Return a value of this type. Raises StoreAwayError."""
    if isinstance(value, kind):
        return value
    raise garbage()


def garbage() -> StoreAwayError:
    """Return the error for an answer that none of our scripts gives."""
    return StoreAwayError("it answers with what none of our scripts answers")


def _at(parts: list[Any], place: int) -> object:
    return parts[place] if place < len(parts) else None


def parse_number(value: object) -> int:
    """Return a number that is not negative. Raises StoreAwayError."""
    if isinstance(value, int) and value >= 0:
        return value
    if isinstance(value, bytes) and _NUMBER.fullmatch(value):
        return int(value)
    raise garbage()


def _seconds(value: object) -> float:
    try:
        seconds = float(checked(value, bytes))
    except ValueError:
        raise garbage() from None
    if not 0 <= seconds < _MAX_SECONDS:
        raise garbage()
    return seconds


def _text(value: object) -> str:
    try:
        return checked(value, bytes).decode()
    except UnicodeDecodeError:
        raise garbage() from None


def parse_version(answer: list[Any]) -> Version:
    """Return the version in epoch and number."""
    return Version(_text(_at(answer, 0)), parse_number(_at(answer, 1)))


def _pairs(value: object) -> list[tuple[bytes, bytes]]:
    flat = [checked(part, bytes) for part in checked(value, list)]
    if len(flat) % 2:
        raise garbage()
    return list(zip(flat[::2], flat[1::2], strict=True))


def parse_listing(answer: list[Any]) -> Listing:
    """Return the revocations and their version."""
    entries = {_text(name): line for name, line in _pairs(_at(answer, 2))}
    return Listing(parse_version(answer), entries)


def parse_changes(answer: list[Any]) -> list[Change]:
    """Return the changes: each is the id of an entry in a stream, and the entry's fields."""
    return [_change(checked(part, list)) for part in checked(_at(answer, 0), list)]


def _change(part: list[Any]) -> Change:
    fields = dict(_pairs(_at(part, 1)))
    milliseconds = _text(_at(part, 0)).partition("-")[0].encode()
    return Change(
        number=parse_number(fields.get(b"number")),
        at=parse_number(milliseconds) / 1000,
        by=_text(fields.get(b"by")),
        is_added=fields.get(b"added") == b"1",
        id=_text(fields.get(b"id")),
        entry=checked(fields.get(b"entry"), bytes),
        note=_text(fields.get(b"note")),
    )
