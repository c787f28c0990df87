"""Sends lines to an OpenTelemetry collector by OTLP, over gRPC or HTTP. Needs the extra otel.

A collector acknowledges: lines wait until it has answered. A request whose answer is lost is sent
again, so its lines may arrive twice.
"""

import time
from collections.abc import Sequence
from typing import Final

from authz.adapters.audit.sinks.otlp_record import RequestWriter
from authz.adapters.audit.sinks.refused import Refused
from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.receivers.otlp import open_exporter
from authz.adapters.receivers.otlp_signals import LOGS
from authz.adapters.receivers.receiver import ReceiverError

# Collectors take 4 MiB by gRPC unless they are told otherwise; attributes add to a line's bytes.
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_REQUEST_LINES: Final = 500
MAX_REFUSED_IN_A_ROW: Final = 8  # lines, one by one, after which something else must be wrong
_END: Final = b"\n"


class OtlpSink:
    """A collector: a ``Sink``. One thread uses it, except for ``reopen``."""

    def __init__(self, settings: OtlpSettings, name: str) -> None:
        """Take the collector, and the sink's name; the first flush connects."""
        self._exporter = open_exporter(settings, LOGS)
        self._timeout = settings.timeout
        self._writer = RequestWriter()
        self._refused = Refused(name)
        self._waiting: list[bytes] = []  # lines without their line feed
        self._not_before = 0.0  # monotonic seconds: until then the collector asks to be left alone
        self._at_once = MAX_REQUEST_LINES
        self._refused_in_a_row = 0
        self._reopens = False

    @property
    def waiting(self) -> int:
        """Return the number of lines that the collector has not taken or refused."""
        return len(self._waiting)

    @property
    def rejected(self) -> int:
        """Return the number of lines that the collector will never take, since the start."""
        return self._refused.count

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
        self._waiting = [line for line in lines.split(_END) if line]

    def flush(self) -> None:
        """Send the waiting lines, in requests of a bounded size. Raises OSError."""
        if self._waiting and time.monotonic() < self._not_before:
            raise ReceiverError("it asked to be left alone for a while")
        while self._waiting:
            count = _fitting(self._waiting[: self._at_once])
            if self._settled(self._waiting[:count]):
                del self._waiting[:count]

    def close(self) -> None:
        """Close the connection."""
        self._exporter.close()

    def _settled(self, lines: Sequence[bytes]) -> bool:
        """Send lines; tell whether they were taken, or can't be. Raises ReceiverError.

        Of a refused request smaller parts are sent, so that only those lines are lost for which it
        was refused.
        """
        try:
            verdict = self._exporter.export(self._writer.write(lines), self._timeout)
        except ReceiverError as error:
            self._not_before = time.monotonic() + error.retry_after_seconds
            raise
        if verdict.refused and len(lines) > 1:
            self._at_once = len(lines) // 2
            return False
        if verdict.refused:
            self._refuse(verdict.refused)
        else:
            self._refused_in_a_row = 0
            self._at_once = min(2 * self._at_once, MAX_REQUEST_LINES)
        if verdict.rejected:
            self._refused.add(min(verdict.rejected, len(lines)), "it took a request in part only")
        return True

    def _refuse(self, why: str) -> None:
        """Give up a line that was refused alone. Raises ReceiverError if all of them are.

        Then it hardly is the lines' fault. Each attempt asks about one, which is lost, and the
        pauses between attempts keep the others until an operator has seen it.
        """
        self._refused.add(1, why)
        self._refused_in_a_row += 1
        if self._refused_in_a_row > MAX_REFUSED_IN_A_ROW:
            del self._waiting[:1]
            raise ReceiverError(f"it refuses every record: {why}")


def _fitting(lines: Sequence[bytes]) -> int:
    """Return how many of the first lines make a request, at least 1."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line)
        if size > MAX_REQUEST_BYTES:
            return max(1, count)
    return len(lines)
