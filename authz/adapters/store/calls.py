"""Counts the calls of a store, and holds them back for a moment when it stays silent."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from authz.adapters.circuit_breaker import CircuitBreaker, CircuitOpenError
from authz.adapters.locked_counter import LockedCounter
from authz.adapters.store.store import (
    AlreadyUsedError,
    ExhaustedError,
    StoreAwayError,
    StoreBusyError,
    StoreForgotError,
    StoreFullError,
)

FAILURES: Final = 3  # calls without an answer, one after the other
PAUSE_SECONDS: Final = 0.5  # until a single call tries again

_MOST_OF_TIMEOUT: Final = 0.75


class CallResult(StrEnum):
    """The results of calls, as metrics count them."""

    OK = "ok"
    USED = "used"
    EXHAUSTED = "exhausted"
    FORGOT = "forgot"
    FULL = "full"
    AWAY = "away"
    HELD_BACK = "held_back"
    BUSY = "busy"


_RESULTS: Final[Mapping[type[Exception], CallResult]] = {
    AlreadyUsedError: CallResult.USED,
    ExhaustedError: CallResult.EXHAUSTED,
    StoreForgotError: CallResult.FORGOT,
    StoreFullError: CallResult.FULL,
}
# What alerts watch begins with 0.
_WATCHED: Final = (
    ("use", CallResult.FORGOT),
    *((operation, CallResult.FULL) for operation in ("use", "spend", "agreed", "add", "take_back")),
)


class Pace:
    """How long answers take of late, so that nothing is asked whose answer would come too late.

    After a late answer its connection is lost: a crowd that has waited would lose them all.
    """

    def __init__(self, timeout_seconds: float) -> None:
        """Begin with answers that take no time; who has most of the timeout may always ask."""
        self._usual_seconds = 0.0
        self._most_seconds = timeout_seconds * _MOST_OF_TIMEOUT

    def took(self, seconds: float) -> None:
        """Learn of an answer. Threads may do so at once: it is a guess anyway."""
        self._usual_seconds += (seconds - self._usual_seconds) / 8

    def require(self, seconds: float) -> None:
        """Require time for twice the usual. Raises StoreBusyError; after some, asks again."""
        if seconds < min(2 * self._usual_seconds, self._most_seconds):
            self._usual_seconds *= 0.9
            raise StoreBusyError("too little time was left to ask the store")


class Calls:
    """The calls so far."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()  # of the breaker and of the last answer
        self._breaker = CircuitBreaker(FAILURES, PAUSE_SECONDS)
        self._counter: LockedCounter[tuple[str, str]] = LockedCounter(_WATCHED)
        self.answered_at = 0.0
        self.is_away = False

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Return the number of calls by operation and result."""
        return self._counter.counts()

    @contextmanager
    def counted(self, operation: str) -> Iterator[None]:
        """Count a call by its end. Raises StoreAwayError without a call while it is silent."""
        try:
            with self._lock:
                self._breaker.admit(time.monotonic())
        except CircuitOpenError:
            self._counter.add((operation, CallResult.HELD_BACK))
            raise StoreAwayError("it has not answered for a moment") from None
        try:
            yield
        except tuple(_RESULTS) as error:
            self._answered(operation, _RESULTS[type(error)])
            raise
        except StoreBusyError:
            self._ended_early(operation)
            raise
        except BaseException:
            self._failed(operation)
            raise
        self._answered(operation, CallResult.OK)

    def _answered(self, operation: str, result: CallResult) -> None:
        with self._lock:
            self._breaker.answered()
            self.answered_at, self.is_away = time.time(), False
        self._counter.add((operation, result))

    def _failed(self, operation: str) -> None:
        with self._lock:
            self._breaker.failed(time.monotonic())
            self.is_away = True
        self._counter.add((operation, CallResult.AWAY))

    def _ended_early(self, operation: str) -> None:
        """Count a call that says nothing about the store, unless it was to find out."""
        with self._lock:
            if self._breaker.is_open:
                self._breaker.failed(time.monotonic())
        self._counter.add((operation, CallResult.BUSY))
