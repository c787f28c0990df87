"""A map that forgets: bounded by entries and by bytes, quick to ask, without a lock.

Two halves: new entries and those used again go to the young half; when it is full it becomes the
old one, and what was in the old one is dropped. So what is used stays, a flood of what is used once
can't push it out, and there is no list to keep in order. A race between threads can lose an entry,
never change one.
"""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generation(Protocol):
    """What remembered values depend on beside their keys: a number that grows with each change."""

    generation: int


class BoundedMap(Generic[Key, Value]):
    """At most so many entries, and at most so many bytes by ``weigh``, which gives one's bytes."""

    def __init__(self, entries: int, max_bytes: int, weigh: Callable[[Key, Value], int]) -> None:
        """Begin empty. With 0 of either, nothing is kept."""
        self._entries_of_half = entries // 2
        self._bytes_of_half = max_bytes // 2
        self._weigh = weigh
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._young_bytes = 0
        self._old_bytes = 0

    def get(self, key: Key) -> Value | None:
        """The value, None when it is not there (any more)."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, in place of what was there; not one that is too large for a half."""
        weight = self._weigh(key, value)
        if not self._entries_of_half or weight > self._bytes_of_half:
            return
        is_full = len(self._young) >= self._entries_of_half
        if is_full or self._young_bytes + weight > self._bytes_of_half:
            self._old, self._young = self._young, {}
            self._old_bytes, self._young_bytes = self._young_bytes, 0
        # One put in anew counts again until its half is dropped: too much, never too little.
        self._young[key] = value
        self._young_bytes += weight

    def __len__(self) -> int:
        """Entries held; one used again may count twice."""
        return len(self._young) + len(self._old)

    @property
    def bytes(self) -> int:
        """Bytes held, by weight."""
        return self._young_bytes + self._old_bytes
