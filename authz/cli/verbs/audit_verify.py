"""``authz audit verify``: proves that audit logs are complete and unchanged."""

import argparse

from authz.cli.common import FAILED, FINE, answer
from authz.cli.progress import of_files, progress
from authz.review.audit_chain.keys import read_public_keys
from authz.review.audit_chain.verify import Expected, verify_logs


def run(options: argparse.Namespace) -> int:
    """Verify, and return the exit status. Raises AuditKeyError."""
    verifier = read_public_keys(options.key)
    expected = Expected(
        witnesses=options.witness,
        servers=options.server,
        sink=options.sink,
        is_running=options.running,
        is_partial=options.partial,
        is_strict=options.strict,
    )
    with progress("reading records") as tell:
        report = verify_logs(options.files, verifier, expected, of_files(tell))
    answer(options, report.lines(), report.members)
    return FINE if report.is_proven else FAILED
