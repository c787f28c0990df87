"""A register in this process's memory: entries by their ids, with a version and a log."""

import secrets
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from authz.adapters.store.store import Change, Listing, Version

MAX_CHANGES: Final = 10_000


class MemoryRegister:
    """A register in memory."""

    def __init__(self, wall: Callable[[], float]) -> None:
        """Begin empty; ``wall`` is the clock."""
        self._register_lock = threading.Lock()
        self._epoch = secrets.token_hex(8)
        self._number = 0
        self._entries: dict[str, bytes] = {}
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)
        self._wakes: list[Callable[[], None]] = []
        self._wall = wall

    def version(self, seconds: float) -> Version:  # noqa: ARG002 - nothing waits
        """Return the version in force."""
        with self._register_lock:
            return Version(self._epoch, self._number)

    def entries(self, seconds: float) -> Listing:  # noqa: ARG002 - nothing waits
        """Return all entries."""
        with self._register_lock:
            return self._listing()

    def add(self, entries: Mapping[str, bytes], by: str, seconds: float) -> Version:  # noqa: ARG002 - nothing waits
        """Add entries that are not there yet."""
        with self._register_lock:
            for name, entry in entries.items():
                if name not in self._entries:
                    self._entries[name] = entry
                    self._changed(by, name, entry, is_added=True)
            version = Version(self._epoch, self._number)
        self._wake()
        return version

    def take_back(self, ids: Collection[str], by: str, note: str, seconds: float) -> Listing:  # noqa: ARG002 - nothing waits
        """Remove entries, and return those that stay."""
        with self._register_lock:
            for name in ids:
                entry = self._entries.pop(name, None)
                if entry is not None:
                    self._changed(by, name, entry, is_added=False, note=note)
            listing = self._listing()
        self._wake()
        return listing

    def changes(self, most: int, seconds: float) -> Sequence[Change]:  # noqa: ARG002 - nothing waits
        """Return the last changes, the newest first."""
        with self._register_lock:
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
