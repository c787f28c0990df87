"""The store of a single process, in its memory: nothing is shared, and a restart forgets it."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import msgspec
from cachetools import TLRUCache

from authz.adapters.store.memory_budgets import MemoryBudgets
from authz.adapters.store.store import (
    AlreadyUsedError,
    Change,
    Charge,
    Listing,
    Mark,
    StoreForgotError,
    StoreFullError,
    StoreStatus,
    Version,
)

MAX_CHANGES: Final = 10_000


class _Used(msgspec.Struct, frozen=True, gc=False):
    attempt: bytes
    until: float


def _until(_key: bytes, kept: _Used, _now: float) -> float:
    return kept.until


class MemoryStore:
    """A store in memory; ``marks`` is the most marks that it holds."""

    def __init__(self, marks: int = 200_000, wall: Callable[[], float] = time.time) -> None:
        """Begin empty."""
        self._lock = threading.Lock()  # never on the path of cached decisions
        self._now = self._ended = 0.0
        self._marks: TLRUCache[bytes, _Used] = TLRUCache(marks, _until, lambda: self._now)
        self._budgets = MemoryBudgets()
        self._agreed: dict[str, bytes] = {}
        self._epoch = secrets.token_hex(8)
        self._number = 0
        self._entries: dict[str, bytes] = {}
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)
        self._wakes: list[Callable[[], None]] = []
        self._wall = wall

    def start(self) -> None:
        """Do nothing: memory is always there."""

    def close(self) -> None:
        """Do nothing."""

    def status(self) -> StoreStatus:
        """Return how many marks are held."""
        return StoreStatus(
            is_shared=False, is_away=False, answered_at=0.0, calls={}, marks=len(self._marks)
        )

    def use(self, mark: Mark, now: float, seconds: float) -> None:  # noqa: ARG002 - nothing waits
        """Mark as used, as ``Marks.use``."""
        with self._lock:
            self._now = now
            self._forget()
            used = self._marks.get(mark.key)
            if used is not None:
                if used.attempt != mark.attempt:
                    raise AlreadyUsedError
                return
            if mark.until <= self._ended:
                raise StoreForgotError("the clock was set back: marks of that time are forgotten")
            if len(self._marks) >= self._marks.maxsize:  # it would forget a mark that is in force
                raise StoreFullError("the replay store is full")
            self._marks[mark.key] = _Used(mark.attempt, mark.until)

    def _forget(self) -> None:
        """Forget the marks that have ended, and remember until when they would have counted.

        A clock that goes forward for a moment ends marks that count again once it is set back.
        """
        for _, used in self._marks.expire():
            self._ended = max(self._ended, used.until)

    def agreed(self, name: str, proposal: bytes, seconds: float) -> bytes:  # noqa: ARG002 - likewise
        """Return the first proposal for a name."""
        with self._lock:
            return self._agreed.setdefault(name, proposal)

    def spend(self, charges: Sequence[Charge], now: float, seconds: float) -> None:  # noqa: ARG002 - likewise
        """Spend all charges, or none, as ``Budgets.spend``."""
        self._budgets.spend(charges, now)

    def version(self, seconds: float) -> Version:  # noqa: ARG002 - likewise
        """Return the version in force."""
        with self._lock:
            return Version(self._epoch, self._number)

    def entries(self, seconds: float) -> Listing:  # noqa: ARG002 - likewise
        """Return all revocations."""
        with self._lock:
            return self._listing()

    def add(self, entries: Mapping[str, bytes], by: str, seconds: float) -> Version:  # noqa: ARG002 - likewise
        """Add revocations that are not there yet."""
        with self._lock:
            for name, entry in entries.items():
                if name not in self._entries:
                    self._entries[name] = entry
                    self._changed(by, name, entry, is_added=True)
            version = Version(self._epoch, self._number)
        self._wake()
        return version

    def take_back(self, ids: Collection[str], by: str, note: str, seconds: float) -> Listing:  # noqa: ARG002 - likewise
        """Remove revocations, and return those that stay."""
        with self._lock:
            for name in ids:
                entry = self._entries.pop(name, None)
                if entry is not None:
                    self._changed(by, name, entry, is_added=False, note=note)
            listing = self._listing()
        self._wake()
        return listing

    def changes(self, most: int, seconds: float) -> Sequence[Change]:  # noqa: ARG002 - likewise
        """Return the last changes, the newest first."""
        with self._lock:
            return list(self._changes)[: -most - 1 : -1]

    def watch(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called after each change."""
        self._wakes.append(wake)

    def _listing(self) -> Listing:
        return Listing(Version(self._epoch, self._number), dict(self._entries))

    def _changed(self, by: str, name: str, entry: bytes, *, is_added: bool, note: str = "") -> None:
        self._number += 1
        change = Change(self._number, self._wall(), by, is_added, name, entry, note)
        self._changes.append(change)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake()
