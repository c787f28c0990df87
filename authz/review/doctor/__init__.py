"""Says what agent-authz sees from a proxy, and what is set wrongly on the proxy's side.

The findings are pure functions of a presentation and the config, one module for each subject. A
presentation comes from a running server, or is made of a recorded CheckRequest here, as the server
would make it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from authz.config import Config
from authz.edge.presentation import Kept
from authz.review.doctor.body import body_findings
from authz.review.doctor.caller import caller_findings
from authz.review.doctor.case import Case, Finding, Severity
from authz.review.doctor.guardrails import guardrail_findings
from authz.review.doctor.headers import header_findings
from authz.review.doctor.paths import path_findings
from authz.review.doctor.profile import profile_findings
from authz.review.doctor.report import Diagnosis
from authz.review.doctor.token import token_findings

__all__ = ["Case", "Diagnosis", "Finding", "Severity", "diagnose"]
_SUBJECTS: Final[Sequence[Callable[[Case], Iterator[Finding]]]] = (
    profile_findings,
    caller_findings,
    guardrail_findings,
    token_findings,
    body_findings,
    path_findings,
    header_findings,
)
_ORDER: Final = tuple(Severity)


def diagnose(config: Config, kept: Sequence[Kept], more: Sequence[Finding] = ()) -> Diagnosis:
    """Return what is wrong with each kind of check; ``more`` is found about all of them."""
    cases = [Case(config, one) for one in kept]
    found = [*more, *(one for case in cases for find in _SUBJECTS for one in find(case))]
    return Diagnosis(cases, sorted(found, key=lambda one: _ORDER.index(one.severity)))
