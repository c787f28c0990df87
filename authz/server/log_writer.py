"""Writes log lines to a file descriptor from a thread of its own, so that no other thread waits.

Standard error can be a pipe without a reader, or a stopped terminal: a thread that writes to it
waits for as long as that lasts. Here only this thread waits. If the queue is full, lines are lost
and counted; the loss is logged as soon as lines can be written again.
"""

import os
import queue
import select
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.server.repeats import LogRateLimiter

MAX_LINES: Final = 1000  # queued: 4 MB at most
MAX_LINE_BYTES: Final = 4096  # PIPE_BUF on Linux: lines of several processes do not mix below it
FLUSH_SECONDS: Final = 2.0  # how long ``close`` waits for the last lines
_TELL_SECONDS: Final = 1.0  # how often losses are looked for, to log them
Notice = Callable[[str], bytes]


class Loss(StrEnum):
    """The causes of lost lines: the queue was full, too many were of one kind, the write failed."""

    FULL = "full"
    REPEATED = "repeated"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LogStatus:
    """The counts of lines lost since the start, by cause.

    Attributes:
        full: lines that found the queue full.
        repeated: lines beyond the limit of their kind.
        failed: lines that could not be written.
    """

    full: int
    repeated: int
    failed: int


class LogWriter:
    """The queue of lines, and the thread that writes them."""

    def __init__(self, descriptor: int, notice: Notice) -> None:
        """Start the thread, which writes to ``descriptor``.

        ``notice`` makes a line of a message about lost lines, including its end.
        """
        self._descriptor = descriptor
        self._notice = notice
        # Reentrant, since a finaliser may run and log anywhere; held for look-ups only.
        self._lock = threading.RLock()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._lost: Counter[Loss] = Counter()
        self._told = 0  # lost lines that were logged; repeated lines are logged by kind
        self._repeats = LogRateLimiter()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, kind: Hashable, line: bytes) -> None:
        """Queue a line, without its end. Never waits, never raises."""
        with self._lock:
            if not self._repeats.admit(kind, time.monotonic()):
                return
            if self._lines.qsize() >= MAX_LINES:
                self._lost[Loss.FULL] += 1
                return
            self._lines.put(line[: MAX_LINE_BYTES - 1] + b"\n")

    def status(self) -> LogStatus:
        """Return how many lines were lost."""
        return LogStatus(self._lost[Loss.FULL], self._repeats.left_out, self._lost[Loss.FAILED])

    def close(self) -> None:
        """Write the queued lines, within FLUSH_SECONDS. Later lines are lost."""
        self._lines.put(None)
        self._thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            with suppress(queue.Empty):
                line = self._lines.get(timeout=_TELL_SECONDS)
                if line is None:
                    return
                if not self._write(line):
                    self._lost[Loss.FAILED] += 1
            self._tell()

    def _tell(self) -> None:
        """Log the lost lines' counts, now that lines can be written."""
        with self._lock:
            untold = list(self._repeats.untold(time.monotonic()))
        for kind, count in untold:
            self._write(self._notice(f"{count} more lines like this were left out: {kind}"))
        lost = self._lost.total()
        if lost > self._told and self._write(self._notice(f"{lost - self._told} lines were lost")):
            self._told = lost

    def _write(self, line: bytes) -> bool:
        """Write a line, however long it takes, and tell whether it was written."""
        try:
            while line:
                line = line[self._write_some(line) :]
        except OSError:  # closed, or its reader is gone, or the disk is full
            return False
        return True

    def _write_some(self, line: bytes) -> int:
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        room.poll()
        with suppress(BlockingIOError):  # another process was faster
            return os.write(self._descriptor, line)
        return 0


def keep_from_waiting(descriptor: int) -> None:
    """Make writes to a pipe or a terminal fail instead of wait, also those of C libraries.

    O_NONBLOCK belongs to the open file, which other processes share. So the same pipe is opened
    again and replaces the descriptor. A socket can't be opened again, and stays.
    """
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            own = os.open(f"/proc/self/fd/{descriptor}", flags)
            os.dup2(own, descriptor)
            os.close(own)
    except OSError:  # no /proc, another user's pipe, or its reader is gone
        return
