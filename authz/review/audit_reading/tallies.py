"""Counts names that clients choose, in bounded memory, and latencies by their magnitude."""

from collections.abc import Callable, Hashable, Iterator
from hashlib import sha256
from heapq import nlargest
from math import ceil
from typing import Final, Generic, Protocol, TypeVar

MAX_NAMES: Final = 4096  # of one kind that are surely kept: far more than anybody reads
MAX_NAME_CHARS: Final = 256  # agents, rules and people have shorter names
_STEPS: Final = 64  # of a doubling of the latency: 2 % of it
K = TypeVar("K", bound=Hashable)


class Counted(Protocol):
    """Something that counts records."""

    count: int


V = TypeVar("V", bound=Counted)


class Tally:
    """A count of records."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        """Begin with 0."""
        self.count = 0


class BoundedTable(Generic[K, V]):
    """Counts by key, of which the most frequent are kept.

    When there are twice as many keys as ``most``, the rarer half is left out. So a key that has
    more than a ``most``-th of all records is always kept, however many others a client makes up,
    and its count is at most ``missed`` too low.

    Attributes:
        left_out: how many records were counted by keys that were left out.
        missed: the largest count that a kept key may lack.
    """

    __slots__ = ("_most", "_new", "left_out", "missed", "values")

    def __init__(self, new: Callable[[], V], most: int = MAX_NAMES) -> None:
        """Begin without keys. ``new`` makes the value of a key."""
        self._new, self._most = new, most
        self.values: dict[K, V] = {}
        self.left_out = 0
        self.missed = 0

    def of(self, key: K) -> V:
        """Return the value of a key, a new one if it is not there."""
        value = self.values.get(key)
        if value is None:
            if len(self.values) >= 2 * self._most:
                self._halve()
            value = self.values[key] = self._new()
        return value

    def largest(self, count: int) -> list[tuple[K, V]]:
        """Return the keys with the most records, and their values."""
        return nlargest(count, self.values.items(), key=lambda item: item[1].count)

    def _halve(self) -> None:
        ranked = self.largest(len(self.values))
        self.values = dict(ranked[: self._most])
        out = [value.count for _, value in ranked[self._most :]]
        self.left_out += sum(out)
        self.missed += max(out)


def bounded_name(name: str) -> str:
    """Return a name, or what stands for a very long one: its beginning and a digest."""
    if len(name) <= MAX_NAME_CHARS:
        return name
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{name[: MAX_NAME_CHARS - 20]}...{digest}"


class Latencies:
    """Latencies in microseconds: how many were about as long. A percentile is at most 2 % high."""

    def __init__(self) -> None:
        """Begin without any."""
        self._counts: dict[tuple[int, int], int] = {}
        self.count = 0
        self.most = 0

    def add(self, microseconds: int) -> None:
        """Count a latency."""
        value = max(0, microseconds)
        shift = max(0, value.bit_length() - _STEPS.bit_length())
        bucket = (shift, value >> shift)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.most = max(self.most, value)

    def percentile(self, percent: float) -> int:
        """Return the latency that so many percent of all do not exceed; 0 without any."""
        left = ceil(self.count * percent / 100)
        for (shift, value), count in self._sorted():
            left -= count
            if left <= 0:
                return min(self.most, ((value + 1) << shift) - 1)
        return self.most

    def _sorted(self) -> Iterator[tuple[tuple[int, int], int]]:
        yield from sorted(self._counts.items())
