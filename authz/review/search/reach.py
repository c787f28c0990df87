"""Answers what can: the most operations that an agent may do for a principal."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authz.core.conditions import ARGUMENTS
from authz.core.decision import Agent, Delegation
from authz.core.hosts import common_patterns, cover_all
from authz.core.patterns import ANY, SegmentPattern, path_pattern
from authz.core.policy.agents import AgentEntry
from authz.core.policy.policy import Policy
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.request import MessageProtocol, Operation
from authz.review.call_usage import SESSION, in_common
from authz.review.search.words import (
    CALL_KEYS,
    asked_by,
    conditions_of,
    counts,
    except_lines,
    rule_members,
)

if TYPE_CHECKING:
    from authz.core.policy import RuleSettings


@dataclass(frozen=True, slots=True)
class Reach:
    """A set of operations that some rules allow together, and the requirements of these rules."""

    methods: tuple[str, ...]
    hosts: tuple[str, ...]
    paths: tuple[SegmentPattern, ...]
    rules: tuple[Rule, ...]

    def matches(self, operation: Operation) -> bool:
        """Tell whether an operation is in the set."""
        return (
            all(rule.is_about(operation.call) for rule in self.rules)
            and operation.protocol == self.protocol
            and (operation.method in self.methods or ANY in self.methods)
            and cover_all(self.hosts, (operation.host,))
            and any(path.matches(operation.path) for path in self.paths)
        )

    @property
    def protocol(self) -> MessageProtocol:
        """The protocol of the messages, NONE for plain requests. Rules with a protocol share it."""
        return next((rule.protocol for rule in self.rules if rule.protocol), MessageProtocol.NONE)

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        asked = [conditions_of(rule, CALL_KEYS).removeprefix(", ") for rule in self.rules]
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

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "methods": self.methods,
            "hosts": self.hosts,
            "paths": [str(path) for path in self.paths],
            "protocol": str(self.protocol),
            "rules": [rule_members(rule) for rule in self.rules],
        }


@dataclass(frozen=True, slots=True)
class WhatCan:
    """The operations that an agent may do at most.

    Attributes:
        excepted: denies and suspensions, in words.
        unknown: which side no entry matches, in words; or "".
    """

    reaches: tuple[Reach, ...]
    excepted: tuple[str, ...]
    unknown: str = ""

    def __bool__(self) -> bool:
        """Tell whether the agent may do anything."""
        return bool(self.reaches)

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        nothing = f"  nothing{': ' if self.unknown else ''}{self.unknown}"
        lines = [line for reach in self.reaches for line in reach.lines()] or [nothing]
        return ["may do, at most", *lines, *except_lines(self.excepted)]

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "allowed": bool(self),
            "may": [reach.members() for reach in self.reaches],
            "except": self.excepted,
            "unknown": self.unknown or None,
        }


def what_can(policy: Policy, agent: Agent, delegation: Delegation | None) -> WhatCan:
    """Find the agent's allows; with a delegation, their intersection with its principal's.

    The delegation's scopes do not count: the answer names the scopes that the rules require.
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
    suspended = [entry for entry in entries if entry.settings.suspended]
    denies = [rule for side in sides for rule in side if counts(rule, is_deny=True)]
    excepted = [f"suspended by {_name(entry)}" for entry in suspended]
    excepted += [
        f"{' '.join(rule.settings.methods)} {' '.join(rule.settings.hosts)} "
        f"{' '.join(rule.settings.paths)}: {rule.name}{asked_by(rule)}"
        for rule in dict.fromkeys(denies)
    ]
    if suspended:
        return WhatCan((), tuple(excepted))
    allows = [[rule for rule in side if counts(rule, is_deny=False)] for side in sides]
    common = _of_one(allows[0]) if delegation is None else _of_both(*allows)
    left = (_without(reach, denies) for reach in common)
    return WhatCan(tuple(reach for reach in left if reach is not None), tuple(excepted), unknown)


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
    """Yield the operations that a rule of each side allows.

    Two unrestricted sides allow nothing.
    """
    for first in _of_one(of_agent):
        for other in _of_one(of_principal):
            rules = tuple(dict.fromkeys((*first.rules, *other.rules)))
            if rules == (UNRESTRICTED,) or not _are_of_one(first.rules[0], other.rules[0]):
                continue
            methods = _common(first.methods, other.methods)
            hosts = common_patterns(first.hosts, other.hosts)
            pairs = (a.intersection(b) for a in first.paths for b in other.paths)
            paths = tuple(dict.fromkeys(path for path in pairs if path is not None))
            if methods and hosts and paths and _can_be_called(rules):
                yield Reach(methods, hosts, paths, rules)


def _are_of_one(rule: Rule, other: Rule) -> bool:
    """Tell whether both rules are for plain requests, or for messages of the same protocol."""
    return UNRESTRICTED in (rule, other) or rule.protocol == other.protocol


def _can_be_called(rules: Sequence[Rule]) -> bool:
    """Tell whether some call fits all rules; a session never fits a rule that reads arguments."""
    calls = in_common([rule.settings for rule in rules])
    is_session = calls is not None and calls.endswith(f": {SESSION}")
    reads = any(rule.mentions(ARGUMENTS) for rule in rules)
    return calls is not None and not (is_session and reads)


def _common(texts: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if ANY in texts:
        return other
    return texts if ANY in other else tuple(text for text in texts if text in other)


def _without(reach: Reach, denies: Iterable[Rule]) -> Reach | None:
    """Leave out paths that an unconditional deny covers; return None if none is left."""
    paths = reach.paths
    for rule in denies:
        written = rule.settings
        if rule.requirements or not (
            _holds_all(written.methods, reach.methods) and cover_all(written.hosts, reach.hosts)
        ):
            continue
        gone = [path_pattern(text) for text in written.paths]
        paths = tuple(p for p in paths if not any(d.covers(p) for d in gone))
    return Reach(reach.methods, reach.hosts, paths, reach.rules) if paths else None


def _holds_all(outer: tuple[str, ...], inner: tuple[str, ...]) -> bool:
    return ANY in outer or set(inner) <= set(outer)


def _name(entry: AgentEntry | PrincipalEntry) -> str:
    return f"agents {entry.settings.id}" if isinstance(entry, AgentEntry) else entry.title
