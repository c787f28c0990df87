"""Explains lines of which only a part was written: on a full disk, or before a crash.

A part counts only if its content is proven otherwise: the whole line follows, or the record that
closed the log after the crash has its hash. Anything else that is not a record could be invented.
Other workers may write for long before a crashed one is back, so a part waits to the file's end.
"""

from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final

from authz.core.tlog.merkle import leaf_hash
from authz.review.audit_chain.findings import Findings, Place

MAX_FRAGMENTS: Final = 64  # kept at once; each may have MAX_LINE_BYTES
CUT: Final = "half a line: its end is missing"


@dataclass(frozen=True, slots=True)
class _Fragment:
    text: bytes
    place: Place
    message: str


@dataclass(slots=True)
class Fragments:
    """The unexplained parts of a file so far."""

    findings: Findings
    _parts: list[_Fragment] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether there are any."""
        return bool(self._parts)

    def add(self, line: bytes, place: Place, message: str = CUT) -> None:
        """Take a line that proves nothing; ``message`` is for the case that nothing explains it."""
        if len(self._parts) == MAX_FRAGMENTS:
            self._unexplained(self._parts.pop(0))
        self._parts.append(_Fragment(line, place, message))

    def resolve(self, line: bytes, number: int) -> None:
        """Take a whole line, which may explain a part."""
        left = []
        for part in self._parts:
            if line.startswith(part.text):
                self.findings.note(part.place, f"half a line, which follows whole in line {number}")
            else:
                left.append(part)
        self._parts = left

    def settle(self, hashes: tuple[str, ...]) -> None:
        """Take the hashes of parts that a crash left, from the record that closed the log."""
        left = []
        for part in self._parts:
            if b64encode(leaf_hash(part.text)).decode() in hashes:
                self.findings.note(part.place, "half a line that a crash left: its record is lost")
            else:
                left.append(part)
        self._parts = left

    def finish(self, being_written: int = 0) -> None:
        """Say which parts nothing explains.

        ``being_written`` is the number of the last line, if that may become whole.
        """
        for part in self._parts:
            if part.place.line == being_written:
                self.findings.note(part.place, "half a line: it may be being written now")
            else:
                self._unexplained(part)
        self._parts = []

    def _unexplained(self, part: _Fragment) -> None:
        self.findings.error(part.place, part.message)
