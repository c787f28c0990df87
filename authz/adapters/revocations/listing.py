"""Keeps the revocations of a store as last seen, and says what a newer listing changes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf

from authz.adapters.entry_file.telling import MOST_TOLD
from authz.adapters.pacing import paced
from authz.core.entry_lines import MAX_LINE_BYTES
from authz.core.revocation_table import Revocations
from authz.core.revocations import MAX_BYTES, Revocation, RevocationError, decode, read_entry


class ListingError(Exception):
    """A listing is too large to be used; the message is for operators."""


@dataclass(slots=True)
class Changed:
    """The first entries that were added and removed, how many there are, and what is invalid."""

    added: list[Revocation] = field(default_factory=list)
    removed: list[Revocation] = field(default_factory=list)
    invalid: dict[str, str] = field(default_factory=dict)
    count_added: int = 0
    count_removed: int = 0

    def __bool__(self) -> bool:
        """Tell whether anything in force has changed."""
        return bool(self.count_added or self.count_removed)

    def add(self, entry: Revocation) -> None:
        """Note an added entry."""
        self.count_added += 1
        if self.count_added <= MOST_TOLD:
            self.added.append(entry)

    def remove(self, line: bytes) -> None:
        """Note a removed entry."""
        self.count_removed += 1
        if self.count_removed <= MOST_TOLD:
            self.removed.append(decode(line))

    def is_invalid(self, name: str, why: str) -> None:
        """Note an invalid entry."""
        if len(self.invalid) < MOST_TOLD:
            self.invalid[name] = why


class KnownEntries:
    """The valid entries of the store, by their ids. A single thread changes them.

    Attributes:
        current: those that have not expired, for checks.
        lines: the lines of all of them.
        invalid: the ids of the lines that could not be read.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.current = Revocations()
        self.lines: dict[str, bytes] = {}
        self.invalid: set[str] = set()
        self._expiring: list[tuple[float, str]] = []  # a heap
        self._expired_at = -inf  # unix seconds, by which the latest entry was left out as expired

    def put(self, name: str, line: bytes, now: float, changed: Changed) -> None:
        """Put an entry into force; one that is invalid leaves what was there under its id."""
        before = self.lines.get(name)
        if line == before:
            self.invalid.discard(name)
            return
        try:
            entry = _read(line)
        except RevocationError as error:
            if name not in self.invalid:
                changed.is_invalid(name, str(error))
            self.invalid.add(name)
            return
        self.invalid.discard(name)
        if entry.is_over(now):
            self._expired_at = max(self._expired_at, now)
        else:
            self.current.add(line, entry)
            changed.add(entry)
        if entry.expires is not None:
            heappush(self._expiring, (entry.expires.timestamp(), name))
        self.lines[name] = line
        if before is not None:  # last: what both revoke stays so all the time
            self._remove(before, changed)

    def drop(self, name: str, changed: Changed) -> None:
        """Take an entry back."""
        self.invalid.discard(name)
        line = self.lines.pop(name, None)
        if line is not None:
            self._remove(line, changed)

    def _remove(self, line: bytes, changed: Changed) -> None:
        if line in self.current.lines:
            self.current.remove(line)
            changed.remove(line)

    def take(self, listed: Mapping[str, bytes], kept: Mapping[str, bytes], now: float) -> Changed:
        """Put a whole listing, and the entries of ``kept``, into force in place of what is there.

        Raises ListingError for a listing that is too large; then nothing has changed.
        """
        _check_size(listed)
        changed = Changed()
        for name, line in paced(listed.items()):
            self.put(name, line, now, changed)
        gone = [name for name in paced(self.lines) if name not in listed and name not in kept]
        for name in paced(gone):
            self.drop(name, changed)
        self.invalid = {name for name in self.invalid if name in listed}
        return changed

    def missing_in(self, listed: Mapping[str, bytes], now: float) -> Iterator[tuple[str, bytes]]:
        """Yield the ids and lines of entries that are in force and not listed."""
        for name, line in paced(self.lines.items()):
            if name not in listed and not decode(line).is_over(now):
                yield name, line

    def expire(self, now: float) -> bool:
        """Leave out of force what has expired; return whether that changes what is in force.

        What was left out counts again if the clock was set back.
        """
        gone, revived = self.current.expire(now), 0
        if now < self._expired_at:
            self._expired_at = now
            revived = self._revive(now)
        elif gone:
            self._expired_at = now
        return bool(gone or revived)

    def _revive(self, now: float) -> int:
        """Put into force what was left out and has not expired; return the number of entries."""
        out = [line for line in paced(self.lines.values()) if line not in self.current.lines]
        entries = [(line, decode(line)) for line in paced(out)]
        back = [(line, entry) for line, entry in entries if not entry.is_over(now)]
        for line, entry in paced(back):  # as often as ids have it
            self.current.add(line, entry)
        return len(back)

    def expired(self, now: float, most: int) -> list[str]:
        """Return the ids of entries that have expired, each of them once."""
        names: list[str] = []
        while self._expiring and self._expiring[0][0] <= now and len(names) < most:
            name = heappop(self._expiring)[1]
            if name in self.lines and decode(self.lines[name]).is_over(now):
                names.append(name)
        return names


def _read(line: bytes) -> Revocation:
    if len(line) > MAX_LINE_BYTES:
        raise RevocationError(f"longer than {MAX_LINE_BYTES} bytes")
    return read_entry(line)


def _check_size(listed: Mapping[str, bytes]) -> None:
    size = sum(len(name) + len(line) for name, line in paced(listed.items()))
    if size > MAX_BYTES:
        raise ListingError(f"the store lists more than {MAX_BYTES} bytes of revocations")
