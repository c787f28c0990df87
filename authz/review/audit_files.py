"""Reads the lines of audit logs: plain or gzip'd, from a file or a pipe, as often as needed.

A pipe can be read only once, so its content is kept in a temporary file for the next reading.
"""

import gzip
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Self

from authz.core.told_error import ToldError

MAX_LINE_BYTES: Final = 1024 * 1024  # far above any record: a token has a few KiB
STDIN: Final = Path("-")
STDIN_FD: Final = 0  # there may be no sys.stdin
LINES_BETWEEN_NEWS: Final = 4096  # some hundredths of a second's work
_BLOCK_BYTES: Final = 256 * 1024  # read at once from a log's end on
_HEAD_BYTES: Final = MAX_LINE_BYTES  # searched for a record: the first line may be half a record
# A log may begin with lines about itself alone.
_OF_RECORDS: Final = (b'"decision"', b'"audit":"')
# Other files that people name by mistake, by their content.
_OTHERS: Final = (
    (b"trust_domains:", "a config"),
    (b'"logger"', "the server's own log, of standard error"),
    (b"\0", "a binary file"),
)
GZIP: Final = b"\x1f\x8b"  # RFC 1952 section 2.3.1
News = Callable[[Path, float], None]
"""Called now and then with the file that is being read, and the share read, from 0.0 to 1.0."""


class LogError(ToldError):
    """An audit log can't be read; the message says which and why."""


class AuditLogs:
    """Some audit logs, read in their order. ``-`` is standard input.

    A context manager: leaving it deletes what was kept of pipes.
    """

    def __init__(self, paths: Sequence[Path], news: News = lambda *_: None) -> None:
        """Take the logs' paths; nothing is read yet.

        ``news`` is called with a reading's progress.
        """
        self._paths = paths
        self._news = news
        self._kept: dict[Path, IO[bytes]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Return the logs, of which none is open yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete the kept content of pipes."""
        self._stack.close()

    def lines(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield file, number and text of each line that is not blank. Raises LogError."""
        for path in self._paths:
            yield from self.lines_of(path)

    def lines_of(self, path: Path) -> Iterator[tuple[str, int, bytes]]:
        """Yield the same of one of the logs. Raises LogError."""
        with told_of(path):
            yield from self._lines(path)

    @property
    def paths(self) -> Sequence[Path]:
        """The paths of the logs, in their order."""
        return self._paths

    def last_lines_of(
        self, path: Path, may_hold: Callable[[bytes], bool] = lambda _: True
    ) -> Iterator[bytes]:
        """Yield the lines of one of the logs from its end on, the last line first. Raises LogError.

        Only a plain file can be read so; ``is_plain`` tells. Many lines together that ``may_hold``
        is false for are left out.
        """
        with told_of(path), path.open("rb") as file:
            _require_records(path, file.read(_HEAD_BYTES))
            yield from last_lines(file, file.seek(0, os.SEEK_END), may_hold)

    def _lines(self, path: Path) -> Iterator[tuple[str, int, bytes]]:
        with self._opened(path) as raw:
            size = max(1, os.fstat(raw.fileno()).st_size)
            is_packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if is_packed else raw
            _require_records(path, file.read(_HEAD_BYTES))
            file.seek(0)
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                if number % LINES_BETWEEN_NEWS == 0:
                    self._news(path, raw.tell() / size)
                if (
                    not line.isspace()
                ):  # a restarted writer begins with a line feed, to end a cut line
                    yield str(path), number, line

    def _opened(self, path: Path) -> IO[bytes]:
        """Open a file at its beginning, or the kept content of a pipe; the caller closes it."""
        if path not in self._kept:
            file = os.fdopen(os.dup(STDIN_FD), "rb") if path == STDIN else path.open("rb")
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                file.seek(0)
                return file
            self._kept[path] = self._stack.enter_context(TemporaryFile())  # noqa: SIM115 - it is one
            with file:
                shutil.copyfileobj(file, self._kept[path])
        kept = self._kept[path]
        kept.flush()
        again = os.fdopen(os.dup(kept.fileno()), "rb")
        again.seek(0)
        return again


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Turn the errors of reading a log into a LogError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise LogError(f"the audit log {path} can't be read: {why}") from None


def is_plain(path: Path) -> bool:
    """Tell whether a path names a file whose end can be read without its beginning."""
    with told_of(path):
        if path == STDIN or not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            return file.read(len(GZIP)) != GZIP


def last_lines(
    file: IO[bytes], end: int, may_hold: Callable[[bytes], bool] = lambda _: True
) -> Iterator[bytes]:
    """Yield the lines of a file before an offset, the last line first, without their line feeds.

    Blank lines are left out, and blocks of lines that ``may_hold`` is false for. Memory is bounded:
    of a line that is longer than MAX_LINE_BYTES, pieces are yielded.
    """
    rest = b""
    while end > 0:
        size = min(_BLOCK_BYTES, end)
        end -= size
        file.seek(end)
        block = file.read(size) + rest
        rest, *lines = block.split(b"\n") if may_hold(block) else block.split(b"\n", 1)[:1]
        yield from (line for line in reversed(lines) if line.strip())
        if len(rest) > MAX_LINE_BYTES:
            yield rest
            rest = b""
    if rest.strip():
        yield rest


def _require_records(path: Path, head: bytes) -> None:
    """Require that a file that is not empty begins as an audit log does. Raises LogError."""
    if not head.strip() or any(mark in head for mark in _OF_RECORDS):
        return
    kind = next((kind for mark, kind in _OTHERS if mark in head), "another kind of file")
    raise LogError(
        f"{path} is not an audit log but {kind}: name a file that audit.path of a config has had"
        " written, with a decision on each line, as a JSON object"
    )
