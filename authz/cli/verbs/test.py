"""``authz test``: tests a policy with cases."""

import argparse
import time

from authz.cli.common import FAILED, FINE, answer, complain
from authz.config import load
from authz.review.policy_tests import run_cases


def run(options: argparse.Namespace) -> int:
    """Run the cases, and return the exit status. Raises ConfigError."""
    outcome = run_cases(load(options.config), options.cases, time.time())
    answer(options, outcome.lines(), outcome.members)
    is_covered = outcome.coverage_percent >= options.min_coverage
    if not is_covered:
        complain(f"too few rules are covered: --min-coverage asks for {options.min_coverage:g}%")
    return FINE if is_covered and not outcome.failures else FAILED
