"""Collects refused requests, and makes the smallest rules that would have allowed them.

A proposed rule is no wider than its evidence in any dimension that rules have:

- a rule has one host and one method, and lists only paths that were seen with both;
- it requires all scopes that the token had, and admits only earlier actors that were seen;
- ``{id}`` stands in a path only where two IDs at least were seen;
- calls share a rule only if each that the rule allows was seen;
- a side that already allowed the request gets no new rule;
- where other principals, or the agent without a token, could use an agent's new rule, a condition
  limits it to the principal;
- where a route accepts several modes, a condition limits a rule to the mode that was seen;
- if a rule's limits refused a request, no rule is proposed: it would evade these limits.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from authz.config import Config
from authz.core.conditions import Condition, ConditionError
from authz.core.decision import Agent, Permit
from authz.core.hosts import covers
from authz.core.patterns import ANY, path_pattern
from authz.core.policy.agents import AgentEntry
from authz.core.policy.policy import Policy
from authz.core.policy.principal_entry import PrincipalEntry
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import Rule
from authz.core.policy.settings import SCOPE
from authz.core.reason import Denied
from authz.core.request import Call, CallKind, MessageProtocol
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.suggestion.used_operation import UsedOperation, exact, joined

MAX_SEEN: Final = 200  # kinds of requests of a holder: more would not give readable rules
MAX_MISSING: Final = 1000  # holders that lack rules


class Holder(NamedTuple):
    """An agent and its principal, and which of them lack the rules.

    ``by_svid`` is for an agent without a token, which is its own principal. ``mode`` is the mode in
    which the agent acted, "" if no route accepts several.
    """

    agent: str
    issuer: str
    principal: str
    by_svid: bool
    mode: str
    agent_lacks: bool
    principal_lacks: bool


class Want(NamedTuple):
    """The common parts of requests that one rule can allow, apart from IDs in their paths."""

    operation: UsedOperation
    scopes: tuple[str, ...]
    via: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProposedRule:
    """A rule that is missing; ``when`` is its condition, "" for none."""

    host: str
    method: str
    paths: tuple[str, ...]
    scopes: tuple[str, ...]
    via: tuple[str, ...]
    protocol: MessageProtocol
    calls: tuple[Call, ...]
    when: str


@dataclass(slots=True)
class Evidence:
    """The refused requests of a holder.

    Attributes:
        count: how many there were.
        paths: for each kind of request, the part of the path that all share.
        is_varied: whether there were more kinds than can be listed, or unnameable ones.
    """

    count: int = 0
    paths: dict[Want, str] = field(default_factory=dict)
    is_varied: bool = False

    def add(self, case: PolicyQuery) -> None:
        """Add a refused operation."""
        try:
            want, path = _want_of(case), exact(case.operation.path)
        except ValueError:
            self.is_varied = True
            return
        if want in self.paths:
            self.paths[want] = joined(self.paths[want], path)
        elif len(self.paths) < MAX_SEEN:
            self.paths[want] = path
        else:
            self.is_varied = True


class MissingRules:
    """Collects the requests for which rules are missing.

    Attributes:
        limited: how many requests were refused by the limits of a rule, by its name.
        unlimitable: how many rules are left out, as only a condition could limit them.
    """

    def __init__(self, config: Config, policy: Policy) -> None:
        """Begin with no request; ``policy`` is the config's."""
        self.limited: Counter[str] = Counter()
        self.unlimitable = 0
        self._policy = policy
        self._evidence: dict[Holder, Evidence] = {}
        self._takes_svid_alone = any(route.takes_svid_alone for route in config.routes)
        self._has_bootstrap = any(route.bootstrap for route in config.routes)
        self._mixes_modes = any(len({*route.modes}) > 1 for route in config.routes)

    def take(self, cases: Sequence[PolicyQuery]) -> set[str]:
        """Add a request that was refused because a rule is missing, by its calls.

        Returns the names of rules by which the other side allows it: the proposed rule needs them.
        """
        found = [(case, self._lacking(case)) for case in cases]
        limits = [lacking for _, lacking in found if isinstance(lacking, str)]
        if limits:
            self.limited[limits[0]] += 1
            return set()
        counted, needed = set(), set[str]()
        for case, lacking in found:
            if lacking == _NOTHING or isinstance(lacking, str):
                continue
            needed |= self._allowing(case)
            mode = case.delegation.mode if self._mixes_modes else ""
            holder = Holder(*_names_of(case), mode, *lacking)
            if holder in self._evidence or len(self._evidence) < MAX_MISSING:
                evidence = self._evidence.setdefault(holder, Evidence())
                evidence.add(case)
                evidence.count += holder not in counted
                counted.add(holder)
        return needed

    def _allowing(self, case: PolicyQuery) -> set[str]:
        """Return the names of the rules of either side that allow a call."""
        held = [*self._policy.agents.of(case.agent.spiffe_id)]
        found = [rule for entry in held for rule in entry.rules.find(case.operation)]
        if case.delegation.has_token:
            for entry in self._policy.principals.through(case.agent, case.delegation):
                found += entry.rules.find(case.operation)
        about = (rule for rule in found if _counts(rule) and rule.is_about(case.operation.call))
        return {rule.name for rule in about if not rule.unmet(case)}

    def proposed(self) -> Iterator[tuple[Holder, Evidence, list[ProposedRule]]]:
        """Yield the rules that each holder lacks, and their evidence."""
        for holder, evidence in sorted(self._evidence.items(), key=_holder_of):
            rules = [rule for rule in self._rules(holder, evidence) if rule is not None]
            if rules:
                yield holder, evidence, rules

    def _lacking(self, case: PolicyQuery) -> tuple[bool, bool] | str:
        """Return whether agent and principal lack a rule, or the name of the rule that refuses."""
        try:
            outcome = self._policy.evaluate(case).outcome
        except Denied as denied:
            return denied.rule or denied.detail
        if isinstance(outcome, Permit):
            return _NOTHING
        of_agent = _allowed(self._policy.agents.of(case.agent.spiffe_id), case)
        if not case.delegation.has_token:
            return of_agent if isinstance(of_agent, str) else (not of_agent, False)
        through = self._policy.principals.through(case.agent, case.delegation)
        of_principal = _allowed(through, case)
        for side in (of_agent, of_principal):
            if isinstance(side, str):
                return side
        lacks = (not of_agent, not of_principal)
        return lacks if lacks != _NOTHING else (False, True)  # unrestricted sides allow nothing

    def _rules(self, holder: Holder, evidence: Evidence) -> Iterator[ProposedRule | None]:
        """Yield the rules; None for a rule that only a condition could limit, without CEL."""
        groups: defaultdict[_Group, dict[str, list[Call]]] = defaultdict(lambda: defaultdict(list))
        for want, path in _narrowest(evidence.paths):
            calls = groups[_group_of(want, path)][path]
            if want.operation.call is not None:
                calls.append(want.operation.call)
        for group, paths in sorted(groups.items(), key=lambda item: repr(item[0])):
            host, method, protocol, scopes, via, *_ = group
            calls = [call for some in paths.values() for call in some]
            rule = ProposedRule(
                host, method, tuple(sorted(paths)), scopes, via, protocol, tuple(calls), ""
            )
            yield self._limited(holder, rule)

    def _limited(self, holder: Holder, rule: ProposedRule) -> ProposedRule | None:
        """Return the rule, with a condition if others could use it; None without conditions."""
        parts = []
        if holder.agent_lacks and self._opens(holder, rule):
            parts.append(f"principal.issuer == {_text(holder.issuer)}")
            parts.append(f"principal.id == {_text(holder.principal)}")
        if holder.mode:
            parts.append(f"delegation.mode == {_text(holder.mode)}")
        if not parts:
            return rule
        condition = " && ".join(parts)
        try:
            Condition.parse(condition)
        except ConditionError:
            self.unlimitable += 1
            return None
        return replace(rule, when=condition)

    def _opens(self, holder: Holder, rule: ProposedRule) -> bool:
        """Tell whether others could use the rule, if the agent holds it.

        The others are the agent without a token, and other principals with a rule about the same
        operation.
        """
        is_by_svid = self._takes_svid_alone and not holder.by_svid
        if not rule.scopes and (is_by_svid or (self._has_bootstrap and rule.protocol)):
            return True
        agent = Agent(SpiffeId.parse(holder.agent))
        return any(
            entry.is_through(agent)
            and not _is_only(entry, holder)
            and (entry.settings.unrestricted or _is_about(entry.rules.rules, rule))
            for entry in self._policy.principals.entries
        )


