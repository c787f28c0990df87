"""Closes the logs that a crashed process left open in a file, before this process writes there."""

import fcntl
import logging
import os
import time
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from authz.adapters.audit.chain.lock import WorkerLock
from authz.adapters.audit.chain.tail import (
    ORPHAN_BYTES,
    LogTail,
    TailError,
    TailReader,
    lines_backwards,
    rotated,
)
from authz.adapters.audit.chain.tree_log import time_text
from authz.core.tlog.lines import checkpoint_line, leaf_end, sign_checkpoint
from authz.core.tlog.merkle import CompactRange, leaf_hash
from authz.core.tlog.note import NoteSigner, NoteVerifier

ATTEMPTS: Final = 5  # to find a file that is moved away at the same time
_NOT_CLOSED: Final = "%s: an earlier log there can't be closed, with audit.chain.key: %s"
_encode: Final = msgspec.json.Encoder().encode
_log: Final = logging.getLogger("authz.audit")


@dataclass(frozen=True, slots=True)
class PreviousLog:
    """A log of an earlier process, as it ended."""

    log: str
    size: int
    root: bytes

    def members(self) -> dict[str, object]:
        """Return what the first line of the next log says of it."""
        return {"log": self.log, "size": self.size, "root": b64encode(self.root).decode()}


class Recovery:
    """Looks for a worker's earlier logs, and closes those that a crash left open."""

    def __init__(
        self,
        signer: NoteSigner,
        worker: int,
        workers: int,
        recovered_by: str,
        written: Collection[Path] = (),
    ) -> None:
        """Take the server's signer, and the name of the log that this process opens.

        ``written`` are the files that this process writes: none is a rotated one.
        """
        self._signer = signer
        self._worker = worker
        self._workers = workers
        self._recovered_by = recovered_by
        self._written = written
        self._verifier = NoteVerifier(signer.public_pem.encode())

    def recover(self, path: Path) -> Sequence[PreviousLog]:
        """Close the open logs of a file, or of the last one before it; return all ends found.

        What can't be closed is logged, and left as it is. Raises OSError.
        """
        for _ in range(ATTEMPTS):
            with suppress(FileNotFoundError):  # a rotation moved it away just now
                return self._recovered(path)
        return self._recovered(path)

    def _recovered(self, path: Path) -> Sequence[PreviousLog]:
        torn: list[bytes] = []
        for file in self._candidates(path):
            with _held(file) as descriptor:
                try:
                    reader = self._read(descriptor, torn)
                    if reader.found:
                        ends = [self._end_alone(path, descriptor, t) for t in reader.found.values()]
                        return [end for end in ends if end is not None]
                except TailError as error:
                    _log.error(_NOT_CLOSED, file, error)
                    return ()
                if file == path:  # the crash may have come when this file was begun
                    torn = reader.torn
        return ()

    def _candidates(self, path: Path) -> Iterator[Path]:
        """Yield the log's file, and then those that were moved away, also just before."""
        if path.is_file():
            yield path
        for file in rotated(path, self._written):
            if os.access(file, os.R_OK | os.W_OK):
                yield file
            else:
                _log.warning("%s may not be changed: an open log in it stays open", file)

    def _end_alone(self, path: Path, descriptor: int, tail: LogTail) -> PreviousLog | None:
        """Return how a log ended, unless its process lives: one of workers that are no more."""
        number = int(tail.origin.split("/")[1])
        if number == self._worker:
            return self._end(descriptor, tail)
        try:
            lock = WorkerLock.hold(path, self._signer.name, number)
        except OSError:
            return None
        with closing(lock):
            return self._end(descriptor, tail)

    def _read(self, descriptor: int, torn: Sequence[bytes]) -> TailReader:
        reader = TailReader(self._signer.name, self._worker, self._workers, self._verifier, torn)
        for line, read in lines_backwards(descriptor):
            reader.feed(line)
            if reader.is_done() and (self._worker or read >= ORPHAN_BYTES):
                break
        return reader

    def _end(self, descriptor: int, tail: LogTail) -> PreviousLog:
        """Return how a log ended, having closed it if nobody has. Raises TailError, OSError."""
        tree = tail.tree(self._verifier)
        if tail.lines or not tail.is_closed:
            self._close(descriptor, tail, tree)
        return PreviousLog(tail.origin, tree.end, tree.root())

    def _close(self, descriptor: int, tail: LogTail, tree: CompactRange) -> None:
        """Write the last leaf, unless it is there, and the checkpoint."""
        now, lines = time_text(time.time()), []
        after = tail.signed.tree.end if tail.signed else 0
        if not tail.ends_closed():
            closed = {
                "audit": "closed",
                "reason": "crashed",
                "time": now,
                "recovered_by": self._recovered_by,
                "after": tree.end,
                "torn": [b64encode(one).decode() for one in tail.torn],
            }
            lines.append(_encode(closed)[:-1] + leaf_end(tail.origin, tree.end))
            tree.append(leaf_hash(lines[0]))
            _log.warning("a process before crashed; its log %s is closed now", tail.origin)
        signed = sign_checkpoint(self._signer, tail.origin, tree, now, after)
        _append(descriptor, b"".join(line + b"\n" for line in lines) + checkpoint_line(signed))


@contextmanager
def _held(path: Path) -> Iterator[int]:
    """Open a file to read and append. Nobody else writes to it, nor is in the midst of a line.

    A rotation may move it meanwhile: it stays the same file. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some network file systems have no locks: go on without
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _append(descriptor: int, lines: bytes) -> None:
    """Add lines to a file, behind the half of a line that may be its end. Raises OSError."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        lines = b"\n" + lines
    while lines:
        lines = lines[os.write(descriptor, lines) :]
    os.fsync(descriptor)
