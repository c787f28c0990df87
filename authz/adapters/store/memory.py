"""The store of a single process, in its memory: nothing is shared, and a restart forgets it."""

import threading
import time
from collections.abc import Callable, Sequence

import msgspec
from cachetools import TLRUCache

from authz.adapters.store.memory_budgets import MemoryBudgets
from authz.adapters.store.memory_register import MemoryRegister
from authz.adapters.store.store import (
    AlreadyUsedError,
    Charge,
    Mark,
    StoreForgotError,
    StoreFullError,
    StoreStatus,
)


class _Used(msgspec.Struct, frozen=True, gc=False):
    attempt: bytes
    until: float


def _until(_key: bytes, kept: _Used, _now: float) -> float:
    return kept.until


class MemoryStore(MemoryRegister):
    """A store in memory; ``marks`` is the most marks that it holds.

    It is itself the register of revocations.

    Attributes:
        consents: the register of consents.
    """

    def __init__(self, marks: int = 200_000, wall: Callable[[], float] = time.time) -> None:
        """Begin empty."""
        self._lock = threading.Lock()  # never on the path of cached decisions
        self._now = self._ended = 0.0
        self._marks: TLRUCache[bytes, _Used] = TLRUCache(marks, _until, lambda: self._now)
        self._budgets = MemoryBudgets()
        self._agreed: dict[str, bytes] = {}
        super().__init__(wall)
        self.consents = MemoryRegister(wall)

    def start(self) -> None:
        """Do nothing: memory is always there."""

    def close(self) -> None:
        """Do nothing."""

    def status(self) -> StoreStatus:
        """Return how many marks are held."""
        return StoreStatus(
            is_shared=False, is_away=False, answered_at=0.0, calls={}, marks=len(self._marks)
        )

    def use(self, mark: Mark, now: float, seconds: float) -> None:  # noqa: ARG002 - nothing waits
        """Mark as used, as ``Marks.use``."""
        with self._lock:
            self._now = now
            self._forget()
            used = self._marks.get(mark.key)
            if used is not None:
                if used.attempt != mark.attempt:
                    raise AlreadyUsedError
                return
            if mark.until <= self._ended:
                raise StoreForgotError("the clock was set back: marks of that time are forgotten")
            if len(self._marks) >= self._marks.maxsize:  # it would forget a mark that is in force
                raise StoreFullError("the replay store is full")
            self._marks[mark.key] = _Used(mark.attempt, mark.until)

    def _forget(self) -> None:
        """Forget the marks that have ended, and remember until when they would have counted.

        A clock that goes forward for a moment ends marks that count again once it is set back.
        """
        for _, used in self._marks.expire():
            self._ended = max(self._ended, used.until)

    def agreed(self, name: str, proposal: bytes, seconds: float) -> bytes:  # noqa: ARG002 - likewise
        """Return the first proposal for a name."""
        with self._lock:
            return self._agreed.setdefault(name, proposal)

    def spend(self, charges: Sequence[Charge], now: float, seconds: float) -> None:  # noqa: ARG002 - likewise
        """Spend all charges, or none, as ``Budgets.spend``."""
        self._budgets.spend(charges, now)
