"""Least privilege from evidence: what was never used, what is wider than its use, what is missing.

Everything is a text to review: YAML with comments that say how often, and where it belongs.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from operator import itemgetter
from typing import Final
from urllib.parse import quote

from authz.build import policy_of, version_of
from authz.config import Config
from authz.decision import Grant
from authz.patterns import ANY, path_pattern
from authz.policy import Case, judge_all
from authz.policy.rules import Rule, compiled
from authz.reason import Denied, Reason
from authz.request import Call
from authz.review.called import key_line, nameable, never_called
from authz.review.logs import AuditLogs
from authz.review.trace import Traced, read_trace

MAX_SEEN: Final = 200  # operations of one rule: where there are more, a list is no rule to read
MAX_MISSING: Final = 1000  # pairs of agent and principal that lack rules
# What stands for one thing of many: a number, a UUID, a digest or another long hexadecimal.
_ID: Final = re.compile(
    r"[0-9]+|[0-9A-Fa-f]{16,}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)
_ID_TEXT: Final = "{id}"
# What a further rule would allow; a lack of scopes, say, it would not mend.
_MENDED: Final = frozenset(
    reason.code
    for reason in (Reason.POLICY_DENIED, Reason.AGENT_UNKNOWN, Reason.MCP_UNKNOWN_METHOD)
)


@dataclass(frozen=True, slots=True)
class Target:
    """An operation with ids taken out: the path is a pattern as rules have it."""

    host: str
    method: str
    path: str
    protocol: str = ""
    call: Call | None = None

    @classmethod
    def of(cls, case: Case) -> "Target":
        """Of a question. Raises ValueError for a path or a call that no rule can name."""
        operation = case.operation
        path = generalised(operation.path)
        path_pattern(path)
        call = None if operation.call is None else nameable(operation.call)
        return cls(operation.host, operation.method, path, operation.protocol, call)

    @property
    def group(self) -> tuple[str, str, str, str, bool]:
        """What one rule can allow together: never a call on a path where it was not seen.

        Of A2A a rule that names skills allows calls about them only.
        """
        if self.call is None:
            return self.host, self.method, "", "", False
        return self.host, self.method, self.path, self.protocol, self.call.kind == "skill"


def generalised(segments: Sequence[str]) -> str:
    """A path pattern that fits these segments, and others where one looks like an id."""
    return "/" + "/".join(_ID_TEXT if _ID.fullmatch(one) else quote(one, "") for one in segments)


@dataclass(slots=True)
class Use:
    """What was seen of a rule, or is missing: operations, requests, and scopes that all had.

    ``is_varied`` says that there are more than can be listed.
    """

    count: int = 0
    targets: set[Target] = field(default_factory=set)
    scopes: frozenset[str] | None = None
    is_varied: bool = False

    def add(self, cases: Sequence[Case]) -> None:
        """One more request."""
        self.count += 1
        for case in cases:
            try:
                self.targets.add(Target.of(case))
            except ValueError:
                self.is_varied = True
            if len(self.targets) > MAX_SEEN:
                self.is_varied = True
                self.targets.pop()
        scopes = cases[0].delegation.scopes
        self.scopes = scopes if self.scopes is None else self.scopes & scopes


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What the evidence says.

    Attributes:
        records: how many there were.
        lines: all of it, as YAML with comments.
        narrower: by the place of a rule (grant, number), its keys that can be narrower, and how.
        missing: what is missing, as the lines of a file to include.
        held: by number of the entry of agents, the grants of that file that the agent needs.
    """

    records: int
    lines: tuple[str, ...]
    narrower: Mapping[tuple[str, int], Mapping[str, list[str]]]
    missing: tuple[str, ...]
    held: Mapping[int, list[str]]


