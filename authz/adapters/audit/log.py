"""The queue of the audit log, and the thread that writes its lines."""

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from authz.adapters.audit.line import line_encoder
from authz.adapters.audit.settings import AuditSettings, WhenFull
from authz.adapters.audit.sink import Sink, sink_of

FLUSH_SECONDS: Final = 0.2  # how long a record may wait to be written
WRITE_LINES: Final = 64
CLOSE_SECONDS: Final = 5.0  # how long a stop waits for the last records
_log: Final = logging.getLogger("authz.audit")


class AuditError(RuntimeError):
    """Signals that the audit log can't be opened; the message says why."""


class Encodes(Protocol):
    """A line that can be written: an AuditLine, or text."""

    def encode(self) -> bytes:
        """Return the bytes, with the end of line. Called once, by the writer's thread."""


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """The state of the log.

    Attributes:
        queued: lines that wait to be written.
        dropped: lines that found the queue full, since the start.
        errors: attempts to write that failed, whose lines are kept; and lines that can't be
            encoded, which are lost. Since the start.
        is_failing: whether the last attempt to write failed.
        refuses_allows: whether allows must be refused now.
    """

    queued: int
    dropped: int
    errors: int
    is_failing: bool
    refuses_allows: bool


class AuditLog:
    """The log: accepts lines at once, writes them soon, and keeps them while it can't write.

    Attributes:
        must_record: whether an allow that can't be recorded must be denied.
        refuses_allows: whether allows must be refused now, since queued lines may never be written.
    """

    def __init__(self, settings: AuditSettings, sink: Sink | None = None) -> None:
        """Take the settings, and a sink to use in place of theirs; ``start`` opens it."""
        self._dropped = 0
        self._errors = 0
        self._is_failing = False
        self.must_record = settings.when_full is WhenFull.DENY
        self.refuses_allows = False
        self._path = settings.path
        self._encode = line_encoder(frozenset(settings.redact.drop))
        self._limit = settings.queue
        self._lines: deque[Encodes] = deque()
        self._encoded = 0  # the number of first lines that the sink has taken and not yet written
        self._sink = sink or sink_of(settings.path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Open the file and begin to write. Raises AuditError."""
        try:
            self._sink.follow()
        except OSError as error:
            raise AuditError(f"can't write the audit log {self._path}: {error.strerror}") from None
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
        return AuditStatus(
            len(self._lines), self._dropped, self._errors, self._is_failing, self.refuses_allows
        )

    def reopen(self) -> None:
        """Open the file anew before the next write."""
        self._sink.reopen()

    def close(self) -> None:
        """Write the waiting lines, within CLOSE_SECONDS, and close."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)
        # The thread could not be started, so it does not close the file.
        elif self._thread.ident is None:
            self._sink.close()

    def _run(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            self._write()
        self._write()
        if self._lines:
            _log.error("%d audit records could not be written", len(self._lines))
        self._sink.close()

    def _write(self) -> None:
        """Write the lines that wait now; even without any, note whether the sink can be opened."""
        try:
            self._sink.follow()
            waiting = len(self._lines)
            while waiting > 0:
                waiting -= self._write_some(min(waiting, WRITE_LINES))
        except Exception as error:  # noqa: BLE001 - without this thread all later lines were lost
            self._errors += 1
            self._tell(getattr(error, "strerror", None) or type(error).__name__)
        else:
            self._tell("")

    def _write_some(self, count: int) -> int:
        """Write some lines, as a large buffer would take new memory each time. Raises OSError."""
        if not self._encoded:
            self._sink.take(b"".join([self._line(at) for at in range(count)]))
            self._encoded = count
        count = self._encoded
        try:
            self._sink.flush()
        finally:
            self._encoded = self._sink.waiting
            for _ in range(count - self._encoded):
                self._lines.popleft()
        return count

    def _line(self, at: int) -> bytes:
        try:
            return self._encode(self._lines[at])
        except Exception as error:  # noqa: BLE001 - without this thread all later lines were lost
            self._errors += 1
            _log.error("can't encode an audit record: %s", type(error).__name__)
            return b""

    def _tell(self, problem: str) -> None:
        """Note the problem that prevents writing, "" for none; log only a change."""
        if problem and not self._is_failing:
            _log.error("can't write the audit log; records stay in the queue: %s", problem)
        if self._is_failing and not problem:
            _log.warning("can write the audit log again")
        self._is_failing = bool(problem)
        self.refuses_allows = self._is_failing and self.must_record
