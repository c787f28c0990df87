"""Follows audit logs as they grow: files across rotation and truncation, and pipes to their end."""

import os
import select
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Self

from authz.review.audit_files import MAX_LINE_BYTES, STDIN, STDIN_FD, last_lines, told_of

LOOK_SECONDS: Final = 0.2  # between two looks at the files: soon enough for a person
_READ_BYTES: Final = 1024 * 1024  # at once, of each log


class _Lines:
    """Puts lines together from pieces; of a line that is too long, the pieces are lines."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now, without their line feeds."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            lines.append(self.end())
        return [line for line in lines if line.strip()]

    def end(self) -> bytes:
        """Return the line that was not ended, b"" without one, and begin anew."""
        rest, self._rest = self._rest, b""
        return rest


class FollowedFile:
    """A file that is read from an offset on, and again from its beginning when it was replaced.

    A file that was moved away is read to its end first. A file that became shorter was truncated.
    """

    is_over = False  # another file may always come

    def __init__(self, path: Path, stack: ExitStack) -> None:
        """Open the file at its end, before a line that is being written, if it exists."""
        self.path = path
        self._stack = stack
        self._lines = _Lines()
        self._file = self._opened()
        if (file := self._file) is not None:
            file.seek(_whole_lines_end(file))

    def before(self) -> Iterator[bytes]:
        """Yield the lines before those that will follow, the last line first."""
        if (file := self._file) is None:
            return
        end = file.tell()
        try:
            with told_of(self.path):
                yield from last_lines(file, end)
        finally:
            file.seek(end)

    def read(self) -> list[bytes]:
        """Return the lines that were added, as many as are read at once. Raises LogError."""
        with told_of(self.path):
            if self._file is None:
                self._file = self._opened()
            if self._file is None:
                return []
            data = self._file.read(_READ_BYTES)
            return self._lines.add(data) if data else self._after_end(self._file)

    def _after_end(self, file: IO[bytes]) -> list[bytes]:
        """Look for another file, or a truncation, after all was read."""
        own = os.fstat(file.fileno())
        if own.st_size < file.tell():
            file.seek(0)
            return [self._lines.end()]
        try:
            now = self.path.stat()
        except FileNotFoundError:  # between being moved away and being made again
            return []
        if (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino):
            return []
        if data := file.read(_READ_BYTES):  # written after the last read, before it was moved
            return self._lines.add(data)
        file.close()
        self._file = self._opened()
        return [self._lines.end()]

    def _opened(self) -> IO[bytes] | None:
        """Open the file that has the path now, if there is one."""
        try:
            return self._stack.enter_context(self.path.open("rb"))
        except FileNotFoundError:
            return None


class FollowedPipe:
    """A pipe, or standard input, that is read as its writer writes, until the end."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        """Open the pipe; this waits for a writer."""
        self.path = path
        self.is_over = False
        self._lines = _Lines()
        with told_of(path):
            if path == STDIN:
                self._fd = STDIN_FD
            else:
                self._fd = stack.enter_context(path.open("rb", buffering=0)).fileno()

    def before(self) -> Iterator[bytes]:
        """Yield nothing: what a pipe holds is about to come."""
        return iter(())

    def fileno(self) -> int:
        """Return the descriptor, to wait for data."""
        return self._fd

    def read(self) -> list[bytes]:
        """Return the lines that have come. Raises LogError."""
        with told_of(self.path):
            if self.is_over or not select.select([self._fd], [], [], 0)[0]:
                return []
            data = os.read(self._fd, _READ_BYTES)
        self.is_over = not data
        return self._lines.add(data) if data else [self._lines.end()]


class FollowedLogs:
    """Several logs that are followed. A context manager: leaving it closes them."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Take the paths; nothing is opened yet."""
        self._paths = paths
        self._stack = ExitStack()
        self.logs: list[FollowedFile | FollowedPipe] = []

    def __enter__(self) -> Self:
        """Open the logs. Raises LogError."""
        for path in self._paths:
            kind = FollowedPipe if _is_pipe(path) else FollowedFile
            self.logs.append(kind(path, self._stack))
        return self

    def __exit__(self, *_: object) -> None:
        """Close the logs."""
        self._stack.close()

    @property
    def is_over(self) -> bool:
        """Tell whether nothing can follow: all are pipes that have ended."""
        return all(log.is_over for log in self.logs)

    def read(self) -> list[tuple[str, int, bytes]]:
        """Return the lines that were added: file, 0 and text of each. Raises LogError."""
        return [(str(log.path), 0, line) for log in self.logs for line in log.read() if line]

    def wait(self, output: int) -> bool:
        """Wait a moment, or until a pipe has data; tell whether the output's reader is still there.

        ``output`` is the descriptor that is written to: if its reader leaves, there may be no
        record by which to notice that.
        """
        poll = select.poll()
        poll.register(output, 0)
        for log in self.logs:
            if isinstance(log, FollowedPipe) and not log.is_over:
                poll.register(log, select.POLLIN)
        return not any(fd == output for fd, _ in poll.poll(LOOK_SECONDS * 1000))


def _is_pipe(path: Path) -> bool:
    if path == STDIN:
        return True
    with told_of(path):
        return path.exists() and not stat.S_ISREG(path.stat().st_mode)


def _whole_lines_end(file: IO[bytes]) -> int:
    """Return the offset after the last line feed of a file, or of its last MAX_LINE_BYTES."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - MAX_LINE_BYTES)
    file.seek(start)
    at = file.read(end - start).rfind(b"\n")
    return start + at + 1 if at >= 0 else start
