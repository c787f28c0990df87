"""``authz audit report``: writes a report for a reviewer, as one HTML file."""

import argparse
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from authz.cli.common import FAILED, FINE, answer, refuse
from authz.cli.filtering import NOTHING_FITS, read_filters, tell
from authz.cli.parser.types import STDIN
from authz.cli.progress import of_files, progress
from authz.cli.reading import load_config
from authz.config import Config
from authz.review.audit_chain.keys import read_public_keys
from authz.review.audit_chain.verify import Expected, verify_logs
from authz.review.audit_files import AuditLogs
from authz.review.audit_reading.found import PassedOver, find_records
from authz.review.audit_report.activity import Activity
from authz.review.audit_report.alike import alike
from authz.review.audit_report.chain import ChainStatement
from authz.review.audit_report.config_use import ConfigUse
from authz.review.audit_report.page import Report


def run(options: argparse.Namespace) -> int:
    """Write the report, and return the exit status. Raises ConfigError, LogError, AuditKeyError."""
    if any(_is_same(options.out, path) for path in (options.config, *options.files)):
        options.misused(f"--out {options.out} is one of the files that are read")
    if options.key and STDIN in options.files:
        options.misused("with --key the logs are read twice: name files instead of -")
    report = _report(options, load_config(options.config))
    tell(report.passed)
    total = report.activity.total
    if not total.count:
        return refuse(options, f"{NOTHING_FITS}: nothing was written", FAILED)
    try:
        _write(options.out, report.html())
    except OSError as error:
        return refuse(options, f"{options.out}: {error.strerror}", FAILED)
    answer(
        options,
        [f"wrote {options.out}: {total.count} records, {total.refused} of them refusals"],
        lambda: {"file": str(options.out), **report.members()},
    )
    return FINE


def _report(options: argparse.Namespace, config: Config) -> Report:
    filters = read_filters(options)
    activity, use, passed = Activity(), ConfigUse(config), PassedOver()
    with progress("reading") as told, AuditLogs(options.files, of_files(told)) as logs:
        for entry, seen in alike(find_records(logs.lines(), filters, passed)):
            activity.take(entry, seen)
            use.take(entry, seen.count)
    return Report(
        [str(path) for path in options.files],
        str(options.config),
        options.since,
        options.until,
        datetime.now(UTC),
        activity,
        use,
        passed,
        _chain(options),
    )


def _chain(options: argparse.Namespace) -> ChainStatement | None:
    """Return what the verification of the logs' chain finds; None if no key is given."""
    if not options.key:
        return None
    verifier = read_public_keys(options.key)
    # A reviewer has a period of a log, which may go on.
    expected = Expected(is_running=True, is_partial=True)
    with progress("verifying") as told:
        found = verify_logs(options.files, verifier, expected, of_files(told))
    return ChainStatement(found.is_proven, tuple(found.lines()))


def _is_same(out: Path, path: Path) -> bool:
    try:
        return out.samefile(path)
    except OSError:
        return out == path


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a file that its owner alone can read, since it names people. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(f"{line}\n" for line in lines)
