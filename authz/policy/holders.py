"""Who holds which rules: agents by their SPIFFE IDs, principals by issuer, subject and claims.

Found through indexes, so that it costs the same however many there are: an entry with subjects is
looked up by the subject, one with groups or roles by these; only what names neither is tried.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Self

from authz.decision import Agent, Delegation
from authz.patterns import ANY, SpiffePattern
from authz.policy.claims import has_one, words
from authz.policy.rules import RuleSet
from authz.policy.settings import (
    GROUPS,
    ROLES,
    AgentSettings,
    PrincipalMatch,
    PrincipalSettings,
)
from authz.policy.tree import Tree
from authz.spiffe import SCHEME, SpiffeId, SpiffeIdError

AUTONOMOUS: Final = "autonomous"


@dataclass(frozen=True, slots=True, eq=False)
class AgentEntry:
    """One entry of agents, compiled."""

    settings: AgentSettings
    rules: RuleSet


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalEntry:
    """One entry of principals, compiled.

    Attributes:
        number: its place in the config, from 0.
        subjects: exact ones; None for any.
        subject_patterns, agents: patterns of SPIFFE IDs; ``agents`` None for any.
        taking: the entry with its denies alone, for agents that act for themselves without being
            listed; None where they are listed, or where it takes nothing.
    """

    number: int
    settings: PrincipalSettings
    rules: RuleSet
    subjects: frozenset[str] | None
    subject_patterns: tuple[SpiffePattern, ...]
    agents: tuple[SpiffePattern, ...] | None
    taking: Self | None = None

    @property
    def title(self) -> str:
        """Its place in the config, and whom it is about, for reports."""
        match = self.settings.match
        members = [(name, getattr(match, name)) for name in ("subjects", GROUPS, ROLES)]
        members += match.claims.items()
        given = [f"{name} {', '.join(map(str, some))}" for name, some in members if some]
        return f"principals[{self.number}] ({'; '.join([match.issuer, *given])})"

    def counted(self, delegation: Delegation) -> Self | None:
        """The entry as it counts for a delegation; None when it does not.

        An agent that acts for itself is a principal only where its ID is listed: "any subject" is
        said of people. What is taken from any subject is taken from it as well.
        """
        if self._misfit(delegation):
            return None
        return self.taking if self._is_of_people(delegation) else self

    def misses(self, delegation: Delegation) -> str:
        """Why it gives nothing; "" when all of the match fits."""
        if self._is_of_people(delegation):
            return "an agent that acts for itself has to be listed in subjects"
        return self._misfit(delegation)

    def _is_of_people(self, delegation: Delegation) -> bool:
        return self.subjects is None and delegation.mode == AUTONOMOUS

    def _misfit(self, delegation: Delegation) -> str:
        """Which part of the match does not fit; "" when all of it does."""
        match = self.settings.match
        if delegation.issuer != match.issuer:
            return "another issuer"
        if self.subjects is not None and not self._is_subject(delegation.subject):
            return "not one of its subjects"
        for name, wanted in ((GROUPS, match.groups), (ROLES, match.roles)):
            if wanted is not None and words(delegation.claims, name).isdisjoint(wanted):
                return f"in none of its {name}"
        for name, values in match.claims.items():
            if not has_one(delegation.claims, name, values):
                return f"the claim {name} has none of its values"
        return ""

    def _is_subject(self, subject: str) -> bool:
        if self.subjects is not None and subject in self.subjects:
            return True
        return bool(self.subject_patterns) and _fits_one(subject, self.subject_patterns)

    def is_through(self, agent: Agent) -> bool:
        """Whether they hold these rules through this agent."""
        return self.agents is None or any(one.matches(agent.spiffe_id) for one in self.agents)


def _fits_one(text: str, patterns: tuple[SpiffePattern, ...]) -> bool:
    try:
        spiffe_id = SpiffeId.parse(text)
    except SpiffeIdError:
        return False
    return any(pattern.matches(spiffe_id) for pattern in patterns)


class Agents:
    """The registered agents."""

    def __init__(
        self, agents: Iterable[AgentSettings], rule_set: Callable[[tuple[str, ...]], RuleSet]
    ) -> None:
        """Index; ``rule_set`` makes one of grants' names."""
        self.entries = [AgentEntry(one, rule_set(one.grants)) for one in agents]
        self._exact: dict[str, list[AgentEntry]] = defaultdict(list)
        self._patterns: dict[str, Tree[AgentEntry]] = {}
        for entry in self.entries:
            pattern = SpiffePattern.parse(entry.settings.id)
            if pattern.is_exact:
                self._exact[pattern.text].append(entry)
            else:
                tree = self._patterns.setdefault(pattern.trust_domain.name, Tree())
                tree.add(pattern.path, entry)

    def of(self, spiffe_id: SpiffeId) -> list[AgentEntry]:
        """Every entry that is about an agent, exact ones first."""
        found = self._exact.get(spiffe_id.text, [])
        if not self._patterns:
            return found
        tree = self._patterns.get(spiffe_id.trust_domain.name)
        return found + tree.find(spiffe_id.segments) if tree is not None else found

    def of_text(self, text: str) -> list[AgentEntry]:
        """As ``of``, for what may be no SPIFFE ID."""
        try:
            return self.of(SpiffeId.parse(text))
        except SpiffeIdError:
            return []


