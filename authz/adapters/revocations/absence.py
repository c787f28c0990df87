"""Says whether the store has been away for too long, and what follows for requests."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from authz.adapters.revocation_file.settings import RevocationSettings, WhenStoreAway
from authz.adapters.store.store import unavailable

TELL_SECONDS: Final = 60.0  # between lines of the log about the same silence
_log: Final = logging.getLogger("authz.revocations")


def boot_seconds() -> float:
    """Return monotonic seconds that go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StoreAbsence:
    """How long the store has not said what is revoked.

    The thread that asks the store notes its answers, and another one, which never waits, judges.

    Attributes:
        is_long: whether that is longer than ``away_after``.
        refuses: whether requests are refused for it. With ``when_away: deny`` they are before the
            first answer too.
    """

    def __init__(
        self,
        settings: RevocationSettings,
        changed: Callable[[], None],
        monotonic: Callable[[], float] = boot_seconds,
    ) -> None:
        """Begin without an answer; ``changed`` is called when requests are refused or no more."""
        self._away_after = settings.away_after
        self._is_strict = settings.when_away is WhenStoreAway.DENY
        self._changed = changed
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._answered_at = monotonic()
        self._tell_at = 0.0
        self.is_long = False
        self.refuses = self._is_strict

    def check(self) -> None:
        """Require that requests are not refused. Raises Denied(STORE_UNAVAILABLE)."""
        if self.refuses:
            raise unavailable("revocations may be missing: the store has not answered for too long")

    def judge(self) -> None:
        """Note whether the store has been away for too long. Never waits for the store."""
        with self._lock:
            away = self._monotonic() - self._answered_at
            if self.is_long or away <= self._away_after:
                return
            self.is_long = True
            self.refuses = self._is_strict
        self._changed()  # no remembered allow is given any more
        if self._is_strict:
            _log.error("the store has been away for %.0f s: every request is refused", away)
        else:
            _log.warning(
                "the store has been away for %.0f s: the revocations known so far stay in force,"
                " and new ones do not arrive",
                away,
            )

    def tell(self, why: object) -> None:
        """Log why a look failed, the first one and then one a minute: looks are many a second."""
        if self._monotonic() >= self._tell_at:
            self._tell_at = self._monotonic() + TELL_SECONDS
            _log.warning("can't look for revocations in the store: %s", why)

    def end(self) -> None:
        """Note an answer."""
        self._tell_at = 0.0
        with self._lock:
            self._answered_at = self._monotonic()
            was_long, did_refuse = self.is_long, self.refuses
            self.is_long = self.refuses = False
        if did_refuse:
            self._changed()  # no refusal is remembered for that reason
        if was_long:
            _log.warning("the store answers again: its revocations are in force")
