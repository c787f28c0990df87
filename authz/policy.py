"""Step 3, may they: default-deny allow-lists, compiled at load, matched without a scan.

An operation is allowed when a rule that the agent holds and a rule that the principal holds both
match it, and the token's scopes hold what both rules ask. Nothing else allows.

Compiled, the rules of one set of grants are a tree: host, then method, then path segment by
segment. A match walks a handful of nodes, however many rules there are.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from authz.decision import Agent, Delegation, Grant
from authz.patterns import (
    ANY,
    HostText,
    MethodText,
    PathText,
    SegmentPattern,
    SpiffeIdText,
    path_pattern,
)
from authz.reason import Denied, Reason
from authz.request import Operation
from authz.settings import Settings

UNREGISTERED: Final = "earlier_actor_unregistered"
SUSPENDED: Final = "earlier_actor_suspended"
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]  # RFC 6749 section 3.3
GrantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]


class RuleSettings(Settings):
    """One line of a grant: operations that it allows, all members together."""

    description: str = ""
    """What it is for, for people."""
    hosts: tuple[HostText, ...] = Field(min_length=1)
    """Exact hosts, lower case and without a port; "*" for any."""
    methods: tuple[MethodText, ...] = Field(min_length=1)
    """HTTP methods; "*" for any."""
    paths: tuple[PathText, ...] = Field(min_length=1)
    """Path templates: /orders/{id}, * for one segment, ** at the end for the rest."""
    scopes: tuple[Scope, ...] = ()
    """Scopes that the token must have, all of them, for this rule to count."""


class AgentSettings(Settings):
    """A registered agent, and what it may do at most."""

    id: SpiffeIdText
    """Its SPIFFE ID, exact."""
    grants: tuple[GrantName, ...] = Field(min_length=1)
    """Names of grants."""
    suspended: bool = False
    """Refuse everything of it, while keeping its entry."""


class PrincipalMatch(Settings):
    """Which principals: all members that are given must fit."""

    issuer: str
    """The token's issuer: a subject is unique only within one (RFC 8725 section 3.8)."""
    subjects: tuple[str, ...] | None = None
    """Exact sub values; any when left out."""
    groups: tuple[str, ...] | None = None
    """At least one of these in the token's groups claim (RFC 9068 section 2.2.3.1)."""

    @model_validator(mode="after")
    def _empty_lists_match_nobody(self) -> Self:
        if self.subjects == () or self.groups == ():
            raise ValueError("an empty list matches nobody; leave it out to match any")
        return self

    def matches(self, delegation: Delegation) -> bool:
        """Whether the delegation's principal is one of these.

        An agent that acts for itself is a principal only where its ID is listed: "any subject" is
        said of people.
        """
        if delegation.issuer != self.issuer:
            return False
        if self.subjects is None and delegation.mode == "autonomous":
            return False
        if self.subjects is not None and delegation.subject not in self.subjects:
            return False
        return self.groups is None or not set(self.groups).isdisjoint(_groups(delegation))


def _groups(delegation: Delegation) -> set[str]:
    claim = delegation.claims.get("groups")
    listed = claim if isinstance(claim, list) else []
    return {group for group in listed if isinstance(group, str)}


class PrincipalSettings(Settings):
    """Principals, and what they may do at most through any agent."""

    match: PrincipalMatch
    """Which principals."""
    grants: tuple[GrantName, ...] = Field(min_length=1)
    """Names of grants."""


class EarlierActorSettings(Settings):
    """Actors before the current one: history, which never allows (RFC 8693 section 4.1)."""

    unregistered: Literal["record", "deny"] = "record"
    """One that is not among agents: flag it in the audit record, or deny. To deny is stricter than
    the RFC, which calls these informational.
    """
    suspended: Literal["record", "deny"] = "record"
    """One that is suspended: flag it, or deny."""


Grants = Mapping[str, tuple[RuleSettings, ...]]


@dataclass(frozen=True, slots=True)
class _Rule:
    """A compiled rule: where it stands in the config, and the scopes that it asks."""

    name: str
    scopes: frozenset[str]


@dataclass(slots=True)
class _Node:
    """A place in a path tree: rules that end here, rules for all below, and the next segments."""

    ends: list[_Rule] = field(default_factory=list)
    rest: list[_Rule] = field(default_factory=list)
    literal: dict[str, "_Node"] = field(default_factory=dict)
    any_one: "_Node | None" = None

    def add(self, pattern: SegmentPattern, rule: _Rule) -> None:
        """Put a rule where its pattern leads."""
        node = self
        for segment in pattern.segments:
            node = node._next(segment)
        (node.rest if pattern.rest else node.ends).append(rule)

    def _next(self, segment: str | None) -> "_Node":
        if segment is not None:
            return self.literal.setdefault(segment, _Node())
        if self.any_one is None:
            self.any_one = _Node()
        return self.any_one

    def find(self, path: tuple[str, ...], at: int = 0) -> Iterator[_Rule]:
        """The rules that match a path. Each level has two ways on at most, and rules bound both."""
        yield from self.rest
        if at == len(path):
            yield from self.ends
            return
        segment = path[at]
        if (literal := self.literal.get(segment)) is not None:
            yield from literal.find(path, at + 1)
        if self.any_one is not None and segment:
            yield from self.any_one.find(path, at + 1)


