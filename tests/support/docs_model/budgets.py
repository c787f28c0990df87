"""Budgets: which rule's is spent by what is allowed, whose it is, and whether it has room."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from support.docs_model.approvals import takes
from support.docs_model.asked import Known, Rule, Spend
from support.docs_model.calls import Call
from support.docs_model.paths import text_fits


def cost_of(rule: Rule, call: Call | None) -> Fraction | None:
    """What a call costs; None if it does not say so, or says more than the whole limit."""
    budget = rule["budget"]
    if call is not None and call.protocol == "mcp" and not call.key:
        is_listed = text_fits(rule["mcp"].get("methods", []), call.method)
        if not is_listed:  # of a session, or a list
            return Fraction(0)
    if "cost" not in budget:
        return Fraction(1)
    value = (call.arguments or {}).get(budget["cost"]) if call else None
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        return None
    cost = Fraction(repr(value))
    return cost if cost <= Fraction(repr(budget["limit"])) else None


def spend_of(rule: Rule, known: Known, call: Call | None) -> Spend:
    """What a call that the rule allows spends, and of whose budget."""
    budget = rule["budget"]
    principal = (known.claims.get("iss"), known.principal)
    whose: dict[str, Any] = {
        "agent": known.agent,
        "principal": principal if known.principal else known.agent,
        "pair": (known.agent, principal),
    }
    name = (rule["grant"], rule["name"], budget["per"], whose[budget["per"]])
    return Spend(name, cost_of(rule, call) or Fraction(0), Fraction(repr(budget["limit"])))


def spends_of(fitting: Iterable[list[Rule]], known: Known, call: Call | None) -> set[Spend]:
    """What a call spends, by the rules of each side that allow it: nothing if one is without."""
    firsts = [rules[0] for rules in fitting if rules and all(map(takes, rules))]
    spending = [rule for rule in firsts if "budget" in rule]
    return {spend for rule in spending if (spend := spend_of(rule, known, call)).cost}


@dataclass
class Purse:
    """What was spent of each budget, in a window that does not end."""

    spent: dict[Any, Fraction] = field(default_factory=dict)

    def has_room(self, spends: Iterable[Spend]) -> bool:
        """Whether all of it can be spent."""
        return all(self.spent.get(one.budget, 0) + one.cost <= one.limit for one in spends)

    def spend(self, spends: Iterable[Spend]) -> None:
        """Spend all of it."""
        for one in spends:
            self.spent[one.budget] = self.spent.get(one.budget, Fraction(0)) + one.cost
