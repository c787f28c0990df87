"""``authz check``: lists every error in a config."""

import argparse
from datetime import UTC, datetime

from authz.cli.common import FAILED, FINE, complain
from authz.review.check import check_config
from authz.wiring import compute_policy_version


def run(options: argparse.Namespace) -> int:
    """Check a config, and return the exit status. Raises ConfigError."""
    found = check_config(options.config, datetime.now(UTC))
    config = found.config
    complain(*(f"warning: {warning}" for warning in found.warnings))
    complain(*(f"note: {note}" for note in found.notes))
    rules = sum(map(len, config.grants.values()))
    print(
        f"{options.config}: fine: {_count(len(config.issuers), 'issuer')}, "
        f"{_count(len(config.agents), 'agent')}, {_count(len(config.principals), 'principal')}, "
        f"{_count(len(config.grants), 'grant')} of {_count(rules, 'rule')}; "
        f"policy version {compute_policy_version(config)}"
    )
    if found.unchecked:
        print(f"not looked at: {found.unchecked}")
    return FAILED if found.warnings and options.strict else FINE


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
