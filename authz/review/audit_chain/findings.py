"""Collects what a verification finds, each with its file and line."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

MAX_FINDINGS: Final = 1000  # a file of another kind has a fault in each of its lines

MAX_MESSAGE_CHARS: Final = 1000


class Severity(StrEnum):
    """Whether a finding contradicts that the log is complete and unchanged."""

    ERROR = "error"
    NOTE = "note"


class Place(NamedTuple):
    """A line of a file; ``line`` 0 is the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        """Return the place as compilers write it."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, and where; ``last`` is the last line that it is about."""

    place: Place
    last: int
    severity: Severity
    message: str

    def __str__(self) -> str:
        """Return the finding as a line."""
        to = f"-{self.last}" if self.last > self.place.line > 0 else ""
        return f"{self.place}{to}: {self.severity}: {self.message}"

    def members(self) -> dict[str, Any]:
        """Return the finding as members of a JSON object."""
        return {
            "file": self.place.file,
            "line": self.place.line or None,
            "last_line": self.last or None,
            "severity": self.severity.value,
            "message": self.message,
        }


@dataclass(slots=True)
class Findings:
    """Findings in the order in which they were made, the first MAX_FINDINGS of them.

    Attributes:
        errors: how many errors there were.
        notes: how many notes there were.
        left_out: how many findings there were beyond those kept.
    """

    errors: int = 0
    notes: int = 0
    left_out: int = 0
    _all: list[Finding] = field(default_factory=list)

    def error(self, place: Place, message: str, last: int = 0) -> None:
        """Add what contradicts that the log is complete and unchanged."""
        self.errors += 1
        self._add(Finding(place, last or place.line, Severity.ERROR, message))

    def note(self, place: Place, message: str, last: int = 0) -> None:
        """Add what an operator should know, and what a signature covers."""
        self.notes += 1
        self._add(Finding(place, last or place.line, Severity.NOTE, message))

    def told(self, place: Place, message: str, *, is_error: bool) -> None:
        """Add an error or a note."""
        (self.error if is_error else self.note)(place, message)

    def _add(self, finding: Finding) -> None:
        finding = replace(finding, message=printable(finding.message))
        if self._all and _follows(self._all[-1], finding):
            before = self._all[-1]
            self._all[-1] = Finding(before.place, finding.last, before.severity, before.message)
        elif len(self._all) < MAX_FINDINGS:
            self._all.append(finding)
        else:
            self.left_out += 1

    def __iter__(self) -> Iterator[Finding]:
        """Yield the findings."""
        return iter(self._all)


def printable(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Return a text, which may quote a hostile line, as a terminal can show it."""
    shown = "".join(one if one.isprintable() else "?" for one in text[:limit])
    return shown + ("..." if len(text) > limit else "")


def _follows(before: Finding, finding: Finding) -> bool:
    """Tell whether a finding says the same of the next line."""
    return (
        before.place.file == finding.place.file
        and 0 < finding.place.line == before.last + 1
        and (before.severity, before.message) == (finding.severity, finding.message)
    )