class Principals:
    """The known principals."""

    def __init__(
        self,
        principals: Iterable[PrincipalSettings],
        rule_set: Callable[[tuple[str, ...]], RuleSet],
    ) -> None:
        """Index; ``rule_set`` makes one of grants' names."""
        self.entries = [
            _compiled(number, one, rule_set(one.grants)) for number, one in enumerate(principals)
        ]
        self._index: dict[tuple[str, str, str], list[PrincipalEntry]] = defaultdict(list)
        for entry in self.entries:
            for key in _keys_of(entry):
                self._index[key].append(entry)
        listed = {name for _, name, _ in self._index}
        self._lists = tuple(name for name in (GROUPS, ROLES) if name in listed)

    def of(self, delegation: Delegation) -> list[PrincipalEntry]:
        """Every entry that is about a delegation's principal, in the config's order."""
        issuer, index = delegation.issuer, self._index
        keys = [(issuer, "sub", delegation.subject), (issuer, *_ANYONE)]
        for name in self._lists:
            keys += [(issuer, name, word) for word in words(delegation.claims, name)]
        found = [
            counted
            for key in keys
            if key in index
            for entry in index[key]
            if (counted := entry.counted(delegation)) is not None
        ]
        if len(found) <= 1:
            return found
        return sorted(dict.fromkeys(found), key=lambda entry: entry.number)

    def through(self, agent: Agent, delegation: Delegation) -> list[PrincipalEntry]:
        """Those of ``of`` that hold through this agent."""
        return [entry for entry in self.of(delegation) if entry.is_through(agent)]


_ANYONE: Final = ("", "")


def _keys_of(entry: PrincipalEntry) -> Iterator[tuple[str, str, str]]:
    """Under what an entry is found: the narrowest member that can be looked up."""
    match = entry.settings.match
    if entry.subjects is not None and not entry.subject_patterns:
        named = [("sub", subject) for subject in entry.subjects]
    elif match.groups is not None:
        named = [(GROUPS, group) for group in match.groups]
    elif match.roles is not None:
        named = [(ROLES, role) for role in match.roles]
    else:
        named = [_ANYONE]
    return ((match.issuer, *one) for one in dict.fromkeys(named))


def _compiled(number: int, settings: PrincipalSettings, rules: RuleSet) -> PrincipalEntry:
    match: PrincipalMatch = settings.match
    listed = match.subjects
    patterns = [one for one in listed or () if one.startswith(SCHEME) and ANY in one]
    entry = PrincipalEntry(
        number,
        settings,
        rules,
        None if listed is None else frozenset(listed) - frozenset(patterns),
        tuple(map(SpiffePattern.parse, patterns)),
        None if settings.agents is None else tuple(map(SpiffePattern.parse, settings.agents)),
    )
    if listed is not None or not (rules.denies.rules or settings.suspended):
        return entry
    taking = settings.model_copy(update={"unrestricted": False})
    return replace(entry, taking=replace(entry, settings=taking, rules=rules.denies))
