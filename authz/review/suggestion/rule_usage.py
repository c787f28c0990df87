"""Counts the rules of a config that audit records used, and requests that lacked a rule."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from authz.config import Config
from authz.core.decision import Effect, Permit, ShadowBy
from authz.core.patterns import ANY
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import compile_rules
from authz.core.reason import Denied, Reason
from authz.review.audit_records import RecordedDecision
from authz.review.suggestion.missing_rules import MAX_SEEN, MissingRules
from authz.review.suggestion.used_operation import UsedOperation
from authz.wiring.policy import build_policy
from authz.wiring.policy_version import compute_policy_version

# Refusals that another rule would prevent; it would not help against missing scopes, for example.
_MENDED: Final = frozenset(
    reason.code for reason in (Reason.POLICY_DENIED, Reason.AGENT_UNKNOWN, Reason.METHOD_UNKNOWN)
)


@dataclass(slots=True)
class RuleUse:
    """The use of a rule.

    Attributes:
        count: how many requests there were.
        targets: their operations.
        is_varied: whether there were more operations than can be listed, or unnameable ones.
    """

    count: int = 0
    targets: set[UsedOperation] = field(default_factory=set)
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


class RuleUsage:
    """Counts records by the rules of a config that decided them, or would.

    Attributes:
        rules: the config's rules, by grant.
        uses: the use of each rule that was used, by the rule's name.
        missing: the rules that refused requests lacked.
        records, bad: how many records, and how many invalid lines, there were.
        redacted: how many records lack fields that decisions read: their rules count as used.
    """

    def __init__(self, config: Config, *, denied: bool) -> None:
        """Begin without records.

        With ``denied``, requests that policy refused count as lacking a rule; else those that only
        policy in shadow would have refused.
        """
        self.rules = compile_rules(config.grants, config.conditions)
        self.uses: dict[str, RuleUse] = {}
        self._needed: dict[str, RuleUse] = {}
        self.records = 0
        self.bad = 0
        self.redacted = 0
        self._policy = build_policy(config)
        self.missing = MissingRules(config, self._policy)
        self._version = compute_policy_version(config)
        self._denied = denied
        self._issuers = {issuer.issuer for issuer in config.issuers}
        self._denies = {r.name for rules in self.rules.values() for r in rules if r.is_deny}

    def with_needed(self, name: str) -> RuleUse:
        """Return the use of a used rule, with what the proposed rules need of it."""
        use, needed = self.uses[name], self._needed.get(name, RuleUse())
        targets, is_varied = use.targets | needed.targets, use.is_varied or needed.is_varied
        return RuleUse(use.count, targets, is_varied)

    def take(self, read: RecordedDecision | str) -> None:
        """Count a record, or an invalid line."""
        try:
            if isinstance(read, str):
                self.bad += 1
            else:
                self.records += 1
                if read.by_policy and read.lost:
                    self._count_redacted(read)
                elif read.by_policy:
                    self._count(read, read.cases())
        except ValueError:
            self.bad += 1

    def _count_redacted(self, record: RecordedDecision) -> None:
        self.redacted += 1
        if record.policy_version == self._version:
            for name in self._rules_of(record, ()):
                self.uses.setdefault(name, RuleUse()).add((), is_cut=True)

    def _count(self, record: RecordedDecision, cases: Sequence[PolicyQuery]) -> None:
        for name in self._rules_of(record, cases):
            self.uses.setdefault(name, RuleUse()).add(cases, is_cut=record.is_cut)
        reason, rule = self._refusal(record)
        is_nameable = record.by_svid or record.issuer in self._issuers
        is_mended = reason in _MENDED and rule not in self._denies and is_nameable
        if is_mended and _is_plain(record.principal) and not record.is_cut:
            for name in self.missing.take(cases):
                self._needed.setdefault(name, RuleUse()).add(cases, is_cut=False)

    def _rules_of(self, record: RecordedDecision, cases: Sequence[PolicyQuery]) -> set[str]:
        """Return the rules that decided.

        If another policy decided, the rules of this policy that would.
        """
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
