"""Token status lists (draft-ietf-oauth-status-list): fetched, verified, kept, and fetched again.

``client`` has the lists of an issuer, ``kept`` holds them, and ``news`` tells of changes. A list is
fetched first when a check needs it, and then by its ttl, for as long as it is used. A thread of its
own begins these fetches, and waits for none.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from authz.adapters.signing_keys import SigningKeys
from authz.adapters.status_lists.client import (
    Count,
    StatusFetchError,
    StatusListClient,
    StatusListResult,
)
from authz.adapters.status_lists.news import PacedNews
from authz.core.delegation import IssuerSettings
from authz.core.delegation.status_list_token import StatusList
from authz.core.needs import StatusListNeeded

__all__ = [
    "Count",
    "StatusFetchError",
    "StatusListClient",
    "StatusListResult",
    "StatusListStatus",
    "StatusLists",
]

LOOK_SECONDS: Final = 1.0  # between looks for lists that are due, which cost microseconds
_log: Final = logging.getLogger("authz.status_lists")


@dataclass(frozen=True, slots=True)
class StatusListStatus:
    """The state of an issuer's lists.

    Attributes:
        issuer: whose they are.
        lists: how many are kept.
        oldest: unix seconds of the fetch of the oldest, None without lists.
    """

    issuer: str
    lists: int
    oldest: float | None


class StatusLists:
    """The lists of all issuers that have them."""

    def __init__(
        self,
        keys: SigningKeys,
        outdate: Callable[[], None] = lambda: None,
        count: Count = lambda *_: None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without issuers; ``keys`` verify lists, ``count`` is called in turn.

        ``outdate`` makes all remembered decisions stale; it is called after a list has changed.
        """
        self._keys = keys
        self._count = count
        self._clock = (wall, monotonic)
        self._lock = threading.Lock()  # of the counts: fetches for several issuers may end at once
        self._clients: Mapping[str, StatusListClient] = {}
        self._news = PacedNews(outdate, monotonic, LOOK_SECONDS)
        self._stopping = threading.Event()
        self._started = False
        self._thread: threading.Thread | None = None

    def reconfigure(self, issuers: Iterable[IssuerSettings]) -> None:
        """Use other settings. Lists by the same settings stay."""
        before, fresh = self._clients, {}
        for issuer in issuers:
            if issuer.status_list is None:
                continue
            known = before.get(issuer.issuer)
            is_same = known is not None and known.issuer == issuer
            fresh[issuer.issuer] = known if is_same and known else self._client(issuer)
        self._clients = fresh
        self._run_if_needed()

    def _client(self, issuer: IssuerSettings) -> StatusListClient:
        settings = issuer.status_list
        if settings is None:
            raise AssertionError("reconfigure takes issuers with lists only")
        parts = self._keys, self._news.tell, self._counted
        return StatusListClient(issuer, settings, *parts, clock=self._clock)

    def start(self) -> None:
        """Begin to fetch lists again by their ttl, in the background."""
        self._started = True
        self._run_if_needed()

    def close(self) -> None:
        """Stop fetching. A fetch under way ends by its own timeout."""
        self._news.is_repeated = False
        self._stopping.set()

    def get(self, issuer: str, uri: str) -> StatusList | None:
        """Return the issuer's last good list of a place, None if there is none. Never waits."""
        client = self._clients.get(issuer)
        return None if client is None else client.get(uri)

    def ask(self, need: StatusListNeeded, seconds: float) -> bool:
        """Fetch a needed list, once for all callers; return whether ``get`` may now have it.

        Waits ``seconds`` at most. Raises StatusFetchError.
        """
        client = self._clients.get(need.issuer)
        if client is None:  # the config has changed since
            return False
        client.ask(need.uri, seconds)
        return True

    def status(self) -> tuple[StatusListStatus, ...]:
        """Return the state of each issuer's lists."""
        return tuple(_status(name, client) for name, client in list(self._clients.items()))

    def _run_if_needed(self) -> None:
        if not self._started or not self._clients or self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="status lists", daemon=True)
        try:
            self._thread.start()
            self._news.is_repeated = True
        except RuntimeError as error:  # each list is then fetched by a check, when it has ended
            _log.error("status lists are not fetched again in the background: %s", error)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self._news.repeat()
            for client in list(self._clients.values()):
                try:
                    client.refresh()
                except Exception as error:  # noqa: BLE001 - this thread must outlive any surprise
                    _log.error("status lists are not fetched again: %s", type(error).__name__)

    def _counted(self, issuer: str, result: StatusListResult) -> None:
        with self._lock:
            self._count(issuer, result)


def _status(name: str, client: StatusListClient) -> StatusListStatus:
    fetched = client.fetched_at()
    return StatusListStatus(name, len(fetched), min(fetched, default=None))
