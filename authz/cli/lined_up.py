"""Tables and times, as verbs print them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

_ALWAYS: Final = 2  # columns that are shown; each other is left out if nothing has it


def lined_up(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, without empty columns, and without the spaces at their ends."""
    if not rows:
        return
    columns = list(zip(headings, *rows, strict=True))
    filled = [column for at, column in enumerate(columns) if at < _ALWAYS or any(column[1:])]
    widths = [max(map(len, column)) for column in filled]
    for row in zip(*filled, strict=True):
        cells = zip(row, widths, strict=True)
        yield "  ".join(text.ljust(width) for text, width in cells).rstrip()


def moment(time: datetime | None) -> str:
    """Return a time as RFC 3339 has it, in UTC; "" for None."""
    if time is None:
        return ""
    with suppress(OverflowError):  # it may be in the year 0 or 10000 in UTC
        time = time.astimezone(UTC)
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")
