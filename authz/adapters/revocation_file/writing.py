"""One more line in the revocation file: whole, durable, and beside those of others.

The file is replaced by rename, so that no server sees a half. Where that would change more than the
line (another owner, a name of its own, a mount of the file alone), the line is added in place: then
a server can see a half of it, which is no JSON, and waits for the rest.
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
    """Add a line to a file that is there and good. Raises RevocationError.

    Waits while another adds one. It counts once it is on the disk.
    """
    entry.check()
    try:
        with _locked(path) as file:
            data = file.read(MAX_BYTES + 1)
            start = b"\n" if data and not data.endswith(b"\n") else b""
            line = start + msgspec.json.encode(entry) + b"\n"
            parse(data + line)  # of a file that is not good no server would take it
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
            # Who asks for no lock, as `echo >>`, may have added to the file that is replaced now.
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
    """The file, which nobody else who asks for the lock replaces meanwhile. Raises OSError."""
    while True:
        with open_plain(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Who waited for the lock may have that of a file that was replaced by now.
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                yield file
                return
