"""Counts which rules of a config audit records used, and what was refused for want of a rule."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from authz.config import Config
from authz.core.decision import Effect, Permit, ShadowBy
from authz.core.patterns import ANY, path_pattern
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import compile_rules
from authz.core.reason import Denied, Reason
from authz.core.request import Call, CallKind, MessageProtocol
from authz.review.audit_records import RecordedDecision
from authz.review.call_usage import nameable
from authz.wiring.policy import build_policy
from authz.wiring.policy_version import compute_policy_version

MAX_SEEN: Final = 200  # operations of a rule: a longer list would not make a readable rule
MAX_MISSING: Final = 1000  # pairs of agent and principal that lack rules
# A segment that is an ID: a number, a UUID, a digest or another long hexadecimal.
ID: Final = re.compile(
    r"[0-9]+|[0-9A-Fa-f]{16,}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)
ID_TEXT: Final = "{id}"
# Refusals that another rule would mend; it would not mend a lack of scopes, for example.
_MENDED: Final = frozenset(
    reason.code for reason in (Reason.POLICY_DENIED, Reason.AGENT_UNKNOWN, Reason.METHOD_UNKNOWN)
)
# Of an operation: host, method, path, protocol, and whether it is about a skill.
Group = tuple[str, str, str, MessageProtocol, bool]


@dataclass(frozen=True, slots=True)
class UsedOperation:
    """An operation whose path is a pattern, as rules have it, with ``{id}`` for each ID."""

    host: str
    method: str
    path: str
    protocol: MessageProtocol = MessageProtocol.NONE
    call: Call | None = None

    @classmethod
    def of(cls, case: PolicyQuery) -> "UsedOperation":
        """Make the operation of a question. Raises ValueError if no rule can name it."""
        operation = case.operation
        path = generalised(operation.path)
        path_pattern(path)
        call = None if operation.call is None else nameable(operation.call)
        return cls(operation.host, operation.method, path, operation.protocol, call)

    @property
    def group(self) -> Group:
        """The key of operations that a single rule can allow, without a call on a path of another.

        Calls about skills are apart: a rule that names skills allows no other A2A calls.
        """
        if self.call is None:
            return self.host, self.method, "", MessageProtocol.NONE, False
        return self.host, self.method, self.path, self.protocol, self.call.kind is CallKind.SKILL


def generalised(segments: Sequence[str]) -> str:
    """Return the path pattern of these segments, with ``{id}`` for segments that look like IDs."""
    return "/" + "/".join(ID_TEXT if ID.fullmatch(text) else quote(text, "") for text in segments)


@dataclass(slots=True)
class RuleUse:
    """The use of a rule, or of a missing rule.

    Attributes:
        count: how many requests there were.
        targets: their operations.
        scopes: the scopes that all tokens had; None before the first.
        is_varied: whether there were more operations than can be listed, or unnameable ones.
    """

    count: int = 0
    targets: set[UsedOperation] = field(default_factory=set)
    scopes: frozenset[str] | None = None
    is_varied: bool = False

    def add(self, cases: Sequence[PolicyQuery], *, is_cut: bool) -> None:
        """Count a request. The targets of a record that is cut are unknown."""
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
        rules: the config's rules, by grant.
        uses: the use of each rule that was used, by the rule's name.
        missing: requests that were refused for want of a rule, by agent, issuer and principal.
        records, bad: how many records, and how many invalid lines, there were.
    """

    def __init__(self, config: Config, *, denied: bool) -> None:
        """Begin without records.

        ``denied`` counts as missing what policy refused; else what only policy in shadow would.
        """
        self.rules = compile_rules(config.grants, config.conditions)
        self.uses: dict[str, RuleUse] = {}
        self.missing: dict[tuple[str, str, str], RuleUse] = {}
        self.records = 0
        self.bad = 0
        self._policy = build_policy(config)
        self._version = compute_policy_version(config)
        self._denied = denied
        self._issuers = {issuer.issuer for issuer in config.issuers}
        self._denies = {r.name for rules in self.rules.values() for r in rules if r.is_deny}

    def take(self, read: RecordedDecision | str) -> None:
        """Count a record, or an invalid line."""
        try:
            if isinstance(read, str):
                self.bad += 1
            else:
                self.records += 1
                if read.by_policy:
                    self._count(read, read.cases())
        except ValueError:
            self.bad += 1

    def _count(self, record: RecordedDecision, cases: Sequence[PolicyQuery]) -> None:
        for name in self._rules_of(record, cases):
            self.uses.setdefault(name, RuleUse()).add(cases, is_cut=record.is_cut)
        reason, rule = self._refusal(record)
        is_nameable = record.issuer in self._issuers and _is_plain(record.principal)
        is_mended = reason in _MENDED and rule not in self._denies and is_nameable
        key = (record.agent, record.issuer, record.principal)
        if record.is_cut:
            return
        if is_mended and (key in self.missing or len(self.missing) < MAX_MISSING):
            self.missing.setdefault(key, RuleUse()).add(cases, is_cut=False)

    def _rules_of(self, record: RecordedDecision, cases: Sequence[PolicyQuery]) -> set[str]:
        """Return the rules that decided; if another policy did, those of this one that would."""
        if record.policy_version == self._version:
            names = _names(record.rule, record.principal_rule)
            return names if record.is_allow else names & self._denies
        try:
            outcome = evaluate_all(self._policy, cases).outcome
        except Denied:
            return set()
        if isinstance(outcome, Permit):
            return _names(outcome.agent_rule, outcome.principal_rule)
        return {outcome.rule} & self._denies

    def _refusal(self, record: RecordedDecision) -> tuple[str, str]:
        """Return reason and rule of the refusal that counts, "" and "" without one."""
        if self._denied:
            return record.reason, record.rule
        for shadow in record.shadows:
            if (shadow.get("by"), shadow.get("decision")) == (ShadowBy.POLICY, Effect.DENY):
                return shadow.get("reason", ""), shadow.get("rule", "")
        return "", ""


def _names(*rules: str) -> set[str]:
    """Return the names in members of records, which list a rule for each call of a message."""
    return {name for listed in rules for name in listed.split(",")} - {""}


def _is_plain(principal: str) -> bool:
    """Tell whether a rule can name a principal exactly: as printable text and not as a pattern."""
    return principal != "" and principal.isprintable() and ANY not in principal
