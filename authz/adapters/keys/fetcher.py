"""The thread of one key source: fetches on time, after failures, and for unknown keys.

Callers never fetch. They wake this thread and wait up to their own timeout. So a fetch that hangs
costs a single thread, and many callers that miss a key together cause a single fetch.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cachetools import FIFOCache

from authz.adapters.fetched import FetchError
from authz.adapters.keys.folder import KeyFolder
from authz.adapters.keys.sources import KeyDocumentSource, key_document_source
from authz.core.jose.jwk import Key, KeySetError
from authz.core.jose.key_set import KeySet
from authz.core.jose.settings import KeySettings

LOCAL_COOLDOWN_SECONDS: Final = 0.1  # for files and local sockets, which are cheap to read
JITTER: Final = 0.1  # so that replicas do not fetch at the same time
# A separate generator: a thread that draws from the shared one disturbs programs that seed it.
_random: Final = random.Random()  # noqa: S311 - no secret
MIN_FRESH_SECONDS: Final = 30.0  # however short an issuer's Cache-Control is
# The part of max_age after which valid keys are fetched again at the latest, so that a fetch or two
# may fail before the keys are too old.
MAX_AGE_PART: Final = 0.5
MAX_BACKOFF_DOUBLINGS: Final = 16  # beyond that the pause is ``refresh`` for any cooldown
MAX_CAUSES: Final = 8  # that are logged of an outage, each once
MAX_ABSENT_KEY_IDS: Final = 1024  # of 256 characters: 256 KiB an issuer under a flood
_log: Final = logging.getLogger("authz.keys")


@dataclass(frozen=True, slots=True)
class KeySourceConfig:
    """The settings of a key source, and the algorithms that the issuer may use."""

    settings: KeySettings
    algorithms: frozenset[str]


@dataclass(eq=False)
class Fetcher:
    """The thread of one source, and its state.

    Attributes:
        issuer: whose keys it fetches.
        source: the settings to fetch by.
        take: is called with each valid set, in the thread.
        folder: keeps the last document over a restart; None without a folder.
        successes: fetches that returned a valid set.
        failures: other fetches.
        last_error: why the last fetch failed, "" if it did not.
        last_success: unix seconds, None before the first success.
        next_refresh: unix seconds of the next scheduled fetch, None while a fetch is due.
    """

    issuer: str
    source: KeySourceConfig
    take: Callable[["Fetcher", KeySet], None]
    folder: KeyFolder | None = None
    successes: int = 0
    failures: int = 0
    last_error: str = ""
    last_success: float | None = None
    next_refresh: float | None = None
    _condition: threading.Condition = field(default_factory=threading.Condition)
    _absent: FIFOCache[str, None] = field(default_factory=lambda: FIFOCache(MAX_ABSENT_KEY_IDS))
    _wanted: bool = False
    _started: bool = False
    _stopping: bool = False
    _begun: int = 0
    _ended: int = 0
    _hot_since: float = float("-inf")  # monotonic seconds
    _failures_in_a_row: int = 0
    _told: set[str] = field(default_factory=set)  # why fetches failed, since the last success
    _fresh_seconds: float | None = None  # of the last answer's Cache-Control
    _parsed: tuple[bytes, Mapping[str, Key], tuple[tuple[str, str], ...]] | None = None

    def __post_init__(self) -> None:
        """Build the source of the key document."""
        self._origin: KeyDocumentSource = key_document_source(self.source.settings, self.issuer)

    def start(self) -> None:
        """Fetch now, then again and again. A second start does nothing."""
        with self._condition:
            if self._started or self._stopping:
                return
            self._started = True
        threading.Thread(target=self._run, name=f"keys {self.issuer}", daemon=True).start()

    def stop(self) -> None:
        """End after the current fetch, and wake all waiting callers."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()

    def fetch_soon(self, key_id: str, timeout_seconds: float, known: Callable[[], bool]) -> None:
        """Wait for the current fetch, or for a new fetch if the cooldown allows it.

        A kid is remembered as absent if a fetch that began after the request for it did not return
        it. Callers do not wait for such a kid until the cooldown has passed.
        """
        with self._condition:
            is_hot = time.monotonic() - self._hot_since < self._cooldown()
            if self._stopping or not self._started or (is_hot and key_id in self._absent):
                return
            is_under_way = self._begun > self._ended
            if not is_under_way and not self._wanted:
                if is_hot or known():
                    return
                self._wanted = True
                self._condition.notify_all()
            target = self._begun if is_under_way else self._begun + 1
            successes = self.successes
            self._condition.wait_for(
                lambda: self._ended >= target or self._stopping, timeout_seconds
            )
            was_fetched = self._ended >= target and self.successes > successes
            if was_fetched and not is_under_way and not known():
                self._absent[key_id] = None

    def content_changed(self) -> None:
        """Forget which kids are absent: they may exist now."""
        with self._condition:
            self._absent.clear()

    def _cooldown(self) -> float:
        settings = self.source.settings
        return settings.cooldown if settings.poll_seconds is None else LOCAL_COOLDOWN_SECONDS

    def _run(self) -> None:
        self._take_kept()
        while True:
            with self._condition:
                if self._stopping:
                    self._origin.close()
                    return
                begun_at = time.monotonic()
                if self._wanted:
                    self._hot_since = begun_at
                self._wanted = False
                self._begun += 1
                self.next_refresh = None
            self._fetch()
            with self._condition:
                self._ended = self._begun
                # A successful scheduled fetch starts no cooldown, because a key that is published
                # just after it would be refused. A failing issuer is left alone for the cooldown.
                if self._failures_in_a_row:
                    self._hot_since = begun_at
                self._condition.notify_all()
                pause_seconds = self._pause()
                self.next_refresh = time.time() + pause_seconds
                self._condition.wait_for(lambda: self._wanted or self._stopping, pause_seconds)

    def _pause(self) -> float:
        settings = self.source.settings
        if settings.poll_seconds is not None:
            return settings.poll_seconds
        if self._failures_in_a_row:
            doublings = min(self._failures_in_a_row - 1, MAX_BACKOFF_DOUBLINGS)
            usual = min(settings.cooldown * 2.0**doublings, settings.refresh)
            return usual * _random.uniform(1, 1 + JITTER)
        usual = min(self._usual(settings), settings.max_age * MAX_AGE_PART)
        return usual * _random.uniform(1 - JITTER, 1 + JITTER)

    def _usual(self, settings: KeySettings) -> float:
        """Return the seconds to the next fetch, at most ``refresh``.

        With that setting the operator limits how long a withdrawn key stays in use.
        """
        if self._fresh_seconds is None:
            return settings.refresh
        return min(max(self._fresh_seconds, MIN_FRESH_SECONDS), settings.refresh)

    def _take_kept(self) -> None:
        """Begin with the keys kept on disk, as old as they are."""
        settings = self.source.settings
        kept = None if self.folder is None else self.folder.load(self.issuer, settings)
        if kept is None:
            return
        try:
            keys, refused = self._origin.parse_kept(
                kept.document, kept.anchor, self.source.algorithms
            )
        except KeySetError as error:
            _log.warning("keys of %s: the keys kept on disk are not used: %s", self.issuer, error)
            return
        until = kept.fetched_at + settings.max_age
        if until > time.time():  # if not, its CAs alone are of use
            self.take(self, KeySet(keys, refused, kept.fetched_at, until, is_kept=True))

    def _fetch(self) -> None:
        try:
            fresh = self._fresh_set()
            self.take(self, fresh)
            if self.folder is not None and self._parsed is not None:
                self.folder.keep(
                    self.issuer, self.source.settings, self._parsed[0], self._origin.anchor
                )
        except (FetchError, KeySetError) as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - this thread must outlive any surprise
            self._failed(type(error).__name__)
        else:
            self._succeeded(fresh)

    def _fresh_set(self) -> KeySet:
        settings = self.source.settings
        fetched = self._origin.fetch()
        if self._parsed is None or self._parsed[0] != fetched.body:
            keys, refused = self._origin.parse(fetched.body, self.source.algorithms)
            self._parsed = (fetched.body, keys, refused)
        self._fresh_seconds = fetched.max_age_seconds
        _, keys, refused = self._parsed
        now = time.time()
        return KeySet(keys, refused, now, now + settings.max_age)

    def _succeeded(self, fresh: KeySet) -> None:
        if self._failures_in_a_row:
            _log.info("keys of %s: a fetch succeeded again", self.issuer)
        self.successes += 1
        self.last_error = ""
        self.last_success = fresh.fetched_at
        self._failures_in_a_row = 0
        self._told.clear()

    def _failed(self, why: str) -> None:
        if why not in self._told and len(self._told) < MAX_CAUSES:
            self._told.add(why)
            _log.warning(
                "keys of %s: a fetch failed; the last valid keys stay: %s", self.issuer, why
            )
        self.failures += 1
        self.last_error = why
        self._failures_in_a_row += 1
