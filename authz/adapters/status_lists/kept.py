"""The status lists of an issuer that were fetched: the last good one of each place, bounded.

Laws of this file:
1. ``get`` is one look-up in a dict, and never waits.
2. A list never replaces a newer one, by their iat: a server or a cache on the way that serves an
   old list can't bring back what it revokes.
3. A list that differs from the last one of its place is news, also if that one is no longer kept:
   decisions may be remembered that were made by it.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from authz.core.delegation.status_list_token import StatusList, StatusListError

# Of one issuer. Its tokens name its lists, so that it decides how many there are; a million tokens
# in flight fill one.
MAX_LISTS: Final = 64
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_MARKS: Final = 4096  # of lists seen; some 150 bytes each


@dataclass(slots=True, eq=False)
class KeptList:
    """The last good list of a place.

    Attributes:
        used: monotonic seconds of the last look-up.
        refresh_at: monotonic seconds of the next fetch.
        failures: fetches in a row since then that failed.
    """

    found: StatusList
    used: float
    refresh_at: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Mark:
    """What stays known of the last list of a place."""

    digest: bytes
    issued_at: float


class KeptLists:
    """The lists of an issuer by their places. Any thread may look up; fetches take lists."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin empty."""
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._lists: dict[str, KeptList] = {}
        self._marks: dict[str, _Mark] = {}

    def get(self, uri: str) -> StatusList | None:
        """Return the last good list of a place, None if there is none."""
        kept = self._lists.get(uri)
        if kept is None:
            return None
        kept.used = self._monotonic()
        return kept.found

    def take(self, uri: str, found: StatusList, refresh_seconds: float) -> bool:
        """Keep a list, to be fetched again after so many seconds; return whether it is news.

        Raises StatusListError for one that is older than the last one of its place.
        """
        mark = _Mark(sha256(bytes([found.bits]) + found.numbers).digest(), found.issued_at)
        now = self._monotonic()
        with self._lock:
            is_news = self._is_news(uri, mark)
            before = self._lists.pop(uri, None)
            used = now if before is None else before.used
            self._make_room(len(found.numbers))
            self._lists[uri] = KeptList(found, used, now + refresh_seconds)
        return is_news

    def _is_news(self, uri: str, mark: _Mark) -> bool:
        before = self._marks.get(uri)
        if before is not None and mark.issued_at < before.issued_at:
            raise StatusListError("it is older than the last one")
        forgets = before is None and len(self._marks) >= MAX_MARKS
        if forgets:  # with the caches, that no decision by a forgotten list is remembered
            self._marks.clear()
        self._marks[uri] = mark
        return forgets or (before is not None and before.digest != mark.digest)

    def _make_room(self, size: int) -> None:
        """Drop the lists that were not used for longest, until one more of this size fits."""
        total = size + sum(len(kept.found.numbers) for kept in self._lists.values())
        while self._lists and (len(self._lists) >= MAX_LISTS or total > MAX_BYTES):
            oldest = min(self._lists, key=lambda uri: self._lists[uri].used)
            total -= len(self._lists.pop(oldest).found.numbers)

    def due(self, used_within_seconds: float) -> list[str]:
        """Return the places whose lists must be fetched again.

        Lists that were not used for so long are dropped.
        """
        now = self._monotonic()
        with self._lock:
            for uri, kept in list(self._lists.items()):
                if now - kept.used > used_within_seconds:
                    del self._lists[uri]
            return [uri for uri, kept in self._lists.items() if now >= kept.refresh_at]

    def postpone(self, uri: str, pause_seconds: Callable[[int], float]) -> None:
        """Note a failed fetch; ``pause_seconds`` tells the pause after so many in a row."""
        with self._lock:
            kept = self._lists.get(uri)
            if kept is not None:
                kept.failures += 1
                kept.refresh_at = self._monotonic() + pause_seconds(kept.failures)

    def fetched_at(self) -> list[float]:
        """Return when each list was fetched, in unix seconds."""
        return [kept.found.fetched_at for kept in list(self._lists.values())]
