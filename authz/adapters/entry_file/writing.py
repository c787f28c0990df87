"""Adds lines to a file of entries, or removes some, without losing another writer's lines.

The file is replaced by rename, so that no server sees half of it. If that would change more than
the line (another owner, a second name, a mount of the file alone), the file is written in place.
Then an added line is not JSON at first, and a server waits for the rest; a removed line becomes
blank, so that the file never lacks another line.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from math import inf
from pathlib import Path
from typing import IO, Final, Generic

from authz.adapters.files import open_plain, replace
from authz.core.entry_lines import MAX_BYTES, E, EntryError, EntryReader

_LOOK_SECONDS: Final = 0.005  # between looks at a lock that is not waited for without end
_READ_ONLY: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS})


class ReadOnlyError(EntryError):
    """The file is not there, or not for us to write, as on a machine other than the server's."""


class NoEntryError(EntryError):
    """The file has no entry with an id: another process has taken it back, or used it up."""


class EntryFile(Generic[E]):
    """An existing file of entries of a kind.

    A method waits while another process writes. On return its change is on the disk. It raises
    EntryError; then nothing has changed, unless the disk failed.
    """

    def __init__(
        self,
        path: Path,
        reader: EntryReader[E],
        *,
        is_tolerant: bool = False,
        max_bytes: int = MAX_BYTES,
        patience_seconds: float = inf,
    ) -> None:
        """Take the path, and what reads a line.

        ``is_tolerant`` if servers leave invalid lines out: then these do not keep us from writing.
        ``max_bytes`` is how much of the file servers read.
        ``patience_seconds`` is how long other processes that write are waited for.
        """
        self._patience_seconds = patience_seconds
        self._path = path
        self._reader = reader
        self._is_tolerant = is_tolerant
        self._max_bytes = max_bytes

    def _read(self, data: bytes) -> dict[int, E]:
        """Return the entries by the numbers of their lines."""
        entries: dict[int, E] = {}
        for number, entry in self._reader.read_all(data):
            if not isinstance(entry, EntryError):
                entries[number] = entry
            elif not self._is_tolerant:  # servers use no line of an invalid file
                raise EntryError(f"line {number}: {entry}")
        return entries

    def append(
        self,
        entries: Sequence[E],
        prune: Callable[[Mapping[bytes, E], Sequence[E]], Collection[E]] | None = None,
    ) -> None:
        """Add lines in one step.

        ``prune`` gets what the file has, by lines, and what is added; it returns entries that the
        file need not have any more, or raises EntryError. They are left out, unless the file can
        only be written in place. With it, lines that are there are not added.
        """
        for entry in entries:
            entry.check()
        with _locked_file(self._path, self._patience_seconds) as file:
            data = file.read(MAX_BYTES + 1)
            held = {entry.line: entry for entry in self._read(data).values()}
            gone = set() if prune is None else {entry.line for entry in prune(held, entries)}
            missing = [entry.line for entry in entries if prune is None or entry.line not in held]
            if not missing:
                return
            start = b"\n" if data and not data.endswith(b"\n") else b""
            lines = start + b"".join(line + b"\n" for line in missing)
            if len(data) + len(lines) > self._max_bytes:
                raise EntryError(f"larger than {self._max_bytes} bytes")
            if not _replace(self._path, file, _without(data, gone) + lines):
                _add(self._path, lines)

    def take_back(self, ids: Collection[str]) -> list[E]:
        """Remove entries by their ids, and return those that stay.

        Raises NoEntryError too: of two processes that remove the same entry, one does.
        """
        with _locked_file(self._path, self._patience_seconds) as file:
            data = file.read(MAX_BYTES + 1)
            entries = self._read(data)
            numbers = _numbers_of(entries, ids)
            lines = BytesIO(data).readlines()  # split at line feeds alone, as the reader does
            kept = [line for number, line in enumerate(lines, 1) if number not in numbers]
            if not _replace(self._path, file, b"".join(kept)):
                _blank(self._path, file, lines, numbers)
        return [entry for number, entry in entries.items() if number not in numbers]


