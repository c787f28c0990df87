"""The consents in the store, as it has them when a token is asked for.

If the store comes back without changes that it had, what was taken back may be there again: what is
known to be taken back does not count, and is taken back from it again.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from authz.adapters.entry_file.telling import MOST_TOLD, told_members
from authz.adapters.store.following import Follower, Whole
from authz.adapters.store.store import Change, Register, StoreError
from authz.core.consents import READER, Consent, ConsentError, ConsentQuery, Consents
from authz.core.entry_lines import MAX_LINE_BYTES

LOOK_SECONDS: Final = 1.0  # the longest wait for a short answer
LIST_SECONDS: Final = 5.0  # for 100,000 consents
MAX_GONE: Final = 10_000  # that are remembered as taken back, as many as the store's log has
BY_LOSS: Final = "lost"
_log: Final = logging.getLogger("authz.consents")


class StoredConsents:
    """The consents in a register of the store.

    One thread at a time looks; any thread may find, and use up.
    """

    def __init__(self, register: Register, wall: Callable[[], float] = time.time) -> None:
        """Begin without having looked."""
        self._register = register
        self._follower = Follower(register, LOOK_SECONDS, LIST_SECONDS)
        self._wall = wall
        self._lock = threading.Lock()  # of the two that change what is in force: look and use_up
        self._consents = Consents()
        self._gone: dict[str, None] = {}  # ids that were taken back, the oldest first
        self._back: set[str] = set()  # those of them that the store has again
        self.invalid: set[str] = set()

    def __len__(self) -> int:
        """Return the number of consents."""
        return len(self._consents)

    def find(self, query: ConsentQuery, now: float) -> Consent | None:
        """Return a consent that covers a query, as ``Consents.find``."""
        return self._consents.find(query, now)

    def once(self, digest: str) -> Consent | None:
        """Return a consent that may be used once, by its digest."""
        return self._consents.once(digest)

    def look(self) -> None:
        """Put what the store has now into force, and nothing else. Raises StoreError."""
        news = self._follower.read()
        with self._lock:  # the store is not asked meanwhile
            if isinstance(news, Whole):
                self._take_all(news)
            else:
                self._take(news)
        self._take_back_again()

    def use_up(self, name: str, by: str, seconds: float) -> None:
        """Take a consent back that was used: at once here, and from the store if it answers.

        A mark in the store already keeps it from being used again.
        """
        with self._lock:
            self._drop(name)
        try:
            self._register.take_back([name], by, "used", seconds)
        except StoreError as error:
            _log.warning("a used consent is still in the store: %s", error, extra={"id": name})

    def _take(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.is_added:
                self._gone.pop(change.id, None)
                self._put(change.id, change.entry)
            else:
                self._drop(change.id)
            self._tell(change)
        self._follower.took(changes)

    def _take_all(self, whole: Whole) -> None:
        listed = whole.listing.entries
        for name in self._consents.names():
            if name not in listed:
                self._drop(str(name))
        self.invalid &= listed.keys()
        self._back = {name for name in listed if name in self._gone} if whole.has_lost else set()
        if whole.has_lost:
            told = {"taken_back_again": len(self._back)}
            _log.error("the store has lost changes of consents", extra=told)
        for name, line in listed.items():
            if name not in self._back and name not in self._consents:
                self._put(name, line)
        self._follower.took_all(whole)
        _log.info("consents of the store", extra={"consents": len(self)})

    def _put(self, name: str, line: bytes) -> None:
        now = self._wall()
        self._consents.drop(name)
        try:
            consent = _read(name, line)
            if not consent.is_over(now):
                self._consents.put(name, consent, now)
            self.invalid.discard(name)
        except ConsentError as error:
            if len(self.invalid) < MOST_TOLD:
                told = {"id": name[:64]}
                _log.error("an entry of the store is no consent: %s", error, extra=told)
            self.invalid.add(name)

    def _drop(self, name: str) -> None:
        self._consents.drop(name)
        self.invalid.discard(name)
        self._gone[name] = None
        while len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def _take_back_again(self) -> None:
        if not self._back:
            return
        try:
            self._register.take_back(self._back, BY_LOSS, "", LOOK_SECONDS)
        except StoreError as error:
            _log.warning("can't take consents back from the store again: %s", error)
        else:
            self._back = set()

    @staticmethod
    def _tell(change: Change) -> None:
        if change.is_added:
            _log.info("consent given", extra=told_members(change.id[:64], change.by, ""))
        else:
            told = told_members(change.id[:64], change.by, change.note)
            _log.info("consent taken back", extra=told)


def _read(name: str, line: bytes) -> Consent:
    """Return the consent of an entry. Raises ConsentError."""
    if len(line) > MAX_LINE_BYTES:
        raise ConsentError(f"longer than {MAX_LINE_BYTES} bytes")
    consent = READER.read(line)
    if consent.id != name:  # it could not be taken back by its id, nor be used up
        raise ConsentError("its id is not that of its line")
    return consent