_NOTHING: Final = (False, False)
_Group = tuple[str, str, MessageProtocol, tuple[str, ...], tuple[str, ...], str, tuple[object, ...]]


def _names_of(case: PolicyQuery) -> tuple[str, str, str, bool]:
    delegation = case.delegation
    agent = case.agent.spiffe_id.text
    return agent, delegation.issuer, delegation.subject, delegation.by_svid


def _text(value: str) -> str:
    """Return a text as a condition has it."""
    return json.dumps(value, ensure_ascii=False)


def _holder_of(item: tuple[Holder, Evidence]) -> Holder:
    return item[0]


def _want_of(case: PolicyQuery) -> Want:
    """Return the operation that a rule must allow. Raises ValueError if no rule can name it."""
    earlier = {actor.subject for actor in case.delegation.actors[1:]}
    try:
        via = sorted(SpiffeId.parse(subject).text for subject in earlier)
    except SpiffeIdError as error:
        raise ValueError("no rule can name an earlier actor") from error
    scopes = tuple(sorted(case.delegation.scopes))
    if not all(SCOPE.fullmatch(scope) for scope in scopes):
        raise ValueError("no rule can name a scope")
    return Want(UsedOperation.of(case), scopes, tuple(via))


def _allowed(entries: Iterable[AgentEntry | PrincipalEntry], case: PolicyQuery) -> bool | str:
    """Tell whether a side allows, or return the name of its rule whose limits refuse."""
    held = list(entries)
    if any(entry.settings.unrestricted for entry in held):
        return True
    rules = [rule for entry in held for rule in entry.rules.find(case.operation)]
    about = [rule for rule in rules if _counts(rule) and rule.is_about(case.operation.call)]
    if not about:
        denying = [rule.name for rule in rules if rule.is_deny and not rule.unmet(case)]
        return denying[0] if denying else False
    return any(not rule.unmet(case) for rule in about) or about[0].name


