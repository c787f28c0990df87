"""A store in memory that goes away, comes back, and loses what it had, as servers do."""

import secrets
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import Change, Listing, StoreAwayError, Version
from authz.core.revocations import Revocation


@dataclass(frozen=True)
class _Copy:
    epoch: str
    number: int
    entries: dict[str, bytes]
    changes: list[Change]


class ShakyStore(MemoryStore):
    """Its clock goes on with every change, so that no two are at the same time."""

    def __init__(self) -> None:
        """Begin empty, and answering."""
        self._ticks = 1000.0
        super().__init__(wall=self._tick)
        self._epoch = ""
        self.is_away = False
        self.is_full = False

    def _tick(self) -> float:
        self._ticks += 1
        return self._ticks

    def held(self) -> dict[str, bytes]:
        """What it holds, whether it answers or not."""
        return dict(self._entries)

    @property
    def number(self) -> int:
        """The number of its version."""
        return self._number

    def lose_all(self) -> None:
        """Forget everything, as after a restart without a file."""
        self.restore(_Copy("", 0, {}, []))

    def copy(self) -> _Copy:
        """Return its state, such as a replica has it."""
        return _Copy(self._epoch, self._number, dict(self._entries), list(self._changes))

    def restore(self, copy: _Copy) -> None:
        """Go back to an earlier state, as after a failover."""
        self._epoch, self._number = copy.epoch, copy.number
        self._entries, self._changes = dict(copy.entries), deque(copy.changes)

    def _answers(self) -> None:
        if self.is_away:
            raise StoreAwayError("it is away")

    def version(self, seconds: float) -> Version:
        """Answer, or not."""
        self._answers()
        return super().version(seconds)

    def entries(self, seconds: float) -> Listing:
        """Answer, or not."""
        self._answers()
        return super().entries(seconds)

    def changes(self, most: int, seconds: float) -> Sequence[Change]:
        """Answer, or not."""
        self._answers()
        return super().changes(most, seconds)

    def add(self, entries: Mapping[str, bytes], by: str, seconds: float) -> Version:
        """Answer, or not; the first change makes an epoch."""
        self._answers()
        if self.is_full:
            raise StoreAwayError("it is full")
        self._epoch = self._epoch or secrets.token_hex(8)
        return super().add(entries, by, seconds)

    def take_back(self, ids: Collection[str], by: str, note: str, seconds: float) -> Listing:
        """Answer, or not."""
        self._answers()
        return super().take_back(ids, by, note, seconds)

    def revoke(self, entry: Revocation, by: str = "admin") -> None:
        """Add an entry."""
        self.add({entry.id: entry.line}, by, 1.0)
