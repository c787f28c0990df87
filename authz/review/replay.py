"""Decides audit records again by another policy, each at its own time, and counts the changes.

A record holds the inputs that the policy of its time read. If the new policy reads more of a
request than was recorded, its decision is unknown, and is not guessed.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from authz.config import Config
from authz.core.approval import DETAILS
from authz.core.decision import Permit, Verdict
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import Rule, RuleSet
from authz.core.policy.shadow import PolicyStep, ShadowedPolicy
from authz.core.reads import NOTHING, Reads
from authz.core.reason import Denied
from authz.review.audit_files import AuditLogs
from authz.review.audit_records import RecordedDecision, read_records
from authz.review.equivalence import PolicyComparison
from authz.review.replay_report import ReplayGroup, ReplayReport


def replay_logs(config: Config, logs: AuditLogs, old: Config | None = None) -> ReplayReport:
    """Decide the records of audit logs by a config's policy. Reads them twice. Raises LogError.

    The first reading finds the claims and headers that each policy version recorded: if some
    records of a version have a claim and this one lacks it, the token lacked it too. ``old`` tells
    this of its own version, even if no record has the claim.
    """
    recorded = _recorded(logs)
    now = PolicyComparison(config)
    then = now if old is None else PolicyComparison(old)
    for known in (then, now):
        recorded[known.version] = known.policy.reads
    replay = _Replay(config, recorded, now, then)
    for file, number, read in read_records(logs, replay.report.own):
        try:
            replay.take(read)
        except ValueError as error:
            replay.report.add_bad(f"{file}:{number}: {error}")
    return replay.report


def _recorded(logs: AuditLogs) -> dict[str, Reads]:
    """Return, by policy version, the claims and headers that its records hold."""
    claims: defaultdict[str, set[str]] = defaultdict(set)
    headers: defaultdict[str, set[str]] = defaultdict(set)
    for _, _, record in read_records(logs):
        if isinstance(record, RecordedDecision):
            claims[record.policy_version].update(record.claims)
            headers[record.policy_version].update(record.headers)
    return {
        version: Reads(headers=frozenset(headers[version]), claims=frozenset(claims[version]))
        for version in claims
    }


class _Replay:
    """Decides one record at a time, and counts the changes in ``report``.

    ``now`` is the policy of ``config``, ``then`` the one of ``--old``, or ``now`` again.
    """

    def __init__(
        self,
        config: Config,
        recorded: dict[str, Reads],
        now: PolicyComparison,
        then: PolicyComparison,
    ) -> None:
        self.report = ReplayReport()
        self._policy = now.policy
        self._step: PolicyStep = ShadowedPolicy(self._policy) if config.shadow else self._policy
        self._reads = self._policy.reads
        self._recorded = recorded
        self._now, self._then = now, then
        # By issuer, the sets of rules that its principals hold, and what matching them reads.
        self._held: defaultdict[str, set[RuleSet]] = defaultdict(set)
        self._matched: defaultdict[str, Reads] = defaultdict(Reads)
        for entry in self._policy.principals.entries:
            issuer = entry.settings.match.issuer
            self._held[issuer].add(entry.rules)
            self._matched[issuer] |= entry.reads

    def take(self, read: RecordedDecision | str) -> None:
        """Count a record. Raises ValueError for an error text, and for an invalid record."""
        if isinstance(read, str):
            raise ValueError(read)  # noqa: TRY004 - it is about a line, not about a type
        if not read.by_policy:
            self.report.not_by_policy += 1
        elif read.lost:
            self._leave_redacted(read)
        else:
            self._judge(read, read.cases())

    def _leave_redacted(self, record: RecordedDecision) -> None:
        """Count a record without the fields that decisions read, which only its own policy had."""
        report = self.report
        if record.policy_version == self._now.version:
            report.unchanged += 1
            return
        report.lost.update(record.lost)
        report.redacted[_as_recorded(record)].add(record)

    def _judge(self, record: RecordedDecision, cases: list[PolicyQuery]) -> None:
        report = self.report
        if record.is_cut:
            self._leave(record, cases)
            return
        unknown = self._unknown(record, cases)
        if unknown:
            report.unknown |= unknown
            report.undecidable[_as_recorded(record)].add(record)
            return
        try:
            verdict = evaluate_all(self._step, cases)
        except Denied as denied:
            verdict = Verdict(denied)
        outcome = verdict.outcome
        is_allow = isinstance(outcome, Permit)
        # Without arguments, conditions on them refuse, and without approvals, what asks for one: so
        # an allow holds with any of them.
        if not is_allow and any(self._reads_unrecorded(case) for case in cases):
            self._leave(record, cases)
            return
        if is_allow == record.is_allow:
            report.unchanged += 1
            return
        rule = outcome.agent_rule if isinstance(outcome, Permit) else outcome.rule
        changes = report.newly_allowed if is_allow else report.newly_denied
        changes[ReplayGroup(rule, record.agent, record.principal, record.rule)].add(record)

    def _leave(self, record: RecordedDecision, cases: list[PolicyQuery]) -> None:
        """Count a record whose decision depends on something that no record holds."""
        if self._is_as_then(record, cases):
            self.report.unchanged += 1
        else:
            self.report.not_judged[_as_recorded(record)].add(record)

    def _is_as_then(self, record: RecordedDecision, cases: list[PolicyQuery]) -> bool:
        """Tell whether both policies must agree, whatever the unrecorded inputs were."""
        version = record.policy_version
        if version == self._now.version:
            return True
        is_known = version == self._then.version
        return is_known and all(self._now.about(case) == self._then.about(case) for case in cases)

    def _unknown(self, record: RecordedDecision, cases: list[PolicyQuery]) -> Reads:
        """Return the inputs that the policy would read for these cases, but the record may lack."""
        missing = self._reads - self._recorded[record.policy_version] - _NEVER_RECORDED
        if not missing:
            return missing
        return missing & Reads.union(map(self._read_for, cases))

    def _read_for(self, case: PolicyQuery) -> Reads:
        """Return the inputs of the rules about the operation, of any entry that could match."""
        matched = self._matched.get(case.delegation.issuer, NOTHING)
        return Reads.union((matched, *(rule.reads for rule in self._rules(case))))

    def _reads_unrecorded(self, case: PolicyQuery) -> bool:
        """Tell whether a rule about the operation reads arguments or approvals.

        No record holds these.
        """
        call = case.operation.call
        reads = call is not None and self._policy.reads_arguments(call)
        return any(
            (rule.approved is not None or (reads and rule.reads_arguments)) and rule.is_about(call)
            for rule in self._rules(case)
        )

    def _rules(self, case: PolicyQuery) -> Iterator[Rule]:
        agents = (entry.rules for entry in self._policy.agents.of(case.agent.spiffe_id))
        for rules in {*agents, *self._held.get(case.delegation.issuer, ())}:
            yield from rules.find(case.operation)


_NEVER_RECORDED: Final = Reads(claims=frozenset({DETAILS}))


def _as_recorded(record: RecordedDecision) -> ReplayGroup:
    return ReplayGroup(record.rule, record.agent, record.principal)
