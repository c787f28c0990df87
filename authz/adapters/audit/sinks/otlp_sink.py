"""Sends lines to an OpenTelemetry collector by OTLP, over gRPC or HTTP. Needs the extra otel.

A collector acknowledges: lines wait until it has answered. A request whose answer is lost is sent
again, so its lines may arrive twice. A line that is refused alone is rejected once the collector
takes another one in the same flush, or has refused it in ``ATTEMPTS``.
"""

import time
from collections.abc import Sequence
from typing import Final

from authz.adapters.audit.sinks.otlp_record import RequestWriter
from authz.adapters.audit.sinks.refused import Refused
from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.receivers.otlp import open_exporter
from authz.adapters.receivers.otlp_signals import LOGS
from authz.adapters.receivers.otlp_verdict import Verdict
from authz.adapters.receivers.receiver import ReceiverError

# Collectors take 4 MiB by gRPC unless they are told otherwise; attributes add to a line's bytes.
MAX_REQUEST_BYTES: Final = 1024 * 1024
MAX_REQUEST_LINES: Final = 500
MAX_IN_DOUBT: Final = 8  # lines refused one by one: then something else must be wrong
ATTEMPTS: Final = 12  # that end with lines in doubt; with the pauses between them, some minutes
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
        self._in_doubt = 0  # of the first lines, that the collector refused one by one
        self._why = ""
        self._attempts = 0  # that ended with lines in doubt, since the last request that was taken
        self._has_taken = False  # whether the collector took a request in this flush
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
        self._has_taken = False
        while self._waiting:
            lines = self._next_lines()
            self._heed(self._asked(lines), len(lines))

    def close(self) -> None:
        """Close the connection."""
        self._exporter.close()

    def _next_lines(self) -> Sequence[bytes]:
        """Return the next lines behind those in doubt: at least one, and no more than fit."""
        lines = self._waiting[self._in_doubt : self._in_doubt + self._at_once]
        return lines[: _fitting(lines)]

    def _asked(self, lines: Sequence[bytes]) -> Verdict:
        """Send lines. Raises ReceiverError: all of them may be sent again."""
        try:
            return self._exporter.export(self._writer.write(lines), self._timeout)
        except ReceiverError as error:
            self._in_doubt = 0
            self._not_before = time.monotonic() + error.retry_after_seconds
            raise

    def _heed(self, verdict: Verdict, count: int) -> None:
        """Do what an answer says of the lines sent. Raises ReceiverError.

        Of a refused request smaller parts are sent, so that only those lines are lost for which it
        was refused.
        """
        if not verdict.refused:
            self._taken(verdict, count)
        elif count > 1:
            self._at_once = count // 2
        else:
            self._doubt(verdict.refused)

    def _taken(self, verdict: Verdict, count: int) -> None:
        """Forget lines that were taken; those in doubt before them are the fault of themselves."""
        self._give_up(self._why)
        self._attempts = 0
        self._has_taken = True
        del self._waiting[:count]
        self._at_once = min(2 * self._at_once, MAX_REQUEST_LINES)
        if verdict.rejected:
            self._refused.add(min(verdict.rejected, count), "it took a request in part only")

    def _doubt(self, why: str) -> None:
        """Note that the next line was refused alone. Raises ReceiverError if no line is taken.

        A collector whose own exporter fails answers so to all of them (500, INTERNAL).
        """
        self._in_doubt += 1
        self._why = why
        if self._has_taken:
            self._give_up(why)
        elif self._in_doubt >= min(MAX_IN_DOUBT, len(self._waiting)):
            self._attempts += 1
            if self._attempts < ATTEMPTS:
                self._in_doubt = 0
                raise ReceiverError(f"it refuses every record: {why}")
            self._give_up(f"{why}, in {ATTEMPTS} attempts")
            self._attempts = 0

    def _give_up(self, why: str) -> None:
        """Reject the lines in doubt, if there are any."""
        if self._in_doubt:
            self._refused.add(self._in_doubt, why)
            del self._waiting[: self._in_doubt]
        self._in_doubt = 0


def _fitting(lines: Sequence[bytes]) -> int:
    """Return how many of the first lines make a request, at least 1."""
    size = 0
    for count, line in enumerate(lines):
        size += len(line)
        if size > MAX_REQUEST_BYTES:
            return max(1, count)
    return len(lines)
