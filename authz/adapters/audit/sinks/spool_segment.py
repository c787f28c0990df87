"""A segment of a spool: a file of lines, with a head that says how far they were delivered.

The head is a line of fixed length, written in place. A segment is thus complete in itself, and a
process that is killed at any byte leaves a head that counts, and whole lines before at most one
part of a line.
"""

import logging
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

_HEAD: Final = "authz-spool 1 %020d\n"
_HEAD_FORM: Final = re.compile(rb"authz-spool 1 ([0-9]{20})\n")
HEAD_BYTES: Final = len(_HEAD % 0)
_NEW: Final = "new"  # a file's name until its head is whole
_MODE: Final = 0o600  # records show agents' actions
_LOOK_BYTES: Final = 64 * 1024
_log: Final = logging.getLogger("authz.audit")


class Segment:
    """A file of lines, of which the first ones may be delivered already.

    Attributes:
        path: the file.
        size: the end of its last whole line, in bytes. What follows was never acknowledged.
        done: the end of its last delivered line, in bytes.
    """

    def __init__(self, path: Path, size: int, done: int) -> None:
        """Take the state of a file; ``create`` and ``recover`` are the ways to one."""
        self.path = path
        self.size = size
        self.done = done
        self._descriptor: int | None = None
        self._is_torn = False  # bytes may follow ``size``

    @property
    def is_empty(self) -> bool:
        """Return whether all of its lines were delivered."""
        return self.done == self.size

    @classmethod
    def create(cls, path: Path) -> Self:
        """Create a segment without lines. Raises OSError, and leaves none then."""
        fresh = path.with_name(_NEW)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        try:
            _write_all(descriptor, _head(HEAD_BYTES), 0)
        finally:
            os.close(descriptor)
        fresh.rename(path)
        return cls(path, HEAD_BYTES, HEAD_BYTES)

    @classmethod
    def recover(cls, path: Path) -> Self:
        """Return the segment that an earlier process left; end it behind its last whole line.

        A head that can't be read delivers all lines again: twice is better than never. Raises
        OSError.
        """
        found = cls(path, HEAD_BYTES, HEAD_BYTES)
        descriptor = found._open()
        length = os.fstat(descriptor).st_size
        found.size = max(_last_line_end(descriptor, length), HEAD_BYTES)
        if length > found.size:
            count = length - found.size
            _log.warning("%s ended in mid-line: dropped the %d bytes of that part", path, count)
            os.ftruncate(descriptor, found.size)
        found._read_head(descriptor)
        return found

    def _read_head(self, descriptor: int) -> None:
        head = _HEAD_FORM.fullmatch(os.pread(descriptor, HEAD_BYTES, 0))
        done = int(head[1]) if head else 0
        if HEAD_BYTES <= done <= self.size and os.pread(descriptor, 1, done - 1) == b"\n":
            self.done = done
            return
        _log.warning("%s does not say what was delivered: all of it is delivered again", self.path)
        _write_all(descriptor, _head(HEAD_BYTES), 0)

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        return self._descriptor

    def append(self, lines: bytes) -> None:
        """Append whole lines: all of them, or none. Raises OSError."""
        descriptor = self._open()
        if self._is_torn:
            os.ftruncate(descriptor, self.size)
        self._is_torn = True
        try:
            _write_all(descriptor, lines, self.size)
        except OSError:
            with suppress(OSError):  # it is done before the next attempt else, or at the next start
                os.ftruncate(descriptor, self.size)
            raise
        self._is_torn = False
        self.size += len(lines)

    def read(self, max_bytes: int) -> bytes:
        """Return the first whole lines that are not delivered, at least one. Raises OSError."""
        descriptor, length = self._open(), max_bytes
        while True:
            data = os.pread(descriptor, min(length, self.size - self.done), self.done)
            end = data.rfind(b"\n") + 1
            if end or len(data) < length:
                return data[:end]
            length *= 2  # a line may be longer

    def deliver(self, count: int) -> None:
        """Note that so many further bytes were delivered."""
        self.done = min(self.done + count, self.size)
        with suppress(OSError):  # after a restart they would be delivered twice
            _write_all(self._open(), _head(self.done), 0)

    def sync(self) -> None:
        """Wait until the disk has the file. Raises OSError."""
        os.fdatasync(self._open())

    def close(self) -> None:
        """Close the file, which the next use opens again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def remove(self) -> None:
        """Remove the file, whose lines were all delivered."""
        self.close()
        with suppress(OSError):  # its head says that nothing is left in it
            self.path.unlink()


def _head(done: int) -> bytes:
    return (_HEAD % done).encode()


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write bytes at an offset: a disk that becomes full may first take a part. Raises OSError."""
    written = 0
    while written < len(data):
        written += os.pwrite(descriptor, memoryview(data)[written:], offset + written)


def _last_line_end(descriptor: int, length: int) -> int:
    """Return the end of the last whole line in so many bytes."""
    end = length
    while end > 0:
        begin = max(0, end - _LOOK_BYTES)
        if (at := os.pread(descriptor, end - begin, begin).rfind(b"\n")) >= 0:
            return begin + at + 1
        end = begin
    return 0
