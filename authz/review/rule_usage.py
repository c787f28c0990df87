"""Audit records as evidence: what was done by which rule of a config, and what was refused."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from authz.config import Config
from authz.core.decision import Effect, Permit, ShadowBy
from authz.core.patterns import ANY, path_pattern
from authz.core.policy import PolicyQuery, evaluate_all
from authz.core.policy.rules import compile_rules
from authz.core.reason import Denied, Reason
from authz.core.request import Call, CallKind, MessageProtocol
from authz.review.audit_records import RecordedDecision
from authz.review.call_usage import nameable
from authz.wiring import build_policy, compute_policy_version

MAX_SEEN: Final = 200  # operations of one rule: where there are more, a list is no rule to read
MAX_MISSING: Final = 1000  # pairs of agent and principal that lack rules
# What stands for one thing of many: a number, a UUID, a digest or another long hexadecimal.
ID: Final = re.compile(
    r"[0-9]+|[0-9A-Fa-f]{16,}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)
ID_TEXT: Final = "{id}"
# What a further rule would allow; a lack of scopes, say, it would not mend.
_MENDED: Final = frozenset(
    reason.code for reason in (Reason.POLICY_DENIED, Reason.AGENT_UNKNOWN, Reason.METHOD_UNKNOWN)
)
# Of an operation: host, method, path, protocol, and whether it is about a skill.
Group = tuple[str, str, str, MessageProtocol, bool]


@dataclass(frozen=True, slots=True)
class UsedOperation:
    """An operation with ids taken out: the path is a pattern as rules have it."""

    host: str
    method: str
    path: str
    protocol: MessageProtocol = MessageProtocol.NONE
    call: Call | None = None

    @classmethod
    def of(cls, case: PolicyQuery) -> "UsedOperation":
        """Of a question. Raises ValueError for a path or a call that no rule can name."""
        operation = case.operation
        path = generalised(operation.path)
        path_pattern(path)
        call = None if operation.call is None else nameable(operation.call)
        return cls(operation.host, operation.method, path, operation.protocol, call)

    @property
    def group(self) -> Group:
        """What one rule can allow together: never a call on a path where it was not seen.

        Of A2A a rule that names skills allows calls about them only.
        """
        if self.call is None:
            return self.host, self.method, "", MessageProtocol.NONE, False
        return self.host, self.method, self.path, self.protocol, self.call.kind is CallKind.SKILL


def generalised(segments: Sequence[str]) -> str:
    """A path pattern that fits these segments, and others where one looks like an id."""
    return "/" + "/".join(ID_TEXT if ID.fullmatch(one) else quote(one, "") for one in segments)


@dataclass(slots=True)
class RuleUse:
    """What was seen of a rule, or is missing: operations, requests, and scopes that all had.

    ``is_varied`` says that there are more than can be listed.
    """

    count: int = 0
    targets: set[UsedOperation] = field(default_factory=set)
    scopes: frozenset[str] | None = None
    is_varied: bool = False

    def add(self, cases: Sequence[PolicyQuery], *, is_cut: bool) -> None:
        """One more request; of a record that is cut nobody knows for what."""
        self.count += 1
        self.is_varied = self.is_varied or is_cut
        for case in () if is_cut else cases:
            try:
                self.targets.add(UsedOperation.of(case))
            except ValueError:
                self.is_varied = True
            if len(self.targets) > MAX_SEEN:
                self.is_varied = True
                self.targets.pop()
        scopes = cases[0].delegation.scopes
        self.scopes = scopes if self.scopes is None else self.scopes & scopes


class RuleUsage:
    """Counts records by the rules of a config that decided them, or would.

    Attributes:
        rules: of the config, by grant.
        uses: of the rules that were used, by name.
        missing: what was refused for want of a rule, by agent, issuer and principal.
        records, bad: how many there were, and lines that are none.
    """

    def __init__(self, config: Config, *, denied: bool) -> None:
        """Begin; ``denied`` takes what policy refused, else what only its shadow would have."""
        self.rules = compile_rules(config.grants, config.conditions)
        self.uses: dict[str, RuleUse] = {}
        self.missing: dict[tuple[str, str, str], RuleUse] = {}
        self.records = 0
        self.bad = 0
        self._policy = build_policy(config)
        self._version = compute_policy_version(config)
        self._denied = denied
        self._issuers = {one.issuer for one in config.issuers}
        self._denies = {r.name for rules in self.rules.values() for r in rules if r.is_deny}

    def take(self, read: RecordedDecision | str) -> None:
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

    def _count(self, traced: RecordedDecision, cases: Sequence[PolicyQuery]) -> None:
        for name in self._rules_of(traced, cases):
            self.uses.setdefault(name, RuleUse()).add(cases, is_cut=traced.is_cut)
        reason, rule = self._refusal(traced)
        is_nameable = traced.issuer in self._issuers and _is_plain(traced.principal)
        is_mended = reason in _MENDED and rule not in self._denies and is_nameable
        key = (traced.agent, traced.issuer, traced.principal)
        if traced.is_cut:
            return
        if is_mended and (key in self.missing or len(self.missing) < MAX_MISSING):
            self.missing.setdefault(key, RuleUse()).add(cases, is_cut=False)

    def _rules_of(self, traced: RecordedDecision, cases: Sequence[PolicyQuery]) -> set[str]:
        """The rules that decided; by a policy of another version, those that would by this one."""
        if traced.policy_version == self._version:
            names = _names(traced.rule, traced.principal_rule)
            return names if traced.is_allow else names & self._denies
        try:
            outcome = evaluate_all(self._policy, cases).outcome
        except Denied:
            return set()
        if isinstance(outcome, Permit):
            return _names(outcome.agent_rule, outcome.principal_rule)
        return {outcome.rule} & self._denies

    def _refusal(self, traced: RecordedDecision) -> tuple[str, str]:
        """Reason and rule of the refusal that counts, or nothing."""
        if self._denied:
            return traced.reason, traced.rule
        for shadow in traced.shadows:
            if (shadow.get("by"), shadow.get("decision")) == (ShadowBy.POLICY, Effect.DENY):
                return shadow.get("reason", ""), shadow.get("rule", "")
        return "", ""


def _names(*rules: str) -> set[str]:
    """Of rules; where a message had several calls, there are several."""
    return {name for one in rules for name in one.split(",")} - {""}


def _is_plain(principal: str) -> bool:
    """Whether a rule can name a principal as a text: not as a pattern, nor past a reader's eyes."""
    return principal != "" and principal.isprintable() and ANY not in principal
