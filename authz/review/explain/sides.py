"""The two sides of a request: the entries that match, and what each of their rules lacks."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from authz.core.policy.agents import AgentEntry
from authz.core.policy.policy import Policy
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.query import PolicyQuery, UnmetRequirement
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.reason import Reason
from authz.core.spiffe import SpiffePattern

NEAREST_ENTRIES: Final = 3


@dataclass(frozen=True, slots=True)
class SideOutcome:
    """A rule, and its unmet requirements: those of its target (host, method, path) come first.

    ``is_of_another`` says that the rule is about other calls.
    """

    rule: Rule
    misses: tuple[UnmetRequirement, ...]
    of_target: tuple[UnmetRequirement, ...]
    is_of_another: bool

    @property
    def is_near(self) -> bool:
        """Tell whether it is about the operation: host, method, path and call match."""
        return not (self.of_target or self.is_of_another)

    @property
    def fits(self) -> bool:
        """Tell whether the rule counts for this request."""
        return not self.misses and not self.rule.is_shadow

    @property
    def distance(self) -> tuple[int, int]:
        """The distance from fitting.

        The requirements that no token would meet, and all that are unmet.
        """
        hard = sum(missing.reason is Reason.POLICY_DENIED for missing in self.misses)
        return hard, len(self.misses)

    @property
    def missing(self) -> str:
        """All its unmet requirements, in words."""
        return "; ".join(missing.text for missing in self.misses)

    def line(self) -> str:
        """Return a line for a person.

        For a rule with another target, only the target's mismatches.
        """
        text = "; ".join(missing.text for missing in self.of_target or self.misses)
        mark = "    -" if self.misses else " deny" if self.rule.is_deny else "   ok"
        kind = " (deny)" if self.rule.is_deny else ""
        shadow = " (shadow)" if self.rule.is_shadow else ""
        budget = self.rule.budget
        limit = f" (budget: {budget.words})" if budget is not None else ""
        return f"      {mark} {self.rule.name}{kind}{shadow}{limit}{': ' if text else ''}{text}"


@dataclass(frozen=True, slots=True)
class Side:
    """The entries and rules of the agent, or of the principal.

    Attributes:
        who: "agent" or "principal".
        entries: the entries that match it, in words; or the nearest entries, and why they don't.
        is_known: whether an entry matches it.
        is_suspended: whether an entry suspends it.
        rules: their rules, denies first, then by distance.
        only_denies: whether it need not allow: for an agent by its SVID alone, only the agent's
            side must.
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

    @property
    def allows(self) -> bool:
        """Tell whether an allow fits, or none is necessary."""
        return self.only_denies or bool(self.allowing)

    @property
    def allows_held(self) -> list[SideOutcome]:
        """Its allows, the nearest first, without those in shadow."""
        return [one for one in self.rules if not (one.rule.is_deny or one.rule.is_shadow)]

    def lines(self, shown: int | None) -> list[str]:
        """Return the lines for a person, with ``shown`` rules at most, None for all."""
        lines = [f"  {self.who:<9} {entry}" for entry in self.entries]
        lines += [outcome.line() for outcome in self.rules[:shown]]
        hidden = len(self.rules) - len(self.rules[:shown])
        return [*lines, f"            and {hidden} more; --all shows them"] if hidden else lines


def agent_side(policy: Policy, case: PolicyQuery) -> Side:
    """Return the agent's entries and rules."""
    found = policy.agents.of(case.agent.spiffe_id)
    entries = [f"{entry.settings.id}{_holds(entry)}" for entry in found]
    if not found:
        near = sorted(policy.agents.entries, key=lambda entry: _alike(entry, case), reverse=True)
        entries = ["no entry of agents matches it; the nearest are"]
        entries += [f"  {entry.settings.id}" for entry in near[:NEAREST_ENTRIES]]
    return _side("agent", found, entries, case)


def _alike(entry: AgentEntry, case: PolicyQuery) -> tuple[int, int]:
    """Return how alike an entry's ID and the agent's are: shared segments, then first letters.

    The trust domain counts as a segment.
    """
    pattern, spiffe_id = SpiffePattern.parse(entry.settings.id), case.agent.spiffe_id
    letters = zip(entry.settings.id, spiffe_id.text, strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], letters))
    if pattern.trust_domain != spiffe_id.trust_domain:
        return 0, same
    pairs = zip(pattern.path.segments, spiffe_id.segments, strict=False)
    return 1 + sum(want in (None, got) for want, got in pairs), same


def principal_side(policy: Policy, case: PolicyQuery) -> Side:
    """Return the principal's entries and rules."""
    found = policy.principals.through(case.agent, case.delegation)
    entries = [f"{entry.title}{_holds(entry)}{_only_takes(entry, case)}" for entry in found]
    if not found:
        near = sorted(policy.principals.entries, key=lambda entry: entry_distance(entry, case))
        entries = ["no entry of principals matches it; the nearest are"]
        entries += [f"  {entry.title}: {why_not(entry, case)}" for entry in near[:NEAREST_ENTRIES]]
    return _side("principal", found, entries, case)


def _only_takes(entry: PrincipalEntry, case: PolicyQuery) -> str:
    why = entry.mismatch(case.delegation)
    return f"; only its denies and suspension apply: {why}" if why else ""


def why_not(entry: PrincipalEntry, case: PolicyQuery) -> str:
    """Return why an entry of principals allows nothing, in words."""
    return entry.mismatch(case.delegation) or "not through this agent"


def entry_distance(entry: PrincipalEntry, case: PolicyQuery) -> int:
    """Return the distance of an entry of principals from matching: the issuer, then the rest."""
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
    judged = sorted((judge(rule, case) for rule in rules), key=_rank)
    is_suspended = any(entry.settings.suspended for entry in held)
    return Side(who, tuple(entries), bool(held), is_suspended, tuple(judged))


def judge(rule: Rule, case: PolicyQuery) -> SideOutcome:
    """Return a rule's unmet requirements for a request, for any holder."""
    of_target, misses = rule.unmet_by_target(case.operation), rule.unmet(case)
    is_of_another = not rule.is_about(case.operation.call)
    return SideOutcome(rule, (*of_target, *misses), of_target, is_of_another)


def _rank(judged: SideOutcome) -> tuple[bool, bool, int, int, str]:
    """Order denies first, then as policy does.

    Right target, a token would meet it, fewest unmet.
    """
    return not judged.rule.is_deny, not judged.is_near, *judged.distance, judged.rule.name
