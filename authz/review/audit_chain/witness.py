"""Compares the logs with checkpoints that a witness kept elsewhere."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from authz.core.tlog.checkpoint import Checkpoint, CheckpointError
from authz.core.tlog.lines import SignedTree
from authz.core.tlog.note import NoteError, NoteVerifier
from authz.core.tlog.own_lines import CHECKPOINT
from authz.review.audit_chain.files import UnreadableError, numbered_lines
from authz.review.audit_chain.findings import Findings, Place
from authz.review.audit_chain.logs import Log

_SIGNATURE: Final = "— "
_NOTHING: Final = (
    "the witness has no checkpoint here: a file of signed notes, or lines with them, is expected"
)
_JSON: Final = b"{"  # on standard output, lines of other kinds may stand between
_MAX_NOTE_LINES: Final = 128


class _Line(msgspec.Struct, frozen=True):
    checkpoint: str


_read_line: Final = msgspec.json.Decoder(_Line).decode


class Witnesses:
    """Checkpoints that witnesses kept. ``seen`` takes those of the files."""

    def __init__(self, findings: Findings) -> None:
        """Begin without any."""
        self._findings = findings
        self._kept: dict[tuple[str, int], tuple[bytes, Place]] = {}
        self._met: set[tuple[str, int]] = set()
        self.count = 0

    def read(self, path: Path, verifier: NoteVerifier) -> None:
        """Read a witness's file: signed notes, or lines of checkpoints."""
        before = self.count
        try:
            for line, note in _notes(path):
                self._keep(note, verifier, Place(str(path), line))
        except UnreadableError as error:
            self._findings.error(Place(str(path), error.line), str(error))
            return
        if self.count == before:
            self._findings.error(Place(str(path), 0), _NOTHING)

    def _keep(self, note: str, verifier: NoteVerifier, place: Place) -> None:
        self.count += 1
        try:
            kept = Checkpoint.parse(verifier.open(note).text)
        except (NoteError, CheckpointError) as error:
            self._findings.error(place, f"the witness has no valid checkpoint here: {error}")
            return
        root, before = self._kept.setdefault((kept.origin, kept.size), (kept.root, place))
        if root != kept.root:
            message = (
                f"the witness has two roots of {kept.size} leaves of {kept.origin}: see {before}"
            )
            self._findings.error(place, message)

    def seen(self, signed: SignedTree, place: Place) -> None:
        """Compare a checkpoint of the files."""
        key = signed.origin, signed.tree.end
        kept = self._kept.get(key)
        if kept is None:
            return
        self._met.add(key)
        if kept[0] != signed.tree.root():
            message = f"not the checkpoint of {key[1]} leaves that the witness has at {kept[1]}"
            self._findings.error(place, message)

    def finish(self, logs: Sequence[Log]) -> None:
        """Find what the witness has of logs, and the files have not."""
        by_origin = {log.origin: log for log in logs}
        for (origin, size), (_, place) in self._kept.items():
            if (origin, size) not in self._met:
                self._missing(by_origin, origin, size, place)

    def _missing(self, logs: Mapping[str, Log], origin: str, size: int, place: Place) -> None:
        log = logs.get(origin)
        if log is None:
            message = f"the log {origin} is missing: the witness has a checkpoint of {size} leaves"
            self._findings.error(place, message)
        elif log.stretch.end < size:
            message = (
                f"records {log.stretch.end} to {size - 1} of {origin} are missing at its end: the"
                f" witness has a checkpoint of {size} leaves at {place}"
            )
            self._findings.error(log.stretch.ends_at, message)
        elif size > log.stretch.begin:
            message = (
                f"the files have no checkpoint of {size} leaves of {origin}, as the witness has"
            )
            self._findings.error(place, message)


def _notes(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each note with the number of its first line. Raises UnreadableError."""
    lines: list[str] = []
    first = 1
    for number, data in numbered_lines(path):
        line = data.decode("utf-8", "replace")
        if data.startswith(_JSON):
            if data.startswith(CHECKPOINT):
                yield number, _of_line(data)
            continue
        is_next = (
            bool(lines) and lines[-1].startswith(_SIGNATURE) and not line.startswith(_SIGNATURE)
        )
        if is_next or len(lines) == _MAX_NOTE_LINES:
            yield first, "".join(lines)
            lines = []
        if lines or line.strip():
            first = first if lines else number
            lines.append(line)
    if lines:
        yield first, re.sub(r"(?<!\n)\Z", "\n", "".join(lines))


def _of_line(data: bytes) -> str:
    try:
        return _read_line(data).checkpoint
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
