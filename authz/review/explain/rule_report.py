"""Reports what policy considered: the matching entries, the rules that fit, and why others do not.

Does not decide: ``Policy.evaluate`` does, by the same entries, rules and unmet requirements.
"""

from dataclasses import dataclass, replace
from typing import Final

from authz.core.decision import Mode
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import UNRESTRICTED
from authz.review.explain.cures import Cure, find_cures
from authz.review.explain.sides import Side, agent_side, principal_side

SHOWN: Final = 20  # rules shown of a side, unless all are requested


@dataclass(frozen=True, slots=True)
class RuleReport:
    """The report of both sides; ``principal`` is None if no entry of principals counts.

    ``cures`` say what each side lacks that does not allow; () if it is denied or suspended.
    """

    agent: Side
    principal: Side | None
    cures: tuple[Cure, ...] = ()

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides: the agent's, and the principal's if it counts."""
        return (self.agent,) if self.principal is None else (self.agent, self.principal)

    @property
    def allows(self) -> bool:
        """Tell whether each side allows and none denies, which the verdict must confirm."""
        if any(side.is_suspended or side.denying for side in self.sides):
            return False
        asked = [side for side in self.sides if not side.only_denies]
        if not all(side.allowing for side in asked):
            return False
        named = [outcome.rule for side in asked for outcome in side.allowing]
        return any(rule is not UNRESTRICTED for rule in named)

    def lines(self, shown: int | None = SHOWN) -> list[str]:
        """Return the lines for a person: the rules, then the nearest miss of each side."""
        lines = [line for side in self.sides for line in side.lines(shown)]
        for side in self.sides:
            if side.is_suspended:
                lines.append(
                    f"suspended: the {side.who}; no rule counts while an entry suspends it"
                )
            lines += [
                f"denied by: {outcome.rule.name}, which the {side.who} holds"
                for outcome in side.denying
            ]
        return [*lines, *dict.fromkeys(f"nearest miss: {cure.text}" for cure in self.cures)]


def report_rules(policy: Policy, case: PolicyQuery) -> RuleReport:
    """Report the entries and rules that a policy considers for a case, and the cures."""
    report = _without_cures(policy, case)
    if report.allows or any(side.is_suspended or side.denying for side in report.sides):
        return report
    return replace(report, cures=tuple(find_cures(policy, case, report.sides)))


def _without_cures(policy: Policy, case: PolicyQuery) -> RuleReport:
    agent = agent_side(policy, case)
    if case.delegation.mode is Mode.BOOTSTRAP:
        return RuleReport(agent, None)
    principal = principal_side(policy, case)
    if case.delegation.has_token:
        return RuleReport(agent, principal)
    return RuleReport(agent, replace(principal, only_denies=True) if principal.is_known else None)
