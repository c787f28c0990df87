"""A rule's budget, compiled: what an allowed call spends of it, and whose budget that is.

A budget is named by the full name of its rule, by how it counts, and by those who share it. So a
rule that is renamed, or counts otherwise, has a new budget; another limit is another limit of the
same.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from math import copysign
from typing import Final

import msgspec

from authz.core.choice import WhenAway
from authz.core.decision import ShadowBy, Spending
from authz.core.policy.budget_settings import (
    MILLIONTHS,
    BudgetOwner,
    BudgetSettings,
    in_millionths,
)
from authz.core.policy.call_settings import CallSettings, McpSettings
from authz.core.policy.claim_names import find_claim
from authz.core.policy.name_patterns import NamePatterns
from authz.core.policy.query import PolicyQuery
from authz.core.request import MESSAGE_KINDS, Call
from authz.core.strict_json import StrictJsonError, loads

_KEY_BYTES: Final = 16


class CostError(ValueError):
    """The cost of a call can't be told, or is more than the budget; the message has no value."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call costs, in millionths.

    Attributes:
        argument: the argument that says so; None if each call costs 1.
        limit: the most that a call may cost.
        methods: the methods of MCP that the rule itself lists; None for other rules. Messages that
            it only brings along, as those of sessions and lists, are free.
    """

    argument: str | None
    limit: int
    methods: NamePatterns | None = None

    @classmethod
    def of(cls, budget: BudgetSettings, calls: CallSettings | None) -> "Cost":
        """Compile the settings of a rule."""
        methods = NamePatterns(calls.methods) if isinstance(calls, McpSettings) else None
        return cls(budget.cost, int(in_millionths(budget.limit)), methods)

    def in_call(self, call: Call | None) -> int:
        """Return what a call costs, rounded up. Raises CostError."""
        if call is not None and self._is_free(call):
            return 0
        if self.argument is None:
            return MILLIONTHS
        cost = self._written(self.argument, call)
        if cost > self.limit:
            raise CostError(f"{self.argument} is more than the budget's limit")
        return int(cost.to_integral_value(ROUND_CEILING))

    def _is_free(self, call: Call) -> bool:
        if self.methods is None:
            return False
        if call.kind in MESSAGE_KINDS:
            return True
        return not call.kind and not self.methods.fits(call.method)

    @staticmethod
    def _written(argument: str, call: Call | None) -> Decimal:
        """Return the argument in millionths, exactly. Raises CostError."""
        try:
            arguments = loads(call.arguments) if call is not None else None
        except StrictJsonError:
            arguments = None
        if not isinstance(arguments, dict):
            raise CostError(f"{argument}, which says the cost, can't be read")
        value = find_claim(arguments, argument)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CostError(f"{argument}, which says the cost, is not a number")
        if copysign(1, value) < 0:  # also of what is nearly nothing, which is read as -0.0
            raise CostError(f"{argument}, which says the cost, is negative")
        return in_millionths(value)


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of a rule; ``rule`` is its full name."""

    rule: str
    settings: BudgetSettings
    cost: Cost

    @classmethod
    def of(cls, rule: str, budget: BudgetSettings, calls: CallSettings | None) -> "Budget":
        """Compile the settings of a rule."""
        return cls(rule, budget, Cost.of(budget, calls))

    @property
    def words(self) -> str:
        """The budget in words for operators, such as "100 in 1h per agent"."""
        settings = self.settings
        of_what = "" if settings.cost is None else f" of {settings.cost}"
        shadow = ", in shadow" if settings.shadow else ""
        amount = f"{Decimal(self.cost.limit) / MILLIONTHS:f}"
        return f"{amount}{of_what} in {_duration(settings.window)} per {settings.per}{shadow}"

    def spending(self, query: PolicyQuery) -> Spending | None:
        """Return what a call spends that the rule allows; None if it is free.

        A cost that can't be told is more than the limit: only a budget in shadow allows such a
        call, and it notes that.
        """
        try:
            cost = self.cost.in_call(query.operation.call)
        except CostError:
            cost = self.cost.limit + 1
        if not cost:
            return None
        settings = self.settings
        return Spending(
            self.rule,
            self._key(query),
            cost,
            self.cost.limit,
            settings.window,
            settings.when_away is WhenAway.LOCAL,
            ShadowBy.RULE if settings.shadow else None,
        )

    def _key(self, query: PolicyQuery) -> bytes:
        settings, by = self.settings, query.delegation
        agent = query.agent.spiffe_id.text
        if settings.per is BudgetOwner.AGENT or not by.subject:
            whose = [agent]
        elif settings.per is BudgetOwner.PRINCIPAL:
            whose = [by.issuer, by.subject]
        else:
            whose = [agent, by.issuer, by.subject]
        named = [self.rule, settings.per, settings.window, settings.cost, whose]
        return hashlib.blake2b(msgspec.json.encode(named), digest_size=_KEY_BYTES).digest()


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if not seconds % size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms"


def joined(spendings: Iterable[Spending]) -> tuple[Spending, ...]:
    """Return each budget's spending once: what all calls of a message spend of it."""
    found: dict[bytes, Spending] = {}
    for spending in spendings:
        earlier = found.get(spending.key)
        cost = spending.cost + (earlier.cost if earlier else 0)
        found[spending.key] = msgspec.structs.replace(spending, cost=cost)
    return tuple(found.values())


def in_shadow(spendings: Iterable[Spending]) -> tuple[Spending, ...]:
    """Return the same spendings, as a policy in shadow makes them: none is enforced."""
    return tuple(
        spending if spending.shadow else msgspec.structs.replace(spending, shadow=ShadowBy.POLICY)
        for spending in spendings
    )