def suggest(config: Config, logs: AuditLogs, *, denied: bool) -> Suggestions:
    """Suggest from audit logs. Raises LogError.

    What is missing is taken from requests that only policy in shadow would have refused; or, with
    ``denied``, from those that policy refused.
    """
    evidence = _Evidence(config, denied=denied)
    for _, _, read in read_trace(logs):
        evidence.take(read)
    lines = [
        f"# From {evidence.records} records, {evidence.bad} lines that are none. For review:",
        "# a rule that was not used in this time may be needed at another.",
    ]
    narrower: dict[tuple[str, int], Mapping[str, list[str]]] = {}
    for grant, rules in evidence.rules.items():
        for number, rule in enumerate(rules):
            use = evidence.uses.get(rule.name)
            if use is None:
                lines.append(f"# {rule.name}: never used; take it out?")
                continue
            if keys := _narrower_keys(rule, use):
                narrower[grant, number] = keys
                lines += _of_rule(rule, use, keys)
            lines += _never_called(rule, use)
    named = _named(evidence.missing, set(config.grants))
    numbers = {one.id: number for number, one in enumerate(config.agents)}
    by_agent: defaultdict[str, list[str]] = defaultdict(list)
    for name, ((agent, _, _), _) in named.items():
        by_agent[agent].append(name)
    held = {numbers[agent]: names for agent, names in by_agent.items() if agent in numbers}
    new = {agent: names for agent, names in by_agent.items() if agent not in numbers}
    missing = tuple(_of_missing(named, new))
    if named:
        lines.append("# Missing: to allow what was refused, a file that the config includes.")
    lines += [
        f"# Add to the grants of the agent {config.agents[number].id}: {', '.join(names)}"
        for number, names in held.items()
    ]
    return Suggestions(evidence.records, (*lines, *missing), narrower, missing, held)


class _Evidence:
    """Counts records by the rules of the config that decided them, or would."""

    def __init__(self, config: Config, *, denied: bool) -> None:
        self.rules = compiled(config.grants, config.conditions)
        self.uses: dict[str, Use] = {}
        self.missing: dict[tuple[str, str, str], Use] = {}
        self.records = 0
        self.bad = 0
        self._policy = policy_of(config)
        self._version = version_of(config)
        self._denied = denied
        self._issuers = {one.issuer for one in config.issuers}
        self._denies = {r.name for rules in self.rules.values() for r in rules if r.is_deny}

    def take(self, read: Traced | str) -> None:
        """Count one."""
        try:
            if isinstance(read, str):
                self.bad += 1
            else:
                self.records += 1
                if read.by_policy:
                    self._count(read, read.cases())
        except ValueError:
            self.bad += 1

    def _count(self, traced: Traced, cases: Sequence[Case]) -> None:
        for name in self._rules_of(traced, cases):
            self.uses.setdefault(name, Use()).add(cases)
        reason, rule = self._refusal(traced)
        is_nameable = traced.issuer in self._issuers and _is_plain(traced.principal)
        is_mended = reason in _MENDED and rule not in self._denies and is_nameable
        key = (traced.agent, traced.issuer, traced.principal)
        if is_mended and (key in self.missing or len(self.missing) < MAX_MISSING):
            self.missing.setdefault(key, Use()).add(cases)

    def _rules_of(self, traced: Traced, cases: Sequence[Case]) -> set[str]:
        """The rules that decided; by a policy of another version, those that would by this one."""
        if traced.policy_version == self._version:
            names = _names(traced.rule, traced.principal_rule)
            return names if traced.is_allow else names & self._denies
        try:
            outcome = judge_all(self._policy, cases).outcome
        except Denied:
            return set()
        if isinstance(outcome, Grant):
            return _names(outcome.agent_rule, outcome.principal_rule)
        return {outcome.rule} & self._denies

    def _refusal(self, traced: Traced) -> tuple[str, str]:
        """Reason and rule of the refusal that counts, or nothing."""
        if self._denied:
            return traced.reason, traced.rule
        for shadow in traced.shadows:
            if (shadow.get("by"), shadow.get("decision")) == ("policy", "deny"):
                return shadow.get("reason", ""), shadow.get("rule", "")
        return "", ""


def _names(*rules: str) -> set[str]:
    """Of rules; where a message had several calls, there are several."""
    return {name for one in rules for name in one.split(",")} - {""}


def _is_plain(principal: str) -> bool:
    """Whether a rule can name a principal as a text: not as a pattern, nor past a reader's eyes."""
    return principal != "" and principal.isprintable() and ANY not in principal


