"""``authz audit stats``: counts records by reason, agent, principal, rule and tool."""

import argparse

from authz.cli.common import FAILED, FINE, answer
from authz.cli.filtering import read_filters, tell, tell_nothing_fits
from authz.cli.progress import of_files, progress
from authz.review.audit_files import AuditLogs
from authz.review.audit_reading.found import PassedOver, find_records
from authz.review.audit_reading.stats import RecordStats


def run(options: argparse.Namespace) -> int:
    """Count, and return the exit status. Raises LogError."""
    filters = read_filters(options)
    stats, passed = RecordStats(), PassedOver()
    with progress("reading") as told, AuditLogs(options.files, of_files(told)) as logs:
        for found in find_records(logs.lines(), filters, passed):
            stats.take(found.entry)
    tell(passed)
    answer(options, stats.lines(options.top), lambda: stats.members(options.top, passed))
    if not stats.records:
        tell_nothing_fits(options)
        return FAILED
    return FINE
