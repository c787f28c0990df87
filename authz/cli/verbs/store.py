"""``authz store``: asks the store that replicas share."""

import argparse

from authz.cli.common import FAILED, FINE, answer
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.review.store import inspect_store


def run(options: argparse.Namespace) -> int:
    """Show what the store is, and return the exit status. Raises ConfigError, BuildError."""
    config = load_config(options.config)
    with progress("asking the store"):
        report = inspect_store(config)
    answer(options, report.lines(), report.members)
    return FAILED if report.fault else FINE
