"""The lines that wait for one sink: in memory, and in its spool while they can't be sent.

What is in the spool is older than what is in memory, and is sent first. The lines that the sink
holds are the first of all: they are put into the spool in front of the others, and leave it once
they are delivered. So order is kept, and a process that is killed loses nothing that was kept.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import Final

from authz.adapters.audit.sinks.spool import Spool

KEEP_LINES: Final = 500  # of one write to the spool: what a full one has no room for is small
_log: Final = logging.getLogger("authz.audit")


class Backlog:
    """The queue of a sink's writer. One thread adds, another takes and delivers; any may keep.

    Attributes:
        is_spool_full: whether the spool had no room when it was last written to, or failed.
    """

    def __init__(self, spool: Spool | None = None) -> None:
        """Take the spool, which ``open`` opens; None for a sink that needs none."""
        self.is_spool_full = False
        self._spool = spool
        self._lines: deque[bytes] = deque()
        self._held: tuple[bytes, ...] = ()  # taken and not yet delivered
        self._is_held_kept = False  # whether these are also the first lines of the spool
        self._problem = ""
        self._lock = threading.Lock()

    @property
    def has_spool(self) -> bool:
        """Return whether lines can be kept on disk."""
        return self._spool is not None

    @property
    def in_memory(self) -> int:
        """Return the number of lines that are in memory alone."""
        return len(self._lines) + (0 if self._is_held_kept else len(self._held))

    @property
    def on_disk(self) -> int:
        """Return the bytes that the spool takes on disk."""
        return 0 if self._spool is None else self._spool.bytes

    @property
    def is_empty(self) -> bool:
        """Return whether no line waits, in memory or on disk."""
        return not (self._lines or self._held) and (self._spool is None or self._spool.is_empty)

    def open(self) -> None:
        """Open the spool, with what an earlier process left in it. Raises OSError."""
        if self._spool is not None:
            self._spool.open()

    def add(self, lines: Iterable[bytes]) -> None:
        """Add lines, in memory. Never waits."""
        self._lines.extend(lines)

    def take(self, count: int) -> tuple[bytes, ...]:
        """Return so many of the first lines at most, to be held until they are ``delivered``.

        Raises OSError if the spool can't be read.
        """
        with self._lock:
            self._is_held_kept = False
            if self._spool is not None and (kept := self._spool.read(count)):
                self._held, self._is_held_kept = kept, True
                return kept
            self._held = lines = self._first(count)
            self._forget(len(lines))
            return lines

    def delivered(self, waiting: int) -> int:
        """Note that the sink holds so many lines still; return how many it has delivered."""
        with self._lock:
            count = len(self._held) - waiting
            done, self._held = self._held[:count], self._held[count:]
            if self._spool is not None and self._is_held_kept and done:
                self._spool.done(done)
            return count

    def keep(self, *, is_last: bool = False) -> None:
        """Move what is in memory into the spool, as far as it has room.

        At the end it has room for all, as lines that were taken are promised.
        """
        if self._spool is None or not self.in_memory:
            return
        with self._lock:
            try:
                self.is_spool_full = not self._has_kept(self._spool, is_promised=is_last)
            except OSError as error:
                self.is_spool_full = True
                self._tell(error.strerror or type(error).__name__)
            else:
                self._tell("")

    def _has_kept(self, spool: Spool, *, is_promised: bool) -> bool:
        """Append the lines that are held, if they are not kept yet, and then the others.

        Return whether there was room for all. Raises OSError.
        """
        if self._held and not self._is_held_kept:
            self._is_held_kept = spool.append(self._held, is_promised=is_promised)
            if not self._is_held_kept:
                return False
        while self._lines:
            lines = self._first(KEEP_LINES)
            if not spool.append(lines, is_promised=is_promised):
                return False
            self._forget(len(lines))
        return True

    def _first(self, count: int) -> tuple[bytes, ...]:
        """Return the first lines in memory; an iterator would fail when lines are added."""
        return tuple(self._lines[at] for at in range(min(count, len(self._lines))))

    def _forget(self, count: int) -> None:
        """Remove first lines, which then count twice for a moment, rather than not at all."""
        for _ in range(count):
            self._lines.popleft()

    def _tell(self, problem: str) -> None:
        """Log a change of the problem that prevents writing to the spool, "" for none."""
        if problem and not self._problem:
            _log.error("can't write to a spool of the audit log: %s", problem)
        self._problem = problem

    def close(self) -> None:
        """Close the spool."""
        if self._spool is not None:
            self._spool.close()