def _narrower_keys(rule: Rule, use: Use) -> dict[str, list[str]]:
    """The keys of a rule that are wider than its use, and what was used."""
    if rule.is_deny or use.is_varied:
        return {}
    written = rule.settings
    seen = {
        "hosts": (sorted({one.host for one in use.targets}), written.hosts),
        "methods": (sorted({one.method for one in use.targets}), written.methods),
        "paths": (_narrower(written.paths, use.targets), written.paths),
    }
    return {key: used for key, (used, now) in seen.items() if set(used) != set(now)}


def _of_rule(rule: Rule, use: Use, keys: Mapping[str, list[str]]) -> Iterator[str]:
    yield f"# {rule.name}: wider than its {use.count} uses; in its place, within the grant:"
    for key, used in keys.items():
        yield f"#     {key}: {listed(used)}"


def _never_called(rule: Rule, use: Use) -> Iterator[str]:
    """What a rule on messages names, and nobody called."""
    calls = [one.call for one in use.targets if one.call is not None]
    if not use.is_varied:
        yield from (f"# {rule.name}: {text}" for text in never_called(rule.settings, calls))


def _narrower(patterns: Iterable[str], targets: Iterable[Target]) -> list[str]:
    """The patterns that were used; in place of one that ends in ** what was used of it."""
    seen = {one.path for one in targets}
    found = {_narrowed(text, path) for text in patterns for path in seen}
    return sorted(path for path in found if path is not None)


def _narrowed(text: str, path: str) -> str | None:
    """A pattern cut to what was seen, None where it does not fit. Never wider than it was."""
    pattern, seen = path_pattern(text), path_pattern(path).segments
    wanted = pattern.segments[: len(seen)]
    sample = [  # an id stands for the one that the pattern names, if it names one
        (want if want is not None and _ID.fullmatch(want) else _ID_TEXT) if one is None else one
        for one, want in zip_longest(seen, wanted)
    ]
    if not pattern.matches(tuple(sample)):
        return None
    if not pattern.rest:
        return text
    count = len(pattern.segments)
    return "/" + "/".join([*text[1:].split("/")[:count], *path[1:].split("/")[count:]])


Missing = tuple[tuple[str, str, str], Use]  # of an agent for an issuer's principal


def _named(missing: Mapping[tuple[str, str, str], Use], taken: set[str]) -> dict[str, Missing]:
    """A name of a grant for each."""
    numbers = (number for number in range(1, len(missing) + len(taken) + 1))
    names = (name for number in numbers if (name := f"suggested-{number}") not in taken)
    return dict(zip(names, sorted(missing.items(), key=_first), strict=False))


def _of_missing(named: Mapping[str, Missing], agents: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A file to include, with these further agents, which allows what was refused."""
    if not named:
        return
    yield from ["agents:"] if agents else []
    for agent, grants in agents.items():
        yield f"  - {{id: {_quoted(agent)}, grants: [{', '.join(grants)}]}}"
    yield "principals:"
    for name, ((agent, issuer, principal), _) in named.items():
        match = f"{{issuer: {_quoted(issuer)}, subjects: {listed([principal])}}}"
        yield f"  - {{match: {match}, agents: {listed([agent])}, grants: [{name}]}}"
    yield "grants:"
    for name, (_, use) in named.items():
        yield f"  {name}:  # {use.count} requests{' and more kinds' if use.is_varied else ''}"
        groups: defaultdict[tuple[str, str, str, str, bool], list[Target]] = defaultdict(list)
        for target in use.targets:
            groups[target.group].append(target)
        for (host, method, _, protocol, _), targets in sorted(groups.items(), key=_first):
            yield f"    - hosts: {listed([host])}"
            yield f"      methods: {listed([method])}"
            yield f"      paths: {listed(sorted({one.path for one in targets}))}"
            scopes = sorted(use.scopes or ())
            none = "" if scopes else "  # their tokens had none in common"
            yield f"      scopes: {listed(scopes)}{none}"
            if protocol:
                calls = [one.call for one in targets if one.call is not None]
                yield f"      {key_line(protocol, calls)}"


_first: Final = itemgetter(0)


def listed(texts: Iterable[str]) -> str:
    """A list as YAML writes it in one line."""
    return f"[{', '.join(map(_quoted, texts))}]"


def _quoted(text: str) -> str:
    """As YAML and JSON write it alike: without escapes for what needs two of them in JSON."""
    return json.dumps(text, ensure_ascii=False)
