"""Files that others write while we read them: read whole, believed at rest, written by rename.

A writer that rewrites a file in place shows us its halves, and a half may be good in every way but
for what it lacks. So there are two rules, and every file that we look at again keeps them:

1. What is read is one state of the file: ``fstat`` says the same before and after, and the bytes
   are as many as it says. What is no plain file is never opened: a pipe would make us wait.
2. What only takes rights away counts at once. All else counts when the file is at rest: when each
   look for ``STABLE_SECONDS`` found the same file, with the same times and the same bytes.

A writer that stops in the middle for longer than that, at a place where its half is good, is
believed. Writing another file and renaming it over the first is the way to be safe: ``replace``.
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

# Between two writes of one writer lie microseconds, or what a network or a busy machine adds: a
# second is above all of that but a stall. Twice as long would be twice the wait for each change.
STABLE_SECONDS: Final = 1.0
# What one pause between two looks counts for at most: a machine that stood still as a whole, and
# its writers with it, is no writer that has finished.
MAX_PAUSE_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.1  # between looks of who waits for a file to rest
WAIT_SECONDS: Final = 10.0  # how long a start waits for that
# A file that changed so short a time before it was read may change again within the same tick of
# the file system's clock (two seconds at worst): its bytes are compared until it is older.
SETTLED_SECONDS: Final = 2.0
ATTEMPTS: Final = 5  # to read a file without its being written meanwhile


class Reload(StrEnum):
    """What came of a file that changed, as it is counted."""

    TAKEN = "taken"
    REFUSED = "refused"


class BeingWrittenError(OSError):
    """The file changed while it was read."""

    def __init__(self) -> None:
        """Say so in ``strerror``, where an OSError's reason is looked for."""
        super().__init__(errno.EBUSY, "it is being written")


class FileState(NamedTuple):
    """What ``stat`` says of a file: another state means another content, or the same once more."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from a stat."""
        return cls(
            status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        )

    def untouched_seconds(self) -> float:
        """Since the last change, by the wall clock; negative for a change in the future."""
        return time.time() - self.ctime_ns / 1e9


def open_plain(path: str | Path) -> IO[bytes]:
    """Open a plain file to read it. Never waits, as a pipe would make us. Raises OSError."""
    _check_plain(os.stat(path))  # noqa: PTH116 - texts and paths alike
    # What was put there since is opened without waiting, and looked at again.
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
    """Read one state of a plain file: its bytes, or the first ``max_bytes`` + 1 of more.

    Raises OSError; BeingWrittenError where it changed meanwhile.
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
    """As ``read_whole``, between two writes where there are many. Raises OSError."""
    for _ in range(ATTEMPTS - 1):
        with suppress(BeingWrittenError):
            return read_whole(path, max_bytes)[0]
        time.sleep(LOOK_SECONDS / ATTEMPTS)
    return read_whole(path, max_bytes)[0]


def read_at_rest(path: str | Path, max_bytes: int) -> bytes:
    """As ``read_whole``, once the file rests: for what is read once, and then kept.

    Waits for that, ``WAIT_SECONDS`` at most. Raises OSError.
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
    """Tells when what is looked at again and again has been the same for long enough.

    Files' states belong to it: each look may find the same half of what is written again and again.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._what: object = None
        self._seconds = 0.0
        self._looked_at = 0.0

    def is_long_enough(self, what: object, now: float) -> bool:
        """Whether each look for STABLE_SECONDS found this; ``now`` is monotonic seconds."""
        pause = min(max(now - self._looked_at, 0.0), MAX_PAUSE_SECONDS)
        self._seconds = self._seconds + pause if what == self._what else 0.0
        self._what, self._looked_at = what, now
        return self._seconds >= STABLE_SECONDS


@dataclass(frozen=True, slots=True)
class FileView:
    """A file as it was found; equal to another look that found the very same.

    Attributes:
        state: None for what can't be read.
        content: a digest of the bytes; why they can't be read; or what is like no other look.
        error: why they can't be read, "" if they can.
        is_torn: whether it was written while we looked.
        is_settled: whether the same state means the same bytes.
    """

    state: FileState | None
    content: bytes
    error: str = ""
    is_torn: bool = False
    is_settled: bool = field(default=False, compare=False)

    def has_rested(self) -> bool:
        """Whether nobody wrote for STABLE_SECONDS, by the wall clock: for a first look."""
        if self.state is None:
            return not self.is_torn
        return self.state.untouched_seconds() >= STABLE_SECONDS


def look(
    path: str | Path, max_bytes: int, before: FileView | None = None
) -> tuple[FileView, bytes | None]:
    """Find a file as it is now. Never raises.

    The bytes come along where they had to be read: None for an error, and where the file is
    settled as ``before`` found it.
    """
    begun = time.time()
    try:
        if before is not None and before.is_settled and _state(path) == before.state:
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


def _state(path: str | Path) -> FileState:
    return FileState.of(os.stat(path))  # noqa: PTH116 - texts and paths alike


def replace(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Put a new file in a file's place, at once for all who read, and to stay. Raises OSError.

    ``mode`` is its own; without one it has the mode, owner and attributes of the file before it.
    """
    path = Path(os.path.realpath(path))  # a link stays one
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
    shutil.copystat(path, name)  # extended attributes too, of which access lists are one
    os.utime(name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
