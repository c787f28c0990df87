"""Fetches the status lists of an issuer, verifies them, and keeps the last good ones.

Each fetch has a thread of its own, shared by all checks that need the list. So a slow server delays
the checks that wait for its list alone, each of which has a place in the bulkhead.
"""

import logging
import random
import re
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Final

from authz.adapters.circuit_breaker import CircuitBreakers
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import DocumentRequest, StatusError, fetch_document, tls_context
from authz.adapters.shared_calls import (
    CUT_OFF,
    REFUSED,
    SHARED,
    CallOutcome,
    NotCalledError,
    SharedCalls,
)
from authz.adapters.signing_keys import SigningKeys
from authz.adapters.status_lists.kept import KeptLists
from authz.core.delegation import IssuerSettings, StatusListSettings
from authz.core.delegation.status_list import usable_list
from authz.core.delegation.status_list_token import (
    LIST_TYPE,
    StatusList,
    StatusListError,
    parse_list_token,
    read_list,
)
from authz.core.delegation.verifier import check_signature, find_key
from authz.core.reason import Denied
from authz.core.urls import is_plaintext

BREAKER_FAILURES: Final = 2  # of one list in a row, after which checks do not wait for it
BREAKER_PAUSE_SECONDS: Final = 5.0  # then a single fetch tests whether it is there again
MIN_REFRESH_SECONDS: Final = 5.0  # however short a list's ttl is; less only by max_age
# The part of max_age after which a list is fetched again at the latest, so that a fetch or two may
# fail before it is too old.
MAX_AGE_PART: Final = 0.5
JITTER: Final = 0.1  # so that replicas do not fetch at the same time
# How long a list is fetched again without being looked up. Decisions by it are remembered for
# max_age at most, and looked up again then.
_USED_SECONDS: Final = 600.0
_MAX_TOLD: Final = 256  # places whose failure was logged
_MAX_DOUBLINGS: Final = 16
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_ACCEPTED: Final = re.compile(re.escape(LIST_TYPE))
_random: Final = random.Random()  # noqa: S311 - no secret; its own, as programs seed the shared one
_log: Final = logging.getLogger("authz.status_lists")
Count = Callable[[str, "StatusListResult"], None]
"""Counts a fetch of a list of an issuer, with its result."""


class StatusListResult(StrEnum):
    """The results of fetches, as metrics count them.

    The first two are results of a fetch. The others say why there was none: a fetch of the same
    list was under way, the last ones failed, too many fetches were under way.
    """

    SUCCESS = "success"
    FAILURE = "failure"
    SHARED = SHARED
    CUT_OFF = CUT_OFF
    REFUSED = REFUSED


class StatusFetchError(Exception):
    """Signals that a list can't be had; the message is for operators."""


