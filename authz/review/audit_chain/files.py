"""Reads files of an audit log line by line, once, whatever bytes they hold."""

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

from authz.review.audit_files import GZIP, LINES_BETWEEN_NEWS, MAX_LINE_BYTES, STDIN, STDIN_FD, News

_BUFFER_BYTES: Final = 1 << 18


class UnreadableError(Exception):
    """A file can't be read, or not to its end; the text says why, and ``line`` where."""

    def __init__(self, line: int, why: str) -> None:
        """Take the number of the last line that was read."""
        super().__init__(f"can't be read{' beyond this line' if line else ''}: {why}")
        self.line = line


def numbered_lines(path: Path, news: News = lambda *_: None) -> Iterator[tuple[int, bytes]]:
    """Yield number and bytes of each line; ``-`` is standard input.

    A line longer than MAX_LINE_BYTES comes in pieces, of which none ends with a line feed but the
    last. Raises UnreadableError.
    """
    number = 0
    try:
        with _opened(path) as raw:
            file, size = _unpacked(raw), _size(raw)
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if number % LINES_BETWEEN_NEWS == 0 and size:
                    news(path, min(1.0, raw.tell() / size))
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableError(number, str(getattr(error, "strerror", None) or error)) from None


def _opened(path: Path) -> io.BufferedReader:
    raw = os.fdopen(os.dup(STDIN_FD), "rb", buffering=0) if path == STDIN else io.FileIO(path)
    return io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER_BYTES)


def _size(file: io.BufferedReader) -> int:
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _unpacked(file: io.BufferedReader) -> IO[bytes]:
    is_packed = file.peek(len(GZIP))[: len(GZIP)] == GZIP
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file) if is_packed else file)
