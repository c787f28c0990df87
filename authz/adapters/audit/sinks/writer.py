"""Brings lines to one sink: its queue, its thread, its losses, and its waits after failures."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from authz.adapters.audit.batch import Batch
from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.backlog import Backlog
from authz.adapters.audit.sinks.sink import Sink
from authz.adapters.audit.sinks.spool import Spool
from authz.adapters.audit.sinks.status import SinkStatus
from authz.core.tlog.merkle import CompactRange

FOLLOW_SECONDS: Final = 0.2  # how often a sink is followed, and a file tried again
LONGEST_PAUSE_SECONDS: Final = 30.0  # between two attempts to reach a receiver
FILE_LINES: Final = 64  # of a write: a large buffer would take new memory each time
NETWORK_LINES: Final = 500  # of a request
FOLLOW_LINES: Final = 20_000  # of a spool, after which the sink is followed again
_log: Final = logging.getLogger("authz.audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterLimits:
    """What a writer may keep, and what it does beyond.

    Attributes:
        queue: lines that may wait; None if whoever puts lines bounds them.
        beyond: lines that it takes above ``queue``, having said that it is full.
        must_record: whether it refuses allows while it can't keep further lines.
        lines_at_once: lines of a write.
        longest_pause: seconds between two attempts while it fails, at most.
    """

    queue: int | None
    beyond: int = 0
    must_record: bool = False
    lines_at_once: int = FILE_LINES
    longest_pause: float = FOLLOW_SECONDS


def _nothing() -> None:
    """Do nothing."""


class SinkWriter:
    """Writes lines to a sink, in their order, in a thread of its own.

    Attributes:
        on_change: called after each change of what waits and of failing, by any thread.
        tell_gap: makes the line that says which leaves the sink misses; None without a chain.
        name: the sink's name.
        place: what messages at the start call it.
    """

    def __init__(
        self, place: SinkSettings, sink: Sink, limits: WriterLimits, spool: Spool | None = None
    ) -> None:
        """Take the sink of a place, and its spool; ``start`` opens them."""
        self.on_change: Callable[[], None] = _nothing
        self.tell_gap: Callable[[CompactRange, str], bytes] | None = None
        self.name = name = place.label
        self.place = place.path or name
        self.sink = sink
        self._kind = place.kind
        self._limits = limits
        self._backlog = Backlog(spool)
        self._held = 0  # lines that the sink has taken and not yet written
        self._is_dropping = False
        self._missing: CompactRange | None = None  # the leaves dropped since the last gap
        self._written = self._dropped = self._errors = 0
        self._is_failing = False
        self._pause = FOLLOW_SECONDS
        self._retry_at = 0.0
        self._wake = threading.Event()
        self._stopping = False
        self.thread = threading.Thread(target=self._run, name=f"audit-{name}", daemon=True)

    @property
    def queued(self) -> int:
        """Return the number of lines that wait in memory."""
        return self._backlog.in_memory

    @property
    def is_failing(self) -> bool:
        """Return whether the last attempt failed."""
        return self._is_failing

    @property
    def refuses_allows(self) -> bool:
        """Return whether allows must be refused, as lines may not be kept.

        With a spool that is so once neither it nor the queue has room.
        """
        if not self._limits.must_record:
            return False
        if self._backlog.has_spool:
            return self.is_full and self._backlog.is_spool_full
        return self._is_failing or self.is_full

    @property
    def is_full(self) -> bool:
        """Return whether no further line has room, which after a loss is so for longer."""
        limit = self._limits.queue
        if limit is None:
            return False
        return self.queued >= limit or (self._is_dropping and self.queued > limit // 2)

    def start(self) -> None:
        """Open the sink and begin to write. Raises OSError."""
        self._backlog.open()
        self.sink.follow()
        self.thread.start()

    def put(self, batch: Batch) -> None:
        """Take the lines for which there is room. Never waits; one thread calls it."""
        taken, count = 0, len(batch.lines)
        while taken < count and (room := self._room() or self._kept_room()):
            if self._is_dropping:
                self._resume()
            self.add(batch.lines[taken : taken + room])
            taken += room
        if taken < count:
            self._drop(batch, taken)
        if self.is_full:
            self._backlog.keep()
            self.on_change()

    def _kept_room(self) -> int:
        """Return how many lines may be taken once those in memory are in the spool.

        The sink may be slow, and its own thread wait for it.
        """
        self._backlog.keep()
        return self._room()

    def tell(self, batch: Batch) -> None:
        """Take lines that are no leaves: they need no room, and have no use after a loss."""
        if not self._is_dropping:
            self.add(batch.lines)

    def finish(self, *batches: Batch) -> None:
        """Take the last lines, and before them the gap, whether or not there is room."""
        if self._is_dropping:
            self._resume()
        for batch in batches:
            self.add(batch.lines)

    def add(self, lines: Iterable[bytes]) -> None:
        """Take lines, whether or not there is room."""
        self._backlog.add(lines)
        self.on_change()
        self._wake.set()

    def _room(self) -> int:
        """Return how many lines may be taken; after a loss none, until half of them is written.

        Without this a receiver that is a bit too slow would cause a gap at every batch.
        """
        limits = self._limits
        if limits.queue is None:
            return 1 << 62
        if self._is_dropping and self.queued > limits.queue // 2:
            return 0
        return max(0, limits.queue + limits.beyond - self.queued)

    def _drop(self, batch: Batch, room: int) -> None:
        if not self._is_dropping:
            _log.error("the audit sink %s has no room; records are missing there", self.name)
        self._is_dropping = True
        self._dropped += len(batch.lines) - room
        if batch.first is None or batch.leaves is None:
            return
        if self._missing is None:
            self._missing = CompactRange(batch.first + room)
        for leaf in batch.leaves[room:]:
            self._missing.append(leaf)

    def _resume(self) -> None:
        """Take lines again, and first the line that says what is missing."""
        self._is_dropping = False
        missing, self._missing = self._missing, None
        if missing is not None and self.tell_gap is not None:
            self.add((self.tell_gap(missing, self.name),))

    def status(self) -> SinkStatus:
        """Return the state of the sink."""
        return SinkStatus(
            name=self.name,
            kind=self._kind,
            queued=self.queued,
            written=self._written,
            dropped=self._dropped,
            rejected=self._rejected,
            errors=self._errors,
            is_failing=self._is_failing,
            spooled_bytes=self._backlog.on_disk,
            refuses_allows=self.refuses_allows,
        )

    def reopen(self) -> None:
        """Open the sink anew before the next write."""
        self.sink.reopen()

    def stop(self) -> None:
        """Have the thread write what waits, once, and close the sink."""
        self._backlog.keep(is_last=True)  # the thread may wait for a sink until the process ends
        self._stopping = True
        self._wake.set()
        if self.thread.ident is None:  # it was never started, so it does not close the sink
            self._close()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, after ``stop``; tell what it leaves if it hangs."""
        if self.thread.is_alive():
            self.thread.join(seconds)
            if self.thread.is_alive():
                self._tell_unwritten()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(FOLLOW_SECONDS)
            is_last = self._stopping  # read before the wake is cleared, so that none is missed
            self._wake.clear()
            if is_last or time.monotonic() >= self._retry_at:
                self._write()
            if self._is_failing:
                self._backlog.keep()
                self.on_change()
        self._backlog.keep(is_last=True)
        self._tell_unwritten()
        self._close()

    def _tell_unwritten(self) -> None:
        if self.queued:
            _log.error("%d audit records could not be written to %s", self.queued, self.name)

    def _close(self) -> None:
        self.sink.close()
        self._backlog.close()

    def _write(self) -> None:
        """Write the lines that wait now; even without any, note whether the sink can be opened."""
        try:
            self.sink.follow()
            # And no more, so that the sink is followed under load too.
            left = max(self.queued, FOLLOW_LINES if self._backlog.on_disk else 0)
            while left > 0 and not self._backlog.is_empty:
                left -= self._write_some()
        except Exception as error:  # noqa: BLE001 - without this thread all later lines were lost
            self._errors += 1
            self._tell(
                getattr(error, "strerror", None) or type(error).__name__,
                getattr(error, "retry_after_seconds", 0.0),
            )
        else:
            self._tell("")
            if not self._backlog.is_empty:
                self._wake.set()

    def _write_some(self) -> int:
        """Write the lines that the sink holds, or else the next ones; return how many.

        Raises OSError.
        """
        if not self._held:
            lines = self._backlog.take(self._limits.lines_at_once)
            self._held = len(lines)
            self.sink.take(b"".join(lines))
        count, rejected = self._held, self._rejected
        try:
            self.sink.flush()
        finally:
            self._held = self.sink.waiting
            done = self._backlog.delivered(self._held)
            self._written += done - (self._rejected - rejected)
            self.on_change()
        return count

    @property
    def _rejected(self) -> int:
        """Return the number of lines that the sink's receiver will never take."""
        return int(getattr(self.sink, "rejected", 0))

    def _tell(self, problem: str, retry_after_seconds: float = 0.0) -> None:
        """Note the problem that prevents writing, "" for none; log only a change."""
        if problem:
            # Jitter, so that servers do not return to a receiver all at once.
            pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            self._retry_at = time.monotonic() + max(pause, retry_after_seconds)
            self._pause = min(2 * self._pause, self._limits.longest_pause)
        else:
            self._pause, self._retry_at = FOLLOW_SECONDS, 0.0
        if bool(problem) is self._is_failing:
            return
        self._is_failing = bool(problem)
        self.on_change()  # before it is told: whether allows must be refused is urgent
        if problem:
            _log.error("can't write to the audit sink %s; records wait: %s", self.name, problem)
        else:
            _log.warning("can write to the audit sink %s again", self.name)
