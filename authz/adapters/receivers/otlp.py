"""Exports serialised requests to an OpenTelemetry collector, over gRPC or HTTP.

OpenTelemetry's own exporters read an answer of any size, log what it says, and obey variables of
the environment.
"""

from typing import Protocol

from authz.adapters.client_credentials import check_certificate
from authz.adapters.http_fetch import tls_context
from authz.adapters.receiver_settings import OtlpProtocol, OtlpSettings
from authz.adapters.receivers.otlp_grpc import GrpcExporter
from authz.adapters.receivers.otlp_http import HttpExporter
from authz.adapters.receivers.otlp_signals import Signal
from authz.adapters.receivers.otlp_verdict import Verdict
from authz.core.urls import is_plaintext


class Exporter(Protocol):
    """A way to a collector. One thread uses it, except for ``cancel``."""

    def export(self, request: bytes, timeout_seconds: float) -> Verdict:
        """Send a request; return the verdict. Raises ReceiverError: it may be sent again."""

    def close(self) -> None:
        """Close the connection; the next request opens one."""

    def cancel(self) -> None:
        """End an export of another thread: at once over gRPC, by its timeout over HTTP."""


def open_exporter(settings: OtlpSettings, signal: Signal) -> Exporter:
    """Return an exporter by the protocol of the settings; the first request connects."""
    if settings.protocol is OtlpProtocol.GRPC:
        return GrpcExporter(settings, signal)
    return HttpExporter(settings, signal)


def check_tls(settings: OtlpSettings) -> None:
    """Require that the files of ``tls`` can be used, if TLS is. Raises FetchError."""
    if is_plaintext(settings.endpoint):
        return
    tls_context(settings.tls.ca_file)
    if settings.tls.client is not None:
        check_certificate(settings.tls.client)
