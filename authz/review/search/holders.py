"""Answers who can: the agents and principals that hold rules about an operation."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from authz.core.policy.agents import AgentEntry
from authz.core.policy.policy import Policy
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.request import Operation
from authz.core.spiffe import SpiffePattern
from authz.review.search.words import asked_by, counts, except_lines, rule_members


@dataclass(frozen=True, slots=True)
class Holder:
    """An entry, and the rules that it holds about an operation."""

    name: str
    rules: tuple[Rule, ...]

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        return [f"  {self.name}", *(f"    {rule.name}{asked_by(rule)}" for rule in self.rules)]

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {"name": self.name, "rules": [rule_members(rule) for rule in self.rules]}


@dataclass(frozen=True, slots=True)
class WhoCan:
    """The agents and principals that may do something: an agent for a principal.

    Attributes:
        excepted: denies and suspensions, in words.
        alone: the agents that may do it for themselves, by their SVID alone.
    """

    agents: tuple[Holder, ...]
    principals: tuple[Holder, ...]
    excepted: tuple[str, ...]
    alone: tuple[Holder, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anyone may: both sides, and a rule that one of them holds.

        Or an agent alone.
        """
        rules = [rule for holder in (*self.agents, *self.principals) for rule in holder.rules]
        is_ruled = any(rule is not UNRESTRICTED for rule in rules)
        return bool(self.alone) or (bool(self.agents and self.principals) and is_ruled)

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        lines = ["agents, for themselves by their SVID alone"] if self.alone else []
        lines += [line for holder in self.alone for line in holder.lines()]
        lines.append("agents, acting for one of the principals below")
        lines += [line for holder in self.agents for line in holder.lines()] or ["  none"]
        lines += ["principals, through one of the agents above"]
        lines += [line for holder in self.principals for line in holder.lines()] or ["  none"]
        return lines + except_lines(self.excepted)

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "allowed": bool(self),
            "alone": [holder.members() for holder in self.alone],
            "agents": [holder.members() for holder in self.agents],
            "principals": [holder.members() for holder in self.principals],
            "except": self.excepted,
        }


def who_can(policy: Policy, operation: Operation, *, takes_svid_alone: bool = False) -> WhoCan:
    """Find every entry with a rule about an operation that counts; leave out suspended entries.

    ``takes_svid_alone`` is of the operation's route.
    """
    agents, principals = policy.agents.entries, policy.principals.entries
    suspended = [entry for entry in agents if entry.settings.suspended]
    holding = [entry for entry in agents if _about(entry, operation)]
    excepted = [
        f"agents {entry.settings.id}: suspended"
        for entry in suspended
        if any(_have_common(entry, other) for other in holding)
    ]
    excepted += [f"{entry.title}: suspended" for entry in principals if entry.settings.suspended]
    for name, entry in _named(agents, principals):
        denies = (rule for rule in _found(entry, operation) if counts(rule, is_deny=True))
        excepted += [
            f"{name}: {rule.name} denies it{asked_by(rule)}" for rule in dict.fromkeys(denies)
        ]
    able = tuple(
        Holder(entry.settings.id, _about(entry, operation))
        for entry in holding
        if not any(_covers(by, entry) for by in suspended)
    )
    return WhoCan(
        able,
        tuple(
            Holder(f"{entry.title}{_through(entry)}", rules)
            for entry in principals
            if not entry.settings.suspended and (rules := _about(entry, operation))
        ),
        tuple(excepted),
        tuple(_without_token(able)) if takes_svid_alone else (),
    )


def _without_token(able: Iterable[Holder]) -> Iterator[Holder]:
    """Yield the holders of rules that need no token, with these rules."""
    for holder in able:
        rules = [r for r in holder.rules if r is not UNRESTRICTED and not r.settings.needs_token]
        if rules:
            yield Holder(holder.name, tuple(rules))


def _named(
    agents: Iterable[AgentEntry], principals: Iterable[PrincipalEntry]
) -> Iterator[tuple[str, AgentEntry | PrincipalEntry]]:
    for agent in agents:
        yield f"agents {agent.settings.id}", agent
    for principal in principals:
        yield principal.title, principal


def _covers(by: AgentEntry, entry: AgentEntry) -> bool:
    """Tell whether ``by`` matches every agent that ``entry`` matches."""
    return SpiffePattern.parse(by.settings.id).covers(SpiffePattern.parse(entry.settings.id))


def _have_common(entry: AgentEntry, other: AgentEntry) -> bool:
    """Tell whether both entries can match the same agent."""
    return SpiffePattern.parse(entry.settings.id).overlaps(SpiffePattern.parse(other.settings.id))


def _about(entry: AgentEntry | PrincipalEntry, operation: Operation) -> tuple[Rule, ...]:
    found = [rule for rule in _found(entry, operation) if counts(rule, is_deny=False)]
    found += [UNRESTRICTED] if entry.settings.unrestricted else []
    return tuple(dict.fromkeys(found))


def _found(entry: AgentEntry | PrincipalEntry, operation: Operation) -> list[Rule]:
    """Return the rules about an operation; for a message those about its call."""
    return [rule for rule in entry.rules.find(operation) if rule.is_about(operation.call)]


def _through(entry: PrincipalEntry) -> str:
    agents = entry.settings.agents
    return "" if agents is None else f" through {', '.join(agents)}"
