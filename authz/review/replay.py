"""What a policy would have changed: yesterday's audit records, decided again at their own time.

A record holds what the policy of then read. Where the new one reads more of a request than was
recorded, what it would have said is not known, and is not guessed.
"""

from collections import defaultdict
from collections.abc import Iterator

from authz.config import Config
from authz.core.decision import Permit, Verdict
from authz.core.policy import PolicyQuery, PolicyStep, ShadowedPolicy, evaluate_all
from authz.core.policy.rules import Rule, RuleSet
from authz.core.reads import NOTHING, Reads
from authz.core.reason import Denied
from authz.review.audit_files import AuditLogs
from authz.review.audit_records import RecordedDecision, read_records
from authz.review.equivalence import PolicyComparison
from authz.review.replay_report import ReplayGroup, ReplayReport


def replay_logs(config: Config, logs: AuditLogs, old: Config | None = None) -> ReplayReport:
    """Decide the records of audit logs by a config's policy. Reads them twice. Raises LogError.

    The first reading finds what each version of the policy recorded: a claim that some records of
    a version have and this one has not was not in the token either. ``old`` says it for its own
    version, where no record happens to have a claim.
    """
    recorded = _recorded(logs)
    now = PolicyComparison(config)
    then = now if old is None else PolicyComparison(old)
    for known in (then, now):
        recorded[known.version] = known.policy.reads
    replay = _Replay(config, recorded, now, then)
    for file, number, read in read_records(logs):
        try:
            replay.take(read)
        except ValueError as error:
            replay.report.add_bad(f"{file}:{number}: {error}")
    return replay.report


def _recorded(logs: AuditLogs) -> dict[str, Reads]:
    """By policy version, what its records hold."""
    claims: defaultdict[str, set[str]] = defaultdict(set)
    headers: defaultdict[str, set[str]] = defaultdict(set)
    for _, _, traced in read_records(logs):
        if isinstance(traced, RecordedDecision):
            claims[traced.policy_version].update(traced.claims)
            headers[traced.policy_version].update(traced.headers)
    return {
        version: Reads(headers=frozenset(headers[version]), claims=frozenset(claims[version]))
        for version in claims
    }


class _Replay:
    """Decides records one by one, and counts."""

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
        # By issuer, what its principals hold, each once however many hold it; and are known by.
        self._held: defaultdict[str, set[RuleSet]] = defaultdict(set)
        self._matched: defaultdict[str, Reads] = defaultdict(Reads)
        for entry in self._policy.principals.entries:
            issuer = entry.settings.match.issuer
            self._held[issuer].add(entry.rules)
            self._matched[issuer] |= entry.reads

    def take(self, read: RecordedDecision | str) -> None:
        """Count one. Raises ValueError for what is no record."""
        if isinstance(read, str):
            raise ValueError(read)  # noqa: TRY004 - it tells of a line, not of a type
        if read.by_policy:
            self._judge(read, read.cases())
        else:
            self.report.not_by_policy += 1

    def _judge(self, traced: RecordedDecision, cases: list[PolicyQuery]) -> None:
        report = self.report
        if traced.is_cut:
            self._leave(traced, cases)
            return
        unknown = self._unknown(traced, cases)
        if unknown:
            report.unknown |= unknown
            report.undecidable[_as_recorded(traced)].add(traced)
            return
        try:
            verdict = evaluate_all(self._step, cases)
        except Denied as denied:
            verdict = Verdict(denied)
        outcome = verdict.outcome
        is_allow = isinstance(outcome, Permit)
        # Without arguments their conditions refuse: what is allowed all the same always is.
        if not is_allow and any(self._reads_arguments(case) for case in cases):
            self._leave(traced, cases)
            return
        if is_allow == traced.is_allow:
            report.unchanged += 1
            return
        rule = outcome.agent_rule if isinstance(outcome, Permit) else outcome.rule
        changes = report.newly_allowed if is_allow else report.newly_denied
        changes[ReplayGroup(rule, traced.agent, traced.principal, traced.rule)].add(traced)

    def _leave(self, traced: RecordedDecision, cases: list[PolicyQuery]) -> None:
        """Count what hangs on something that no record has."""
        if self._is_as_then(traced, cases):
            self.report.unchanged += 1
        else:
            self.report.not_judged[_as_recorded(traced)].add(traced)

    def _is_as_then(self, traced: RecordedDecision, cases: list[PolicyQuery]) -> bool:
        """Whether what decided then decides now: it says the same, whatever was not recorded."""
        version = traced.policy_version
        if version == self._now.version:
            return True
        is_known = version == self._then.version
        return is_known and all(self._now.about(one) == self._then.about(one) for one in cases)

    def _unknown(self, traced: RecordedDecision, cases: list[PolicyQuery]) -> Reads:
        """What the policy would read for these cases, and the record may lack."""
        missing = self._reads - self._recorded[traced.policy_version]
        if not missing:
            return missing
        return missing & Reads.union(map(self._read_for, cases))

    def _read_for(self, case: PolicyQuery) -> Reads:
        """What could matter: the rules about the operation of whoever could hold them."""
        matched = self._matched.get(case.delegation.issuer, NOTHING)
        return Reads.union((matched, *(rule.reads for rule in self._rules(case))))

    def _reads_arguments(self, case: PolicyQuery) -> bool:
        """Whether a rule that could matter reads arguments, which no record has."""
        call = case.operation.call
        if call is None or not self._policy.reads_arguments(call):
            return False
        return any(rule.reads_arguments and rule.is_about(call) for rule in self._rules(case))

    def _rules(self, case: PolicyQuery) -> Iterator[Rule]:
        agents = (one.rules for one in self._policy.agents.of(case.agent.spiffe_id))
        for rules in {*agents, *self._held.get(case.delegation.issuer, ())}:
            yield from rules.find(case.operation)


def _as_recorded(traced: RecordedDecision) -> ReplayGroup:
    return ReplayGroup(traced.rule, traced.agent, traced.principal)
