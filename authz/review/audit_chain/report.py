"""Tells what a verification found, as lines and as members of a JSON object."""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import Any

from authz.review.audit_chain.findings import Finding, Findings, printable
from authz.review.audit_chain.logs import Log


@dataclass(frozen=True, slots=True)
class ChainReport:
    """The result of a verification.

    Attributes:
        logs: the logs that the files have.
        findings: errors and notes.
        files: how many files were read.
        records: how many records they have, with those of the audit log itself.
        checkpoints: how many checkpoints they have.
        witnessed: how many checkpoints of witnesses were compared; None without witnesses.
        is_partial: whether other files were allowed to be missing.
    """

    logs: Sequence[Log]
    findings: Findings
    files: Sequence[str]
    records: int
    checkpoints: int
    witnessed: int | None
    is_partial: bool = False

    @property
    def is_proven(self) -> bool:
        """Tell whether all is proven: something was read, and nothing contradicts it."""
        return bool(self.logs) and not self.findings.errors

    def _sorted(self) -> list[Finding]:
        order = {name: at for at, name in enumerate(self.files)}
        return sorted(
            self.findings, key=lambda each: (order.get(each.place.file, -1), each.place.line)
        )

    def lines(self) -> Iterator[str]:
        """Yield the lines that a person reads."""
        for finding in self._sorted():
            yield printable(str(finding))
        if self.findings.left_out:
            yield f"and {self.findings.left_out} more findings"
        for log in self.logs:
            yield f"{log.origin}: {_of_log(log)}"
        yield self._sum()

    def _servers(self) -> set[str]:
        return {log.server for log in self.logs}

    def _sum(self) -> str:
        counts = ", ".join(
            (
                f"{_count(self.logs, 'log')} of {_count(self._servers(), 'server')}",
                _counted(self.records, "record"),
                _counted(self.checkpoints, "checkpoint"),
                _count(self.files, "file"),
            )
        )
        if not self.logs:
            return f"NOT proven: no record with a log and an index was read ({counts})"
        if self.findings.errors:
            return f"NOT proven: {_counted(self.findings.errors, 'error')} ({counts})"
        witnessed = (
            ""
            if self.witnessed is None
            else f", {_counted(self.witnessed, 'witnessed checkpoint')}"
        )
        return f"proven: {self._claim()} ({counts}{witnessed})"

    def _claim(self) -> str:
        """Return what is proven, and no more than that: auditors quote this line."""
        what = "what is here is" if self.is_partial else "complete and"
        notes = self.findings.notes
        says = "says" if notes == 1 else "say"
        but = f", but for what {_counted(notes, 'note')} {says}" if notes else ""
        return f"{what} unchanged{but}"

    def members(self) -> dict[str, Any]:
        """Return the report as members of a JSON object."""
        return {
            "proven": self.is_proven,
            "files": list(self.files),
            "records": self.records,
            "checkpoints": self.checkpoints,
            "witnessed": self.witnessed,
            "partial": self.is_partial,
            "errors": self.findings.errors,
            "notes": self.findings.notes,
            "findings": [each.members() for each in self._sorted()],
            "findings_left_out": self.findings.left_out,
            "logs": [_members(log) for log in self.logs],
        }


def _count(things: Sized, noun: str) -> str:
    return _counted(len(things), noun)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _of_log(log: Log) -> str:
    stretch = log.stretch
    time = f", last signed {stretch.signed_time}" if stretch.signed_time else ""
    records = f"records {stretch.begin} to {stretch.end - 1}"
    return f"{records if stretch.begin < stretch.end else 'no records'}, {_end(log)}{time}"


def _end(log: Log) -> str:
    closed = log.stretch.closed
    return "open" if closed is None else "closed after a crash" if closed.is_crash else "closed"


def _members(log: Log) -> dict[str, Any]:
    stretch = log.stretch
    return {
        "log": log.origin,
        "first": stretch.begin,
        "size": stretch.end,
        "proven": log.proven,
        "end": _end(log),
        "last_signed": stretch.signed_time or None,
        "run": None if stretch.opened is None else stretch.opened.run,
    }