def _counts(rule: Rule) -> bool:
    return not (rule.is_deny or rule.is_shadow)


def _narrowest(paths: dict[Want, str]) -> Iterator[tuple[Want, str]]:
    """Yield the wanted operations that a rule for fewer scopes does not already allow."""
    of_operation: defaultdict[tuple[UsedOperation, tuple[str, ...]], list[Want]] = defaultdict(list)
    for want in paths:
        of_operation[want.operation, want.via].append(want)
    for wants in of_operation.values():
        for want in wants:
            pattern = path_pattern(paths[want])
            others = [one for one in wants if {*one.scopes} < {*want.scopes}]
            if not any(path_pattern(paths[one]).covers(pattern) for one in others):
                yield want, paths[want]


def _group_of(want: Want, path: str) -> _Group:
    """Return the key of the operations that one rule can allow without allowing others."""
    operation, call = want.operation, want.operation.call
    alike = (operation.host, operation.method, operation.protocol, want.scopes, want.via)
    return (
        (*alike, "", ()) if call is None else (*alike, path, _alike_calls(operation.protocol, call))
    )


def _alike_calls(protocol: MessageProtocol, call: Call) -> tuple[object, ...]:
    """Return the key of the calls that a rule can list together.

    For MCP each list is separate. For A2A a rule allows each listed method with each target, and
    for models each listed name with the tools and the streaming.
    """
    if protocol is MessageProtocol.MCP:
        return ()
    if protocol is MessageProtocol.OPENAI:
        return call.tools, call.is_streaming
    return call.kind, call.method if call.kind is CallKind.SKILL else ""


def _is_only(entry: PrincipalEntry, holder: Holder) -> bool:
    """Tell whether an entry matches the holder's principal alone."""
    match = entry.settings.match
    return (match.issuer, match.subjects) == (holder.issuer, (holder.principal,))


def _is_about(rules: Iterable[Rule], proposed: ProposedRule) -> bool:
    """Tell whether any of the allows may be about what a proposed rule allows."""
    return any(
        _counts(rule)
        and rule.protocol == proposed.protocol
        and not {proposed.method, ANY}.isdisjoint(rule.settings.methods)
        and any(covers(host, proposed.host) for host in rule.settings.hosts)
        and _overlap(rule.settings.paths, proposed.paths)
        for rule in rules
    )


def _overlap(patterns: Iterable[str], paths: Iterable[str]) -> bool:
    seen = [path_pattern(path) for path in paths]
    both = (path_pattern(text).intersection(path) for text in patterns for path in seen)
    return any(pattern is not None for pattern in both)
