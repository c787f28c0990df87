"""Adds a line to the revocation file: whole, durable, and without losing another writer's lines.

The file is replaced by rename, so that no server sees a half. Where that would change more than the
line (another owner, a second name, a mount of the file alone), the line is added in place: then a
server can see half of the line, which is not JSON, and waits for the rest.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from authz.adapters.files import open_plain, replace
from authz.core.revocations import MAX_BYTES, Revocation, RevocationError, parse


def append(path: Path, entry: Revocation) -> None:
    """Add a line to an existing valid file. Raises RevocationError.

    Waits while another process adds a line. On return the line is on the disk.
    """
    entry.check()
    try:
        with _locked(path) as file:
            data = file.read(MAX_BYTES + 1)
            start = b"\n" if data and not data.endswith(b"\n") else b""
            line = start + msgspec.json.encode(entry) + b"\n"
            parse(data + line)  # servers take no line of an invalid file
            _write(path, file, data, line)
    except OSError as error:
        raise RevocationError(f"{path}: {error.strerror}") from None
    except RevocationError as error:
        raise RevocationError(f"{path}: {error}") from None


def _write(path: Path, file: IO[bytes], data: bytes, line: bytes) -> None:
    if os.fstat(file.fileno()).st_nlink == 1:
        try:
            replace(path, data + line)
        except OSError:  # a folder that is not ours, an owner that we can't give, a mounted file
            pass
        else:
            # A writer without a lock, as `echo >>`, may have added to the file that is replaced
            # now: its lines are added again.
            line = file.read(MAX_BYTES)
            if not line:
                return
    with path.open("ab", buffering=0) as end:
        size = os.fstat(end.fileno()).st_size
        if end.write(line) < len(line):  # the disk is full: half a line would spoil the file
            end.truncate(size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(end.fileno())


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
