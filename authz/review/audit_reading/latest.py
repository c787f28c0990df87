"""Finds the latest records that fit, and all records that fit in the order of their times."""

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from authz.review.audit_files import AuditLogs, is_plain
from authz.review.audit_reading.filters import Filters
from authz.review.audit_reading.found import Found, PassedOver, find_records


def latest_records(
    logs: AuditLogs, filters: Filters, count: int, passed: PassedOver
) -> list[Found]:
    """Return the last records that fit of each log, of which the latest, in order of time.

    A plain file is read from its end on, no further than necessary; others are read whole. Raises
    LogError.
    """
    found = [one for path in logs.paths for one in _last_of(logs, path, filters, count, passed)]
    found.sort(key=_time_of)
    return found[-count:] if count else []


def _last_of(
    logs: AuditLogs, path: Path, filters: Filters, count: int, passed: PassedOver
) -> list[Found]:
    if is_plain(path):
        lines = ((f"{path}", 0, line) for line in logs.last_lines_of(path, filters.may_fit))
        return list(islice(find_records(lines, filters, passed), count))[::-1]
    return list(deque(find_records(logs.lines_of(path), filters, passed), count))


def records_in_time(logs: AuditLogs, filters: Filters, passed: PassedOver) -> Iterator[Found]:
    """Yield all records that fit, those of several logs by their times. Raises LogError.

    The records of one log keep their order: workers may write a moment apart.
    """
    each = (find_records(logs.lines_of(path), filters, passed) for path in logs.paths)
    return heapq.merge(*each, key=_time_of)


def _time_of(found: Found) -> float:
    return found.time.timestamp()
