"""Takes traced checks from any thread, and sends them as spans from a thread of its own.

Nothing that answers checks waits for it. It has a bounded queue, and sends a batch every
``PERIOD_SECONDS``: so a flood of checks costs no more than that work, and the spans beyond it are
dropped and counted. The audit log has the record of each check in any case.
"""

import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Final

from authz import __version__
from authz.adapters.receivers.otlp import Exporter
from authz.adapters.receivers.receiver import ReceiverError
from authz.adapters.tracing.settings import TracesSettings
from authz.adapters.tracing.spans import SpanEncoder
from authz.adapters.tracing.status import TraceStatus
from authz.adapters.tracing.traced import TracedCheck

MAX_QUEUED: Final = 2048  # checks, of some 1 KB each with what they share
MAX_BATCH: Final = 512  # checks, as the SDK's batches; some 300 KB
PERIOD_SECONDS: Final = 0.5
TRIES: Final = 5  # of a batch; meanwhile the queue fills
PAUSE_SECONDS: Final = 1.0  # before the second try; doubles
MAX_PAUSE_SECONDS: Final = 30.0
TELL_SECONDS: Final = 60.0  # between two log lines about a collector that fails
CLOSE_SECONDS: Final = 1.0  # that a stop waits for the last batches
_log: Final = logging.getLogger("authz.traces")
Exemplify = Callable[[bool, float, str, float], None]


class TraceExporter:
    """The tracer, and the thread that sends.

    Attributes:
        share: the share of remembered decisions to trace, from 0 to 1.
    """

    def __init__(
        self,
        settings: TracesSettings,
        exporter: Exporter,
        exemplify: Exemplify = lambda *_: None,
    ) -> None:
        """Begin with an empty queue; nothing is sent before ``start``.

        ``exemplify`` is told of each check that becomes a span: whether its decision was cached,
        its seconds, its trace id, and its end in unix seconds.
        """
        self._exemplify = exemplify
        self.share = settings.sampled
        self._seconds = settings.otlp.timeout
        self._exporter = exporter
        resource = {
            "service.name": settings.service_name,
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid4()),  # of each worker
        }
        self._encoder = SpanEncoder(resource, __version__)
        self._queue: deque[TracedCheck] = deque()
        self._stopping = threading.Event()
        self._end = 0.0  # monotonic seconds by which a stop must be over
        self._overflown = 0  # counted by the threads that answer
        self._exported = self._lost = self._rejected = 0  # by ours alone
        self._is_failing = False
        self._told_at = -TELL_SECONDS
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def take(self, check: TracedCheck) -> None:
        """Queue a check. Never waits, never raises."""
        if len(self._queue) < MAX_QUEUED:
            self._queue.append(check)
        else:
            self._overflown += 1

    def status(self) -> TraceStatus:
        """Return the counts."""
        dropped = self._overflown + self._lost
        return TraceStatus(self._exported, dropped, self._rejected, self._is_failing)

    def close(self) -> None:
        """Send what is queued, within ``CLOSE_SECONDS``; what is left is dropped."""
        self._end = time.monotonic() + CLOSE_SECONDS
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)
        self._exporter.cancel()

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_SECONDS):
            self._export_safely()
        while self._queue and time.monotonic() < self._end:
            self._export_safely()
        self._exporter.close()

    def _export_safely(self) -> None:
        """Send a batch. No fault ends the thread."""
        checks = [self._queue.popleft() for _ in range(min(MAX_BATCH, len(self._queue)))]
        if not checks:
            return
        try:
            self._export(checks)
        except Exception as error:  # noqa: BLE001 - see above; its text could hold a client's text
            self._lost += len(checks)
            _log.error("spans can't be sent: internal error: %s", type(error).__name__)

    def _export(self, taken: list[TracedCheck]) -> None:
        checks = [check for check in taken if check.is_wanted]
        if not checks:
            return
        data, spans = self._encoder.encode(checks)
        for check in checks:
            end = check.started + check.seconds
            self._exemplify(check.is_hit, check.seconds, check.trace_id, end)
        answered = self._sent(data)
        if answered is None:
            self._lost += spans
        else:
            refused = min(answered, spans)  # the collector's number
            self._rejected += refused
            self._exported += spans - refused

    def _sent(self, data: bytes) -> int | None:
        """Send a batch, in several tries; return the refused spans, None if it was not taken."""
        pause = PAUSE_SECONDS
        for left in reversed(range(TRIES)):
            try:
                verdict = self._exporter.export(data, self._time_to_send())
            except ReceiverError as error:
                self._failed(error.strerror or "")
                if not left:
                    return None
                asked = error.retry_after_seconds
            else:
                if verdict.refused:
                    self._failed(verdict.refused)
                    return None
                self._taken(verdict.rejected)
                return verdict.rejected
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - so that workers do not come at once
            if self._stopping.wait(max(pause * jitter, asked)):
                return None
            pause = min(2 * pause, MAX_PAUSE_SECONDS)
        return None

    def _time_to_send(self) -> float:
        if not self._stopping.is_set():
            return self._seconds
        return max(0.0, min(self._seconds, self._end - time.monotonic()))

    def _failed(self, why: str) -> None:
        self._is_failing = True
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            _log.warning("spans can't be sent: traces.otlp: %s", why)

    def _taken(self, refused: int) -> None:
        if self._is_failing:
            self._is_failing = False
            _log.info("spans are sent again", extra={"dropped": self.status().dropped})
        now = time.monotonic()
        if refused and now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            _log.warning("the collector refused %d spans of a batch", refused)
