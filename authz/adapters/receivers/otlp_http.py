"""Sends requests to a collector by OTLP/HTTP, with binary protobuf."""

from typing import Final

from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.receivers.http_receiver import HttpReceiver, PostTarget
from authz.adapters.receivers.otlp_signals import Signal
from authz.adapters.receivers.otlp_verdict import (
    OURS_STATUSES,
    RETRYABLE_STATUSES,
    Verdict,
    verdict_of,
)
from authz.adapters.receivers.receiver import ReceiverError

_CONTENT: Final = "application/x-protobuf"
_SUCCESSES: Final = range(200, 300)  # OTLP has 200 only; a gateway may answer 202 or 204


class HttpExporter:
    """A collector, and the connection to it. One thread uses it."""

    def __init__(self, settings: OtlpSettings, signal: Signal) -> None:
        """Take address and credentials; the first request connects."""
        self._signal = signal
        self._receiver = HttpReceiver(
            PostTarget(
                settings.endpoint,
                {**settings.headers, "content-type": _CONTENT, "accept": _CONTENT},
                settings.token_file,
                settings.tls,
            )
        )

    def export(self, request: bytes, timeout_seconds: float) -> Verdict:
        """Send a request; return the verdict. Raises ReceiverError: it may be sent again."""
        answer = self._receiver.post(request, timeout_seconds)
        if answer.status in _SUCCESSES:
            return verdict_of(answer.body, self._signal)
        told = f"status {answer.status}"
        if answer.status in RETRYABLE_STATUSES:
            raise ReceiverError(told, answer.retry_after_seconds)
        if answer.status in OURS_STATUSES:
            self.close()  # with its credentials: the files may be newer
            raise ReceiverError(f"{told}: see endpoint, token_file and headers")
        return Verdict(refused=told)

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        self._receiver.close()

    def cancel(self) -> None:
        """Do nothing: an export ends by its timeout."""
