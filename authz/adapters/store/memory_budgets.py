"""Counts budgets in the memory of this process, as ``scripts/spend.lua`` does in the engine."""

import threading
from collections.abc import Sequence
from math import ceil
from typing import Final, NamedTuple

import msgspec
from cachetools import TLRUCache

from authz.adapters.store.store import Charge, ExhaustedError, StoreFullError

MAX_BUDGETS: Final = 100_000  # of agents and principals in use; 300 bytes each


class _Spent(msgspec.Struct, frozen=True, gc=False):
    """What was spent in a fixed window, by its number, and in the one before."""

    window: int
    current: int
    last: int
    until: float


class _Room(NamedTuple):
    """What a charge makes of its budget, and the seconds until there is room, None if there is."""

    spent: _Spent
    seconds: float | None


def _until(_key: bytes, spent: _Spent, _now: float) -> float:
    return spent.until


class MemoryBudgets:
    """The budgets of one process; ``most`` is how many it holds."""

    def __init__(self, most: int = MAX_BUDGETS) -> None:
        """Begin with nothing spent."""
        self._lock = threading.Lock()  # never on the path of cached decisions
        self._now = 0.0
        self._spent: TLRUCache[bytes, _Spent] = TLRUCache(most, _until, lambda: self._now)

    def spend(self, charges: Sequence[Charge], now: float) -> None:
        """Spend all charges, or none, as ``Budgets.spend``."""
        with self._lock:
            self._now = now
            self._spent.expire()
            found = {charge.key: self._room(charge, now) for charge in charges}
            waits = [
                (at, room.seconds)
                for at, room in enumerate(found.values())
                if room.seconds is not None
            ]
            if waits:
                raise ExhaustedError(waits[0][0], max(seconds for _, seconds in waits))
            new = len(found.keys() - self._spent.keys())
            if len(self._spent) + new > self._spent.maxsize:  # it would forget what was spent
                raise StoreFullError("too many budgets are in use")
            for key, room in found.items():
                self._spent[key] = room.spent

    def _room(self, charge: Charge, now: float) -> _Room:
        length = charge.window
        window = int(now // length)
        elapsed = now - window * length
        spent = self._spent.get(charge.key)
        current = last = 0
        if spent is not None and spent.window > window:
            # The clock was set back: nothing that was spent is forgotten.
            window, elapsed = spent.window, 0.0
        if spent is not None and spent.window == window:
            current, last = spent.current, spent.last
        elif spent is not None and spent.window == window - 1:
            last = spent.current
        after = _Spent(window, current + charge.cost, last, (window + 2) * length)
        if after.current + ceil(last * ((length - elapsed) / length)) <= charge.limit:
            return _Room(after, None)
        # Rounding must not make it less than nothing.
        return _Room(after, max(0.0, _seconds(charge, current, last, elapsed)))


def _seconds(charge: Charge, current: int, last: int, elapsed: float) -> float:
    """Return the seconds until there is room for a charge, if nothing else is spent."""
    length, free = charge.window, charge.limit - charge.cost
    if current <= free:  # in this window already, when less of the last one counts
        return length * (1 - (free - current) / last) - elapsed
    # In the next window, whose last one this is. Without anything spent the charge is too large.
    later = length * max(0.0, 1 - free / current) if current else 0.0
    return length - elapsed + later