def _numbers_of(entries: Mapping[int, E], ids: Collection[str]) -> set[int]:
    """Return the numbers of the lines that the ids name. Raises EntryError unless it is certain."""
    named = {number: entry.id for number, entry in entries.items()}
    if gone := sorted({*ids} - {*named.values()}):
        raise NoEntryError(f"no entry has the id {gone[0]}: the file has changed")
    numbers = {number for number, name in named.items() if name in ids}
    meant = {entries[number].line for number in numbers}
    if len(meant) > len({*ids}):  # ids are short: who chooses two subjects can have them share
        raise EntryError("two entries that differ have one of these ids: edit the file")
    return numbers


def _without(data: bytes, gone: Collection[bytes]) -> bytes:
    if not gone:
        return data
    # Split at line feeds alone, as the reader does. Lines of others are written otherwise.
    return b"".join(line for line in BytesIO(data).readlines() if line.rstrip(b"\n") not in gone)


def _replace(path: Path, file: IO[bytes], data: bytes) -> bool:
    """Replace the file by rename; return False if that would change more than the bytes.

    A writer without a lock, such as `echo >>`, may add lines to the file while it is replaced:
    these are added again.
    """
    if os.fstat(file.fileno()).st_nlink != 1:
        return False
    try:
        replace(path, data)
    except OSError:  # a folder that is not ours, an owner that we can't give, a mounted file
        return False
    if late := file.read(MAX_BYTES):
        _add(path, late)
    return True


def _add(path: Path, line: bytes) -> None:
    with path.open("ab", buffering=0) as end:
        size = os.fstat(end.fileno()).st_size
        if end.write(line) < len(line):  # the disk is full: half a line would spoil the file
            end.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(end.fileno())


def _blank(path: Path, file: IO[bytes], lines: Sequence[bytes], numbers: Collection[int]) -> None:
    """Overwrite lines with spaces. Half a line is not JSON, so a server waits for the rest."""
    with path.open("r+b", buffering=0) as same:
        if not os.path.samestat(os.fstat(same.fileno()), os.fstat(file.fileno())):
            raise OSError(errno.EBUSY, "it was replaced meanwhile")
        begin = 0
        for number, line in enumerate(lines, 1):
            blank = b" " * len(line.rstrip(b"\n"))
            if number in numbers and os.pwrite(same.fileno(), blank, begin) < len(blank):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            begin += len(line)
        os.fsync(same.fileno())


@contextmanager
def _locked_file(path: Path, seconds: float) -> Iterator[IO[bytes]]:
    """Open the file under the lock.

    Raises EntryError, with the path, for any error; ReadOnlyError where others write it.
    """
    try:
        with _locked(path, seconds) as file:
            yield file
    except OSError as error:
        kind = ReadOnlyError if error.errno in _READ_ONLY else EntryError
        cure = "; begin with an empty file" if error.errno == errno.ENOENT else ""
        raise kind(f"{path}: {error.strerror}{cure}") from None
    except EntryError as error:
        raise type(error)(f"{path}: {error}") from None


@contextmanager
def _locked(path: Path, seconds: float) -> Iterator[IO[bytes]]:
    """Open the file under a lock, so that no other holder replaces it meanwhile. Raises OSError."""
    end = time.monotonic() + seconds
    while True:
        with open_plain(path) as file:
            _lock(file, end)
            # While we waited for the lock, the file may have been replaced.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return


def _lock(file: IO[bytes], end: float) -> None:
    """Wait for the lock until ``end``, in monotonic seconds. Raises OSError after it."""
    if end == inf:
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise OSError(errno.EBUSY, "another process is writing it") from None
            time.sleep(_LOOK_SECONDS)
        else:
            return
