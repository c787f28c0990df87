"""Reads the end of a log's file backwards, for what an earlier process left there."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from authz.core.tlog.lines import (
    LEAF_END,
    LineError,
    SignedGap,
    SignedTree,
    read_checkpoint,
    read_gap,
)
from authz.core.tlog.merkle import CompactRange, TreeError, leaf_hash
from authz.core.tlog.note import NoteVerifier
from authz.core.tlog.own_lines import CHECKPOINT, CLOSED, GAP

BLOCK_BYTES: Final = 1 << 18
# Behind this much of others' lines nobody looks further: a start must not take minutes.
MAX_BYTES: Final = 256 << 20
# How much is read for logs of workers that there are no more.
ORPHAN_BYTES: Final = 4 << 20
MAX_ROTATED: Final = 10  # files that are looked into, if newer ones have nothing of the worker
MAX_TORN: Final = 64  # parts of lines that a closed log names
# No record is longer. What a loss of power left, such as zeros, may be, and is no part of a line.
MAX_LINE_BYTES: Final = 16 << 20
PACKED: Final = frozenset({".gz", ".xz", ".zst", ".bz2"})
_LOG: Final = b',"log":"'


class TailError(Exception):
    """Signals that the end of a log is not as a process left it; the message says what is wrong."""


@dataclass(slots=True)
class LogTail:
    """The end of a log in a file: its last checkpoint, and what follows that.

    Attributes:
        origin: the log's name.
        lines: the lines of the log behind the checkpoint, the last one first.
        torn: the leaf hashes of parts of lines behind the checkpoint, of this log or another.
        signed: the checkpoint; None if the log begins within ``lines``.
        is_closed: whether the line of the log before the checkpoint says that the log is closed.
        is_complete: whether all of it was found, so that nothing before matters.
    """

    origin: str
    lines: list[bytes] = field(default_factory=list)
    torn: list[bytes] = field(default_factory=list)
    signed: SignedTree | None = None
    is_closed: bool = False
    is_complete: bool = False

    def tree(self, verifier: NoteVerifier) -> CompactRange:
        """Return the tree with what follows the checkpoint. Raises TailError."""
        tree = CompactRange() if self.signed is None else self.signed.tree.copy()
        for line in reversed(self.lines):
            try:
                if line.startswith(GAP):
                    tree.extend(read_gap(line, verifier).missing)
                    continue
            except (LineError, TreeError) as error:
                raise TailError(f"a gap of {self.origin} does not count: {error}") from None
            index = _index_of(line)
            if index != tree.end:
                raise TailError(f"record {tree.end} of {self.origin} is missing")
            tree.append(leaf_hash(line))
        return tree

    def add(self, line: bytes, index: int | None) -> None:
        """Add the line before: a leaf with its index, or a gap without one."""
        if self.is_complete:
            return
        if self.signed is not None:
            self.is_closed, self.is_complete = line.startswith(CLOSED), True
            return
        self.lines.append(line)
        self.is_complete = index == 0

    def sign(self, signed: SignedTree) -> None:
        """Add a checkpoint before; a second one has no leaf behind it."""
        self.is_complete = self.is_complete or self.signed is not None
        self.signed = self.signed or signed

    def tear(self, part: bytes) -> None:
        """Add a part of a line before."""
        if self.signed is None and not self.is_complete:
            self.torn.append(part)

    def ends_closed(self) -> bool:
        """Tell whether the last line says that the log is closed."""
        return bool(self.lines) and self.lines[0].startswith(CLOSED)


def _index_of(line: bytes) -> int:
    end = LEAF_END.fullmatch(line, max(0, line.rfind(_LOG)))
    return -1 if end is None else int(end[2])


class TailReader:
    """Collects the ends of a worker's logs from lines that come the last one first.

    Attributes:
        found: the logs by their names.
        torn: the leaf hashes of parts of lines so far, MAX_TORN at most.
    """

    def __init__(
        self,
        server: str,
        worker: int,
        workers: int,
        verifier: NoteVerifier,
        torn: Sequence[bytes] = (),
    ) -> None:
        """Look for logs of a worker; for the first one, also those of workers that are no more.

        ``torn`` are hashes of parts of lines in a later file.
        """
        numbers = rf"{worker}|([0-9]{{1,5}})" if worker == 0 else str(worker)
        self._ours = re.compile(rf"{re.escape(server)}/({numbers})/[!-~]+".encode())
        self._mark = f'"log":"{server}/'.encode()
        self._worker = worker
        self._workers = workers
        self._verifier = verifier
        self.torn = list(torn)
        self._seen: set[int] = set()
        self.found: dict[str, LogTail] = {}

    def is_done(self) -> bool:
        """Tell whether the worker's own last log was found completely."""
        return self._worker in self._seen and all(one.is_complete for one in self.found.values())

    def feed(self, line: bytes) -> None:
        """Take a line without its line feed, which may also be missing. Raises TailError."""
        at = line.rfind(_LOG)
        end = LEAF_END.fullmatch(line, at) if at >= 0 else None
        if end is not None:  # so it is whole, even if only its line feed is missing
            self._of_log(line, end[1], int(end[2]))
        elif line.startswith((CHECKPOINT, GAP)) and line.endswith(b"}"):
            self._signed(line)  # without its end it is a part, which another worker may have ended
        elif line and len(self.torn) < MAX_TORN:
            self._tear(leaf_hash(line))

    def _tear(self, part: bytes) -> None:
        self.torn.append(part)
        for one in self.found.values():
            one.tear(part)

    def _of_log(self, line: bytes, origin: bytes, index: int | None = None) -> None:
        tail = self._tail(origin)
        if tail is not None:
            tail.add(line, index)

    def _tail(self, origin: bytes) -> LogTail | None:
        """Return what was found of a log; None if it is not ours, or not our last one."""
        name = origin.decode()
        if name in self.found:
            return self.found[name]
        match = self._ours.fullmatch(origin)
        if match is None:
            return None
        number = int(match[1])
        if number in self._seen or self._worker < number < self._workers:
            return None
        self._seen.add(number)
        self.found[name] = LogTail(name, torn=list(self.torn))
        return self.found[name]

    def _signed(self, line: bytes) -> None:
        if self._mark not in line:
            return
        try:
            if line.startswith(GAP):
                gap: SignedGap = read_gap(line, self._verifier)
                self._of_log(line, gap.origin.encode())
                return
            signed = read_checkpoint(line, self._verifier)
        except LineError as error:
            raise TailError(str(error)) from None
        tail = self._tail(signed.origin.encode())
        if tail is not None:
            tail.sign(signed)


