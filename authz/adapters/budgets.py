"""Spends the budgets of an allow: the last step of a decision, which can only refuse.

A budget is spent once the call is otherwise allowed, and nothing is given back. What is enforced is
spent in one step: all of it, or nothing. Budgets in shadow are spent apart, and only noted.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from math import ceil
from typing import Final

import msgspec

from authz.adapters.locked_counter import LockedCounter
from authz.adapters.store.memory_budgets import MemoryBudgets
from authz.adapters.store.store import (
    Budgets,
    Charge,
    ExhaustedError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    unavailable,
)
from authz.core.decision import Allow, Effect, Shadow, ShadowBy, Spending
from authz.core.reason import RETRY_AFTER, Denied, Reason

# For roundings, and clocks that run unlike: a client that waits as told must not come too early.
_MARGIN_SECONDS: Final = 0.001


class SpendResult(StrEnum):
    """What became of a spending.

    Spent; spent in this process alone, since the store was away; refused, or noted in shadow, since
    there was no room; or refused because the store was away or full, or too many waited for it.
    """

    SPENT = "spent"
    SPENT_LOCALLY = "spent_locally"
    EXHAUSTED = "exhausted"
    SHADOW_EXHAUSTED = "shadow_exhausted"
    AWAY = "away"
    FULL = "full"
    BUSY = "busy"


_OVERLOADS: Final[Mapping[type[StoreError], SpendResult]] = {
    StoreFullError: SpendResult.FULL,
    StoreBusyError: SpendResult.BUSY,
}


class SpenderStatus(msgspec.Struct, frozen=True):
    """The number of spendings so far, by rule and result."""

    counts: Mapping[tuple[str, SpendResult], int]


class Spender:
    """Spends budgets in a store, and in this process's memory where a rule prefers that.

    Attributes:
        is_shared: whether the store is a remote one, so that spending waits for it.
    """

    def __init__(self, store: Budgets, *, is_shared: bool) -> None:
        """Take the store; a shared one may be away, and then each rule says what counts."""
        self.is_shared = is_shared
        self._store = store
        self._own = MemoryBudgets()
        self._counter: LockedCounter[tuple[str, SpendResult]] = LockedCounter()

    def status(self) -> SpenderStatus:
        """Return the number of spendings so far."""
        return SpenderStatus(self._counter.counts())

    def spend(self, allow: Allow, now: float, left: Callable[[], float]) -> Allow:
        """Spend the budgets of an allow; return it with notes of those in shadow.

        ``now`` is unix seconds, and ``left`` returns the seconds to wait. Raises Denied:
        BUDGET_EXHAUSTED, STORE_UNAVAILABLE, or OVERLOADED if no more budgets can be kept or no time
        is left.
        """
        spendings = allow.permit.spendings
        enforced = [spending for spending in spendings if spending.shadow is None]
        if enforced:
            self._spend(enforced, now, _some(left()))
        in_shadow = [spending for spending in spendings if spending.shadow is not None]
        notes = [self._noted(spending, now, left()) for spending in in_shadow]
        return allow.noted(*filter(None, notes)) if notes else allow

    def _spend(self, spendings: Sequence[Spending], now: float, seconds: float) -> None:
        too_much = next((each for each in spendings if each.cost > each.limit), None)
        if too_much is not None:  # of a batch's calls together: waiting does not help
            raise self._refused(too_much, "the message costs more than the whole budget")
        try:
            self._store.spend(_charges(spendings), now, seconds)
        except ExhaustedError as error:
            raise self._exhausted(spendings, error) from None
        except (StoreFullError, StoreBusyError) as error:
            self._count(spendings, _OVERLOADS[type(error)])
            raise Denied(Reason.OVERLOADED, str(error)) from None
        except StoreError as error:
            self._spend_alone(spendings, now, str(error))
        else:
            self._count(spendings, SpendResult.SPENT)
            self._remember(spendings, now)

    def _spend_alone(self, spendings: Sequence[Spending], now: float, why: str) -> None:
        """Spend in this process's memory alone, if all of the budgets may be. Raises Denied."""
        if not all(spending.is_local_if_away for spending in spendings):
            self._count(spendings, SpendResult.AWAY)
            raise unavailable(why)
        try:
            self._own.spend(_charges(spendings), now)
        except ExhaustedError as error:
            raise self._exhausted(spendings, error) from None
        except StoreFullError as error:
            self._count(spendings, SpendResult.FULL)
            raise Denied(Reason.OVERLOADED, str(error)) from None
        self._count(spendings, SpendResult.SPENT_LOCALLY)

    def _remember(self, spendings: Sequence[Spending], now: float) -> None:
        """Count here too what passed this process: should the store be away, this counts."""
        for spending in spendings if self.is_shared else ():
            if spending.is_local_if_away:
                with suppress(ExhaustedError, StoreFullError):
                    self._own.spend(_charges([spending]), now)

    def _exhausted(self, spendings: Sequence[Spending], error: ExhaustedError) -> Denied:
        seconds = max(1, ceil(error.seconds + _MARGIN_SECONDS))
        detail = f"its budget has no room, and will have in {seconds} s"
        return self._refused(spendings[error.at], detail, (RETRY_AFTER, str(seconds)))

    def _refused(self, spending: Spending, detail: str, *headers: tuple[str, str]) -> Denied:
        self._count([spending], SpendResult.EXHAUSTED)
        detail = f"{spending.rule}: {detail}"
        return Denied(Reason.BUDGET_EXHAUSTED, detail, headers=headers, rule=spending.rule)

    def _noted(self, spending: Spending, now: float, seconds: float) -> Shadow | None:
        """Spend a budget in shadow; return a note if it would have refused, None otherwise."""
        result = self._result_in_shadow(spending, now, seconds)
        self._count([spending], result)
        if result is not SpendResult.SHADOW_EXHAUSTED:
            return None
        by = spending.shadow or ShadowBy.RULE
        return Shadow(by, Effect.DENY, Reason.BUDGET_EXHAUSTED.code, spending.rule)

    def _result_in_shadow(self, spending: Spending, now: float, seconds: float) -> SpendResult:
        if spending.cost > spending.limit:
            return SpendResult.SHADOW_EXHAUSTED
        if seconds <= 0:
            return SpendResult.AWAY
        try:
            self._store.spend(_charges([spending]), now, seconds)
        except ExhaustedError:
            return SpendResult.SHADOW_EXHAUSTED
        except (StoreFullError, StoreBusyError) as error:
            return _OVERLOADS[type(error)]
        except StoreError:
            return SpendResult.AWAY
        return SpendResult.SPENT

    def _count(self, spendings: Sequence[Spending], result: SpendResult) -> None:
        self._counter.add(*((spending.rule, result) for spending in spendings))


def _charges(spendings: Sequence[Spending]) -> list[Charge]:
    return [Charge(each.key, each.cost, each.limit, each.window) for each in spendings]


def _some(seconds: float) -> float:
    """Return the seconds left. Raises Denied(OVERLOADED) if there are none."""
    if seconds <= 0:
        raise Denied(Reason.OVERLOADED, "no time is left before the caller's deadline")
    return seconds