class RuleSet:
    """The rules of some grants, compiled."""

    def __init__(self, grants: Grants, names: Iterable[str]) -> None:
        """Compile the named grants."""
        self._trees: dict[tuple[str, str], _Node] = {}
        for name in names:
            for number, rule in enumerate(grants[name]):
                self._add(_Rule(f"{name}/{number}", frozenset(rule.scopes)), rule)

    def _add(self, compiled: _Rule, rule: RuleSettings) -> None:
        for path in rule.paths:
            pattern = path_pattern(path)
            for host in rule.hosts:
                for method in rule.methods:
                    self._trees.setdefault((host, method), _Node()).add(pattern, compiled)

    def find(self, operation: Operation) -> list[_Rule]:
        """The rules that match an operation, most exact host and method first."""
        found: list[_Rule] = []
        for host in (operation.host, ANY):
            for method in (operation.method, ANY):
                tree = self._trees.get((host, method))
                if tree is not None:
                    found.extend(tree.find(operation.path))
        return found


class Policy:
    """The compiled allow-lists.

    Attributes:
        version: hash of everything that was compiled, for audit, metrics and cache keys.
    """

    def __init__(
        self,
        agents: Iterable[AgentSettings],
        principals: Iterable[PrincipalSettings],
        grants: Grants,
        earlier_actors: EarlierActorSettings = EarlierActorSettings(),  # noqa: B008 - frozen
    ) -> None:
        """Compile. Every grant that is named must exist; the config has checked that."""
        rule_sets: dict[frozenset[str], RuleSet] = {}

        def rule_set(names: tuple[str, ...]) -> RuleSet:
            key = frozenset(names)
            if key not in rule_sets:
                rule_sets[key] = RuleSet(grants, sorted(key))
            return rule_sets[key]

        agents, principals = tuple(agents), tuple(principals)
        self._agents = {agent.id: (agent.suspended, rule_set(agent.grants)) for agent in agents}
        self._principals = [(one.match, rule_set(one.grants)) for one in principals]
        self._earlier_actors = earlier_actors
        self.version = _version(agents, principals, grants, earlier_actors)

    def flags(self, delegation: Delegation) -> tuple[str, ...]:
        """What is odd about the earlier actors of a chain: "unregistered", "suspended" ones."""
        earlier = [self._agents.get(actor.subject) for actor in delegation.actors[1:]]
        flags: list[str] = []
        if None in earlier:
            flags.append(UNREGISTERED)
        if any(entry is not None and entry[0] for entry in earlier):
            flags.append(SUSPENDED)
        return tuple(flags)

    def grant(self, agent: Agent, delegation: Delegation, operation: Operation) -> Grant:
        """Find a rule of the agent and one of the principal that allow the operation.

        Raises Denied(AGENT_UNKNOWN | AGENT_SUSPENDED | ACTOR_NOT_PERMITTED | POLICY_DENIED | SCOPE
        | TOKEN_MISSING).
        """
        rules = self._agent_rules(agent)
        self._check_earlier_actors(delegation)
        of_agent = rules.find(operation)
        if not of_agent:
            raise Denied(Reason.POLICY_DENIED, "no rule of the agent allows the operation")
        if delegation.mode == "bootstrap":
            return Grant(_without_scopes(of_agent), "")
        of_principal = self._principal_rules(delegation, operation)
        if not of_principal:
            raise Denied(Reason.POLICY_DENIED, "no rule of the principal allows the operation")
        return Grant(
            _within_scopes(of_agent, of_principal, delegation),
            _within_scopes(of_principal, of_agent, delegation),
        )

    def _agent_rules(self, agent: Agent) -> RuleSet:
        entry = self._agents.get(agent.spiffe_id.text)
        if entry is None:
            raise Denied(Reason.AGENT_UNKNOWN, "the agent is not in the config")
        suspended, rules = entry
        if suspended:
            raise Denied(Reason.AGENT_SUSPENDED, "the agent is suspended in the config")
        return rules

    def _check_earlier_actors(self, delegation: Delegation) -> None:
        flags = self.flags(delegation)
        settings = self._earlier_actors
        if UNREGISTERED in flags and settings.unregistered == "deny":
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is not registered")
        if SUSPENDED in flags and settings.suspended == "deny":
            raise Denied(Reason.ACTOR_NOT_PERMITTED, "an earlier actor is suspended")

    def _principal_rules(self, delegation: Delegation, operation: Operation) -> list[_Rule]:
        found: list[_Rule] = []
        for match, rules in self._principals:
            if match.matches(delegation):
                found.extend(rules.find(operation))
        return found


def _within_scopes(rules: list[_Rule], others: list[_Rule], delegation: Delegation) -> str:
    for rule in rules:
        if rule.scopes <= delegation.scopes:
            return rule.name
    # RFC 6750 section 3.1: the challenge names every scope that this request needs, on both sides.
    needed = sorted(rules[0].scopes | others[0].scopes)
    detail = f"{rules[0].name} asks for scopes that the token lacks"
    raise Denied(Reason.SCOPE, detail, parameters=(("scope", " ".join(needed)),))


def _without_scopes(rules: list[_Rule]) -> str:
    """A rule that asks for no token's scope: what a route's bootstrap may use."""
    for rule in rules:
        if not rule.scopes:
            return rule.name
    raise Denied(Reason.TOKEN_MISSING, "every rule of the agent asks for scopes")


_VERSION_CHARS: Final = 16  # 64 bits tell apart the versions that one operator will ever write


def _version(
    agents: tuple[AgentSettings, ...],
    principals: tuple[PrincipalSettings, ...],
    grants: Grants,
    earlier_actors: EarlierActorSettings,
) -> str:
    digest = hashlib.sha256()
    for part in (*agents, *principals, earlier_actors):
        digest.update(part.model_dump_json().encode() + b"\n")
    for name in sorted(grants):
        digest.update(name.encode() + b"\n")
        for rule in grants[name]:
            digest.update(rule.model_dump_json().encode() + b"\n")
    return digest.hexdigest()[:_VERSION_CHARS]
