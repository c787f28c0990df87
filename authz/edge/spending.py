"""Spends the budgets of an allow: the last step of a decision, which can only refuse.

A budget is spent once the call is otherwise allowed, and nothing is given back. What enforces is
spent in one step: all of it, or nothing. Budgets in shadow are spent apart, and only noted.
"""

from collections.abc import Callable
from enum import StrEnum
from math import ceil
from typing import Final

from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import (
    Budgets,
    Charge,
    ExhaustedError,
    StoreError,
    StoreFullError,
)
from authz.core.decision import Allow, Effect, Shadow, ShadowBy, Spending
from authz.core.reason import Denied, Reason

_RETRY: Final = "retry-after"  # RFC 9110 section 10.2.3
_AWAY_SECONDS: Final = 1  # to try again after, while the store is away
# Clocks and roundings may differ by so much: a client that waits as told must not come too early.
_MARGIN_SECONDS: Final = 0.001


class BudgetResult(StrEnum):
    """What became of a spending."""

    SPENT = "spent"
    EXHAUSTED = "exhausted"
    SHADOW_EXHAUSTED = "shadow_exhausted"
    LOCAL = "local"
    UNAVAILABLE = "unavailable"


Count = Callable[[str, BudgetResult], None]


class Spender:
    """Spends budgets in a store, and in this process's memory where a rule prefers that."""

    def __init__(self, store: Budgets, count: Count) -> None:
        """Take the store; ``count`` is called with each rule and what became of its spending."""
        self._store = store
        self._own = MemoryStore()
        self._count = count

    def spend(self, allow: Allow, now: float, seconds: float) -> Allow:
        """Spend the budgets of an allow; return it with notes of those in shadow.

        Waits for ``seconds`` at most, twice if there are budgets in shadow. Raises
        Denied(BUDGET_EXHAUSTED | STORE_UNAVAILABLE | OVERLOADED).
        """
        spendings = allow.permit.spendings
        enforced = [spending for spending in spendings if spending.shadow is None]
        if enforced:
            self._enforced(enforced, now, seconds)
        noted = [self._noted(each, now, seconds) for each in spendings if each.shadow is not None]
        return allow.noted(*filter(None, noted)) if noted else allow

    def _enforced(self, spendings: list[Spending], now: float, seconds: float) -> None:
        too_large = next((each for each in spendings if each.cost > each.limit), None)
        if too_large is not None:  # the calls of a batch: another try does not help
            self._count(too_large.rule, BudgetResult.EXHAUSTED)
            raise _exhausted(too_large, "the message costs more than the whole budget")
        try:
            self._store.spend(_charges(spendings), now, seconds)
        except ExhaustedError as error:
            raise self._refused(spendings, error) from None
        except StoreFullError as error:
            self._count_each(spendings, BudgetResult.UNAVAILABLE)
            raise Denied(Reason.OVERLOADED, str(error)) from None
        except StoreError as error:
            self._spend_alone(spendings, now, error)
        else:
            self._count_each(spendings, BudgetResult.SPENT)

    def _spend_alone(self, spendings: list[Spending], now: float, error: StoreError) -> None:
        """Spend in this process's memory, if each of the budgets may be: else refuse."""
        if not all(spending.is_local_if_away for spending in spendings):
            self._count_each(spendings, BudgetResult.UNAVAILABLE)
            retry = ((_RETRY, str(_AWAY_SECONDS)),)
            raise Denied(Reason.STORE_UNAVAILABLE, str(error), headers=retry) from None
        try:
            self._own.spend(_charges(spendings), now, 0.0)
        except ExhaustedError as exhausted:
            raise self._refused(spendings, exhausted) from None
        except StoreFullError as full:
            self._count_each(spendings, BudgetResult.UNAVAILABLE)
            raise Denied(Reason.OVERLOADED, str(full)) from None
        self._count_each(spendings, BudgetResult.LOCAL)

    def _refused(self, spendings: list[Spending], error: ExhaustedError) -> Denied:
        spending = spendings[error.at]
        self._count(spending.rule, BudgetResult.EXHAUSTED)
        seconds = max(1, ceil(error.seconds + _MARGIN_SECONDS))
        detail = f"the budget of {spending.rule} has no room; {seconds} s until it has"
        return _exhausted(spending, detail, (_RETRY, str(seconds)))

    def _noted(self, spending: Spending, now: float, seconds: float) -> Shadow | None:
        """Spend a budget in shadow; return a note if it would have refused."""
        try:
            self._store.spend(_charges([spending]), now, seconds)
        except ExhaustedError:
            self._count(spending.rule, BudgetResult.SHADOW_EXHAUSTED)
            by = spending.shadow or ShadowBy.RULE
            return Shadow(by, Effect.DENY, Reason.BUDGET_EXHAUSTED.code, spending.rule)
        except StoreError:
            self._count(spending.rule, BudgetResult.UNAVAILABLE)
            return None
        self._count(spending.rule, BudgetResult.SPENT)
        return None

    def _count_each(self, spendings: list[Spending], result: BudgetResult) -> None:
        for spending in spendings:
            self._count(spending.rule, result)


def _charges(spendings: list[Spending]) -> list[Charge]:
    return [Charge(each.key, each.cost, each.limit, each.window) for each in spendings]


def _exhausted(spending: Spending, detail: str, *headers: tuple[str, str]) -> Denied:
    return Denied(Reason.BUDGET_EXHAUSTED, detail, headers=headers, rule=spending.rule)
