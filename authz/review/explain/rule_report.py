"""Reports what policy considered: the matching entries, the rules that fit, the others' misses.

Decides nothing: ``Policy.evaluate`` does, by the same entries, rules and misses.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from authz.core.decision import Mode
from authz.core.policy.agents import AgentEntry
from authz.core.policy.policy import Policy
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.rules import UNRESTRICTED, Rule, distance
from authz.core.spiffe import SpiffePattern

SHOWN: Final = 20  # rules of a side, unless all are wanted
NEAREST_ENTRIES: Final = 3


@dataclass(frozen=True, slots=True)
class SideOutcome:
    """A rule, and its unmet requirements: those of its target (host, method, path) come first."""

    rule: Rule
    misses: tuple[UnmetRequirement, ...]
    of_target: tuple[UnmetRequirement, ...]

    @property
    def fits(self) -> bool:
        """Tell whether the rule counts for this request."""
        return not self.misses and not self.rule.is_shadow

    def line(self) -> str:
        """Return a line for a person; of a rule with another target, only the target's misses."""
        text = "; ".join(missing.text for missing in self.of_target or self.misses)
        mark = "    -" if self.misses else " deny" if self.rule.is_deny else "   ok"
        kind = " (deny)" if self.rule.is_deny else ""
        shadow = " (shadow)" if self.rule.is_shadow else ""
        return f"      {mark} {self.rule.name}{kind}{shadow}{': ' if text else ''}{text}"


@dataclass(frozen=True, slots=True)
class Side:
    """The entries and rules of the agent, or of the principal.

    Attributes:
        who: "agent" or "principal".
        entries: the entries that match it, in words; or the nearest entries, and why they don't.
        is_known: whether an entry matches it.
        is_suspended: whether an entry suspends it.
        rules: their rules, denies first, then by distance.
        only_denies: whether it need not allow, as an agent by its SVID alone has only its own side.
    """

    who: str
    entries: tuple[str, ...]
    is_known: bool
    is_suspended: bool
    rules: tuple[SideOutcome, ...]
    only_denies: bool = False

    @property
    def allowing(self) -> tuple[SideOutcome, ...]:
        """The allows that fit."""
        return tuple(outcome for outcome in self.rules if outcome.fits and not outcome.rule.is_deny)

    @property
    def denying(self) -> tuple[SideOutcome, ...]:
        """The denies that fit."""
        return tuple(outcome for outcome in self.rules if outcome.fits and outcome.rule.is_deny)

    def nearest(self) -> str:
        """Name the allow that misses least, and its misses; "" if one fits or there is none."""
        allows = [
            outcome
            for outcome in self.rules
            if not outcome.rule.is_deny and not outcome.rule.is_shadow and not self.only_denies
        ]
        if self.allowing or not allows:
            return ""
        return f"{allows[0].rule.name}: {'; '.join(missing.text for missing in allows[0].misses)}"

    def lines(self, shown: int | None) -> list[str]:
        """Return the lines for a person, with ``shown`` rules at most, None for all."""
        lines = [f"  {self.who:<9} {entry}" for entry in self.entries]
        lines += [outcome.line() for outcome in self.rules[:shown]]
        hidden = len(self.rules) - len(self.rules[:shown])
        return [*lines, f"            and {hidden} more; --all shows them"] if hidden else lines


