"""Policy asked the other way round: who may do this, and what may this agent do.

Nothing is decided here, and what depends on the request (headers, times, conditions) is told and
not judged. So an answer is what may be allowed at most; ``authz explain`` tries one request.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from authz.core.decision import Agent, Delegation
from authz.core.patterns import ANY, SegmentPattern, path_pattern
from authz.core.policy import Policy, RuleSettings
from authz.core.policy.agents import AgentEntry
from authz.core.policy.call_settings import KEYS
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.request import MessageProtocol, Operation
from authz.core.spiffe import SpiffePattern
from authz.review.call_usage import SESSION, in_common

_CALLS: Final = frozenset(KEYS.values())
_TARGET: Final = {"name", "description", "owner", "effect", "hosts", "methods", "paths", "shadow"}


@dataclass(frozen=True, slots=True)
class Holder:
    """An entry, and what it holds about an operation."""

    name: str
    rules: tuple[Rule, ...]

    def lines(self) -> list[str]:
        """For a person."""
        return [f"  {self.name}", *(f"    {rule.name}{_asked(rule)}" for rule in self.rules)]


@dataclass(frozen=True, slots=True)
class WhoCan:
    """Who may do something: an agent of these for a principal of those, and never alone.

    Attributes:
        excepted: denies and suspensions, in words.
    """

    agents: tuple[Holder, ...]
    principals: tuple[Holder, ...]
    excepted: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anybody may: it takes both sides, and a rule that one of them holds."""
        rules = [rule for one in (*self.agents, *self.principals) for rule in one.rules]
        is_ruled = any(rule is not UNRESTRICTED for rule in rules)
        return bool(self.agents and self.principals) and is_ruled

    def lines(self) -> list[str]:
        """For a person."""
        lines = ["agents, acting for one of the principals below"]
        lines += [line for one in self.agents for line in one.lines()] or ["  none"]
        lines += ["principals, through one of the agents above"]
        lines += [line for one in self.principals for line in one.lines()] or ["  none"]
        return lines + _excepted(self.excepted)


def who_can(policy: Policy, operation: Operation) -> WhoCan:
    """Every entry with a rule about an operation that counts; suspended ones are left out."""
    agents, principals = policy.agents.entries, policy.principals.entries
    suspended = [one for one in agents if one.settings.suspended]
    holding = [one for one in agents if _about(one, operation)]
    excepted = [
        f"agents {one.settings.id}: suspended"
        for one in suspended
        if any(_have_common(one, other) for other in holding)
    ]
    excepted += [f"{one.title}: suspended" for one in principals if one.settings.suspended]
    for name, entry in _named(agents, principals):
        denies = (rule for rule in _found(entry, operation) if _counts(rule, is_deny=True))
        excepted += [
            f"{name}: {rule.name} denies it{_asked(rule)}" for rule in dict.fromkeys(denies)
        ]
    return WhoCan(
        tuple(
            Holder(one.settings.id, rules)
            for one in holding
            if not any(_covers(by, one) for by in suspended) and (rules := _about(one, operation))
        ),
        tuple(
            Holder(f"{one.title}{_through(one)}", rules)
            for one in principals
            if not one.settings.suspended and (rules := _about(one, operation))
        ),
        tuple(excepted),
    )


def _named(
    agents: Iterable[AgentEntry], principals: Iterable[PrincipalEntry]
) -> Iterator[tuple[str, AgentEntry | PrincipalEntry]]:
    for agent in agents:
        yield f"agents {agent.settings.id}", agent
    for principal in principals:
        yield principal.title, principal


def _covers(by: AgentEntry, entry: AgentEntry) -> bool:
    """Whether every agent of an entry is one of another's."""
    return SpiffePattern.parse(by.settings.id).covers(SpiffePattern.parse(entry.settings.id))


def _have_common(one: AgentEntry, other: AgentEntry) -> bool:
    """Whether an agent can be of both entries."""
    return SpiffePattern.parse(one.settings.id).overlaps(SpiffePattern.parse(other.settings.id))