def lines_backwards(descriptor: int, max_bytes: int = MAX_BYTES) -> Iterator[tuple[bytes, int]]:
    """Yield a file's lines, the last one first: each with the bytes read so far.

    Lines longer than MAX_LINE_BYTES are left out. Raises OSError.
    """
    position = size = os.fstat(descriptor).st_size
    rest = _Rest()
    while position and size - position < max_bytes:
        begin = max(0, position - BLOCK_BYTES)
        block = os.pread(descriptor, position - begin, begin)
        position = begin
        first, *lines = block.split(b"\n")
        if lines:
            lines[-1] = rest.behind(lines[-1])
            yield from ((line, size - position) for line in reversed(lines))
        rest.add(first)
    if not position and (line := rest.behind(b"")):
        yield line, size


class _Rest:
    """The end of a line whose beginning is in blocks that are not read yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0

    def add(self, part: bytes) -> None:
        """Add what stands before."""
        self._bytes += len(part)
        self._parts = [*self._parts, part] if self._bytes <= MAX_LINE_BYTES else []

    def behind(self, begin: bytes) -> bytes:
        """Return the line, and begin another; empty for one that is too long."""
        self.add(begin)
        line = b"".join(reversed(self._parts))
        self._parts, self._bytes = [], 0
        return line


def rotated(path: Path, others: Collection[Path] = ()) -> list[Path]:
    """Return the other files that rotation made of a log's file, if unpacked, the newest first.

    ``others`` are files of other kinds, whatever they are called.
    """
    found: list[tuple[int, Path]] = []
    with suppress(OSError):
        found = [
            (one.stat().st_mtime_ns, one)
            for one in path.parent.iterdir()
            if _is_of(one, path) and one not in others
        ]
    return [one for _, one in sorted(found, reverse=True)][:MAX_ROTATED]


def _is_of(other: Path, path: Path) -> bool:
    is_named_so = other.name.startswith(path.name) and other.name != path.name
    return is_named_so and other.suffix not in PACKED and other.is_file()
