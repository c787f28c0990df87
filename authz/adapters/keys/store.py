"""The last valid keys of every issuer: read without waiting, refreshed in the background.

Laws of this file:
1. ``get`` is one look-up in a dict. It never waits, whatever a fetch does.
2. Only a valid set replaces a valid set; after a failed fetch the last valid set just gets older.
3. Each source has a thread that does all its fetching. Unknown keys wake it at most once in a
   cooldown.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from authz.adapters.keys.fetcher import Fetcher, KeySourceConfig
from authz.adapters.keys.folder import KeyFolder
from authz.core.jose.key_set import KeySet

__all__ = ["KeySet", "KeySourceConfig", "KeyStore", "KeyStoreError", "SourceStatus"]

_log: Final = logging.getLogger("authz.keys")


class KeyStoreError(RuntimeError):
    """Signals that keys can't be fetched; the message names the issuer and the reason."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """The state of a source, for operators.

    Attributes:
        issuer: whose keys it has.
        source: its URL or path, or "discovery".
        keys: the number of usable keys.
        refused: the number of refused keys.
        age_seconds: since the keys were last confirmed, None without keys.
        last_success: unix seconds, None before the first success.
        last_error: why the last fetch failed, "" if it did not.
        next_refresh: unix seconds, None while a fetch is under way or due.
        successes: fetches that returned a valid set, since the start.
        failures: other fetches, since the start.
    """

    issuer: str
    source: str
    keys: int
    refused: int
    age_seconds: float | None
    last_success: float | None
    last_error: str
    next_refresh: float | None
    successes: int
    failures: int


class KeyStore:
    """Key sets by issuer.

    Attributes:
        generation: grows with every change of any issuer's keys, and of what else verifies tokens.
    """

    def __init__(
        self, sources: Mapping[str, KeySourceConfig], folder: KeyFolder | None = None
    ) -> None:
        """Take the sources by issuer, and the folder that keeps their keys; ``start`` fetches."""
        self.generation = 0
        self._folder = folder
        self._lock = threading.Lock()
        self._sets: dict[str, KeySet] = {}
        self._fetchers: dict[str, Fetcher] = {}
        self._started = False
        self.reconfigure(sources)

    def get(self, issuer: str) -> KeySet | None:
        """Return the issuer's last valid set, None before the first. Never waits."""
        return self._sets.get(issuer)

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch for an unknown key, once for all callers; return True if it is known now.

        Waits for the fetch, ``timeout_seconds`` at most; returns at once within the cooldown.
        """

        def is_known() -> bool:
            known = self._sets.get(issuer)
            return known is not None and key_id in known.keys

        fetcher = self._fetchers.get(issuer)
        if fetcher is None:
            return False
        if not is_known():
            fetcher.fetch_soon(key_id, timeout_seconds, is_known)
        return is_known()

    def outdate(self) -> None:
        """Make all stale that was remembered of tokens: their status may have changed."""
        with self._lock:
            self.generation += 1

    def start(self) -> None:
        """Begin to fetch, in the background. Raises KeyStoreError."""
        if self._folder is not None:
            self._folder.start()
        with self._lock:
            _start(self._fetchers.values())
            self._started = True

    def close(self) -> None:
        """Stop fetching. A fetch under way ends by its own timeout."""
        with self._lock:
            self._started = False
            for fetcher in self._fetchers.values():
                fetcher.stop()
        if self._folder is not None:
            self._folder.close()

    def reconfigure(self, sources: Mapping[str, KeySourceConfig]) -> None:
        """Use other sources: all of them, or none. Raises KeyStoreError.

        Unchanged sources keep their keys and their thread. Sources with the same place but other
        intervals or algorithms keep the keys that are still valid, and fetch again.
        """
        with self._lock:
            before = self._fetchers
            kept = {
                issuer: fetcher
                for issuer, fetcher in before.items()
                if sources.get(issuer) == fetcher.source
            }
            fresh = {
                issuer: Fetcher(issuer, source, self._take, self._folder)
                for issuer, source in sources.items()
                if issuer not in kept
            }
            if self._started:
                _start(fresh.values())  # before anything changes: there may be no more threads
            self._fetchers = {**kept, **fresh}
            for issuer in before.keys() - kept.keys():
                before[issuer].stop()
                self._carry_over(issuer, before[issuer].source, sources.get(issuer))

    def _carry_over(self, issuer: str, old: KeySourceConfig, new: KeySourceConfig | None) -> None:
        before = self._sets.get(issuer)
        if before is None:
            return
        kept = _still_good(before, old, new)
        if kept is None:
            del self._sets[issuer]
        else:
            self._sets[issuer] = kept
        self.generation += 1

    def _take(self, fetcher: Fetcher, fresh: KeySet) -> None:
        """Swap in a fetched set, unless its source was replaced meanwhile."""
        issuer = fetcher.issuer
        with self._lock:
            if self._fetchers.get(issuer) is not fetcher:
                return
            before = self._sets.get(issuer)
            if fresh.is_kept and before is not None:
                return
            is_changed = before is None or not before.has_same_keys(fresh)
            self._sets[issuer] = fresh
            if is_changed:
                self.generation += 1  # after the swap: a reader who sees it sees the keys as well
        if is_changed:
            fetcher.content_changed()
            kept = ", kept on disk since before the start" if fresh.is_kept else ""
            _log.info("keys of %s: %d usable%s", issuer, len(fresh.keys), kept)
        if before is None or before.refused != fresh.refused:
            for key_id, why in fresh.refused:
                _log.warning("keys of %s: refused key %r: %s", issuer, key_id, why)

    def ready(self) -> bool:
        """Tell whether each issuer required at start has keys, and any issuer, if there are any."""
        fetchers = list(self._fetchers.values())
        missing = [fetcher for fetcher in fetchers if fetcher.issuer not in self._sets]
        is_required = any(fetcher.source.settings.required_at_start for fetcher in missing)
        return not is_required and (not fetchers or len(missing) < len(fetchers))

    def status(self) -> tuple[SourceStatus, ...]:
        """Return the state of each source."""
        fetchers = list(self._fetchers.values())
        return tuple(_status(fetcher, self._sets.get(fetcher.issuer)) for fetcher in fetchers)


def _start(fetchers: Iterable[Fetcher]) -> None:
    """Start all fetchers, or stop those that were started and raise KeyStoreError."""
    started: list[Fetcher] = []
    for fetcher in fetchers:
        try:
            fetcher.start()
        except RuntimeError as error:
            for other in started:
                other.stop()
            message = f"the keys of {fetcher.issuer} can't be fetched: {error}"
            raise KeyStoreError(message) from None
        started.append(fetcher)


def _still_good(known: KeySet, old: KeySourceConfig, new: KeySourceConfig | None) -> KeySet | None:
    """Return the old source's keys that the new source may use until it fetches.

    None for no keys.
    """
    if new is None or new.settings.place != old.settings.place:
        return None
    keys = {
        key_id: replace(key, algorithms=key.algorithms & new.algorithms)
        for key_id, key in known.keys.items()
        if key.algorithms & new.algorithms
    }
    usable_until = known.fetched_at + new.settings.max_age
    return replace(known, keys=keys, usable_until=usable_until) if keys else None


def _status(fetcher: Fetcher, known: KeySet | None) -> SourceStatus:
    return SourceStatus(
        issuer=fetcher.issuer,
        source=fetcher.source.settings.name,
        keys=len(known.keys) if known else 0,
        refused=len(known.refused) if known else 0,
        age_seconds=max(0.0, time.time() - known.fetched_at) if known else None,
        last_success=fetcher.last_success,
        last_error=fetcher.last_error,
        next_refresh=fetcher.next_refresh,
        successes=fetcher.successes,
        failures=fetcher.failures,
    )
