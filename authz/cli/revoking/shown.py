"""Shows revocations: an entry in a line, entries in a table, and their members for JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from authz.cli.lined_up import lined_up, moment
from authz.cli.revoking.known import Known
from authz.config.printable import one_line
from authz.core.revocations import REVOKED, Revocation

MOST_SHOWN: Final = 20  # of the matches in a message, and of the entries still in force
_HEADINGS: Final = (
    *("ID", "REVOKED", "TOKENS ISSUED BEFORE", "SINCE", "EXPIRES", "BY", "SOURCE", "NOTE"),
)


class Shown(msgspec.Struct, frozen=True):
    """An entry, its id, and the sources that have it: the line of each, None in the store."""

    id: str
    entry: Revocation
    lines: Mapping[str, int | None]

    def members(self, known: Known) -> dict[str, Any]:
        """Return the members of its JSON object."""
        return {
            "id": self.id,
            "sources": list(self.lines),
            "line": self.lines.get("file"),
            **msgspec.to_builtins(self.entry),
            "is_in_config": known.has(self.entry),
            "is_expired": is_over(self.entry),
        }


def is_over(entry: Revocation) -> bool:
    """Tell whether an entry has expired, so that it counts no more."""
    return entry.is_over(datetime.now(UTC).timestamp())


def what(entry: Revocation) -> str:
    """Return what an entry revokes, as "agent ID" and the like."""
    pairs = zip(REVOKED, entry.revoked, strict=True)
    return ", ".join(
        name if value is True else f"{name} {one_line(str(value))}"
        for name, value in pairs
        if value is not None
    )


def line_of(name: str, entry: Revocation) -> str:
    """Return an entry in one line: its id, what it revokes, its times, who and why."""
    told = [
        what(entry),
        f"issued before {moment(entry.before)}" if entry.before else "",
        f"since {moment(entry.since)}" if entry.since else "",
        f"until {moment(entry.expires)}" if entry.expires else "",
        f"by {one_line(entry.by)}" if entry.by else "",
        one_line(entry.note or ""),
    ]
    return f"{one_line(name)}: {', '.join(filter(None, told))}"


def some(start: str, entries: Sequence[Shown]) -> list[str]:
    """Return the lines of some entries, and the number of the others."""
    lines = [f"{start}{line_of(shown.id, shown.entry)}" for shown in entries[:MOST_SHOWN]]
    more = len(entries) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def table(entries: Iterable[Shown], known: Known, *, with_source: bool) -> Iterator[str]:
    """Yield the lines of a table of entries."""
    rows = [_row(shown, known, with_source=with_source) for shown in entries]
    return lined_up(_HEADINGS, rows)


def _row(shown: Shown, known: Known, *, with_source: bool) -> tuple[str, ...]:
    entry = shown.entry
    unknown = "" if known.has(entry) else "(the config does not know it)"
    over = "(expired: it does not count)" if is_over(entry) else ""
    return (
        one_line(shown.id),
        what(entry),
        moment(entry.before),
        moment(entry.since),
        moment(entry.expires),
        one_line(entry.by or ""),
        ", ".join(shown.lines) if with_source else "",
        " ".join(filter(None, (one_line(entry.note or ""), unknown, over))),
    )
