"""Evaluates the rules of one side, of the agent or the principal: which allow, or the nearest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.reason import Reason


@dataclass(frozen=True, slots=True)
class SideResult:
    """The answer of the agent's or the principal's rules: the rule that allows, or the nearest.

    ``rule`` is None if no allow of the side is about the operation. ``unmet`` holds its unmet
    requirements.
    """

    rule: Rule | None
    unmet: tuple[UnmetRequirement, ...] = ()

    @property
    def is_allowed(self) -> bool:
        """Tell whether the rule allows."""
        return self.rule is not None and not self.unmet


def evaluate_side(rules: Iterable[Rule], query: PolicyQuery) -> SideResult:
    """Return the allow that fits, else the nearest and its unmet requirements.

    It is the first that takes nothing, no budget and no approval, else the first: grants add up.
    UNRESTRICTED, which is last, takes none away.
    """
    best: tuple[tuple[bool, int, int], SideResult] | None = None
    limited: Rule | None = None
    for rule in rules:
        if rule.is_deny or (limited is not None and rule is UNRESTRICTED):
            continue
        unmet = rule.unmet(query)
        if not unmet:
            if not rule.takes_something:
                return SideResult(rule)
            if limited is None or _refuses_less(rule, limited):
                limited = rule
            continue
        far = distance(rule, unmet, query)
        if best is None or far < best[0]:
            best = far, SideResult(rule, unmet)
    if limited is not None:
        return SideResult(limited)
    return best[1] if best else SideResult(None)


def _refuses_less(rule: Rule, other: Rule) -> bool:
    """Tell whether a rule's budget is in shadow, and the other rule's budget is enforced."""
    budgets = rule.budget, other.budget
    first, second = (budget is not None and budget.settings.shadow for budget in budgets)
    return first and not second


def distance(
    rule: Rule, unmet: tuple[UnmetRequirement, ...], query: PolicyQuery
) -> tuple[bool, int, int]:
    """Return how far a rule is from fitting: other call, unmet by any token, all that is unmet."""
    hard = sum(missing.reason is Reason.POLICY_DENIED for missing in unmet)
    return not rule.is_about(query.operation.call), hard, len(unmet)


def fitting_denies(rules: Iterable[Rule], query: PolicyQuery) -> Iterator[Rule]:
    """Return the denies that fit."""
    return (rule for rule in rules if rule.is_deny and not rule.unmet(query))
