"""Runs an operator's tests of a policy.

Requests that must be allowed or denied, and by which rules.

Tests step 3 only, the policy, and that the route accepts the path.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from authz.config import Config
from authz.core.decision import Effect, Permit, Verdict
from authz.core.policy.policy import Policy
from authz.core.policy.rules import Rule, compile_rules
from authz.core.reason import Denied
from authz.core.routes import Routes
from authz.review.policy_test_cases import PolicyTestCase, load_cases
from authz.wiring.policy import build_policy

CaseNews = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FailedCase:
    """A case with an unexpected answer: where it is written, and the policy's answer."""

    where: str
    name: str
    expected: str
    got: str
    detail: str

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        first = f"{self.where}: {self.name}: expected {self.expected}, got {self.got}"
        return [first, *([f"    {self.detail}"] if self.detail else [])]


@dataclass(frozen=True, slots=True)
class PolicyTestReport:
    """The result of running a file of cases.

    Attributes:
        count: how many cases there are.
        rules: how many rules the config has.
        uncovered: names of the rules that decided no case.
    """

    count: int
    failures: tuple[FailedCase, ...]
    rules: int
    uncovered: tuple[str, ...]

    @property
    def coverage_percent(self) -> float:
        """The percentage of rules that decided a case; 100 without rules."""
        return 100.0 * (self.rules - len(self.uncovered)) / self.rules if self.rules else 100.0

    def lines(self) -> list[str]:
        """Return the lines for a person."""
        told = [line for failure in self.failures for line in failure.lines()]
        told.append(f"{self.count - len(self.failures)} of {self.count} as expected")
        covered = self.rules - len(self.uncovered)
        told.append(
            f"{covered} of {self.rules} rules decided a case ({self.coverage_percent:.0f}%)"
        )
        return told + [f"    no case for {name}" for name in self.uncovered]

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "cases": self.count,
            "failures": [asdict(failure) for failure in self.failures],
            "rules": self.rules,
            "uncovered": self.uncovered,
            "coverage_percent": self.coverage_percent,
        }


def run_cases(
    config: Config, path: Path, now: float, news: CaseNews = lambda *_: None
) -> PolicyTestReport:
    """Ask the config's policy every case of a file. Raises ConfigError for the file.

    ``news`` is called with the number of each case and of all cases.
    """
    grants = compile_rules(config.grants, config.conditions)
    rules = [rule for of_grant in grants.values() for rule in of_grant]
    cases, lines = load_cases(path, config, [rule.name for rule in rules])
    policy, routes = build_policy(config), Routes(config.routes)
    only_issuer = config.issuers[0].issuer
    failures = []
    decided: set[str] = set()
    for number, (case, line) in enumerate(zip(cases, lines, strict=True), 1):
        news(number, len(cases))
        verdict = _verdict(policy, routes, case, only_issuer, now)
        decided.update(_deciding(verdict))
        if (failure := _failure(case, verdict, f"{path}:{line}")) is not None:
            failures.append(failure)
    return PolicyTestReport(len(cases), tuple(failures), len(rules), _uncovered(rules, decided))


def _verdict(
    policy: Policy, routes: Routes, case: PolicyTestCase, only_issuer: str, now: float
) -> Verdict:
    try:
        return policy.evaluate(case.case(only_issuer, now, routes))
    except Denied as denied:
        return Verdict(denied)


def _failure(case: PolicyTestCase, verdict: Verdict, where: str) -> FailedCase | None:
    outcome = verdict.outcome
    if isinstance(outcome, Permit):
        got, detail = str(Effect.ALLOW), ""
        names = {outcome.agent_rule, outcome.principal_rule}
    else:
        got, detail, names = outcome.reason.code, outcome.detail, {outcome.rule}
    as_expected = got == case.expect or (case.expect == Effect.DENY and got != Effect.ALLOW)
    if as_expected and (case.rule is None or case.rule in names):
        return None
    by = f" by {' and '.join(sorted(filter(None, names))) or 'no rule'}"
    wanted = case.expect if case.rule is None else f"{case.expect} by {case.rule}"
    return FailedCase(where, case.name, wanted, got + by, detail)


def _deciding(verdict: Verdict) -> Iterable[str]:
    """Yield the effect and name of each rule that decided, also of those in shadow."""
    outcome = verdict.outcome
    if isinstance(outcome, Permit):
        yield from (f"allow {outcome.agent_rule}", f"allow {outcome.principal_rule}")
    else:
        yield f"deny {outcome.rule}"
    for shadow in verdict.shadows:
        yield f"{shadow.decision} {shadow.rule}"


def _uncovered(rules: Iterable[Rule], decided: set[str]) -> tuple[str, ...]:
    """Return the names of rules that decided no case.

    A refusal names an allow too, if it came nearest: the effect must match, or it is not covered.
    """
    return tuple(
        rule.name for rule in rules if f"{rule.settings.effect} {rule.name}" not in decided
    )
