"""The clerk: takes the records of checks, and hands them to every sink."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from authz.adapters.audit.batch import Batch
from authz.adapters.audit.chain.opening import Chain
from authz.adapters.audit.chain.tree_log import (
    Encodes,
    Encoding,
    PlainLines,
    TreeLog,
    signed_line,
)
from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.settings import AuditSettings, WhenFull
from authz.adapters.audit.sinks.opening import writer_of, writers_of
from authz.adapters.audit.sinks.sink import Sink
from authz.adapters.audit.sinks.status import SinkStatus
from authz.adapters.audit.sinks.writer import FOLLOW_SECONDS
from authz.adapters.audit.witness import witnesses_of

BATCH_LINES: Final = 256  # while a batch is made, its lines count twice against the limit
TELL_SECONDS: Final = 60.0  # how long other sinks wait to be told of losses while one is full
CLOSE_SECONDS: Final = 5.0  # how long a stop waits for the last records
_log: Final = logging.getLogger("authz.audit")


class AuditError(RuntimeError):
    """Signals that the audit log can't be opened; the message says why."""


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

    def __init__(
        self,
        settings: AuditSettings,
        sink: Sink | None = None,
        identity: WorkerIdentity | None = None,
    ) -> None:
        """Take the settings, and a sink to use in place of theirs; ``start`` opens it.

        ``identity`` says which process writes. Raises ChainKeyError.
        """
        places = settings.places
        self._dropped = 0
        self._told_dropped, self._looked_at = 0, time.time()
        self.must_record = any(place.when_full is WhenFull.DENY for place in places)
        self.refuses_allows = False
        self._queue = self._limit = settings.queue
        self._lines: deque[Encodes] = deque()
        self._moving = 0  # lines that are on their way to the sinks
        self._wake = threading.Event()
        self._stopping = False
        self._wants_checkpoint = False
        # The queue of a log with one place is for both: what waits there has no room here.
        self._is_one_queue = not settings.sinks
        self._writers = (
            writers_of(settings, self._want_checkpoint, identity or WorkerIdentity())
            if sink is None
            else (writer_of(settings, places[0], sink),)
        )
        chain, self._chain = settings.chain, None
        self._encoding = Encoding(settings.redact.drop)
        self._sealing: TreeLog | PlainLines = PlainLines(self._encoding)
        if chain is not None:
            self._chain = Chain(settings, chain, identity or WorkerIdentity(), self._encoding)
            self._sealing = self._chain.log
        self._witnesses = witnesses_of(settings)
        self._noting = threading.Lock()
        for writer in self._writers:
            writer.on_change = self._note
            writer.tell_gap = None if self._chain is None else self._chain.log.gap
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Open the sinks and begin to write. Raises AuditError."""
        if self._chain is not None:
            self._open_chain(self._chain)
        for writer in (*self._writers, *self._witnesses):
            try:
                writer.start()
            except OSError as error:
                told = f"can't write the audit log {writer.place}: {error.strerror}"
                raise AuditError(told) from None
        self._thread.start()

    def _open_chain(self, chain: Chain) -> None:
        try:
            first = chain.open()
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            raise AuditError(f"can't open the audit log{where}: {error.strerror}") from None
        for writer in self._writers:
            writer.finish(first)

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
            errors=self._encoding.unencoded + sum(sink.errors for sink in sinks),
            is_failing=any(sink.is_failing for sink in sinks),
            refuses_allows=self.refuses_allows,
            unencoded=self._encoding.unencoded,
            waiting=waiting,
            sinks=sinks,
            checkpoint_at=None if self._chain is None else self._chain.log.signed_at,
            is_witness_failing=self._is_witness_failing(),
        )

    def _is_witness_failing(self) -> bool | None:
        if not self._witnesses:
            return None
        return any(witness.is_failing for witness in self._witnesses)

    def reopen(self) -> None:
        """Open the files anew before the next write."""
        for writer in (*self._writers, *self._witnesses):
            writer.reopen()

    def close(self) -> None:
        """Write the waiting lines, within CLOSE_SECONDS, and close."""
        end = time.monotonic() + CLOSE_SECONDS
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        elif self._thread.ident is None and self._chain is not None and self._chain.log.size:
            self._finish(self._chain)  # a start that failed may have written the first line
        for writer in (*self._writers, *self._witnesses):
            writer.stop()
        for writer in (*self._writers, *self._witnesses):
            writer.join(max(0.0, end - time.monotonic()))
        if self._chain is not None:
            self._chain.close()

    def _want_checkpoint(self) -> None:
        """Have the clerk sign a checkpoint, if a leaf has none; any thread may call."""
        self._wants_checkpoint = True
        self._wake.set()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._wake.wait(FOLLOW_SECONDS)
            is_last = self._stopping  # read before the wake is cleared, so that none is missed
            self._wake.clear()
            try:
                self._turn(is_last=is_last)
            except Exception:  # noqa: BLE001 - without this thread all later lines were lost
                _log.exception("a fault in the audit log")

    def _turn(self, *, is_last: bool) -> None:
        """Hand the lines that wait now to the sinks, and sign what is due."""
        waiting = len(self._lines)
        while waiting > 0:
            count = min(waiting, BATCH_LINES, self._sealing.room)
            waiting -= count
            self._moving = count  # until they are taken they count twice, rather than not at all
            self._note()
            batch = self._sealing.seal([self._lines.popleft() for _ in range(count)])
            for writer in self._writers:
                writer.put(batch)
            self._moving = 0
            self._note()
            self._sign_if_due()
        if self._chain is not None:
            self._tell_dropped(self._chain, is_last=is_last)
            self._sign_if_due()
            if is_last:
                self._finish(self._chain)

    def _tell_dropped(self, chain: Chain, *, is_last: bool) -> None:
        """Say in the log how many records had no room since we last looked."""
        dropped, now = self._dropped + self._encoding.unencoded, time.time()
        if dropped > self._told_dropped:
            if not is_last and self._is_early(now):
                return
            batch = chain.dropped(dropped - self._told_dropped, self._looked_at, now)
            for writer in self._writers:
                (writer.finish if is_last else writer.put)(batch)
            self._told_dropped = dropped
        self._looked_at = now

    def _is_early(self, now: float) -> bool:
        """Tell whether a sink could not take what is said of losses.

        It would be missing there too; and the queue of a log with one place would grow for ever.
        """
        if self._is_one_queue:
            return self._limit <= 0
        return any(one.is_full for one in self._writers) and now < self._looked_at + TELL_SECONDS

    def _sign_if_due(self) -> None:
        if self._chain is None:
            return
        log = self._chain.log
        wanted, self._wants_checkpoint = self._wants_checkpoint, False
        if log.is_due() or (wanted and log.uncovered):
            self._tell_signed(log)

    def _tell_signed(self, log: TreeLog, *last: Batch) -> None:
        """Sign a checkpoint, for sinks and witnesses; the sinks take ``last`` before it."""
        signed = signed_line(log.sign())
        for writer in self._writers:
            if last:
                writer.finish(*last, signed)
            else:
                writer.tell(signed)
        for witness in self._witnesses:
            witness.put(signed)

    def _finish(self, chain: Chain) -> None:
        """Close the log, with a checkpoint."""
        self._tell_signed(chain.log, chain.closed())

    def _note(self) -> None:
        """Note how many lines may wait, and whether allows must be refused; any thread may call."""
        with self._noting:
            if self._is_one_queue:
                self._limit = self._queue - self._writers[0].queued - self._moving
            self.refuses_allows = any(writer.refuses_allows for writer in self._writers)
