"""Counts what happened, by key, for any number of threads; a scrape reads the counts."""

import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

_KeyT = TypeVar("_KeyT", bound=Hashable)


class LockedCounter(Generic[_KeyT]):
    """The counts since the start. Not for remembered decisions: it takes a lock."""

    def __init__(self, zeros: Iterable[_KeyT] = ()) -> None:
        """Begin with no counts, but 0 of ``zeros``.

        An alert on what is rare needs a 0 to be seen first: Prometheus' increase() of a series that
        begins with 1 is 0.
        """
        self._lock = threading.Lock()
        self._counts: Counter[_KeyT] = Counter(dict.fromkeys(zeros, 0))

    def add(self, *keys: _KeyT) -> None:
        """Count each key once more."""
        with self._lock:
            self._counts.update(keys)

    def counts(self) -> Mapping[_KeyT, int]:
        """Return the counts so far, which do not change any more."""
        with self._lock:
            return dict(self._counts)
