"""Sends lines to an OpenTelemetry collector by OTLP, over gRPC or HTTP. Needs the extra otel.

A collector acknowledges: lines wait until it has answered, and ``batches`` says what a refusal
means. A request whose answer is lost is sent again, so its lines may arrive twice.
"""

import time
from typing import Final

from authz.adapters.audit.sinks.batches import Batches
from authz.adapters.audit.sinks.otlp_record import RequestWriter
from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.receivers.otlp import open_exporter
from authz.adapters.receivers.otlp_signals import LOGS
from authz.adapters.receivers.otlp_verdict import Verdict
from authz.adapters.receivers.receiver import ReceiverError

# Collectors take 4 MiB by gRPC unless they are told otherwise; attributes add to a line's bytes.
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_REQUEST_LINES: Final = 500
_END: Final = b"\n"


class OtlpSink:
    """A collector: a ``Sink``. One thread uses it, except for ``reopen``."""

    def __init__(self, settings: OtlpSettings, name: str) -> None:
        """Take the collector, and the sink's name; the first flush connects."""
        self._exporter = open_exporter(settings, LOGS)
        self._timeout = settings.timeout
        self._writer = RequestWriter()
        self._batches = Batches(name, MAX_REQUEST_LINES, MAX_REQUEST_BYTES)
        self._not_before = 0.0  # monotonic seconds: until then the collector asks to be left alone
        self._reopens = False

    @property
    def waiting(self) -> int:
        """Return the number of lines that the collector has not taken or refused."""
        return self._batches.waiting

    @property
    def rejected(self) -> int:
        """Return the number of lines that the collector will never take, since the start."""
        return self._batches.rejected

    def reopen(self) -> None:
        """Connect anew before the next write, with certificates as their files are then."""
        self._reopens = True

    def follow(self) -> None:
        """Connect anew if asked to. Raises no OSError: a collector may start after us."""
        if self._reopens:
            self._reopens = False
            self._exporter.close()

    def take(self, lines: bytes) -> None:
        """Take complete lines to be sent."""
        self._batches.add(line for line in lines.split(_END) if line)

    def flush(self) -> None:
        """Send the waiting lines, in requests of a bounded size. Raises OSError."""
        if self.waiting and time.monotonic() < self._not_before:
            raise ReceiverError("it asked to be left alone for a while")
        self._batches.begin()
        while self.waiting:
            self._send(self._batches.next())

    def close(self) -> None:
        """Close the connection."""
        self._exporter.close()

    def _send(self, lines: list[bytes]) -> None:
        """Send lines, and heed the verdict. Raises ReceiverError: they may be sent again."""
        verdict = self._asked(lines)
        if not verdict.refused:
            self._batches.taken(len(lines), verdict.rejected)
        elif self._batches.refused(len(lines), verdict.refused):
            # A collector whose own exporter fails answers so to all of them (500, INTERNAL).
            raise ReceiverError(f"it refuses every record: {verdict.refused}")

    def _asked(self, lines: list[bytes]) -> Verdict:
        try:
            return self._exporter.export(self._writer.write(lines), self._timeout)
        except ReceiverError as error:
            self._batches.failed()
            self._not_before = time.monotonic() + error.retry_after_seconds
            raise
