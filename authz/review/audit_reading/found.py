"""Finds the records that fit some filters among lines, and counts the lines that are no records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple

from authz.review.audit_reading.entry import Entry
from authz.review.audit_reading.entry_reader import EntryReader
from authz.review.audit_reading.filters import Filters
from authz.review.audit_records import OwnLines

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
        own: the lines that logs have about themselves.
    """

    invalid: int = 0
    told: list[str] = field(default_factory=list)
    own: OwnLines = field(default_factory=OwnLines)

    def add_invalid(self, place: str, why: str) -> None:
        """Count an invalid line, and keep the place of the first ones."""
        self.invalid += 1
        if len(self.told) < MAX_TOLD:
            self.told.append(f"{place}: {why}")

    def lines(self) -> Iterator[str]:
        """Yield what a person must know of lines that were passed over."""
        if self.invalid:
            first = "; ".join(self.told)
            yield f"lines that are not audit records: {self.invalid}, such as {first}"
        yield from self.own.told()


def find_records(
    lines: Iterable[tuple[str, int, bytes]], filters: Filters, passed: PassedOver
) -> Iterator[Found]:
    """Yield the records that fit. ``lines`` are place, number and text of each."""
    read = EntryReader().read
    may_fit = filters.may_fit if filters.texts else None
    for place, number, line in lines:
        if may_fit is not None and not may_fit(line):
            continue
        entry = read(line)
        if isinstance(entry, str):
            passed.add_invalid(f"{place}:{number}" if number else place, entry)
        elif entry.audit:
            passed.own.add(entry.audit, entry.count)
        elif entry.time is not None and filters.fits(entry):
            yield Found(entry.time, line, entry)
