"""``authz test``: tests a policy with cases."""

import argparse
import time

from authz.cli.common import FAILED, FINE, answer, complain
from authz.cli.progress import of_count, progress
from authz.cli.reading import load_config
from authz.review.policy_tests import run_cases


def run(options: argparse.Namespace) -> int:
    """Run the cases, and return the exit status. Raises ConfigError."""
    config = load_config(options.config)
    with progress("reading cases") as tell:
        outcome = run_cases(config, options.cases, time.time(), of_count(tell, "case"))
    answer(options, outcome.lines(), outcome.members)
    is_covered = outcome.coverage_percent >= options.min_coverage
    if not is_covered:
        complain(f"too few rules are covered: --min-coverage asks for {options.min_coverage:g}%")
    return FINE if is_covered and not outcome.failures else FAILED
