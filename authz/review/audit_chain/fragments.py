"""Explains lines of which only a part was written: on a full disk, or before a crash.

A part counts only if its content is proven otherwise: the whole line follows, or the record that
closed the log after the crash has its hash. Anything else that is not a record could be invented.
Other workers may write for long before a crashed one is back, and the record may be in the file
before, if the crash came when a file was begun. And a worker that leaves a file on a full disk
begins the next file with the line of which that one has a part. So parts wait for all files.
"""

from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import Final

from authz.core.tlog.merkle import leaf_hash
from authz.review.audit_chain.findings import Findings, Place

MAX_FRAGMENTS: Final = 64  # kept at once; each may have MAX_LINE_BYTES
MAX_LEFT: Final = 1000  # parts that are kept: far more than crashes and full disks leave
MAX_FIRSTS: Final = 10_000  # first lines of logs in files that are kept
MAX_TEXT_BYTES: Final = 16 * 1024  # of a part or a line that is kept
CUT: Final = "half a line: its end is missing"


@dataclass(frozen=True, slots=True)
class _Fragment:
    text: bytes
    place: Place
    message: str


@dataclass(slots=True)
class TornParts:
    """The parts that their own files do not explain; for all files."""

    findings: Findings
    _hashes: set[str] = field(default_factory=set)
    _left: list[tuple[str, _Fragment]] = field(default_factory=list)
    _firsts: list[tuple[bytes, Place]] = field(default_factory=list)

    def begin(self, line: bytes, place: Place) -> None:
        """Take the first line of a log in a file."""
        if len(line) <= MAX_TEXT_BYTES and len(self._firsts) < MAX_FIRSTS:
            self._firsts.append((line, place))

    def settle(self, hashes: tuple[str, ...]) -> None:
        """Take the hashes of parts, from the record that closed a log."""
        self._hashes.update(hashes)

    def leave(self, part: _Fragment) -> None:
        """Take a part that its file does not explain."""
        if len(self._left) < MAX_LEFT:
            digest = b64encode(leaf_hash(part.text)).decode()
            kept = part.text if len(part.text) <= MAX_TEXT_BYTES else b""
            self._left.append((digest, replace(part, text=kept)))
        else:
            self.findings.error(part.place, part.message)

    def finish(self) -> None:
        """Say which parts are explained, and which not."""
        for digest, part in self._left:
            whole = self._whole(part)
            if digest in self._hashes:
                self.findings.note(part.place, "half a line that a crash left: its record is lost")
            elif whole is not None:
                self.findings.note(part.place, f"half a line, which is whole at {whole}")
            else:
                self.findings.error(part.place, part.message)

    def _whole(self, part: _Fragment) -> Place | None:
        """Return where the line stands that begins another file, and with the part."""
        for line, place in self._firsts:
            if part.text and place.file != part.place.file and line.startswith(part.text):
                return place
        return None


@dataclass(slots=True)
class Fragments:
    """The unexplained parts of a file so far."""

    torn: TornParts
    _parts: list[_Fragment] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._parts)

    def add(self, line: bytes, place: Place, message: str = CUT) -> None:
        """Take a line that proves nothing; ``message`` is for the case that nothing explains it."""
        if len(self._parts) == MAX_FRAGMENTS:
            self.torn.leave(self._parts.pop(0))
        self._parts.append(_Fragment(line, place, message))

    def resolve(self, line: bytes, number: int) -> None:
        """Take a whole line, which may explain a part."""
        left = []
        for part in self._parts:
            if line.startswith(part.text):
                message = f"half a line, which follows whole in line {number}"
                self.torn.findings.note(part.place, message)
            else:
                left.append(part)
        self._parts = left

    def finish(self, being_written: int = 0) -> None:
        """End the file.

        ``being_written`` is the number of the last line, if that may become whole.
        """
        for part in self._parts:
            if part.place.line == being_written:
                self.torn.findings.note(part.place, "half a line: it may be being written now")
            else:
                self.torn.leave(part)
        self._parts = []
