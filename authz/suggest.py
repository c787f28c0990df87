"""Least privilege from evidence: what was never used, what is wider than its use, what is missing.

Everything is a text to review: YAML with comments that say how often, and where it belongs.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Final
from urllib.parse import quote

from authz.build import policy_of, version_of
from authz.config import Config
from authz.decision import Grant
from authz.patterns import ANY, path_pattern
from authz.policy import Case
from authz.policy.rules import Rule, compiled
from authz.reason import Denied, Reason
from authz.trace import Traced, read_trace

MAX_SEEN: Final = 200  # operations of one rule: where there are more, a list is no rule to read
MAX_MISSING: Final = 1000  # pairs of agent and principal that lack rules
# What stands for one thing of many: a number, a UUID, a digest or another long hexadecimal.
_ID: Final = re.compile(
    r"[0-9]+|[0-9A-Fa-f]{16,}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)
_ID_TEXT: Final = "{id}"
# What a further rule would allow; a lack of scopes, say, it would not mend.
_MENDED: Final = frozenset({Reason.POLICY_DENIED.code, Reason.AGENT_UNKNOWN.code})


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """An operation with ids taken out: the path is a pattern as rules have it."""

    host: str
    method: str
    path: str

    @classmethod
    def of(cls, case: Case) -> "Target":
        """Of a question. Raises ValueError for a path that no rule can name."""
        operation = case.operation
        path = generalised(operation.path)
        path_pattern(path)
        return cls(operation.host, operation.method, path)


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

    def add(self, case: Case) -> None:
        """One more request."""
        self.count += 1
        try:
            self.targets.add(Target.of(case))
        except ValueError:
            self.is_varied = True
        if len(self.targets) > MAX_SEEN:
            self.is_varied = True
            self.targets.pop()
        scopes = case.delegation.scopes
        self.scopes = scopes if self.scopes is None else self.scopes & scopes


def suggest(config: Config, paths: Sequence[Path], *, denied: bool) -> Iterator[str]:
    """The suggestions, as lines of YAML. Raises TraceError.

    What is missing is taken from requests that only policy in shadow would have refused; or, with
    ``denied``, from those that policy refused.
    """
    evidence = _Evidence(config, denied=denied)
    for _, _, read in read_trace(paths):
        evidence.take(read)
    yield f"# From {evidence.records} records, {evidence.bad} lines that are none. For review:"
    yield "# a rule that was not used in this time may be needed at another."
    rules = [rule for of_grant in evidence.rules.values() for rule in of_grant]
    for rule in rules:
        yield from _of_rule(rule, evidence.uses.get(rule.name))
    yield from _of_missing(evidence.missing, set(config.grants), {one.id for one in config.agents})


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
        self._denies = {r.name for rules in self.rules.values() for r in rules if r.is_deny}

    def take(self, read: Traced | str) -> None:
        """Count one."""
        try:
            if isinstance(read, str):
                self.bad += 1
            else:
                self.records += 1
                if read.is_of_policy:
                    self._count(read, read.case())
        except ValueError:
            self.bad += 1

    def _count(self, traced: Traced, case: Case) -> None:
        for name in self._rules_of(traced, case):
            self.uses.setdefault(name, Use()).add(case)
        reason, rule = self._refusal(traced)
        is_mended = reason in _MENDED and rule not in self._denies and _is_plain(traced.principal)
        key = (traced.agent, traced.issuer, traced.principal)
        if is_mended and (key in self.missing or len(self.missing) < MAX_MISSING):
            self.missing.setdefault(key, Use()).add(case)

    def _rules_of(self, traced: Traced, case: Case) -> set[str]:
        """The rules that decided; by a policy of another version, those that would by this one."""
        if traced.policy_version == self._version:
            names = {traced.rule, traced.principal_rule}
            return names - {""} if traced.is_allow else names & self._denies
        try:
            outcome = self._policy.judge(case).outcome
        except Denied:
            return set()
        if isinstance(outcome, Grant):
            return {outcome.agent_rule, outcome.principal_rule} - {""}
        return {outcome.rule} & self._denies

    def _refusal(self, traced: Traced) -> tuple[str, str]:
        """Reason and rule of the refusal that counts, or nothing."""
        if self._denied:
            return traced.reason, traced.rule
        for shadow in traced.shadows:
            if (shadow.get("by"), shadow.get("decision")) == ("policy", "deny"):
                return shadow.get("reason", ""), shadow.get("rule", "")
        return "", ""


def _is_plain(principal: str) -> bool:
    """Whether a rule can name a principal as a text: not as a pattern, nor past a reader's eyes."""
    return principal != "" and principal.isprintable() and ANY not in principal


def _of_rule(rule: Rule, use: Use | None) -> Iterator[str]:
    """What a rule's use says of it."""
    if use is None:
        yield f"# {rule.name}: never used; take it out?"
    elif not rule.is_deny and not use.is_varied:
        written = rule.settings
        paths = _narrower(written.paths, use.targets)
        hosts = sorted({one.host for one in use.targets})
        methods = sorted({one.method for one in use.targets})
        now = (set(written.hosts), set(written.methods), set(written.paths))
        if (set(hosts), set(methods), set(paths)) != now:
            yield f"# {rule.name}: wider than its {use.count} uses; in its place, within the grant:"
            yield f"#     hosts: {_listed(hosts)}"
            yield f"#     methods: {_listed(methods)}"
            yield f"#     paths: {_listed(paths)}"


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


def _of_missing(
    missing: dict[tuple[str, str, str], Use], taken: set[str], agents: set[str]
) -> Iterator[str]:
    """A file to include, and what to add to agents, to allow what was refused."""
    if not missing:
        return
    yield "# Missing: to allow what was refused, as a file of its own that the config includes."
    numbers = (number for number in range(1, len(missing) + len(taken) + 1))
    names = (name for number in numbers if (name := f"suggested-{number}") not in taken)
    named = dict(zip(names, sorted(missing.items()), strict=False))
    by_agent: defaultdict[str, list[str]] = defaultdict(list)
    for name, ((agent, _, _), _) in named.items():
        by_agent[agent].append(name)
    entries = []
    for agent, grants in by_agent.items():
        if agent in agents:  # an id stands once only
            yield f"# Add to the grants of the agent {agent}: {', '.join(grants)}"
        else:
            entries.append(f"  - {{id: {_quoted(agent)}, grants: [{', '.join(grants)}]}}")
    yield from ["agents:", *entries] if entries else []
    yield "principals:"
    for name, ((agent, issuer, principal), _) in named.items():
        match = f"{{issuer: {_quoted(issuer)}, subjects: {_listed([principal])}}}"
        yield f"  - {{match: {match}, agents: {_listed([agent])}, grants: [{name}]}}"
    yield "grants:"
    for name, (_, use) in named.items():
        yield f"  {name}:  # {use.count} requests{' and more kinds' if use.is_varied else ''}"
        by_target: Counter[tuple[str, str]] = Counter((t.host, t.method) for t in use.targets)
        for host, method in sorted(by_target):
            paths = sorted(t.path for t in use.targets if (t.host, t.method) == (host, method))
            yield f"    - hosts: {_listed([host])}"
            yield f"      methods: {_listed([method])}"
            yield f"      paths: {_listed(paths)}"
            yield f"      scopes: {_listed(sorted(use.scopes or ()))}"


def _listed(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _quoted(text: str) -> str:
    """As YAML and JSON write it alike: without escapes for what needs two of them in JSON."""
    return json.dumps(text, ensure_ascii=False)
