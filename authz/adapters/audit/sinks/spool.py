"""The spool of a sink: records on disk that wait for a receiver, across restarts too.

- Lines go to the end of the last segment, and are read from the first one. A segment is removed
  once all of its lines were delivered, so an empty spool takes no space.
- A line that was appended outlives the process, however that ends. A loss of power can cost what
  the system had not yet written, as with the files of the log: nothing waits for a disk here,
  except a close.
- A line is delivered at least once: a process that dies between delivery and ``done`` leaves it to
  be sent again.
"""

import errno
import fcntl
import logging
import os
import re
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from authz.adapters.audit.sinks.spool_segment import HEAD_BYTES, Segment

SEGMENTS: Final = 64  # the limit counts files: a part of it this large is given back at a time
READ_BYTES: Final = 1024 * 1024  # what one read takes into memory, if no line is longer
_END: Final = b"\n"
_LOCK: Final = "lock"
_NAME: Final = re.compile(r"[0-9]{12}\.spool")
_FOLDER_MODE: Final = 0o700
_log: Final = logging.getLogger("authz.audit")


class Spool:
    """Lines on disk, first in, first out. Several threads may use it.

    Attributes:
        bytes: the disk space that it takes.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Take the folder, for this spool alone, and the disk space that it may take."""
        self.bytes = 0
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max_bytes // SEGMENTS
        self._segments: deque[Segment] = deque()
        self._next = 0
        self._owned: int | None = None
        self._lock = threading.Lock()

    @property
    def is_empty(self) -> bool:
        """Return whether no line waits."""
        segments = self._segments
        return not segments or segments[0].is_empty  # of a disk that had no room for a line

    def open(self) -> None:
        """Take the folder, and what an earlier process left in it. Raises OSError.

        A folder that another process has open is refused (EBUSY).
        """
        for folder in (*reversed(self._folder.parents), self._folder):
            if not folder.exists():  # mkdir(parents=True) would give parents the default mode
                folder.mkdir(_FOLDER_MODE, exist_ok=True)
        self._owned = _locked(self._folder)
        try:
            for path in _files(self._folder):
                self._next = int(path.stem) + 1
                self._add(path)
        except OSError:
            self.close()
            raise

    def _add(self, path: Path) -> None:
        """Add a file of lines that waits on disk, unless all of them were delivered."""
        segment = Segment.recover(path)
        if segment.is_empty:
            segment.remove()
            return
        segment.close()
        self._segments.append(segment)
        self.bytes += segment.size

    def adopt(self, folder: Path) -> None:
        """Take over the lines of another spool, such as that of a worker that is no more.

        Raises OSError: EBUSY if another process has it open.
        """
        owned = _locked(folder)
        try:
            with self._lock:
                for path in _files(folder):
                    self._add(path.rename(self._new_path()))
        finally:
            os.close(owned)

    def _new_path(self) -> Path:
        path = self._folder / f"{self._next:012}.spool"
        self._next += 1
        return path

    def append(self, lines: Sequence[bytes], *, is_promised: bool = False) -> bool:
        """Keep whole lines: all of them, or none; return False if they find no room.

        Promised lines are kept beyond the limit. Raises OSError, such as on a full disk.
        """
        data = b"".join(lines)
        if not data:
            return True
        with self._lock:
            if not is_promised and not self._has_room(len(data)):
                return False
            segment = self._last(len(data))
            segment.append(data)
            self.bytes += len(data)
            return True

    def _has_room(self, count: int) -> bool:
        return self.bytes + HEAD_BYTES + count <= self._max_bytes

    def _last(self, count: int) -> Segment:
        """Return the segment to append to: a new one once the last is full. Raises OSError."""
        last = self._segments[-1] if self._segments else None
        if last is not None and (last.is_empty or last.size + count <= self._segment_bytes):
            return last
        fresh = Segment.create(self._new_path())
        self._segments.append(fresh)
        self.bytes += HEAD_BYTES
        if last is not None:
            last.close()
        return fresh

    def read(self, max_lines: int) -> tuple[bytes, ...]:
        """Return first lines, the same ones until they are ``done``; none only if it is empty.

        Raises OSError.
        """
        with self._lock:
            lines = self._first_lines().split(_END, max_lines)[:-1]
            return tuple(line + _END for line in lines)

    def _first_lines(self) -> bytes:
        """Return lines of the first segment that is there. Raises OSError."""
        while self._segments:
            first = self._segments[0]
            try:
                return first.read(READ_BYTES)
            except FileNotFoundError:
                _log.error("%s was removed, with the records that waited in it", first.path)
                self._drop_first()
            except OSError:
                first.close()
                raise
        return b""

    def _drop_first(self) -> None:
        first = self._segments.popleft()
        first.remove()
        self.bytes -= first.size

    def done(self, lines: Sequence[bytes]) -> None:
        """Remove the first lines, which were delivered: all of one ``read`` or ``append``, or less.

        Lines of a file that was removed meanwhile are of no account.
        """
        with self._lock:
            if not self._segments:
                return
            first = self._segments[0]
            first.deliver(sum(map(len, lines)))
            if first.is_empty:
                self._drop_first()

    def close(self) -> None:
        """Sync what waits, and give the folder free."""
        with self._lock:
            for segment in self._segments:
                with suppress(OSError):  # only a loss of power could cost its lines
                    segment.sync()
                segment.close()
            if self._owned is not None:
                os.close(self._owned)
            self._owned = None


def _files(folder: Path) -> list[Path]:
    """Return the segments' files, the oldest first. Raises OSError."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _locked(folder: Path) -> int:
    """Return a descriptor that holds the folder for this process. Raises OSError."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EWOULDBLOCK:
            raise OSError(errno.EBUSY, f"another process uses the spool {folder}") from None
        raise
    return descriptor
