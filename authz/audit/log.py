"""The writer of the log: takes lines at once, writes them soon, in a thread of its own."""

import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Final, Literal, Protocol

from pydantic import Field

from authz.settings import Settings

FLUSH_SECONDS: Final = 0.2  # how long a record may wait to be written
WRITE_LINES: Final = 64
CLOSE_SECONDS: Final = 5.0  # how long a stop waits for the last records
_log: Final = logging.getLogger("authz.audit")


class AuditError(RuntimeError):
    """The audit log can't be opened; the message says why."""


class AuditSettings(Settings):
    """One record for each decision."""

    path: str = Field(default="-", min_length=1)
    """A file, or - for standard output. SIGHUP opens the file anew, for log rotation."""
    queue: int = Field(default=10_000, ge=1, le=10_000_000)
    """Records that may wait to be written."""
    when_full: Literal["drop", "deny"] = "drop"
    """When the disk can't keep up: drop records and count them, or deny what can't be recorded."""


class Encodes(Protocol):
    """What can be written: a Line, or text."""

    def encode(self) -> bytes:
        """The bytes, with the end of line."""


class AuditLog:
    """The writer: takes lines at once, writes them soon.

    Attributes:
        dropped: lines that found the queue full.
        errors: writes that failed, and lines that can't be encoded; these are lost.
        must_record: whether what can't be recorded must be denied.
    """

    def __init__(self, settings: AuditSettings) -> None:
        """Take the settings; ``start`` opens the file."""
        self.dropped = 0
        self.errors = 0
        self.must_record = settings.when_full == "deny"
        self._path = None if settings.path == "-" else Path(settings.path)
        self._limit = settings.queue
        self._lines: deque[Encodes] = deque()
        self._file: IO[bytes] | None = None
        self._start = b""  # written first: ends a line that was cut off
        self._stop = threading.Event()
        self._reopen = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Open the file and begin to write. Raises AuditError."""
        try:
            self._file = self._open()
        except OSError as error:
            raise AuditError(f"can't write the audit log {self._path}: {error.strerror}") from None
        self._thread.start()

    def _open(self) -> IO[bytes]:
        if self._path is None:
            return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
        self._start = b"\n" if _ends_in_mid_line(self._path) else b""
        return self._path.open("ab", buffering=0)

    def append(self, line: Encodes) -> bool:
        """Queue a line; False when there is no room. Never waits."""
        if len(self._lines) >= self._limit:
            self.dropped += 1
            return False
        self._lines.append(line)
        return True

    def __len__(self) -> int:
        """Lines that wait to be written."""
        return len(self._lines)

    def reopen(self) -> None:
        """Open the file anew before the next write."""
        self._reopen.set()

    def close(self) -> None:
        """Write what waits, within CLOSE_SECONDS, and close."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self._write()
        self._write()
        if self._file is not None:
            self._file.close()

    def _write(self) -> None:
        """Write what waits now, some lines at a time: large buffers are memory anew each time."""
        waiting = len(self._lines)
        while waiting > 0:
            self._write_some(min(waiting, WRITE_LINES))
            waiting -= WRITE_LINES

    def _write_some(self, count: int) -> None:
        data = b"".join([self._encoded(self._lines.popleft()) for _ in range(count)])
        try:
            self._refresh_file()
            if self._file is not None:
                _write_lines(self._file, self._start + data)
            self._start = b""
        except OSError as error:
            self.errors += 1
            _log.error("the audit log can't be written: %s", error.strerror)
            self._reopen.set()

    def _encoded(self, line: Encodes) -> bytes:
        try:
            return line.encode()
        except Exception as error:  # noqa: BLE001 - without this thread all later lines were lost
            self.errors += 1
            _log.error("a record can't be encoded: %s", type(error).__name__)
            return b""

    def _refresh_file(self) -> None:
        """Follow a rotation: SIGHUP, or the name is gone, or is another file's by now."""
        if not self._reopen.is_set() and not self._was_moved():
            return
        self._reopen.clear()
        fresh = self._open()
        if self._file is not None:
            self._file.close()
        self._file = fresh

    def _was_moved(self) -> bool:
        if self._path is None or self._file is None:
            return False
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(named, os.fstat(self._file.fileno()))


def _write_lines(file: IO[bytes], data: bytes) -> None:
    """Write whole lines: several processes may write to one file, or to one pipe.

    A file takes each write as a whole; a pipe only up to PIPE_BUF bytes (POSIX, write).
    """
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        _write_all(file, data)
        return
    at = 0
    while at < len(data):
        end = data.rfind(b"\n", at, at + select.PIPE_BUF) + 1
        if not end:  # a line that is longer
            end = data.find(b"\n", at) + 1 or len(data)
        _write_all(file, data[at:end])
        at = end


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        count: int | None = file.write(view)
        if count is None:  # a full pipe that does not block, as standard output can be: no spinning
            room = select.poll()
            room.register(file, select.POLLOUT)
            room.poll(FLUSH_SECONDS * 1000)
            continue
        view = view[count:]


def _ends_in_mid_line(path: Path) -> bool:
    """Whether the last write was cut off, by a full disk or a crash: it must not spoil the next."""
    try:
        if not path.is_file() or not path.stat().st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # not ours to read; whether it can be written shows soon
        return False
