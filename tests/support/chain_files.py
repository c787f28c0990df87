"""Writes lines of chained logs into files, and verifies these."""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from authz.core.tlog.note import NoteSigner, NoteVerifier
from authz.review.audit_chain.report import ChainReport
from authz.review.audit_chain.verify import Expected, verify_logs
from support.chained_log import ChainedLog, private_pem

SIGNER = NoteSigner("authz-1", private_pem())
VERIFIER = NoteVerifier(SIGNER.public_pem.encode())


def written(folder: Path, files: Mapping[str, bytes | Iterable[bytes]]) -> list[Path]:
    """Write files, packed if their name says so, and return their paths."""
    paths = []
    for name, content in files.items():
        data = content if isinstance(content, bytes) else b"".join(content)
        path = folder / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        paths.append(path)
    return paths


def verified(
    folder: Path,
    *files: bytes | Iterable[bytes],
    verifier: NoteVerifier = VERIFIER,
    **expected: Any,
) -> ChainReport:
    """Write files and verify them; further arguments are those of ``Expected``."""
    named = {f"{number}.jsonl": content for number, content in enumerate(files, 1)}
    return verify_logs(written(folder, named), verifier, Expected(**expected))


def told(report: ChainReport) -> list[tuple[str, int, str]]:
    """Return file, line and severity of each finding."""
    return [
        (Path(each.place.file).name, each.place.line, each.severity.value)
        for each in report.findings
    ]


def full_log(
    count: int = 20, *, signer: NoteSigner = SIGNER, close: bool = True, **about: Any
) -> ChainedLog:
    """Return a log with some records, which ended well."""
    log = ChainedLog(signer, **about)
    for number in range(count):
        log.record(number)
    if close:
        log.close()
    return log


def interleaved(*logs: ChainedLog) -> list[bytes]:
    """Return the lines of logs as workers write them into one file: each in its own order."""
    lines: list[bytes] = []
    rest: Sequence[list[bytes]] = [list(log.lines) for log in logs]
    while any(rest):
        for at, each in enumerate(rest):
            taken = at % 3 + 1  # so that no two have the same rhythm
            lines += each[:taken]
            del each[:taken]
    return lines
