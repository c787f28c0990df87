"""What a policy would have changed: yesterday's audit records, decided again at their own time.

A record holds what the policy of then read. Where the new one reads more of a request than was
recorded, what it would have said is not known, and is not guessed.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from authz.build import policy_of, version_of
from authz.config import Config
from authz.decision import Grant, Verdict
from authz.policy import (
    Case,
    ConditionSettings,
    NotEnforced,
    PolicyStep,
    RuleSettings,
    judge_all,
)
from authz.policy.claims import root_of
from authz.policy.holders import PrincipalEntry
from authz.policy.rules import Rule
from authz.policy.settings import GROUPS, ROLES, PrincipalMatch
from authz.reason import Denied
from authz.review.logs import AuditLogs
from authz.review.trace import Traced, read_trace
from authz.stepup import ACR, AUTH_TIME

MAX_TOLD: Final = 20  # bad lines told one by one
_NOTHING: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Names of what is read of a request, or was recorded of it."""

    claims: frozenset[str] = _NOTHING
    headers: frozenset[str] = _NOTHING

    def __sub__(self, other: "Inputs") -> "Inputs":
        """What the other lacks."""
        return Inputs(self.claims - other.claims, self.headers - other.headers)

    def __and__(self, other: "Inputs") -> "Inputs":
        """What both have."""
        return Inputs(self.claims & other.claims, self.headers & other.headers)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.claims or self.headers)


@dataclass(frozen=True, slots=True, order=True)
class Who:
    """Whose requests: of one agent for one principal, by the rule that decides now."""

    rule: str
    agent: str
    principal: str


@dataclass(slots=True)
class Changed:
    """How many of them, and the decision id of the first."""

    count: int = 0
    example: str = ""

    def add(self, traced: Traced) -> None:
        """One more."""
        self.count += 1
        self.example = self.example or traced.decision_id


Changes = defaultdict[Who, Changed]


def _changes() -> Changes:
    return defaultdict(Changed)


@dataclass(slots=True)
class Report:
    """What would change.

    Attributes:
        unknown: what the policy reads and some records can't tell.
        not_judged: count of records that arguments decide, which are not recorded.
        not_policys: count of records that something else than policy decided.
        bad: the first lines that are no records, of ``bad_count``.
    """

    newly_allowed: Changes = field(default_factory=_changes)
    newly_denied: Changes = field(default_factory=_changes)
    undecidable: Changes = field(default_factory=_changes)
    unknown: Inputs = Inputs()
    unchanged: int = 0
    not_judged: int = 0
    not_policys: int = 0
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0

    def add_bad(self, told: str) -> None:
        """Count a line that is no record, and keep the first ones."""
        self.bad_count += 1
        if len(self.bad) < MAX_TOLD:
            self.bad.append(told)

    @property
    def records(self) -> int:
        """How many there were."""
        changed = sum(_total(changes) for _, changes in self._titled())
        return changed + self.unchanged + self.not_judged + self.not_policys

    def needs_a_look(self, *, is_strict: bool) -> bool:
        """Whether somebody may do more than before, or it is not known; or less, if strict."""
        worse = self.newly_allowed or self.undecidable or self.not_judged or self.bad_count
        return bool(worse or not self.records or (is_strict and self.newly_denied))

    def lines(self) -> Iterator[str]:
        """For people."""
        for name in sorted(self.unknown.claims):
            yield f"warning: the policy reads the claim {name}, which some records can't tell"
        for name in sorted(self.unknown.headers):
            yield f"warning: the policy reads the header {name}, which some records can't tell"
        for title, changes in self._titled():
            yield f"{title}: {_total(changes)}"
            for who, changed in _most_first(changes):
                rule = who.rule or "no rule"
                whom = who.principal or "nobody"
                yield _plain(
                    f"  {changed.count:>7}  {rule}  {who.agent} for {whom}, as in {changed.example}"
                )
        yield f"unchanged: {self.unchanged}"
        if self.not_judged:
            yield f"not judged: {self.not_judged}: arguments are not recorded"
        yield f"not policy's: {self.not_policys}"
        if self.bad_count:
            yield f"bad lines: {self.bad_count}"
            yield from (_plain(f"  {bad}") for bad in self.bad)

    def members(self) -> dict[str, Any]:
        """For machines."""
        return {
            **{
                title.replace(" ", "_"): {
                    "count": _total(changes),
                    "by": [
                        {
                            "rule": who.rule,
                            "agent": who.agent,
                            "principal": who.principal,
                            "count": changed.count,
                            "decision_id": changed.example,
                        }
                        for who, changed in _most_first(changes)
                    ],
                }
                for title, changes in self._titled()
            },
            "unchanged": self.unchanged,
            "not_judged": self.not_judged,
            "not_policys": self.not_policys,
            "unknown_claims": sorted(self.unknown.claims),
            "unknown_headers": sorted(self.unknown.headers),
            "bad_lines": {"count": self.bad_count, "first": self.bad},
        }

    def _titled(self) -> tuple[tuple[str, Changes], ...]:
        return (
            ("newly allowed", self.newly_allowed),
            ("newly denied", self.newly_denied),
            ("undecidable", self.undecidable),
        )


