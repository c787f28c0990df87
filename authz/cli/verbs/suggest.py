"""``authz suggest``: proposes a narrower policy."""

import argparse

from authz.cli.common import FAILED, FINE, NO_RECORDS, complain, progress
from authz.config import load
from authz.review.audit_files import AuditLogs
from authz.review.patch import patch
from authz.review.suggest import suggest


def run(options: argparse.Namespace) -> int:
    """Print the proposal, and return the exit status. Raises ConfigError, LogError."""
    with progress() as news, AuditLogs(options.audit, news) as logs:
        found = suggest(load(options.config), logs, denied=options.denied)
    if not found.records:
        complain(f"authz: {NO_RECORDS}")
        return FAILED
    for line in patch(options.config, found) if options.diff else found.lines:
        print(line)
    return FINE
