"""A cache bounded by entries and by bytes: two generations, approximate LRU, without a lock.

New entries and entries used again go to the young half. When it is full it becomes the old half,
and the previous old half is dropped. So entries in use stay, a flood of entries used once can't
push them out, and there is no list to keep in order. A race between threads can lose an entry, but
never change its value.
"""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Generation(Protocol):
    """The version of the data that cached values depend on, beside their keys.

    Guarantees that ``generation`` grows with each change. Does not guarantee that equal content has
    an equal number.
    """

    generation: int


class Unchanging:
    """The version of data that never changes."""

    generation = 0


class BoundedMap(Generic[Key, Value]):
    """A map of at most so many entries and bytes; ``weigh`` returns the bytes of an entry."""

    def __init__(self, entries: int, max_bytes: int, weigh: Callable[[Key, Value], int]) -> None:
        """Begin empty. With 0 entries or 0 bytes, nothing is kept."""
        self._entries_of_half = entries // 2
        self._bytes_of_half = max_bytes // 2
        self._weigh = weigh
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._young_bytes = 0
        self._old_bytes = 0

    def get(self, key: Key) -> Value | None:
        """Return the value; None if it is missing or was dropped."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value in place of any other; a value too large for a half is not kept."""
        weight = self._weigh(key, value)
        if not self._entries_of_half or weight > self._bytes_of_half:
            return
        is_full = len(self._young) >= self._entries_of_half
        if is_full or self._young_bytes + weight > self._bytes_of_half:
            self._old, self._young = self._young, {}
            self._old_bytes, self._young_bytes = self._young_bytes, 0
        # A replaced entry counts twice until its half is dropped: too much, never too little.
        self._young[key] = value
        self._young_bytes += weight

    def __len__(self) -> int:
        """Return the number of entries held; an entry used again may count twice."""
        return len(self._young) + len(self._old)

    @property
    def bytes(self) -> int:
        """The bytes held, by weight."""
        return self._young_bytes + self._old_bytes
