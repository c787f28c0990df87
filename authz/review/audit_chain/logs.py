"""Joins the stretches of all files into logs, and finds what is missing between them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from authz.review.audit_chain.findings import Findings, Place
from authz.review.audit_chain.stretch import Stretch

_NO_DIGITS: Final = re.compile(r"[^0-9]")
_DIGITS: Final = 20  # of a time with microseconds


@dataclass(slots=True)
class Log:
    """A log: all that is here of it.

    Attributes:
        stretch: the leaves; those behind a hole, if there is one.
        has_hole: whether leaves are missing before the stretch.
        crash_ends: size and root of further copies, each of which was closed after a crash alone.
    """

    stretch: Stretch
    has_hole: bool = False
    crash_ends: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Return the log's name."""
        return self.stretch.origin

    @property
    def server(self) -> str:
        """Return the first part of the name: the server that signed it."""
        return self.origin.split("/")[0]

    @property
    def worker(self) -> str:
        """Return the second part of the name."""
        return self.origin.split("/")[1] if "/" in self.origin else ""

    @property
    def opened_at(self) -> str:
        """Return when the log was opened, as digits that sort: to the second without its start."""
        opened = self.stretch.opened
        time = self.origin.split("/")[-1].split("-")[0] if opened is None else opened.time
        return _NO_DIGITS.sub("", time).ljust(_DIGITS, "0")

    @property
    def proven(self) -> int:
        """Return how many leaves a checkpoint covers, from the first one here."""
        last, first = self.stretch.last, self.stretch.first
        if last is None or first is None:
            return 0
        return last.end - (0 if first.end == self.stretch.begin else first.end)


def join_logs(
    stretches: Iterable[Stretch], findings: Findings, *, is_running: bool = False
) -> list[Log]:
    """Return the logs by their names; copies of a running log may end between checkpoints."""
    by_origin: dict[str, list[Stretch]] = {}
    for stretch in stretches:
        by_origin.setdefault(stretch.origin, []).append(stretch)
    return [
        _joined(parts, findings, is_running=is_running) for _, parts in sorted(by_origin.items())
    ]


def _joined(parts: list[Stretch], findings: Findings, *, is_running: bool) -> Log:
    parts.sort(key=lambda part: (part.begin, part.end))
    log = Log(parts[0])
    for part in parts[1:]:
        if part.begin == log.stretch.end:
            log.stretch.join(part, findings)
        elif part.begin > log.stretch.end:
            log.stretch, log.has_hole = _behind_a_hole(log.stretch, part, findings), True
        else:
            _overlap(log, part, findings, is_running=is_running)
    return log


def _behind_a_hole(before: Stretch, part: Stretch, findings: Findings) -> Stretch:
    """Say what is missing, and go on behind it as if all before were proven."""
    missing = f"records {before.end} to {part.begin - 1} of {before.origin} are missing"
    findings.error(part.begins_at, f"{missing} between {before.ends_at} and here")
    _require_covered(before, findings)
    part.opened = part.opened or before.opened
    return part


def _overlap(log: Log, part: Stretch, findings: Findings, *, is_running: bool) -> None:
    """Take a copy of what is here already, as another sink wrote it, and what it has beyond."""
    mine = log.stretch
    if part.begin < part.end:
        message = f"records {part.begin} to {part.end - 1} of {part.origin} are here twice"
        findings.note(part.begins_at, message)
    _require_proven_alone(part, findings)
    if _are_crash_ends(mine, part):
        _keep_crash_ends(log, part, findings)
    else:
        _compare(mine, part, findings)
    shorter = mine if part.end > mine.end else part
    if mine.rest != part.rest:
        may_lag = is_running and mine.closed is None and part.closed is None
        _require_covered(shorter, findings, may_lag=may_lag)
    if shorter is mine:
        mine.last, mine.rest, mine.rest_at = part.last, part.rest, part.rest_at
        mine.ends_at, mine.closed = part.ends_at, part.closed or mine.closed
        mine.signed_time = part.signed_time


def _require_proven_alone(part: Stretch, findings: Findings) -> None:
    head = part.open_head
    if head.begin < head.end:
        findings.error(
            part.begins_at,
            f"records {head.begin} to {head.end - 1} of {part.origin} are here twice, and this copy"
            " has no checkpoint before them, so nothing proves it",
            part.first_at.line if part.first_at is not None else 0,
        )


def _require_covered(part: Stretch, findings: Findings, *, may_lag: bool = False) -> None:
    """Require a checkpoint at the end of a stretch that nothing continues."""
    if may_lag and part.rest_at is not None:
        findings.note(part.rest_at, f"no checkpoint covers the end of this copy of {part.origin}")
    elif part.rest.begin < part.rest.end and part.last is not None and part.rest_at is not None:
        tell_uncovered(part, part.rest_at, findings)


def tell_uncovered(part: Stretch, place: Place, findings: Findings) -> None:
    """Say that no checkpoint covers the last leaves of a stretch."""
    last = part.ends_at.line if part.ends_at.file == place.file else 0
    what = f"records {part.rest.begin} to {part.rest.end - 1} of {part.origin}"
    findings.error(place, f"no checkpoint covers {what}: they may have been changed", last)


def _are_crash_ends(mine: Stretch, part: Stretch) -> bool:
    """Tell whether two copies were closed after a crash: each file as far as it went."""
    ends = (mine.closed, part.closed)
    return all(end is not None and end.is_crash for end in ends)


def _keep_crash_ends(log: Log, part: Stretch, findings: Findings) -> None:
    """Keep how each copy ended, of which a later log names one."""
    message = f"another copy of {part.origin} was closed after the crash at {log.stretch.ends_at}"
    findings.note(part.ends_at, message)
    for stretch in (log.stretch, part):
        tree = stretch.tree()
        if tree is not None and not tree.begin:
            log.crash_ends.append((tree.end, tree.root()))


def _compare(mine: Stretch, part: Stretch, findings: Findings) -> None:
    """Compare two copies at checkpoints of the same size, and at their ends."""
    for tree in (part.first, part.last):
        for own in (mine.first, mine.last):
            if tree is not None and own is not None and tree.end == own.end and tree != own:
                message = f"two signed trees of {tree.end} leaves of {part.origin}: a forged copy"
                findings.error(part.ends_at, message)
    if mine.closed is not None and part.closed is not None and mine.end != part.end:
        findings.error(part.ends_at, f"another copy of {part.origin} ends at {mine.ends_at}")
