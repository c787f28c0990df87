"""Sends lines to a receiver by HTTP: batches of JSON lines, posted one after the other.

- 2xx takes a batch, whatever becomes of the answer's body.
- 413 and 400 refuse a batch: half of it is sent next. A line too large by itself is rejected. A 400
  for a single line is not yet the line's fault: proxies answer so about certificates and hosts too.
  Such a line is in doubt, and rejected once the receiver takes another one in the same flush, or
  has refused it in ``ATTEMPTS``.
- All else is tried again, after Retry-After if the receiver names it (RFC 9110 section 10.2.3).

A batch arrives at least once: a receiver that takes it and can't say so gets it again.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Final

from authz.adapters.audit.settings import HttpSinkSettings
from authz.adapters.audit.sinks.refused import Refused
from authz.adapters.receivers.http_receiver import Answer, HttpReceiver, PostTarget
from authz.adapters.receivers.receiver import ReceiverError

MAX_BATCH_BYTES: Final = 1_000_000  # proxies commonly refuse more than 1 MiB
MAX_BATCH_LINES: Final = 10_000
MAX_IN_DOUBT: Final = 8  # lines: a receiver that takes none is not asked about each of them
ATTEMPTS: Final = 12  # with the pauses between them, some minutes
_BAD_REQUEST: Final = 400
_TOO_LARGE: Final = 413
_END: Final = b"\n"
_HINTS: Final[Mapping[int, str]] = {
    **dict.fromkeys((301, 302, 303, 307, 308), "redirects are not followed: name its URL in url"),
    400: "it refuses every record",
    401: "it does not accept the credential: it may ask for a token_file or tls.client",
    403: "it does not accept the credential: it may ask for a token_file or tls.client",
    404: "nothing is there: is it the right URL?",
    405: "it takes no POST: is it the right URL?",
    415: "it does not take application/x-ndjson: is it the right URL?",
}


class HttpSink:
    """A receiver of batches: a ``Sink``. One thread uses it, except for ``reopen``."""

    def __init__(self, settings: HttpSinkSettings, name: str) -> None:
        """Take the receiver, and the sink's name for the log; the first flush connects."""
        headers = {"content-type": "application/x-ndjson", **settings.headers}
        self._receiver = HttpReceiver(
            PostTarget(settings.url, headers, settings.token_file, settings.tls)
        )
        self._timeout = settings.timeout
        self._refused = Refused(name)
        self._lines: deque[bytes] = deque()
        self._in_doubt = 0  # of the first lines, that the receiver refused one by one
        self._attempts = 0  # that ended with lines in doubt, since the last batch that was taken
        self._has_taken = False  # whether the receiver took a batch in this flush
        self._batch_lines = MAX_BATCH_LINES
        self._not_before = 0.0  # monotonic seconds
        self._reopen = threading.Event()

    @property
    def waiting(self) -> int:
        """Return the number of lines that are not yet sent."""
        return len(self._lines)

    @property
    def rejected(self) -> int:
        """Return the number of lines that the receiver will never take, since the start."""
        return self._refused.count

    def reopen(self) -> None:
        """Connect anew before the next batch."""
        self._reopen.set()

    def follow(self) -> None:
        """Leave the connection if asked to. A receiver that is away is no error of the start."""
        if self._reopen.is_set():
            self._reopen.clear()
            self._receiver.close()

    def take(self, lines: bytes) -> None:
        """Take complete lines to be sent."""
        self._lines.extend(line + _END for line in lines.split(_END)[:-1])

    def flush(self) -> None:
        """Send the waiting lines. Raises ReceiverError: those not sent wait, in their order."""
        self._has_taken = False
        while self._lines:
            self._wait_over()
            batch = self._next_batch()
            try:
                answer = self._receiver.post(b"".join(batch), self._timeout)
            except ReceiverError:
                # A receiver may cut off what it finds too large.
                self._batch_lines = max(1, len(batch) // 2)
                self._in_doubt = 0
                raise
            self._heed(answer, batch)

    def _wait_over(self) -> None:
        left = self._not_before - time.monotonic()
        if left > 0:
            raise ReceiverError("it asked to be left alone for a time", left)

    def _next_batch(self) -> list[bytes]:
        """Return the next lines behind those in doubt: at least one, and no more than fit."""
        batch: list[bytes] = []
        size = 0
        for line in islice(self._lines, self._in_doubt, self._in_doubt + self._batch_lines):
            size += len(line)
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(line)
        return batch

    def _heed(self, answer: Answer, batch: list[bytes]) -> None:
        """Do what the answer to a batch says. Raises ReceiverError."""
        if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
            self._taken(len(batch))
        elif answer.status not in {_BAD_REQUEST, _TOO_LARGE}:
            self._fail(answer)
        elif len(batch) > 1:
            self._batch_lines = len(batch) // 2
        else:
            self._doubt(answer)

    def _taken(self, count: int) -> None:
        """Forget lines that were taken; those in doubt before them are the fault of themselves."""
        self._reject("status 400")
        self._attempts = 0
        self._has_taken = True
        self._drop(count)
        self._batch_lines = min(2 * self._batch_lines, MAX_BATCH_LINES)

    def _doubt(self, answer: Answer) -> None:
        """Note that the next line was refused alone. Raises ReceiverError if no line is taken."""
        self._in_doubt += 1
        if self._has_taken or (answer.status == _TOO_LARGE and self._in_doubt == 1):
            self._reject(f"status {answer.status}")
            return
        if self._in_doubt < min(MAX_IN_DOUBT, len(self._lines)):
            return
        self._attempts += 1
        if self._attempts >= ATTEMPTS:
            self._reject(f"status {answer.status}, in {ATTEMPTS} attempts")
            self._attempts = 0
            return
        self._fail(answer)

    def _reject(self, why: str) -> None:
        """Give up the lines in doubt, if there are any."""
        if self._in_doubt:
            self._refused.add(self._in_doubt, why)
            self._drop(self._in_doubt)
        self._in_doubt = 0

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._lines.popleft()

    def _fail(self, answer: Answer) -> None:
        """Keep all lines for a later attempt. Raises ReceiverError."""
        self._in_doubt = 0
        self._receiver.close()  # with its credentials: the files may be newer
        self._not_before = time.monotonic() + answer.retry_after_seconds
        hint = _HINTS.get(answer.status)
        told = f"status {answer.status}" + (f": {hint}" if hint else "")
        raise ReceiverError(told, answer.retry_after_seconds)

    def close(self) -> None:
        """Leave the connection."""
        self._receiver.close()
