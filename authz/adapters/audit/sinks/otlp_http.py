"""Sends requests to a collector by OTLP/HTTP, with binary protobuf."""

from typing import Final

from authz.adapters.audit.settings import HttpSinkSettings
from authz.adapters.audit.sinks.http_receiver import HttpReceiver
from authz.adapters.audit.sinks.otlp_verdict import (
    OURS_STATUSES,
    RETRYABLE_STATUSES,
    Verdict,
    verdict_of,
)
from authz.adapters.audit.sinks.receiver import ReceiverError
from authz.adapters.receiver_settings import OtlpSettings

_SUCCESSES: Final = range(200, 300)  # OTLP has 200 only; a gateway may answer 202 or 204


class HttpExporter:
    """A collector, and the connection to it. One thread uses it."""

    def __init__(self, settings: OtlpSettings) -> None:
        """Take address and credentials; the first request connects."""
        self._receiver = HttpReceiver(
            HttpSinkSettings(
                url=settings.endpoint,
                token_file=settings.token_file,
                headers={**settings.headers, "content-type": "application/x-protobuf"},
                tls=settings.tls,
                insecure=settings.insecure,
                timeout=settings.timeout,
            )
        )

    def export(self, request: bytes) -> Verdict:
        """Send a request; return the verdict.

        Raises ReceiverError: the records may be sent again.
        """
        answer = self._receiver.post(request)
        if answer.status in _SUCCESSES:
            return verdict_of(answer.body)
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
