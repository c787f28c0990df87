"""``authz audit show``: shows one record in full."""

import argparse
from typing import Final

from authz.cli.common import FAILED, FINE, answer, refuse
from authz.cli.filtering import NOTHING_FITS, is_filtered, read_filters, tell, tell_nothing_fits
from authz.cli.progress import of_files, progress
from authz.review.audit_files import AuditLogs
from authz.review.audit_reading.filters import Filters, TextPattern
from authz.review.audit_reading.found import PassedOver
from authz.review.audit_reading.latest import latest_records
from authz.review.audit_reading.listing import record_lines, record_members

_USAGE: Final = "give a DECISION_ID and a FILE, or filters and a FILE"


def run(options: argparse.Namespace) -> int:
    """Show the record, and return the exit status. Raises LogError."""
    filters, files = read_filters(options), options.asked
    if not is_filtered(options):
        if len(files) <= 1:
            options.misused(_USAGE)
        decision, *files = files
        filters = Filters({"decision_id": (TextPattern(str(decision)),)})
    if not files:
        options.misused(_USAGE)
    passed = PassedOver()
    with progress("reading") as told, AuditLogs(files, of_files(told)) as logs:
        found = latest_records(logs, filters, 1, passed)
    tell(passed)
    if not found:
        if is_filtered(options):
            tell_nothing_fits(options)
            return FAILED
        return refuse(options, f"{NOTHING_FITS}: the logs have no decision {decision}", FAILED)
    members = record_members(found[0].line)
    answer(options, record_lines(members), lambda: members)
    return FINE
