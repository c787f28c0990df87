"""Writes the log's lines to a pipe, or to a file that others may rotate, fill up and append to.

Lines that could not be written are kept and written later, so that none is lost, doubled or cut:

- Lines leave ``_rest`` once all of their bytes are written.
- A full disk may take only a part of a line. The rest of that line follows if its part is still the
  end of the file; else the part is ended, and the complete line is written.
- Several workers append to one file: each locks it for a write, or another's line could follow a
  part of ours. A write to a file is atomic; a write to a pipe only up to PIPE_BUF bytes.
"""

import errno
import fcntl
import os
import select
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

POLL_SECONDS: Final = 0.2  # how long to wait at once for a pipe that is full
_MODE: Final = 0o600  # records show agents' actions; the owner can open the file to others
_END: Final = b"\n"
_State = tuple[int, int, int]  # device, inode and size
_File = tuple[int, int]  # device and inode


class Output:
    """A file, or standard output: a ``Sink``. One thread uses it, except for ``reopen``."""

    def __init__(self, path: Path | None) -> None:
        """Take the file's path, None for standard output; ``follow`` opens it."""
        self._rest = b""  # complete lines that are to be written
        self._out = 0  # bytes of the first line of ``_rest`` that are already written
        self._left: _State | None = None  # the state in which we left a file: its end is then known
        self._path = path
        self._file: IO[bytes] | None = None
        self._reopen = threading.Event()
        self._is_broken = False

    def reopen(self) -> None:
        """Open the file anew before the next write."""
        self._reopen.set()

    def follow(self) -> None:
        """Open the file, again if asked to or if its name is gone or belongs to another file.

        Raises OSError; the log calls again.
        """
        file = self._file
        if file is not None and not self._is_broken and not self.is_left():
            return
        fresh = self._opened(_MODE if file is None else stat.S_IMODE(_status(file).st_mode))
        self._reopen.clear()
        self._is_broken = False
        self._file = fresh
        if file is not None:
            file.close()

    def _opened(self, mode: int) -> IO[bytes]:
        if self._path is None:
            return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
        # Without O_NONBLOCK a named pipe without a reader would silently hold up a start.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self._path, flags, mode)
        except OSError as error:
            if error.errno == errno.ENXIO:
                raise OSError(errno.ENXIO, "a pipe without a reader, or a socket") from None
            raise
        return os.fdopen(descriptor, "ab", buffering=0)

    def is_left(self) -> bool:
        """Tell whether the open file is to be left: it was moved away, or a reopening is due."""
        file = self._file
        return file is not None and (self._reopen.is_set() or self._was_moved(file))

    def identity(self) -> _File | None:
        """Return what identifies the open file; None if none is open."""
        return None if self._file is None else _state(self._file)[:2]

    def _was_moved(self, file: IO[bytes]) -> bool:
        if self._path is None:
            return False
        try:
            return not os.path.samestat(self._path.stat(), _status(file))
        except FileNotFoundError:
            return True

    @property
    def waiting(self) -> int:
        """Return the number of lines that are not yet written."""
        return self._rest.count(_END)

    def take(self, lines: bytes) -> None:
        """Take complete lines to be written."""
        self._rest = lines

    def flush(self) -> None:
        """Write the rest. Raises OSError: unwritten lines stay, and the file is reopened."""
        file = self._file
        if file is None or not self._rest:
            return
        try:
            if stat.S_ISREG(_status(file).st_mode):
                with _locked(file):
                    self._to_file(file)
            else:
                self._to_pipe(file)
        except OSError:
            self._is_broken = True
            raise

    def _to_file(self, file: IO[bytes]) -> None:
        if _state(file) != self._left:
            self._begin_line(file)
        try:
            self._push(file, len(self._rest))
        finally:
            self._left = _state(file)

    def _begin_line(self, file: IO[bytes]) -> None:
        """Begin a new line behind a crash or another writer's bytes."""
        if self._out and self._out == self._rest.find(_END):  # only its end was missing
            self._drop(self._out + 1)
        self._out = 0
        if self._path is not None and _ends_in_mid_line(self._path):
            _write(file, _END)

    def _to_pipe(self, file: IO[bytes]) -> None:
        try:
            while self._rest:
                end = self._rest.rfind(_END, 0, select.PIPE_BUF) + 1
                self._push(file, end or self._rest.find(_END) + 1)  # a line may be longer
        except OSError:
            self._out = 0  # the pipe's next reader has not seen the beginning
            raise

    def _push(self, file: IO[bytes], end: int) -> None:
        """Write the rest up to ``end``, which is the end of a line. Raises OSError."""
        try:
            while self._out < end:
                self._out += _write(file, memoryview(self._rest)[self._out : end])
        finally:
            self._drop(self._rest.rfind(_END, 0, self._out) + 1)

    def _drop(self, count: int) -> None:
        self._rest = self._rest[count:]
        self._out = max(0, self._out - count)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _write(file: IO[bytes], data: bytes | memoryview) -> int:
    count: int | None = file.write(data)
    if count is not None:
        return count
    # A full pipe that does not block, such as standard output: wait instead of spinning.
    room = select.poll()
    room.register(file, select.POLLOUT)
    room.poll(POLL_SECONDS * 1000)
    return 0


@contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    with suppress(OSError):  # some network file systems have no locks: go on without
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _status(file: IO[bytes]) -> os.stat_result:
    return os.fstat(file.fileno())


def _state(file: IO[bytes]) -> _State:
    status = _status(file)
    return status.st_dev, status.st_ino, status.st_size


def _ends_in_mid_line(path: Path) -> bool:
    """Tell whether a full disk or a crash cut off the last write.

    It must not spoil the next one.
    """
    try:
        if not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != _END
    except OSError:  # we may not read it; whether we may write it shows soon
        return False
