"""Adds a line to the revocation file, or removes lines, without losing another writer's lines.

The file is replaced by rename, so that no server sees half of it. If that would change more than
the line (another owner, a second name, a mount of the file alone), the file is written in place.
Then an added line is not JSON at first, and a server waits for the rest; a removed line becomes
blank, so that the file never lacks another line.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from authz.adapters.files import open_plain, replace
from authz.core.revocation_table import Revocations, parse
from authz.core.revocations import MAX_BYTES, Revocation, RevocationError, read_entries

_READ_ONLY: Final = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS})


class ReadOnlyError(RevocationError):
    """The file is not there, or not for us to write, as on a machine other than the server's."""


def append(path: Path, entry: Revocation) -> None:
    """Add a line to an existing valid file. Raises RevocationError.

    Waits while another process adds a line. On return the line is on the disk.
    """
    append_all(path, [entry])


def append_all(
    path: Path,
    entries: Sequence[Revocation],
    prune: Callable[[Revocations, Sequence[Revocation]], Collection[Revocation]] | None = None,
) -> None:
    """Add lines as ``append`` does, in one step.

    ``prune`` gets what the file has and what is added; it returns entries that the file need not
    have any more, or raises RevocationError. They are left out, unless the file can only be written
    in place.
    """
    for entry in entries:
        entry.check()
    with _locked_file(path) as file:
        data = file.read(MAX_BYTES + 1)
        held = parse(data)  # servers use no line of an invalid file
        gone = set() if prune is None else {entry.line for entry in prune(held, entries)}
        missing = [entry.line for entry in entries if prune is None or entry.line not in held.lines]
        if not missing:
            return
        start = b"\n" if data and not data.endswith(b"\n") else b""
        lines = start + b"".join(line + b"\n" for line in missing)
        if len(data) + len(lines) > MAX_BYTES:
            raise RevocationError(f"larger than {MAX_BYTES} bytes")
        if not _replace(path, file, _without(data, gone) + lines):
            _add(path, lines)


def _without(data: bytes, gone: Collection[bytes]) -> bytes:
    if not gone:
        return data
    # Split at line feeds alone, as the reader does. Lines of others are written otherwise.
    return b"".join(line for line in BytesIO(data).readlines() if line.rstrip(b"\n") not in gone)


def take_back(path: Path, ids: Collection[str]) -> list[Revocation]:
    """Remove entries from an existing valid file, by their ids, and return those that stay.

    Waits while another process writes. On return the change is on the disk. Raises RevocationError;
    then nothing was removed, unless the disk failed.
    """
    with _locked_file(path) as file:
        data = file.read(MAX_BYTES + 1)
        parse(data)  # servers would keep using the last valid file, whatever is removed
        read = read_entries(data)
        entries = {number: entry for number, entry in read if isinstance(entry, Revocation)}
        gone = sorted({*ids} - {entry.id for entry in entries.values()})
        if gone:
            raise RevocationError(f"no entry has the id {gone[0]}: the file has changed")
        meant = {entry: entry.id for entry in entries.values() if entry.id in ids}
        if len(meant) > len({*ids}):  # ids are short: who chooses two subjects can have them share
            raise RevocationError("two entries that differ have one of these ids: edit the file")
        numbers = {number for number, entry in entries.items() if entry.id in ids}
        lines = BytesIO(data).readlines()  # split at line feeds alone, as the reader does
        kept = [line for number, line in enumerate(lines, 1) if number not in numbers]
        if not _replace(path, file, b"".join(kept)):
            _blank(path, file, lines, numbers)
    return [entry for number, entry in entries.items() if number not in numbers]


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
def _locked_file(path: Path) -> Iterator[IO[bytes]]:
    """Open the file under the lock.

    Raises RevocationError, with the path, for any error; ReadOnlyError where others write it.
    """
    try:
        with _locked(path) as file:
            yield file
    except OSError as error:
        kind = ReadOnlyError if error.errno in _READ_ONLY else RevocationError
        raise kind(f"{path}: {error.strerror}") from None
    except RevocationError as error:
        raise RevocationError(f"{path}: {error}") from None


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """Open the file under a lock, so that no other holder replaces it meanwhile. Raises OSError."""
    while True:
        with open_plain(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # While we waited for the lock, the file may have been replaced.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return