def _about(entry: AgentEntry | PrincipalEntry, operation: Operation) -> tuple[Rule, ...]:
    found = [rule for rule in _found(entry, operation) if _counts(rule, is_deny=False)]
    found += [UNRESTRICTED] if entry.settings.unrestricted else []
    return tuple(dict.fromkeys(found))


def _found(entry: AgentEntry | PrincipalEntry, operation: Operation) -> list[Rule]:
    """The rules about an operation: of a message those that are about its call."""
    return [rule for rule in entry.rules.find(operation) if rule.is_about(operation.call)]


def _counts(rule: Rule, *, is_deny: bool) -> bool:
    return rule.is_deny == is_deny and not rule.is_shadow


@dataclass(frozen=True, slots=True)
class Reach:
    """A set of operations, by which rules, and what these ask."""

    methods: tuple[str, ...]
    hosts: tuple[str, ...]
    paths: tuple[SegmentPattern, ...]
    rules: tuple[Rule, ...]

    def matches(self, operation: Operation) -> bool:
        """Whether an operation is one of these."""
        return (
            all(rule.is_about(operation.call) for rule in self.rules)
            and operation.protocol == self.protocol
            and _one_of(operation.method, self.methods)
            and _one_of(operation.host, self.hosts)
            and any(path.matches(operation.path) for path in self.paths)
        )

    @property
    def protocol(self) -> MessageProtocol:
        """Of the messages; NONE for plain requests. All its rules have the same, or none."""
        return next((rule.protocol for rule in self.rules if rule.protocol), MessageProtocol.NONE)

    def lines(self) -> list[str]:
        """For a person."""
        asked = [_conditions(rule, _CALLS).removeprefix(", ") for rule in self.rules]
        by = " and ".join(
            f"{rule.name} ({more})" if more else rule.name
            for rule, more in zip(self.rules, asked, strict=True)
        )
        scopes = sorted({scope for rule in self.rules for scope in rule.scopes})
        calls = in_common([rule.settings for rule in self.rules])
        return [
            f"  {' '.join(self.methods)} {' '.join(self.hosts)} {' '.join(map(str, self.paths))}",
            *([f"    {calls}"] if calls else []),
            f"    scopes {' '.join(scopes) or 'none'}; by {by}",
        ]


@dataclass(frozen=True, slots=True)
class WhatCan:
    """What an agent may do at most.

    Attributes:
        excepted: denies and suspensions, in words.
        unknown: whom no entry is about, in words; or "".
    """

    reaches: tuple[Reach, ...]
    excepted: tuple[str, ...]
    unknown: str = ""

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return bool(self.reaches)

    def lines(self) -> list[str]:
        """For a person."""
        nothing = f"  nothing{': ' if self.unknown else ''}{self.unknown}"
        lines = [line for one in self.reaches for line in one.lines()] or [nothing]
        return ["may do, at most", *lines, *_excepted(self.excepted)]


def what_can(policy: Policy, agent: Agent, delegation: Delegation | None) -> WhatCan:
    """The agent's allows; with a delegation, what its principal's allows have in common with them.

    The delegation's scopes are not looked at: what is asked is told.
    """
    entries: list[AgentEntry | PrincipalEntry] = [*policy.agents.of(agent.spiffe_id)]
    unknown = "" if entries else "no entry of agents matches it"
    sides = [_rules(entries)]
    if delegation is not None:
        found = policy.principals.through(agent, delegation)
        sides.append(_rules(found))
        entries += found
        if not found:
            unknown = unknown or "no entry of principals matches the principal through this agent"
    suspended = [one for one in entries if one.settings.suspended]
    denies = [rule for side in sides for rule in side if _counts(rule, is_deny=True)]
    excepted = [f"suspended by {_name(one)}" for one in suspended]
    excepted += [
        f"{' '.join(rule.settings.methods)} {' '.join(rule.settings.hosts)} "
        f"{' '.join(rule.settings.paths)}: {rule.name}{_asked(rule)}"
        for rule in dict.fromkeys(denies)
    ]
    if suspended:
        return WhatCan((), tuple(excepted))
    allows = [[rule for rule in side if _counts(rule, is_deny=False)] for side in sides]
    common = _of_one(allows[0]) if delegation is None else _of_both(*allows)
    left = (_without(one, denies) for one in common)
    return WhatCan(tuple(one for one in left if one is not None), tuple(excepted), unknown)