@dataclass(frozen=True, slots=True)
class RuleReport:
    """The report of both sides; ``principal`` is None if no entry of principals counts."""

    agent: Side
    principal: Side | None

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that there are."""
        return (self.agent,) if self.principal is None else (self.agent, self.principal)

    @property
    def allows(self) -> bool:
        """Tell whether each side allows and none denies, as the verdict must say too."""
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
            lines += [
                f"denied by: {outcome.rule.name}, which the {side.who} holds"
                for outcome in side.denying
            ]
        nearest = dict.fromkeys(side.nearest() for side in self.sides)
        return [*lines, *(f"nearest miss: {near}" for near in nearest if near)]


def report_rules(policy: Policy, case: PolicyQuery) -> RuleReport:
    """Report the entries and rules that a policy considers for a case."""
    agent = _agent_side(policy, case)
    if case.delegation.mode is Mode.BOOTSTRAP:
        return RuleReport(agent, None)
    principal = _principal_side(policy, case)
    if case.delegation.has_token:
        return RuleReport(agent, principal)
    return RuleReport(agent, replace(principal, only_denies=True) if principal.is_known else None)


def _agent_side(policy: Policy, case: PolicyQuery) -> Side:
    found = policy.agents.of(case.agent.spiffe_id)
    entries = [f"{entry.settings.id}{_holds(entry)}" for entry in found]
    if not found:
        near = sorted(policy.agents.entries, key=lambda entry: -_alike(entry, case))
        entries = ["no entry of agents matches it; the nearest are"]
        entries += [f"  {entry.settings.id}" for entry in near[:NEAREST_ENTRIES]]
    return _side("agent", found, entries, case)


def _alike(entry: AgentEntry, case: PolicyQuery) -> int:
    """Count the segments that an entry's ID and the agent's share, the trust domain included."""
    pattern, spiffe_id = SpiffePattern.parse(entry.settings.id), case.agent.spiffe_id
    if pattern.trust_domain != spiffe_id.trust_domain:
        return 0
    pairs = zip(pattern.path.segments, spiffe_id.segments, strict=False)
    return 1 + sum(want in (None, got) for want, got in pairs)


def _principal_side(policy: Policy, case: PolicyQuery) -> Side:
    found = policy.principals.through(case.agent, case.delegation)
    entries = [f"{entry.title}{_holds(entry)}{_only_takes(entry, case)}" for entry in found]
    if not found:
        near = sorted(policy.principals.entries, key=lambda entry: _distance(entry, case))
        entries = ["no entry of principals matches it; the nearest are"]
        entries += [f"  {entry.title}: {_why_not(entry, case)}" for entry in near[:NEAREST_ENTRIES]]
    return _side("principal", found, entries, case)


def _only_takes(entry: PrincipalEntry, case: PolicyQuery) -> str:
    why = entry.mismatch(case.delegation)
    return f"; only its denies and suspension apply: {why}" if why else ""


def _why_not(entry: PrincipalEntry, case: PolicyQuery) -> str:
    return entry.mismatch(case.delegation) or "not through this agent"


def _distance(entry: PrincipalEntry, case: PolicyQuery) -> int:
    if entry.settings.match.issuer != case.delegation.issuer:
        return 2
    return 1 if entry.mismatch(case.delegation) else 0


def _holds(entry: AgentEntry | PrincipalEntry) -> str:
    settings = entry.settings
    words = ["suspended"] if settings.suspended else []
    words += ["unrestricted"] if settings.unrestricted else []
    words += [f"grants {', '.join(settings.grants)}"] if settings.grants else []
    return f": {'; '.join(words)}"


def _side(
    who: str,
    found: Iterable[AgentEntry | PrincipalEntry],
    entries: list[str],
    case: PolicyQuery,
) -> Side:
    held = list(found)
    rules = dict.fromkeys(rule for entry in held for rule in entry.rules.rules)
    if any(entry.settings.unrestricted for entry in held):
        rules[UNRESTRICTED] = None
    judged = [_judged(rule, case) for rule in rules]
    judged.sort(key=lambda outcome: _rank(outcome, case))
    is_suspended = any(entry.settings.suspended for entry in held)
    return Side(who, tuple(entries), bool(held), is_suspended, tuple(judged))


def _judged(rule: Rule, case: PolicyQuery) -> SideOutcome:
    of_target, misses = rule.unmet_by_target(case.operation), rule.unmet(case)
    return SideOutcome(rule, (*of_target, *misses), of_target)


def _rank(judged: SideOutcome, case: PolicyQuery) -> tuple[bool, bool, int, int, str]:
    """Order denies first, then as policy does: right target, mended by a token, fewest misses."""
    rule = judged.rule
    is_of_another, hard, count = distance(rule, judged.misses, case)
    return not rule.is_deny, bool(judged.of_target) or is_of_another, hard, count, rule.name
