"""The last good keys of every issuer: read without waiting, refreshed behind everybody's back.

Laws of this file:
1. ``get`` takes one look into a dict. It never waits, whatever a fetch is doing.
2. A set that was good is replaced by a good one only; a failed fetch changes nothing but its age.
3. One thread a source does all its fetching. Unknown keys can wake it, once a cooldown at most.
"""

import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from authz.keys.fetch import FetchError, KeySettings, fetch
from authz.keys.jwk import Key, KeySetError, parse_key_set

FILE_POLL_SECONDS: Final = 1.0  # a file costs nothing to look at
JITTER: Final = 0.1  # so that replicas don't fetch in step
_log: Final = logging.getLogger("authz.keys")


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where keys come from, and the algorithms that the issuer may use."""

    settings: KeySettings
    algorithms: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeySet:
    """An immutable snapshot of an issuer's keys.

    Attributes:
        keys: by kid.
        refused: (kid, why) of the keys that can't be used.
        fetched_at: unix seconds of the fetch that last confirmed it.
        usable_until: unix seconds after which it is too old to trust.
    """

    keys: Mapping[str, Key]
    refused: tuple[tuple[str, str], ...]
    fetched_at: float
    usable_until: float

    def has_same_keys(self, other: "KeySet") -> bool:
        """Whether the very same keys are in both, for the same algorithms."""
        return {k: v.thumbprint for k, v in self.keys.items()} == {
            k: v.thumbprint for k, v in other.keys.items()
        }


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What operators see of a source; ages in seconds."""

    issuer: str
    keys: int
    refused: int
    age_seconds: float | None
    last_error: str
    successes: int
    failures: int


class KeyStore:
    """Key sets by issuer.

    Attributes:
        generation: grows with every change of any issuer's keys.
    """

    def __init__(self, sources: Mapping[str, KeySource]) -> None:
        """Take the sources; ``start`` begins to fetch."""
        self.generation = 0
        self._lock = threading.Lock()
        self._sets: dict[str, KeySet] = {}
        self._fetchers: dict[str, _Fetcher] = {}
        self._started = False
        self.reconfigure(sources)

    def get(self, issuer: str) -> KeySet | None:
        """The issuer's last good set, None when there never was one. Never waits."""
        return self._sets.get(issuer)

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch because a key is not known, together with all who ask meanwhile.

        Waits for the fetch, ``timeout_seconds`` at most; returns at once within the cooldown. True
        when the key is known now.
        """
        fetcher = self._fetchers.get(issuer)
        if fetcher is None:
            return False
        known = self._sets.get(issuer)
        if known is None or key_id not in known.keys:
            fetcher.fetch_soon(timeout_seconds)
        known = self._sets.get(issuer)
        return known is not None and key_id in known.keys

    def start(self) -> None:
        """Begin to fetch, in the background."""
        self._started = True
        for fetcher in self._fetchers.values():
            fetcher.start()

    def close(self) -> None:
        """Stop fetching. A fetch under way ends by its own timeout."""
        for fetcher in self._fetchers.values():
            fetcher.stop()

    def reconfigure(self, sources: Mapping[str, KeySource]) -> None:
        """Take other sources; those that stay the same keep their keys and their thread."""
        with self._lock:
            for issuer, fetcher in list(self._fetchers.items()):
                if sources.get(issuer) != fetcher.source:
                    fetcher.stop()
                    del self._fetchers[issuer]
                    if issuer not in sources or sources[issuer].settings != fetcher.source.settings:
                        self._sets.pop(issuer, None)
            self.generation += 1
            for issuer, source in sources.items():
                if issuer not in self._fetchers:
                    fetcher = _Fetcher(issuer, source, self)
                    self._fetchers[issuer] = fetcher
                    if self._started:
                        fetcher.start()

    def take(self, fetcher: "_Fetcher", fresh: KeySet) -> None:
        """Swap in a fetched set, unless its source was replaced meanwhile."""
        with self._lock:
            issuer = fetcher.issuer
            if self._fetchers.get(issuer) is not fetcher:
                return
            before = self._sets.get(issuer)
            if before is not None and before.has_same_keys(fresh):
                fresh = replace(fresh, keys=before.keys)
                self._sets[issuer] = fresh
                return
            self._sets[issuer] = fresh
            self.generation += 1
        _log.info("keys of %s: %d usable", issuer, len(fresh.keys))
        for key_id, why in fresh.refused:
            _log.warning("keys of %s: %r is not used: %s", issuer, key_id, why)

    def ready(self) -> bool:
        """Whether every issuer has had keys."""
        return all(issuer in self._sets for issuer in self._fetchers)

    def status(self) -> list[SourceStatus]:
        """How each source is doing."""
        return [
            _status(fetcher, self._sets.get(issuer)) for issuer, fetcher in self._fetchers.items()
        ]


def _status(fetcher: "_Fetcher", known: KeySet | None) -> SourceStatus:
    return SourceStatus(
        issuer=fetcher.issuer,
        keys=len(known.keys) if known else 0,
        refused=len(known.refused) if known else 0,
        age_seconds=max(0.0, time.time() - known.fetched_at) if known else None,
        last_error=fetcher.last_error,
        successes=fetcher.successes,
        failures=fetcher.failures,
    )


@dataclass(eq=False)
class _Fetcher:
    """One source's thread."""

    issuer: str
    source: KeySource
    store: KeyStore
    successes: int = 0
    failures: int = 0
    last_error: str = ""
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _wanted: bool = False
    _stopping: bool = False
    _begun: int = 0
    _ended: int = 0
    _last_begun: float = float("-inf")  # monotonic seconds

    def start(self) -> None:
        """Fetch now, then again and again."""
        threading.Thread(target=self._run, name=f"keys {self.issuer}", daemon=True).start()

    def stop(self) -> None:
        """End after the fetch under way."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def fetch_soon(self, timeout_seconds: float) -> None:
        """Wait for the fetch under way, or for one more if the cooldown allows it."""
        with self._condition:
            if self._stopping:
                return
            under_way = self._begun > self._ended
            if not under_way and not self._wanted:
                if time.monotonic() - self._last_begun < self.source.settings.cooldown:
                    return
                self._wanted = True
                self._condition.notify_all()
            target = self._begun if under_way else self._begun + 1
            self._condition.wait_for(
                lambda: self._ended >= target or self._stopping, timeout_seconds
            )

    def _run(self) -> None:
        while True:
            with self._condition:
                if self._stopping:
                    return
                self._wanted = False
                self._begun += 1
                self._last_begun = time.monotonic()
            self._fetch()
            with self._condition:
                self._ended = self._begun
                self._condition.notify_all()
                self._condition.wait_for(lambda: self._wanted or self._stopping, self._pause())

    def _pause(self) -> float:
        settings = self.source.settings
        if settings.file is not None:
            return FILE_POLL_SECONDS
        usual = min(settings.cooldown, settings.refresh) if self.last_error else settings.refresh
        return usual * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret

    def _fetch(self) -> None:
        settings = self.source.settings
        try:
            keys, refused = parse_key_set(fetch(settings), self.source.algorithms)
        except (FetchError, KeySetError) as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - this thread must outlive any surprise
            self._failed(type(error).__name__)
        else:
            self.successes += 1
            self.last_error = ""
            now = time.time()
            self.store.take(self, KeySet(keys, refused, now, now + settings.max_age))

    def _failed(self, why: str) -> None:
        self.failures += 1
        if why != self.last_error:
            _log.warning("keys of %s: not fetched, the last good ones stay: %s", self.issuer, why)
        self.last_error = why
