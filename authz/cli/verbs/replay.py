"""``authz replay``: shows what a new policy would have changed."""

import argparse

from authz.cli.common import FAILED, FINE, NO_RECORDS, answer, complain
from authz.cli.progress import of_files, progress
from authz.cli.reading import load_config
from authz.review.audit_files import AuditLogs
from authz.review.replay import replay_logs


def run(options: argparse.Namespace) -> int:
    """Decide again, and return the exit status. Raises ConfigError, LogError."""
    old = None if options.old is None else load_config(options.old)
    config = load_config(options.config)
    with progress("reading records") as tell, AuditLogs(options.audit, of_files(tell)) as logs:
        report = replay_logs(config, logs, old)
    answer(options, report.lines(), report.members)
    if not report.records:
        complain(f"authz: {NO_RECORDS}")
    return FAILED if report.needs_a_look(is_strict=options.strict) else FINE