def _rules(entries: Iterable[AgentEntry | PrincipalEntry]) -> list[Rule]:
    found: dict[Rule, None] = {}
    for entry in entries:
        found.update(dict.fromkeys(entry.rules.rules))
        if entry.settings.unrestricted:
            found[UNRESTRICTED] = None
    return list(found)


def _of_one(rules: Iterable[Rule]) -> Iterator[Reach]:
    for rule in rules:
        written: RuleSettings = rule.settings
        paths = tuple(map(path_pattern, written.paths))
        yield Reach(written.methods, written.hosts, paths, (rule,))


def _of_both(of_agent: list[Rule], of_principal: list[Rule]) -> Iterator[Reach]:
    """What a rule of each side have in common; two without any limit allow nothing."""
    for one in _of_one(of_agent):
        for other in _of_one(of_principal):
            rules = tuple(dict.fromkeys((*one.rules, *other.rules)))
            if rules == (UNRESTRICTED,) or not _are_of_one(one.rules[0], other.rules[0]):
                continue
            methods = _common(one.methods, other.methods)
            hosts = _common(one.hosts, other.hosts)
            pairs = (a.intersection(b) for a in one.paths for b in other.paths)
            paths = tuple(dict.fromkeys(path for path in pairs if path is not None))
            if methods and hosts and paths and _can_be_called(rules):
                yield Reach(methods, hosts, paths, rules)


def _are_of_one(one: Rule, other: Rule) -> bool:
    """Whether both are for plain requests, or for messages of one protocol."""
    return UNRESTRICTED in (one, other) or one.protocol == other.protocol


def _can_be_called(rules: Sequence[Rule]) -> bool:
    """Whether rules name calls that all of them allow; one that reads arguments has no session."""
    calls = in_common([rule.settings for rule in rules])
    is_session = calls is not None and calls.endswith(f": {SESSION}")
    return calls is not None and not (is_session and any(one.reads_arguments for one in rules))


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if ANY in one:
        return other
    return one if ANY in other else tuple(text for text in one if text in other)


def _without(reach: Reach, denies: Iterable[Rule]) -> Reach | None:
    """Without the paths that a deny which asks nothing else takes whole; None if none is left."""
    paths = reach.paths
    for rule in denies:
        written = rule.settings
        if rule.requirements or not (
            _holds_all(written.methods, reach.methods) and _holds_all(written.hosts, reach.hosts)
        ):
            continue
        gone = [path_pattern(text) for text in written.paths]
        paths = tuple(p for p in paths if not any(d.covers(p) for d in gone))
    return Reach(reach.methods, reach.hosts, paths, reach.rules) if paths else None


def _holds_all(outer: tuple[str, ...], inner: tuple[str, ...]) -> bool:
    return ANY in outer or set(inner) <= set(outer)


def _one_of(text: str, listed: tuple[str, ...]) -> bool:
    return text in listed or ANY in listed


def _asked(rule: Rule) -> str:
    """All that a rule asks beside host, method and path, in words."""
    if rule.is_deny or rule is UNRESTRICTED:
        return _conditions(rule)
    return f": scopes {' '.join(sorted(rule.scopes)) or 'none'}{_conditions(rule)}"


def _conditions(rule: Rule, told: frozenset[str] = frozenset()) -> str:
    given = rule.settings.model_dump(
        mode="json", exclude_defaults=True, exclude=_TARGET | {"scopes", "add_headers"} | told
    )
    return "".join(
        f", {name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in given.items()
    )


def _name(entry: AgentEntry | PrincipalEntry) -> str:
    return f"agents {entry.settings.id}" if isinstance(entry, AgentEntry) else entry.title


def _through(entry: PrincipalEntry) -> str:
    agents = entry.settings.agents
    return "" if agents is None else f" through {', '.join(agents)}"


def _excepted(lines: Iterable[str]) -> list[str]:
    listed = [f"  {line}" for line in lines]
    return ["except", *listed] if listed else []
