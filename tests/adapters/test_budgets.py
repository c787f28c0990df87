"""Spending the budgets of an allow: what is refused, when to come again, what counts while away."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.budgets import Spender, SpendResult
from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import (
    Charge,
    ExhaustedError,
    StoreAwayError,
    StoreBusyError,
    StoreError,
    StoreFullError,
)
from authz.core.decision import Agent, Allow, Delegation, Permit, ShadowBy, Spending
from authz.core.reason import RETRY_AFTER, Denied, Reason
from authz.core.spiffe import SpiffeId

AGENT = Agent(SpiffeId.parse("spiffe://corp.example/a"))
NOBODY = Delegation("", "", (), frozenset(), 0.0, math.inf)
NOW = 1_800_000_000.0


class Faulty:
    """A store that fails, or is the memory."""

    def __init__(self) -> None:
        """Begin well."""
        self.memory = MemoryStore()
        self.error: StoreError | None = None

    def spend(self, charges: Sequence[Charge], now: float, seconds: float) -> None:
        """Spend, or fail."""
        if self.error is not None:
            raise self.error
        self.memory.spend(charges, now, seconds)


def spending(cost: int = 1, limit: int = 3, **more: Any) -> Spending:
    """Return a part of a budget."""
    return Spending("pay/pay", more.pop("key", b"k"), cost, limit, more.pop("window", 60.0), **more)


def spend(
    spender: Spender, *spendings: Spending, now: float = NOW, left: float = 1.0
) -> tuple[Reason | None, str]:
    """Return why a spending is refused and when to come again, and (None, notes) if it is not."""
    allow = Allow(AGENT, NOBODY, Permit("pay/pay", "", (), spendings), math.inf)
    try:
        spent = spender.spend(allow, now, lambda: left)
    except Denied as denied:
        return denied.reason, dict(denied.headers).get(RETRY_AFTER, "")
    return None, ",".join(f"{note.by}:{note.decision}:{note.reason}" for note in spent.shadows)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 10)), min_size=1, max_size=20),
    st.integers(1, 10),
    st.sampled_from([1.0, 7.0, 60.0]),
)
def test_a_client_that_waits_is_allowed(
    before: list[tuple[float, int]], cost: int, window: float
) -> None:
    """After Retry-After the same request is allowed, unless others spend, and not much sooner."""
    spender, now = Spender(MemoryStore(), is_shared=False), NOW
    for step, amount in before:
        now += step
        spend(spender, spending(amount, 10, window=window), now=now)
    reason, retry = spend(spender, spending(cost, 10, window=window), now=now)
    if reason is None:
        return
    assert reason is Reason.BUDGET_EXHAUSTED
    if int(retry) > 2:
        early = spend(spender, spending(cost, 10, window=window), now=now + int(retry) - 1.01)
        assert early[0] is Reason.BUDGET_EXHAUSTED
    assert spend(spender, spending(cost, 10, window=window), now=now + int(retry))[0] is None


def test_the_store_is_away() -> None:
    """Nothing passes that can't be counted, unless every rule prefers this process's own count."""
    store = Faulty()
    spender = Spender(store, is_shared=True)
    store.error = StoreAwayError("gone")
    assert spend(spender, spending()) == (Reason.STORE_UNAVAILABLE, "1")
    local = spending(is_local_if_away=True, key=b"l")
    assert spend(spender, local, spending()) == (Reason.STORE_UNAVAILABLE, "1")
    assert [spend(spender, local)[0] for _ in range(4)] == [None] * 3 + [Reason.BUDGET_EXHAUSTED]
    assert spender.status().counts == {
        ("pay/pay", SpendResult.AWAY): 3,
        ("pay/pay", SpendResult.SPENT_LOCALLY): 3,
        ("pay/pay", SpendResult.EXHAUSTED): 1,
    }


def test_what_passed_before_counts_while_it_is_away() -> None:
    """A process has not forgotten what passed it while the store was there."""
    store = Faulty()
    spender, local = Spender(store, is_shared=True), spending(is_local_if_away=True)
    assert [spend(spender, local)[0] for _ in range(2)] == [None, None]
    store.error = StoreAwayError("gone")
    assert [spend(spender, local)[0] for _ in range(2)] == [None, Reason.BUDGET_EXHAUSTED]


@pytest.mark.parametrize("error", [StoreFullError("full"), StoreBusyError("a crowd")])
def test_the_store_is_full_or_busy(error: StoreError) -> None:
    """A full or busy store refuses, whatever the rule prefers: it is not away."""
    store = Faulty()
    store.error = error
    spender = Spender(store, is_shared=True)
    assert spend(spender, spending(is_local_if_away=True)) == (Reason.OVERLOADED, "")


def test_no_time_is_left() -> None:
    """Without time to ask, it is refused without asking."""
    spender = Spender(Faulty(), is_shared=True)
    assert spend(spender, spending(), left=0.0) == (Reason.OVERLOADED, "")
    assert spend(spender, spending(shadow=ShadowBy.RULE), left=0.0) == (None, "")


def test_shadow_is_apart() -> None:
    """A budget in shadow refuses nothing, and what is enforced is spent without it."""
    spender = Spender(MemoryStore(), is_shared=False)
    watched = spending(3, key=b"w", shadow=ShadowBy.POLICY)
    assert spend(spender, spending(), watched) == (None, "")
    assert spend(spender, spending(), watched) == (None, "policy:deny:budget_exhausted")
    assert spend(spender, spending(2), watched)[0] is Reason.BUDGET_EXHAUSTED
    assert spend(spender, spending(1), watched)[0] is None


@pytest.mark.parametrize("error", [StoreAwayError("x"), StoreFullError("x")])
def test_shadow_while_the_store_fails(error: StoreError) -> None:
    """A store that fails refuses nothing of a budget in shadow."""
    store = Faulty()
    store.error = error
    assert spend(Spender(store, is_shared=True), spending(shadow=ShadowBy.RULE)) == (None, "")


def test_more_than_the_whole_budget() -> None:
    """It is refused without asking the store, and without a time to come again."""
    spender = Spender(MemoryStore(), is_shared=False)
    assert spend(spender, spending(4)) == (Reason.BUDGET_EXHAUSTED, "")
    assert spend(spender, spending(3))[0] is None


def test_exhausted_says_which() -> None:
    """The refusal names the rule of the first budget without room."""
    spender = Spender(MemoryStore(), is_shared=False)
    spend(spender, spending(3))
    other = Spending("other/rule", b"o", 1, 9, 60.0)
    with pytest.raises(Denied) as refused:
        spender.spend(
            Allow(AGENT, NOBODY, Permit("", "", (), (other, spending())), math.inf), NOW, lambda: 1
        )
    assert refused.value.rule == "pay/pay"
    with pytest.raises(ExhaustedError):
        MemoryStore().spend([Charge(b"x", 2, 1, 1.0)], NOW, 1.0)
