"""The clerk: takes the records of checks, and hands them to every sink."""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from authz.adapters.audit.batch import Batch
from authz.adapters.audit.settings import AuditSettings, WhenFull
from authz.adapters.audit.sink import Sink
from authz.adapters.audit.sink_writer import FOLLOW_SECONDS, SinkStatus, SinkWriter
from authz.adapters.audit.sinks import writer_of, writers_of

BATCH_LINES: Final = 256  # while a batch is made, its lines count twice against the limit
CLOSE_SECONDS: Final = 5.0  # how long a stop waits for the last records
_log: Final = logging.getLogger("authz.audit")


class AuditError(RuntimeError):
    """Signals that the audit log can't be opened; the message says why."""


class Encodes(Protocol):
    """A line that can be written: an AuditLine, or text."""

    def encode(self) -> bytes:
        """Return the bytes, with the end of line. Called once, by the clerk's thread."""


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """The state of the log.

    Attributes:
        queued: lines that a sink has not yet written, or that no sink has.
        dropped: lines that found the log's own queue full, since the start.
        errors: attempts to write that failed, whose lines are kept; and lines that can't be
            encoded, which are lost. Since the start.
        is_failing: whether the last attempt of a sink failed.
        refuses_allows: whether allows must be refused now.
        unencoded: lines that could not be encoded, since the start.
        waiting: lines that no sink has been given yet.
        sinks: the state of each sink.
        checkpoint_at: when the last checkpoint was signed, in unix seconds; None without one.
        is_witness_failing: whether a witness can't be reached; None without witnesses.
    """

    queued: int
    dropped: int
    errors: int
    is_failing: bool
    refuses_allows: bool
    unencoded: int = 0
    waiting: int = 0
    sinks: tuple[SinkStatus, ...] = ()
    checkpoint_at: float | None = None
    is_witness_failing: bool | None = None


class AuditLog:
    """The log: accepts lines at once, and hands them to the sinks soon.

    Attributes:
        must_record: whether an allow that can't be recorded must be denied.
        refuses_allows: whether allows must be refused now, since queued lines may never be written.
    """

    def __init__(self, settings: AuditSettings, sink: Sink | None = None) -> None:
        """Take the settings, and a sink to use in place of theirs; ``start`` opens it."""
        places = settings.places
        self._dropped = 0
        self._unencoded = 0
        self.must_record = any(place.when_full is WhenFull.DENY for place in places)
        self.refuses_allows = False
        self._queue = self._limit = settings.queue
        self._lines: deque[Encodes] = deque()
        self._moving = 0  # lines that are on their way to the sinks
        # The queue of a log with one place is for both: what waits there has no room here.
        self._is_one_queue = not settings.sinks
        self._writers = (
            writers_of(settings) if sink is None else (writer_of(settings, places[0], sink),)
        )
        self._noting = threading.Lock()
        for writer in self._writers:
            writer.on_change = self._note
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Open the sinks and begin to write. Raises AuditError."""
        for writer in self._writers:
            try:
                writer.start()
            except OSError as error:
                told = f"can't write the audit log {writer.place}: {error.strerror}"
                raise AuditError(told) from None
        self._thread.start()

    def append(self, line: Encodes) -> bool:
        """Queue a line; return False if there is no room. Never waits."""
        if len(self._lines) >= self._limit:
            self._dropped += 1
            return False
        self._lines.append(line)
        return True

    def status(self) -> AuditStatus:
        """Return the state of the log."""
        sinks = tuple(writer.status() for writer in self._writers)
        waiting = len(self._lines) + self._moving
        return AuditStatus(
            queued=waiting + max(sink.queued for sink in sinks),
            dropped=self._dropped,
            errors=self._unencoded + sum(sink.errors for sink in sinks),
            is_failing=any(sink.is_failing for sink in sinks),
            refuses_allows=self.refuses_allows,
            unencoded=self._unencoded,
            waiting=waiting,
            sinks=sinks,
        )

    def reopen(self) -> None:
        """Open the files anew before the next write."""
        for writer in self._writers:
            writer.reopen()

    def close(self) -> None:
        """Write the waiting lines, within CLOSE_SECONDS, and close."""
        end = time.monotonic() + CLOSE_SECONDS
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        for writer in self._writers:
            writer.stop()
        for writer in self._writers:
            writer.join(end - time.monotonic())

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(FOLLOW_SECONDS)
            is_last = self._stopping
            self._wake.clear()
            try:
                self._hand_over()
            except Exception:
                _log.exception("a fault in the audit log")

    def _hand_over(self) -> None:
        """Hand the lines that wait now to the sinks."""
        waiting = len(self._lines)
        while waiting > 0:
            count = min(waiting, BATCH_LINES)
            waiting -= count
            self._moving = count  # until they are taken they count twice, rather than not at all
            self._note()
            self._put(Batch(tuple(self._encoded(count))))
            self._moving = 0
            self._note()

    def _encoded(self, count: int) -> Sequence[bytes]:
        encoded = []
        for _ in range(count):
            try:
                encoded.append(self._lines.popleft().encode())
            except Exception as error:  # noqa: BLE001 - without this thread all later lines were lost
                self._unencoded += 1
                _log.error("can't encode an audit record: %s", type(error).__name__)
        return encoded

    def _put(self, batch: Batch) -> None:
        for writer in self._writers:
            writer.put(batch)

    def _note(self) -> None:
        """Note how many lines may wait, and whether allows must be refused; any thread may call."""
        with self._noting:
            if self._is_one_queue:
                self._limit = self._queue - self._writers[0].queued - self._moving
            self.refuses_allows = any(writer.refuses_allows for writer in self._writers)
