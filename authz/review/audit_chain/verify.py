"""Verifies an audit log offline: nothing changed, cut out, put in, moved, or missing at an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from authz.core.tlog.note import NoteVerifier
from authz.review.audit_chain.file_reading import FileReading, Reader
from authz.review.audit_chain.files import UnreadableError, numbered_lines
from authz.review.audit_chain.findings import Findings, Place
from authz.review.audit_chain.fragments import TornParts
from authz.review.audit_chain.logs import Log, join_logs
from authz.review.audit_chain.report import ChainReport
from authz.review.audit_chain.runs import Completeness
from authz.review.audit_chain.stretch import Stretch
from authz.review.audit_chain.witness import Witnesses
from authz.review.audit_files import News

_NO_WITNESS: Final = (
    "this is one of the files to verify, which is no witness of itself: give checkpoints that were"
    " kept elsewhere"
)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the files should be.

    Attributes:
        witnesses: files with checkpoints that were kept elsewhere.
        servers: the names of servers of which a log must be here.
        sink: the name of the sink that wrote the files: gaps of another are errors.
        is_running: the newest log of each worker may be open.
        is_partial: earlier files, and those of other workers, may be missing.
        is_strict: what a signature excuses is an error: gaps, losses and crashes.
    """

    witnesses: Sequence[Path] = ()
    servers: Sequence[str] = ()
    sink: str | None = None
    is_running: bool = False
    is_partial: bool = False
    is_strict: bool = False


def verify_logs(
    paths: Sequence[Path],
    verifier: NoteVerifier,
    expected: Expected = Expected(),
    news: News = lambda *_: None,
) -> ChainReport:
    """Verify files of an audit log, each read once, in any order.

    Raises nothing for what the files hold, or for one that can't be read: that is an error of the
    report. Memory grows with the number of files and logs, and not with that of records.
    """
    findings = Findings()
    witnesses = Witnesses(findings)
    for path in expected.witnesses:
        if path in paths:
            findings.error(Place(str(path), 0), _NO_WITNESS)
        witnesses.read(path, verifier)
    torn = TornParts(findings)
    reader = Reader(verifier, findings, witnesses.seen, torn, expected.sink, expected.is_strict)
    readings = [FileReading(reader, str(path)) for path in paths]
    stretches: list[Stretch] = []
    for path, reading in zip(paths, readings, strict=True):
        stretches += _read(path, reading, news, is_running=expected.is_running)
    torn.finish()
    logs = join_logs(stretches, findings, is_running=expected.is_running)
    _judge(logs, findings, expected)
    witnesses.finish(logs)
    return ChainReport(
        logs=logs,
        findings=findings,
        files=[str(path) for path in paths],
        records=sum(reading.records for reading in readings),
        checkpoints=sum(reading.checkpoints for reading in readings),
        witnessed=witnesses.count if expected.witnesses else None,
        is_partial=expected.is_partial,
    )


def _read(path: Path, reading: FileReading, news: News, *, is_running: bool) -> list[Stretch]:
    try:
        for number, line in numbered_lines(path, news):
            reading.feed(number, line)
    except UnreadableError as error:
        reading.reader.findings.error(Place(str(path), error.line), str(error))
    return reading.finish(is_running=is_running)


def _judge(logs: Sequence[Log], findings: Findings, expected: Expected) -> None:
    """Find what is missing as a whole."""
    completeness = Completeness(
        logs,
        findings,
        is_running=expected.is_running,
        is_partial=expected.is_partial,
        is_strict=expected.is_strict,
    )
    completeness.check()
    present = {log.server for log in logs}
    for name in expected.servers:
        if name not in present:
            findings.error(Place("the files", 0), f"no log of the server {name} is here")
