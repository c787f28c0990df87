"""Shows records for a terminal: each in an aligned line, or one with all of its members."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from authz.adapters.audit.records.record import safe_json
from authz.config.printable import one_line
from authz.core import strict_json
from authz.core.reason import Reason
from authz.review.audit_reading.entry import Entry
from authz.review.audit_records import MAX_DEPTH

_SCHEME: Final = "spiffe://"  # all agents have it; a line is short without it
# Of time, answer, agent, principal and decision ID: a longer text is shown in full, and moves the
# rest of its own line alone.
_MAX_WIDTHS: Final = (23, 26, 44, 28, 40)
MAX_CHARS: Final = 300  # of a text in a line: a path may have thousands


class RecordColumns:
    """Aligns records in lines. A column is as wide as its longest text until now, to a limit."""

    def __init__(self) -> None:
        """Begin with narrow columns."""
        self._widths = [0] * len(_MAX_WIDTHS)

    def fit(self, entries: Sequence[Entry]) -> None:
        """Widen the columns for some records beforehand."""
        for entry in entries:
            self._widen(_cells(entry))

    def line(self, entry: Entry) -> str:
        """Return a record's line."""
        cells = _cells(entry)
        self._widen(cells)
        padded = [text.ljust(width) for text, width in zip(cells, self._widths, strict=False)]
        return "  ".join([*padded, *cells[len(padded) :]])

    def _widen(self, cells: Sequence[str]) -> None:
        for at, most in enumerate(_MAX_WIDTHS):
            if self._widths[at] < len(cells[at]) <= most:
                self._widths[at] = len(cells[at])


def _cells(entry: Entry) -> list[str]:
    """Return the columns of a record; the last one is what was asked for."""
    answer = "allow" if entry.is_allow else f"deny {entry.reason}"
    cells = [
        moment_text(entry.time),
        answer,
        entry.agent.removeprefix(_SCHEME) or "-",
        entry.principal or "-",
        entry.decision_id,
        entry.operation,
    ]
    return [shortened(text) for text in cells]


def moment_text(time: datetime | None) -> str:
    """Return a time in UTC, to the millisecond."""
    if time is None:
        return ""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")


def shortened(text: str) -> str:
    """Return a text in one line that is safe for a terminal, cut if it is very long."""
    cut = text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."
    return one_line(cut)


def unchanged_line(line: bytes) -> bytes:
    """Return a record as its log has it, with its end.

    A terminal obeys none of what our logs hold; what another writer left unescaped is escaped.
    """
    return safe_json(line.strip()) + b"\n"


def record_members(line: bytes) -> dict[str, Any]:
    """Return all members of a record. Raises StrictJsonError."""
    value = strict_json.loads(line, MAX_DEPTH)
    if not isinstance(value, dict):
        raise strict_json.StrictJsonError("not an object")
    return value


def record_lines(members: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a record: its members that are not empty, and the words of a reason."""
    shown = {name: value for name, value in members.items() if value not in ("", [], {}, None)}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        first, *more = _value_lines(value)
        yield one_line(f"{name.ljust(width)}  {first}{_meaning(name, value)}")
        yield from (one_line(f"{'':{width}}  {text}") for text in more)
    if empty := [name for name in members if name not in shown]:
        yield one_line(f"empty: {', '.join(empty)}")


def _value_lines(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return [f"{name}: {_plain(one)}" for name, one in value.items()]
    return [_plain(value)]


def _plain(value: object) -> str:
    if isinstance(value, dict) and value:
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _meaning(name: str, value: object) -> str:
    """Return what a reason means, for those who don't know the codes by heart."""
    if name != "reason":
        return ""
    found = next((reason for reason in Reason if reason.code == value), None)
    return f" ({found.message})" if found else ""
