"""The types of arguments: the form that a text must have, and the error for another form."""

import argparse
import json
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

_AGE: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ALL_PERCENT: Final = 100.0
_LAST_PORT: Final = 65535
_MINUTE: Final = timedelta(minutes=1)
STDIN: Final = Path("-")  # the file that stands for standard input


def lasting_file(text: str) -> Path:
    """Return the path of a file that is read again later. Raises ArgumentTypeError."""
    if Path(text) == STDIN:
        raise argparse.ArgumentTypeError(
            "standard input (-) can be read only once, and this is read again later: name a file"
        )
    return Path(text)


def a_text(text: str) -> str:
    """Return a text that JSON can hold. Raises ArgumentTypeError for other bytes than UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:  # Python puts surrogates for what it can't decode
        raise argparse.ArgumentTypeError(f"{text!r} is not UTF-8") from None
    return text


def a_time(text: str) -> datetime:
    """Parse a time with its zone, as RFC 3339 has it. Raises ArgumentTypeError."""
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat(text)
        offset = moment.utcoffset()
        moment.astimezone(UTC)  # it raises for a time that does not exist there
        if offset is not None and not offset % _MINUTE:  # JSON would lose a zone's seconds
            return moment
    raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-25T10:00:00Z")


def url(text: str) -> str:
    """Return a URL. Raises ArgumentTypeError."""
    if "://" not in text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a URL such as https://mcp.corp.example/a"
        )
    return text


def pair(text: str) -> tuple[str, str]:
    """Split NAME=VALUE. Raises ArgumentTypeError."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def age(text: str) -> float:
    """Return the seconds of an age. Raises ArgumentTypeError."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an age such as 90s, 5m or 1h")
    return float(int(match[1]) * _UNIT_SECONDS[match[2]])


def percent(text: str) -> float:
    """Return a percentage. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= _ALL_PERCENT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object that every parser reads alike. Raises ArgumentTypeError."""
    try:
        value = json.loads(text, object_pairs_hook=_each_once)
        # NaN, what a number can't hold, and half a character can't be written again.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):  # the message below says what would be right
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f'{text!r} is not a JSON object such as {{"limit": 5}}')
    return value


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object of members. Raises ValueError for a name that occurs twice."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a name stands in an object twice")
    return found


def port(text: str) -> int:
    """Return a TCP port. Raises ArgumentTypeError."""
    if re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= _LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {_LAST_PORT}")


def host_and_port(text: str) -> tuple[str, int]:
    """Return a host and a port. Raises ArgumentTypeError."""
    host, _, number = text.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]", host):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as localhost:8080")
    return host.strip("[]"), port(number)


def a_moment(text: str) -> datetime:
    """Parse a time with its zone, or an age such as 2h: so long ago. Raises ArgumentTypeError."""
    if _AGE.fullmatch(text):
        with suppress(OverflowError):
            return datetime.now(UTC) - timedelta(seconds=age(text))
    with suppress(argparse.ArgumentTypeError):
        return a_time(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither a time such as 2026-11-25T10:00:00Z nor an age such as 30m, 2h or 1d"
    )


def a_later_moment(text: str) -> datetime:
    """Parse a time to come, or a duration such as 2h: from now on. Raises ArgumentTypeError."""
    now = datetime.now(UTC).replace(microsecond=0)
    moment = None
    with suppress(argparse.ArgumentTypeError, OverflowError):
        moment = now + timedelta(seconds=age(text)) if _AGE.fullmatch(text) else a_time(text)
    if moment is not None and moment <= now:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time to come")
    if moment is not None:
        return moment
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither a time such as 2026-11-25T10:00:00Z nor a duration such as 30m or 2h"
    )


def a_count(text: str) -> int:
    """Return a number of records. Raises ArgumentTypeError."""
    if re.fullmatch("[0-9]{1,6}", text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999")
