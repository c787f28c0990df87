"""Sends lines to a receiver by HTTP: batches of JSON lines, posted one after the other.

- 2xx takes a batch, whatever becomes of the answer's body.
- 413 and 400 refuse a batch: ``batches`` says what then becomes of it. A line too large by itself
  is to blame; a 400 for a single line may have other causes: proxies answer so about certificates
  and hosts too.
- All else is tried again, after Retry-After if the receiver names it (RFC 9110 section 10.2.3).

A batch arrives at least once: a receiver that takes it and can't say so gets it again.
"""

import threading
import time
from collections.abc import Mapping
from typing import Final

from authz.adapters.audit.settings import HttpSinkSettings
from authz.adapters.audit.sinks.batches import Batches
from authz.adapters.receivers.http_receiver import Answer, HttpReceiver, PostTarget
from authz.adapters.receivers.receiver import ReceiverError

MAX_BATCH_BYTES: Final = 1_000_000  # proxies commonly refuse more than 1 MiB
MAX_BATCH_LINES: Final = 10_000
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
        self._batches = Batches(name, MAX_BATCH_LINES, MAX_BATCH_BYTES)
        self._not_before = 0.0  # monotonic seconds
        self._reopen = threading.Event()

    @property
    def waiting(self) -> int:
        """Return the number of lines that are not yet sent."""
        return self._batches.waiting

    @property
    def rejected(self) -> int:
        """Return the number of lines that the receiver will never take, since the start."""
        return self._batches.rejected

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
        self._batches.add(line + _END for line in lines.split(_END)[:-1])

    def flush(self) -> None:
        """Send the waiting lines. Raises ReceiverError: those not sent wait, in their order."""
        self._batches.begin()
        while self.waiting:
            self._wait_over()
            batch = self._batches.next()
            try:
                answer = self._receiver.post(b"".join(batch), self._timeout)
            except ReceiverError:
                self._batches.halve(len(batch))  # a receiver may cut off what it finds too large
                self._batches.failed()
                raise
            self._heed(answer, len(batch))

    def _wait_over(self) -> None:
        left = self._not_before - time.monotonic()
        if left > 0:
            raise ReceiverError("it asked to be left alone for a time", left)

    def _heed(self, answer: Answer, count: int) -> None:
        """Do what the answer to a batch says. Raises ReceiverError."""
        if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
            self._batches.taken(count)
        elif answer.status not in {_BAD_REQUEST, _TOO_LARGE} or self._batches.refused(
            count, f"status {answer.status}", is_certain=answer.status == _TOO_LARGE
        ):
            self._fail(answer)

    def _fail(self, answer: Answer) -> None:
        """Keep all lines for a later attempt. Raises ReceiverError."""
        self._batches.failed()
        self._receiver.close()  # with its credentials: the files may be newer
        self._not_before = time.monotonic() + answer.retry_after_seconds
        hint = _HINTS.get(answer.status)
        told = f"status {answer.status}" + (f": {hint}" if hint else "")
        raise ReceiverError(told, answer.retry_after_seconds)

    def close(self) -> None:
        """Leave the connection."""
        self._receiver.close()
