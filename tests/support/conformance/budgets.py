"""What every store must do with budgets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.adapters.store.store import Charge, ExhaustedError
from support.slow_budgets import SlowBudgets

BEGIN = 1_800_000_000 // 64 * 64  # the beginning of a window of each of the lengths below
KEYS = (b"a", b"b", b"c")
# Exact in floating point, so that a store that counts in it is held to the last millionth.
LENGTHS = {b"a": 8.0, b"b": 16.0, b"c": 64.0}
LIMITS = {b"a": 10, b"b": 7, b"c": 2**50}
STEPS = st.integers(0, 200).map(lambda eighths: Fraction(eighths, 8))


def charge(key: bytes = b"a", cost: int = 1, limit: int = 0, window: float = 0.0) -> Charge:
    """Return a charge of one of the budgets here."""
    return Charge(key, cost, limit or LIMITS[key], window or LENGTHS[key])


@st.composite
def charges(draw: st.DrawFn) -> list[Charge]:
    """Return some charges of budgets that differ."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    costs = {b"a": st.integers(0, 10), b"b": st.integers(0, 7), b"c": st.integers(0, 2**50)}
    return [charge(key, draw(costs[key])) for key in keys]


class BudgetConformance(ABC):
    """The rules of spending. A subclass says how to spend at a time of its own making."""

    @abstractmethod
    def forget(self) -> None:
        """Begin again, with nothing spent."""

    @abstractmethod
    def spend(self, charges: Sequence[Charge], now: float) -> None:
        """Spend at a time, in unix seconds. Raises ExhaustedError."""

    def passes(self, *charges: Charge, now: float = BEGIN) -> bool:
        """Tell whether charges are spent."""
        try:
            self.spend(charges, now)
        except ExhaustedError:
            return False
        return True

    def test_it_counts_as_the_docs_say(self) -> None:
        """Every spending passes where the slow model lets it pass, and waits as long as needed."""

        @settings(max_examples=60, deadline=None)
        @given(st.lists(st.tuples(STEPS, charges()), min_size=1, max_size=30))
        def holds(spends: list[tuple[Fraction, list[Charge]]]) -> None:
            self.forget()
            self._compare(spends)

        holds()

    def _compare(self, spends: list[tuple[Fraction, list[Charge]]]) -> None:
        model, now, millisecond = SlowBudgets(), Fraction(BEGIN), Fraction(1, 1000)
        for step, asked in spends:
            now += step
            fitting = model.spend(asked, now)
            if all(fitting):
                self.spend(asked, float(now))
                continue
            with pytest.raises(ExhaustedError) as refused:
                self.spend(asked, float(now))
            assert refused.value.at == fitting.index(False)
            later = now + Fraction(refused.value.seconds)
            assert all(model.fits(asked, later + millisecond))
            assert not all(model.fits(asked, max(now, later - millisecond)))

    def test_all_or_nothing(self) -> None:
        """If one budget has no room, nothing is spent of the others; the first is named."""
        self.forget()
        self.spend([charge(b"b", 7)], BEGIN)
        with pytest.raises(ExhaustedError) as refused:
            self.spend([charge(b"a", 10), charge(b"b", 1)], BEGIN)
        assert refused.value.at == 1

        assert self.passes(charge(b"a", 10))

    def test_the_wait_is_of_the_last_that_has_room(self) -> None:
        """Of two budgets without room, the wait is until both have."""
        self.forget()
        self.spend([charge(b"a", 10), charge(b"b", 7)], BEGIN)
        with pytest.raises(ExhaustedError) as refused:
            self.spend([charge(b"a", 10), charge(b"b", 7)], BEGIN)
        assert refused.value.at == 0
        assert refused.value.seconds == pytest.approx(32.0)

    def test_a_clock_that_was_set_back_forgets_nothing(self) -> None:
        """What was spent counts on, whatever the clock says."""
        self.forget()
        self.spend([charge(cost=10)], BEGIN + 16)
        for back in (15.9, 8.0, 0.0, -1000.0):
            assert not self.passes(charge(), now=BEGIN + back)
        assert self.passes(charge(), now=BEGIN + 16 + 8 + 1)

    def test_the_most_that_passes_in_any_window(self) -> None:
        """Never more than the limit in a fixed window; less than twice as much in any other."""
        self.forget()
        model, window = SlowBudgets(), Fraction(64)
        limit, last = 100, float(BEGIN + 64) - 0.001
        hundred = Charge(b"x", 1, limit, float(window))

        def ask(now: float) -> None:
            if self.passes(hundred, now=now):
                model.spent.append((Fraction(now), b"x", 1))

        for _ in range(limit + 5):  # all that a window has, in its last moment
            ask(last)
        assert len(model.spent) == limit
        for step in range(1, 1000):  # then as soon as it can be had
            ask(BEGIN + 64 + step * 0.064)
        assert model.most_in_any_window(b"x", window) == 2 * limit - 1

    def test_large_amounts(self) -> None:
        """The largest limit is counted to the last millionth."""
        self.forget()
        most = 10**15
        large = Charge(b"l", most - 1, most, 64.0)
        assert self.passes(large)
        assert not self.passes(Charge(b"l", 2, most, 64.0))
        assert self.passes(Charge(b"l", 1, most, 64.0))
        assert not self.passes(Charge(b"l", 1, most, 64.0))

    def test_many_at_once(self) -> None:
        """Of many that spend at the same moment, as many pass as there is room for."""
        self.forget()
        asked = [[charge(b"b"), Charge(b"mine", 1, 1000, 64.0)]] * 40
        with ThreadPoolExecutor(8) as pool:
            passed = sum(pool.map(lambda each: self.passes(*each), asked))
        assert passed == LIMITS[b"b"]
        assert self.passes(Charge(b"mine", 1000 - passed, 1000, 64.0))
