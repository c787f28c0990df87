"""``authz audit tail``: lists the last records that fit some filters, and follows the logs."""

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from authz.cli.common import FAILED, FINE, complain
from authz.cli.filtering import read_filters, tell, tell_nothing_fits
from authz.cli.parser.types import STDIN
from authz.cli.progress import Tell, of_files, progress
from authz.review.audit_files import AuditLogs
from authz.review.audit_reading.filters import Filters
from authz.review.audit_reading.following import FollowedLogs
from authz.review.audit_reading.found import Found, PassedOver, find_records
from authz.review.audit_reading.latest import latest_records, records_in_time
from authz.review.audit_reading.listing import RecordColumns, unchanged_line

DEFAULT_COUNT: Final = 10
_MOST_BEFORE: Final = 10_000  # with --follow and --since: they are in memory until they are sorted
_AT_ONCE: Final = 1000  # records that are printed together, and not while progress is shown


class _Printer:
    """Prints records: a line each, or unchanged."""

    def __init__(self, *, is_unchanged: bool) -> None:
        self._columns = None if is_unchanged else RecordColumns()
        self.count = 0

    def take(self, found: Sequence[Found]) -> None:
        """Print some records, and let the reader of the output have them."""
        self.count += len(found)
        if self._columns is None:
            sys.stdout.buffer.writelines(unchanged_line(one.line) for one in found)
        else:
            self._columns.fit([one.entry for one in found])
            for one in found:
                print(self._columns.line(one.entry))
        sys.stdout.flush()


def run(options: argparse.Namespace) -> int:
    """List and follow, and return the exit status. Raises LogError."""
    filters = read_filters(options)
    printer, passed = _Printer(is_unchanged=options.unchanged), PassedOver()
    if options.follow:
        _follow(options, filters, printer, passed)
        return FINE
    count = _count(options)
    if count is None:
        _list_all(options.files, filters, printer, passed)
    else:
        with progress("reading") as told, AuditLogs(options.files, of_files(told)) as logs:
            found = latest_records(logs, filters, count, passed)
        printer.take(found)
    tell(passed)
    if printer.count == 0 and count != 0:
        tell_nothing_fits(options)
        return FAILED
    return FINE


def _count(options: argparse.Namespace) -> int | None:
    """Return how many records to list; None for all."""
    if options.lines is not None or options.since is None:
        return DEFAULT_COUNT if options.lines is None else options.lines
    return None


def _list_all(
    files: Sequence[Path], filters: Filters, printer: _Printer, passed: PassedOver
) -> None:
    """Print all records that fit, some at a time: there may be more than memory can hold."""
    told: Tell = print

    def news(path: Path, share: float) -> None:
        of_files(told)(path, share)

    with AuditLogs(files, news) as logs:
        records = records_in_time(logs, filters, passed)
        while True:
            with progress("reading") as told:
                some = list(islice(records, _AT_ONCE))
            if not some:
                return
            printer.take(some)


def _follow(
    options: argparse.Namespace, filters: Filters, printer: _Printer, passed: PassedOver
) -> None:
    """Print the last records, and what is added, until the end of all pipes or of the output."""
    output = sys.stdout.fileno()
    with FollowedLogs(options.files) as logs:
        for path in options.files:
            if path != STDIN and not path.exists():
                complain(f"authz: {path} is not there: waiting for it")
        count = _count(options)
        with progress("reading"):
            found = _before(logs, filters, _MOST_BEFORE if count is None else count, passed)
        printer.take(found)
        told = 0
        while not logs.is_over:
            lines = logs.read()
            printer.take(sorted(find_records(lines, filters, passed), key=lambda one: one.time))
            told = _tell_news(passed, told)
            if not lines and not logs.wait(output):
                raise BrokenPipeError


def _before(logs: FollowedLogs, filters: Filters, count: int, passed: PassedOver) -> list[Found]:
    """Return the last records before those that will follow."""
    found: list[Found] = []
    for log in logs.logs:
        lines = ((str(log.path), 0, line) for line in log.before())
        found += list(islice(find_records(lines, filters, passed), count))[::-1]
    found.sort(key=lambda one: one.time)
    return found[-count:] if count else []


def _tell_news(passed: PassedOver, told: int) -> int:
    """Say at once what was passed over, if it is more than before; return how much that is."""
    now = len(passed.told) + passed.own.dropped + passed.own.gaps
    if now > told:
        tell(passed)
    return now