class StatusListClient:
    """The lists of an issuer, by one version of its settings."""

    def __init__(
        self,
        issuer: IssuerSettings,
        settings: StatusListSettings,
        keys: SigningKeys,
        outdate: Callable[[], None],
        count: Count,
        *,
        clock: tuple[Callable[[], float], Callable[[], float]] = (time.time, time.monotonic),
    ) -> None:
        """Begin without lists; ``keys`` verify them, ``outdate`` makes remembered decisions stale.

        ``clock`` is unix seconds, and monotonic seconds.
        """
        self.issuer = issuer
        self._settings = settings
        self._keys = keys
        self._outdate = outdate
        self._wall, monotonic = clock
        self._kept = KeptLists(monotonic)
        self._told: dict[str, str] = {}  # why a list can't be had, by its place
        name = issuer.issuer
        self._calls: SharedCalls[str] = SharedCalls(
            f"the server of a status list of {name}",
            _log,
            CircuitBreakers(BREAKER_FAILURES, BREAKER_PAUSE_SECONDS),
            lambda result, _: count(name, StatusListResult(result)),
            _failed,
        )

    def get(self, uri: str) -> StatusList | None:
        """Return the last good list of a place, None if there is none. Never waits."""
        return self._kept.get(uri)

    def fetched_at(self) -> list[float]:
        """Return when each list was fetched, in unix seconds."""
        return self._kept.fetched_at()

    def ask(self, uri: str, seconds: float) -> None:
        """Fetch a list that is missing or too old: ``get`` then returns it.

        Waits ``seconds`` at most. Raises StatusFetchError.
        """
        keys = self._keys.get(self.issuer.issuer)
        if usable_list(self._kept.get(uri), keys, self.issuer, self._wall()) is not None:
            return  # a fetch that ended after this check's look-up
        seconds = min(seconds, self._settings.timeout)
        if seconds <= 0:
            raise StatusFetchError("no time was left to fetch the status list")
        try:
            call = self._calls.begin(uri.encode(), uri, partial(self._outcome, uri))
        except NotCalledError as error:
            raise StatusFetchError(str(error)) from None
        if not call.done.wait(seconds):
            raise StatusFetchError(f"the status list {uri} was not fetched in time")
        if call.value:
            raise StatusFetchError(f"the status list {uri}: {call.value}")

    def refresh(self) -> None:
        """Begin to fetch the lists that are due. Never waits for a fetch."""
        for uri in self._kept.due(max(_USED_SECONDS, 2 * self._settings.max_age)):
            # Until the fetch ends, or if there is none; its end sets the time anew.
            self._kept.postpone(uri, self._pause)
            try:
                self._calls.begin(uri.encode(), uri, partial(self._outcome, uri))
            except NotCalledError:
                continue  # which is counted, and tried again

    def _outcome(self, uri: str) -> CallOutcome[str]:
        """Fetch a list and keep it; the value is the reason of a failure, "" for none."""
        deadline = time.monotonic() + self._settings.timeout
        try:
            found = self._fetched(uri, deadline)
            is_news = self._kept.take(uri, found, self._interval(found))
        except (FetchError, StatusListError) as error:
            self._tell(uri, str(error))
            return _failed(str(error))
        if is_news:
            self._outdate()  # after the list is kept: a check that sees the change sees the list
            _log.info("the status list %s has changed", uri)
        if self._told.pop(uri, None) is not None:
            _log.info("the status list %s was fetched again", uri)
        return CallOutcome("", StatusListResult.SUCCESS)

    def _fetched(self, uri: str, deadline: float) -> StatusList:
        """Fetch and verify a list. Raises FetchError, StatusListError."""
        body, now = self._body(uri, deadline), self._wall()
        jws = parse_list_token(body, self.issuer, self._settings.max_bytes)
        name, key_id = self.issuer.issuer, jws.header.key_id
        self._keys.refresh(name, key_id, max(0.0, deadline - time.monotonic()))
        try:
            key, _ = find_key(self._keys.get(name), self.issuer, jws, now)
            check_signature(key, jws)
        except Denied as denied:
            raise StatusListError(denied.detail) from None
        return read_list(jws, key.thumbprint, uri, self.issuer, now)

    def _body(self, uri: str, deadline: float) -> bytes:
        settings = self._settings
        ask = DocumentRequest(
            uri,
            settings.max_bytes,
            {"accept": LIST_TYPE},
            context=None if is_plaintext(uri) else tls_context(settings.ca_file),
            allow_any_address=settings.allow_any_address,
            content_type=_ACCEPTED,
            type_name=LIST_TYPE,
        )
        try:
            return fetch_document(ask, deadline).body
        except StatusError as error:
            hint = "redirects are not followed" if error.status in _MOVED else ""
            raise StatusError(error.status, hint) from None

    def _interval(self, found: StatusList) -> float:
        """Return the seconds until a list is fetched again, as its ttl says within our limits."""
        latest = self._settings.max_age * MAX_AGE_PART
        usual = latest if found.ttl_seconds is None else min(found.ttl_seconds, latest)
        usual = min(usual, max(0.0, found.usable_until - found.fetched_at))
        return max(min(MIN_REFRESH_SECONDS, latest), usual * _random.uniform(1 - JITTER, 1))

    def _pause(self, failures: int) -> float:
        """Return the seconds to leave a list alone after so many fetches in a row that failed."""
        doubled = MIN_REFRESH_SECONDS * 2.0 ** min(failures - 1, _MAX_DOUBLINGS)
        return min(doubled, self._settings.max_age * MAX_AGE_PART)

    def _tell(self, uri: str, why: str) -> None:
        """Log why a list can't be had, each reason once in a row."""
        if self._told.get(uri) == why:
            return
        if len(self._told) >= _MAX_TOLD:
            self._told.clear()
        self._told[uri] = why
        _log.warning(
            "the status list %s can't be had; the last good one counts until its end: %s", uri, why
        )


def _failed(why: str) -> CallOutcome[str]:
    return CallOutcome(why, StatusListResult.FAILURE, is_failure=True)
