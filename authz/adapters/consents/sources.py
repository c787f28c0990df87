"""Joins the sources of consents: what the file or the store has when a token is asked for.

Before each decision ``catch_up`` looks at both, so that what was taken back counts no more. Then
``require`` answers from memory, and refuses if the last look is too old. A consent that may be used
once is used up by ``use_up``, before a token is signed:

1. With a store, a mark in it says that the consent was used, for all replicas.
2. Its line is removed from the file; without a store that says which of two requests has used it.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from authz.adapters.consents.file import ConsentFile
from authz.adapters.consents.settings import ConsentSettings
from authz.adapters.consents.stored import StoredConsents
from authz.adapters.entry_file.history import change_now, record
from authz.adapters.entry_file.writing import EntryFile, NoEntryError
from authz.adapters.store.store import (
    CLOCKS_DIFFER_SECONDS,
    AlreadyUsedError,
    Mark,
    Store,
    StoreError,
    unavailable,
)
from authz.core.consents import READER, Consent, ConsentQuery
from authz.core.entry_lines import EntryError
from authz.core.reason import Denied, Reason
from authz.core.sts.consent import ConsentAsked, ConsentFound, ConsentToCall

MAX_AGE_SECONDS: Final = 1.0  # of what the sources said, when a token is decided
_log: Final = logging.getLogger("authz.consents")


class ConsentStatus(msgspec.Struct, frozen=True):
    """The state of a source of consents.

    Attributes:
        source: file or store.
        consents: how many there are.
        invalid: how many entries are no consents.
        is_away: whether the last look failed.
    """

    source: str
    consents: int
    invalid: int
    is_away: bool


class _Looked:
    """When a source was last asked, and has answered.

    Attributes:
        has_failed: whether it did not answer the last time.
    """

    def __init__(self, look: Callable[[], None], monotonic: Callable[[], float]) -> None:
        """Take what asks it."""
        self._look = look
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asked_at: float | None = None  # of the last answer, monotonic seconds
        self.has_failed = False

    @property
    def is_fresh(self) -> bool:
        """Whether the last answer is new enough."""
        at = self._asked_at
        return at is not None and self._monotonic() - at <= MAX_AGE_SECONDS

    def catch_up(self, seconds: float) -> None:
        """Have it asked, once for all who wait; gives up after ``seconds``. Raises what it does."""
        called_at = self._monotonic()
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            return  # then it is not fresh
        try:
            if self._asked_at is not None and self._asked_at > called_at:
                return  # another thread has asked since then
            asked_at = self._monotonic()
            self._look()
            self._asked_at, self.has_failed = asked_at, False
        except BaseException:
            self._asked_at, self.has_failed = None, True
            raise
        finally:
            self._lock.release()


class ConsentSources:
    """The consents of the file and of the store, of those that the config has.

    ``catch_up`` and ``use_up`` may wait; ``require`` never does. All are for any thread.
    """

    def __init__(
        self,
        settings: ConsentSettings,
        store: Store | None = None,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the store that replicas share, None without one; nothing is read yet."""
        self._store = store
        self._file = None if settings.file is None else ConsentFile(Path(settings.file), wall)
        self._stored = None if store is None else StoredConsents(store.consents, wall)
        self._of_file = None if self._file is None else _Looked(self._file.look, monotonic)
        self._of_store = None if self._stored is None else _Looked(self._stored.look, monotonic)

    def catch_up(self, seconds: float) -> None:
        """Look at the sources, before a decision. Raises nothing: ``require`` refuses then."""
        if self._of_store is not None:
            try:
                self._of_store.catch_up(seconds)
            except StoreError as error:
                _log.debug("the store did not say which consents there are: %s", error)
        if self._of_file is not None:  # last: the store may have taken a second
            self._of_file.catch_up(seconds)

    def require(self, asked: ConsentAsked, now: float) -> ConsentFound:
        """Return the consents that cover all that is asked: one for each detail, or one in all.

        ``now`` is in unix seconds. Raises Denied: APPROVAL_REQUIRED if there is none, and
        STORE_UNAVAILABLE if that is not certain.
        """
        details = asked.details or (None,)
        scopes = tuple(sorted(asked.scopes))
        whose = asked.issuer, asked.subject, asked.agent
        queries = [ConsentQuery(*whose, asked.audiences, scopes, detail) for detail in details]
        listed = [self._find(query, now) for query in queries]
        found = {each.digest: each for each in listed}
        if len(found) < len(listed) and any(each.once for each in found.values()):
            raise Denied(Reason.APPROVAL_REQUIRED, "one consent can't be used for two details")
        return ConsentFound(
            " ".join(each.id for each in found.values()),
            min(each.until_seconds for each in found.values()),
            tuple(each.digest for each in found.values() if each.once),
            tuple(map(_to_call, listed)) if asked.details else (),
        )

    def _find(self, query: ConsentQuery, now: float) -> Consent:
        away: list[str] = []
        for name, source, looked in (
            ("file", self._file, self._of_file),
            ("store", self._stored, self._of_store),
        ):
            if source is None or looked is None:
                continue
            fault = self._file.fault if source is self._file and self._file is not None else ""
            if not looked.is_fresh or fault:
                away.append(f"the {name}{f' ({fault})' if fault else ''}")
            elif (found := source.find(query, now)) is not None:
                return found
        if away:
            raise unavailable(f"no consent is certain without {' and '.join(away)}")
        raise Denied(Reason.APPROVAL_REQUIRED, "the principal has not consented to it")

    def use_up(self, found: ConsentFound, by: str, now: float, seconds: float) -> None:
        """Use up the consents that may be used once, before a token is signed by them.

        ``by`` is the agent, for the history; ``now`` is in unix seconds, ``seconds`` the longest
        wait for each source. Raises Denied: APPROVAL_REQUIRED if another request has used one, and
        STORE_UNAVAILABLE if that is not certain. Then no token may be signed; what is used up by
        then stays so.
        """
        for digest in found.once:
            self._use(digest, by, now, seconds)

    def _use(self, digest: str, by: str, now: float, seconds: float) -> None:
        held = {
            source: consent
            for source in (self._file, self._stored)
            if source is not None and (consent := source.once(digest)) is not None
        }
        if not held:
            raise Denied(Reason.APPROVAL_REQUIRED, "the consent was used, or taken back")
        consent = next(iter(held.values()))
        if self._store is not None:
            _mark(self._store, consent, now, seconds)
        if self._file is not None and self._file in held:
            self._remove(self._file, consent, by, seconds)
        if self._stored is not None and self._stored in held:
            self._stored.use_up(consent.id, by, seconds)

    def _remove(self, file: ConsentFile, consent: Consent, by: str, seconds: float) -> None:
        lines = EntryFile(file.path, READER, is_tolerant=True, patience_seconds=seconds)
        try:
            lines.take_back([consent.id])
        except NoEntryError:
            raise Denied(Reason.APPROVAL_REQUIRED, "the consent was used, or taken back") from None
        except EntryError as error:
            if self._store is None:  # nothing else says that it was used
                raise unavailable(f"a consent can't be used up: {error}") from None
            _log.warning("a used consent is still in the file: %s", error)
            return
        change = change_now(by, consent.id, consent.line, is_added=False, note="used")
        try:
            record(file.path, [change], "given")
        except OSError as error:
            _log.warning("the use of a consent is not in the history: %s", error.strerror)

    def status(self) -> tuple[ConsentStatus, ...]:
        """Return the state of each source."""
        states = []
        if self._file is not None and self._of_file is not None:
            is_away = bool(self._file.fault)
            states.append(ConsentStatus("file", len(self._file), self._file.invalid, is_away))
        if self._stored is not None and self._of_store is not None:
            is_away = self._of_store.has_failed
            count = len(self._stored.invalid)
            states.append(ConsentStatus("store", len(self._stored), count, is_away))
        return tuple(states)


def _to_call(consent: Consent) -> ConsentToCall:
    return ConsentToCall(consent.digest, consent.since_seconds, consent.until_seconds)


def _mark(store: Store, consent: Consent, now: float, seconds: float) -> None:
    """Mark a consent as used in the store. Raises Denied."""
    mark = Mark(
        sha256(b"consent\0" + consent.line).digest(),
        secrets.token_bytes(16),
        consent.since_seconds - CLOCKS_DIFFER_SECONDS,
        consent.until_seconds + CLOCKS_DIFFER_SECONDS,
    )
    try:
        store.use(mark, now, seconds)
    except AlreadyUsedError:
        raise Denied(Reason.APPROVAL_REQUIRED, "the consent was used before") from None
    except StoreError as error:
        raise unavailable(f"a consent can't be used up: {error}") from None
