"""Budgets as the docs describe them, counted slowly and exactly: a second opinion on stores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from authz.adapters.store.store import Charge


@dataclass
class SlowBudgets:
    """All that was ever spent: when, of which budget, and how much."""

    spent: list[tuple[Fraction, bytes, int]] = field(default_factory=list)

    def fits(self, charges: Sequence[Charge], now: Fraction) -> list[bool]:
        """Tell of each charge whether its budget has room."""
        return [self.counted(charge, now) + charge.cost <= charge.limit for charge in charges]

    def spend(self, charges: Sequence[Charge], now: Fraction) -> list[bool]:
        """Spend all if all fit, and tell which did."""
        fitting = self.fits(charges, now)
        if all(fitting):
            self.spent += [(now, charge.key, charge.cost) for charge in charges]
        return fitting

    def counted(self, charge: Charge, now: Fraction) -> int:
        """Return what counts now: this fixed window, and what still counts of the last."""
        length = Fraction(charge.window)
        number = now // length
        of_last = self._in_window(charge, number - 1, length)
        covered = 1 - (now - number * length) / length
        return self._in_window(charge, number, length) + math.ceil(of_last * covered)

    def _in_window(self, charge: Charge, number: int, length: Fraction) -> int:
        return sum(
            cost for at, key, cost in self.spent if key == charge.key and at // length == number
        )

    def most_in_any_window(self, key: bytes, length: Fraction) -> int:
        """Return the most that was spent in any window of this length, wherever it begins."""
        of_key = [(at, cost) for at, each, cost in self.spent if each == key]
        return max(
            sum(cost for at, cost in of_key if begin <= at < begin + length) for begin, _ in of_key
        )
