"""Reads the end of a log's file backwards, for what an earlier process left there."""

import os
import re
from collections.abc import Iterator
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
        torn: parts of lines behind the checkpoint, of this log or another.
        signed: the checkpoint; None if the log begins within ``lines``.
        is_complete: whether all of it was found, so that nothing before matters.
    """

    origin: str
    lines: list[bytes] = field(default_factory=list)
    torn: list[bytes] = field(default_factory=list)
    signed: SignedTree | None = None
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

    def ends_closed(self) -> bool:
        """Tell whether the last line says that the log is closed."""
        return bool(self.lines) and self.lines[0].startswith(CLOSED)


def _index_of(line: bytes) -> int:
    end = LEAF_END.fullmatch(line, max(0, line.rfind(_LOG)))
    return -1 if end is None else int(end[2])


class TailReader:
    """Collects the ends of a worker's logs from lines that come the last one first."""

    def __init__(self, server: str, worker: int, workers: int, verifier: NoteVerifier) -> None:
        """Look for logs of a worker; for the first one, also those of workers that are no more."""
        numbers = rf"{worker}|([0-9]{{1,5}})" if worker == 0 else str(worker)
        self._ours = re.compile(rf"{re.escape(server)}/({numbers})/[!-~]+".encode())
        self._mark = f'"log":"{server}/'.encode()
        self._worker = worker
        self._workers = workers
        self._verifier = verifier
        self._torn: list[bytes] = []
        self._seen: set[int] = set()
        self.found: dict[str, LogTail] = {}

    def is_done(self) -> bool:
        """Tell whether the worker's own last log was found completely."""
        return self._worker in self._seen and all(one.is_complete for one in self.found.values())

    def feed(self, line: bytes, *, is_whole: bool) -> None:
        """Take a line without its line feed. Raises TailError."""
        if not line:
            return
        at = line.rfind(_LOG)
        end = LEAF_END.fullmatch(line, at) if at >= 0 else None
        if end is not None:  # so it is whole, even if only its line feed is missing
            self._of_log(line, end[1])
        elif is_whole and line.startswith((CHECKPOINT, GAP)) and line.endswith(b"}"):
            self._signed(line)  # without its end it is a part, which another worker has ended
        else:
            for one in self.found.values():
                if not one.is_complete:
                    one.torn.append(line)
            self._torn.append(line)

    def _of_log(self, line: bytes, origin: bytes) -> None:
        tail = self._tail(origin)
        if tail is None or tail.is_complete:
            return
        tail.lines.append(line)
        if _index_of(line) == 0:
            tail.is_complete = True

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
        self.found[name] = LogTail(name, torn=list(self._torn))
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
        if tail is not None and not tail.is_complete:
            tail.signed, tail.is_complete = signed, True


def lines_backwards(
    descriptor: int, max_bytes: int = MAX_BYTES
) -> Iterator[tuple[bytes, bool, int]]:
    """Yield a file's lines, the last one first: each, whether it has its end, and the bytes read.

    Raises OSError.
    """
    position = size = os.fstat(descriptor).st_size
    rest, is_whole = b"", False
    while position and size - position < max_bytes:
        begin = max(0, position - BLOCK_BYTES)
        block = os.pread(descriptor, position - begin, begin) + rest
        position = begin
        rest, *lines = block.split(b"\n")
        for line in reversed(lines):
            if line or is_whole:  # behind the last line feed there is no line
                yield line, is_whole, size - position
            is_whole = True
    if not position and rest:
        yield rest, is_whole, size


def rotated(path: Path) -> list[Path]:
    """Return the other files that rotation made of a log's file, if unpacked, the newest first."""
    found: list[tuple[int, Path]] = []
    with suppress(OSError):
        found = [
            (one.stat().st_mtime_ns, one) for one in path.parent.iterdir() if _is_of(one, path)
        ]
    return [one for _, one in sorted(found, reverse=True)][:MAX_ROTATED]


def _is_of(other: Path, path: Path) -> bool:
    is_named_so = other.name.startswith(path.name) and other.name != path.name
    return is_named_so and other.suffix not in PACKED and other.is_file()
