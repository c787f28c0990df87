"""Finds the records that fit some filters among lines, and counts the lines that are no records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from authz.review.audit_reading.entry import Entry
from authz.review.audit_reading.entry_reader import EntryReader
from authz.review.audit_reading.filters import Filters

MAX_TOLD: Final = 3  # invalid lines that are told with their place


class Found(NamedTuple):
    """A record that fits: its time, its line as it is in the log, and its members."""

    time: datetime
    line: bytes
    entry: Entry


@dataclass(slots=True)
class PassedOver:
    """The lines that are no records.

    Attributes:
        invalid: count of lines that are not of an audit log; ``told`` has the first of them.
        about_itself: count of the log's lines about itself, such as checkpoints.
        dropped: count of the records that the server could not write, by its own lines.
        gaps: count of the lines that tell of a gap.
    """

    invalid: int = 0
    told: list[str] = field(default_factory=list)
    about_itself: int = 0
    dropped: int = 0
    gaps: int = 0

    def add_invalid(self, place: str, why: str) -> None:
        """Count an invalid line, and keep the place of the first ones."""
        self.invalid += 1
        if len(self.told) < MAX_TOLD:
            self.told.append(f"{place}: {why}")

    def add_own(self, entry: Entry) -> None:
        """Count a line of the log about itself."""
        self.about_itself += 1
        self.gaps += entry.audit == "gap"
        if entry.audit == "dropped":
            self.dropped += max(0, entry.count)

    def lines(self) -> Iterator[str]:
        """Yield what a person must know of lines that were passed over."""
        if self.invalid:
            yield f"{self.invalid} lines are not audit records, such as {'; '.join(self.told)}"
        if self.dropped:
            yield (
                f"{self.dropped} records are missing: the server could not write them, and says so"
            )
        if self.gaps:
            yield f"records are missing in {self.gaps} places: authz audit verify says which"


def find_records(
    lines: Iterable[tuple[str, int, bytes]], filters: Filters, passed: PassedOver
) -> Iterator[Found]:
    """Yield the records that fit. ``lines`` are place, number and text of each."""
    read = EntryReader().read
    may_fit = filters.may_fit if filters.texts else None
    for place, number, line in lines:
        if may_fit is not None and not may_fit(line) and b'"audit"' not in line:
            continue
        entry = read(line)
        if isinstance(entry, str):
            passed.add_invalid(f"{place}:{number}" if number else place, entry)
        elif entry.audit:
            passed.add_own(entry)
        elif entry.time is not None and filters.fits(entry):
            yield Found(entry.time, line, entry)