def _plain(text: str) -> str:
    """One line, for a terminal: a file that we did not write can hold what it would obey."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _total(changes: Changes) -> int:
    return sum(changed.count for changed in changes.values())


def _most_first(changes: Changes) -> list[tuple[Who, Changed]]:
    return sorted(changes.items(), key=lambda one: (-one[1].count, one[0]))


def what_if(config: Config, logs: AuditLogs, old: Config | None = None) -> Report:
    """Decide the records of audit logs by a config's policy. Reads them twice. Raises LogError.

    The first reading finds what each version of the policy recorded: a claim that some records of
    a version have and this one has not was not in the token either. ``old`` says it for its own
    version, where no record happens to have a claim.
    """
    recorded = _recorded(logs)
    for known in (config, *([old] if old else [])):
        policy = policy_of(known)
        recorded[version_of(known)] = Inputs(policy.claims, policy.headers)
    replay = _Replay(config, recorded)
    for file, number, read in read_trace(logs):
        try:
            replay.take(read)
        except ValueError as error:
            replay.report.add_bad(f"{file}:{number}: {error}")
    return replay.report


def _recorded(logs: AuditLogs) -> dict[str, Inputs]:
    """By policy version, what its records hold."""
    claims: defaultdict[str, set[str]] = defaultdict(set)
    headers: defaultdict[str, set[str]] = defaultdict(set)
    for _, _, traced in read_trace(logs):
        if isinstance(traced, Traced):
            claims[traced.policy_version].update(traced.claims)
            headers[traced.policy_version].update(traced.headers)
    return {
        version: Inputs(frozenset(claims[version]), frozenset(headers[version]))
        for version in claims
    }


class _Replay:
    """Decides records one by one, and counts."""

    def __init__(self, config: Config, recorded: dict[str, Inputs]) -> None:
        self.report = Report()
        self._policy = policy_of(config)
        self._step: PolicyStep = NotEnforced(self._policy) if config.shadow else self._policy
        self._conditions = config.conditions
        self._reads = Inputs(self._policy.claims, self._policy.headers)
        self._recorded = recorded

    def take(self, read: Traced | str) -> None:
        """Count one. Raises ValueError for what is no record."""
        if isinstance(read, str):
            raise ValueError(read)  # noqa: TRY004 - it tells of a line, not of a type
        if read.by_policy:
            self._judge(read, read.cases())
        else:
            self.report.not_policys += 1

    def _judge(self, traced: Traced, cases: list[Case]) -> None:
        report = self.report
        unknown = self._unknown(traced, cases)
        if unknown:
            report.unknown = Inputs(
                report.unknown.claims | unknown.claims, report.unknown.headers | unknown.headers
            )
            report.undecidable[Who(traced.rule, traced.agent, traced.principal)].add(traced)
            return
        try:
            verdict = judge_all(self._step, cases)
        except Denied as denied:
            verdict = Verdict(denied)
        outcome = verdict.outcome
        is_allow = isinstance(outcome, Grant)
        # Without arguments their conditions refuse: what is allowed all the same always is.
        if not is_allow and any(self._reads_arguments(case) for case in cases):
            report.not_judged += 1
            return
        if is_allow == traced.is_allow:
            report.unchanged += 1
            return
        rule = outcome.agent_rule if isinstance(outcome, Grant) else outcome.rule
        changes = report.newly_allowed if is_allow else report.newly_denied
        changes[Who(rule, traced.agent, traced.principal)].add(traced)

    def _unknown(self, traced: Traced, cases: list[Case]) -> Inputs:
        """What the policy would read for these cases, and the record may lack."""
        missing = self._reads - self._recorded[traced.policy_version]
        if not missing:
            return missing
        read = [self._read_for(case) for case in cases]
        claims = frozenset[str]().union(*(one.claims for one in read))
        return missing & Inputs(claims, frozenset[str]().union(*(one.headers for one in read)))

    def _read_for(self, case: Case) -> Inputs:
        """What could matter: the rules about the operation of whoever could hold them."""
        claims, headers = set[str](), set[str]()
        for principal in self._principals(case):
            claims.update(_claims_of_match(principal.settings.match))
        for rule in self._rules(case):
            reads = _reads_of(rule.settings, self._conditions)
            claims |= reads.claims
            headers |= reads.headers
        return Inputs(frozenset(claims), frozenset(headers))

    def _reads_arguments(self, case: Case) -> bool:
        """Whether a rule that could matter reads arguments, which no record has."""
        call = case.operation.call
        if call is None or not self._policy.reads_arguments(call):
            return False
        return any(rule.reads_arguments and rule.is_about(call) for rule in self._rules(case))

    def _principals(self, case: Case) -> list[PrincipalEntry]:
        issuer = case.delegation.issuer
        entries = self._policy.principals.entries
        return [entry for entry in entries if entry.settings.match.issuer == issuer]

    def _rules(self, case: Case) -> Iterator[Rule]:
        agents = self._policy.agents.of(case.agent.spiffe_id)
        for rules in [
            *(one.rules for one in agents),
            *(one.rules for one in self._principals(case)),
        ]:
            yield from rules.find(case.operation)


def _claims_of_match(match: PrincipalMatch) -> Iterator[str]:
    yield from map(root_of, match.claims)
    yield from [GROUPS] if match.groups is not None else []
    yield from [ROLES] if match.roles is not None else []


def _reads_of(rule: RuleSettings, conditions: ConditionSettings) -> Inputs:
    condition = conditions if rule.when else ConditionSettings()
    claims = {*map(root_of, rule.add_headers.values()), *condition.claims}
    claims.update([ACR] if rule.acr_values else [])
    claims.update([AUTH_TIME] if rule.max_age is not None else [])
    return Inputs(frozenset(claims), frozenset((*rule.headers, *condition.headers)))
