"""Reads files that others may be writing, and replaces files by rename.

A writer that rewrites a file in place lets us see half-written states, and half a file may be valid
except for the missing lines. So there are two rules for every file that is read repeatedly:

1. A read gets one state of the file: ``fstat`` returns the same before and after, and the number of
   bytes is its size. Only plain files are opened: a pipe would make us wait.
2. A change that only removes rights counts at once. Any other change counts when the file is at
   rest: when each check for ``STABLE_SECONDS`` found the same file, with the same times and bytes.

If a writer stops in the middle for longer than that, and its half is valid, the half counts. The
safe way is to write another file and rename it over the first: ``replace``.
"""

import errno
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import IO, Final, NamedTuple, Self

# Between two writes of a writer there are microseconds, and the delays of a network or a busy
# machine: a second is longer than all of these except a stall. Two seconds would double the wait
# for each change.
STABLE_SECONDS: Final = 1.0
# The most that a pause between two checks counts: if the machine stood still, so did its
# writers, and a pause does not mean that they have finished.
MAX_PAUSE_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.1  # between checks, while waiting for a file to rest
WAIT_SECONDS: Final = 10.0  # how long a start waits for a file to rest
# A file that changed so short a time before it was read may change again within the same tick of
# the file system's clock (two seconds at worst): its bytes are compared until it is older.
SETTLED_SECONDS: Final = 2.0
ATTEMPTS: Final = 5  # to read a file while nobody writes it


class Reload(StrEnum):
    """The results of a file's change, as metrics count them."""

    TAKEN = "taken"
    REFUSED = "refused"


class BeingWrittenError(OSError):
    """Signals that the file changed during the read."""

    def __init__(self) -> None:
        """Set ``strerror``, from which messages about an OSError take the reason."""
        super().__init__(errno.EBUSY, "it is being written")


class FileState(NamedTuple):
    """A file's ``stat``: another state means that it was written, perhaps with the same bytes."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Build the state from a stat."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )

    def untouched_seconds(self) -> float:
        """Return the seconds since the last change by the wall clock.

        Negative if that is in the future.
        """
        return time.time() - self.ctime_ns / 1e9


def open_plain(path: str | Path) -> IO[bytes]:
    """Open a plain file for reading. Never waits, as it would for a pipe. Raises OSError."""
    _check_plain(os.stat(path))  # noqa: PTH116 - texts and paths alike
    # A file that was put there since then is opened without waiting, and checked again.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    file = os.fdopen(descriptor, "rb")
    try:
        _check_plain(os.fstat(descriptor))
    except OSError:
        file.close()
        raise
    return file


def _check_plain(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file")


def read_whole(path: str | Path, max_bytes: int) -> tuple[bytes, FileState]:
    """Read one state of a plain file: its bytes, or the first ``max_bytes`` + 1 of a larger file.

    Raises OSError; BeingWrittenError if the file changed meanwhile.
    """
    with open_plain(path) as file:
        before = FileState.of(os.fstat(file.fileno()))
        data = file.read(max_bytes + 1)
        after = FileState.of(os.fstat(file.fileno()))
    # Two writes within a tick of the clock leave the same times, and a read between them is short.
    if before != after or len(data) != min(before.size, max_bytes + 1):
        raise BeingWrittenError
    return data, before


def read_between(path: str | Path, max_bytes: int) -> bytes:
    """Read a file as ``read_whole``, trying again while it is being written. Raises OSError."""
    for _ in range(ATTEMPTS - 1):
        with suppress(BeingWrittenError):
            return read_whole(path, max_bytes)[0]
        time.sleep(LOOK_SECONDS / ATTEMPTS)
    return read_whole(path, max_bytes)[0]


def read_at_rest(path: str | Path, max_bytes: int) -> bytes:
    """Read a file as ``read_whole`` when it rests: for a file that is read once and then kept.

    Waits for that ``WAIT_SECONDS`` at most. Raises OSError.
    """
    rest = StabilityTimer()
    end = time.monotonic() + WAIT_SECONDS
    while True:
        with suppress(BeingWrittenError):
            data, state = read_whole(path, max_bytes)
            is_old = state.untouched_seconds() >= STABLE_SECONDS
            if is_old or rest.is_long_enough((state, data), time.monotonic()):
                return data
        if time.monotonic() > end:
            raise BeingWrittenError
        time.sleep(LOOK_SECONDS)


class StabilityTimer:
    """A timer that tells when repeated checks have found the same for long enough.

    The findings must include the files' states: a file that is written again and again may show the
    same half each time.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._what: object = None
        self._seconds = 0.0
        self._looked_at = 0.0

    def is_long_enough(self, what: object, now: float) -> bool:
        """Tell whether each check for STABLE_SECONDS found this; ``now`` is monotonic seconds."""
        pause = min(max(now - self._looked_at, 0.0), MAX_PAUSE_SECONDS)
        self._seconds = self._seconds + pause if what == self._what else 0.0
        self._what, self._looked_at = what, now
        return self._seconds >= STABLE_SECONDS


@dataclass(frozen=True, slots=True)
class FileView:
    """A file as a check found it; equal to another view that found exactly the same.

    Attributes:
        state: None for a file that can't be read.
        content: a digest of the bytes; the reason why they can't be read; or, for a file that was
            being written, a value that no other view has.
        error: why the bytes can't be read, "" if they can.
        is_torn: whether the file was written during the check.
        is_settled: whether the same state means the same bytes.
    """

    state: FileState | None
    content: bytes
    error: str = ""
    is_torn: bool = False
    is_settled: bool = field(default=False, compare=False)

    def has_rested(self) -> bool:
        """Tell whether the file is older than STABLE_SECONDS by the wall clock.

        For a first check.
        """
        if self.state is None:
            return not self.is_torn
        return self.state.untouched_seconds() >= STABLE_SECONDS


def look(
    path: str | Path, max_bytes: int, before: FileView | None = None
) -> tuple[FileView, bytes | None]:
    """Return a view of a file as it is now. Never raises OSError: the view has the error.

    The bytes are also returned if they had to be read: None for an error, and if the file is
    settled in the state that ``before`` found.
    """
    begun = time.time()
    try:
        if before is not None and before.is_settled and state_of(path) == before.state:
            return before, None
        data, state = read_whole(path, max_bytes)
    except BeingWrittenError as error:
        return FileView(None, b"%d" % time.monotonic_ns(), _why(error), is_torn=True), None
    except OSError as error:
        return FileView(None, _why(error).encode(), _why(error)), None
    is_settled = state.ctime_ns / 1e9 + SETTLED_SECONDS < begun
    return FileView(state, sha256(data).digest(), is_settled=is_settled), data


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


def state_of(path: str | Path) -> FileState:
    """Return a file's state. Raises OSError."""
    return FileState.of(os.stat(path))  # noqa: PTH116 - texts and paths alike


def replace(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a file by a new one, atomically for all readers, and durably. Raises OSError.

    The new file has this ``mode``; without a mode, it has the mode, owner and attributes of the old
    file.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is None:
                _be_like(path, name)
            else:
                os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _be_like(path: Path, name: str) -> None:
    status, own = path.stat(), Path(name).stat()
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        os.chown(name, status.st_uid, status.st_gid)
    shutil.copystat(path, name)  # extended attributes too, such as access lists
    os.utime(name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
