"""Sends batches of spans by OTLP: over gRPC, or by HTTP. What the collector answers is bounded.

The SDK's exporters read an answer of any size, log what it says, and are set by environment
variables as well. So batches are sent here by gRPC's library, or as any other document.
"""

import re
import ssl
import time
from contextlib import suppress
from typing import Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from authz.adapters.client_credentials import (
    MAX_PEM_BYTES,
    CertificateContext,
    check_certificate,
    read_bearer_token,
)
from authz.adapters.fetched import FetchError
from authz.adapters.files import read_between
from authz.adapters.grpc_target import grpc_target
from authz.adapters.http_fetch import (
    DocumentRequest,
    StatusError,
    TooLargeError,
    fetch_document,
    tls_context,
)
from authz.adapters.receiver_settings import OtlpProtocol, OtlpSettings
from authz.core.urls import is_plaintext

MAX_ANSWER_BYTES: Final = 64 * 1024  # an answer says how many spans were refused, and why
EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_CONTENT: Final = "application/x-protobuf"
_ANY_TYPE: Final = re.compile(r".*", re.DOTALL)  # the status alone says whether it was taken
# OTLP, sections on failures: what else is answered may not be sent again.
_AGAIN_HTTP: Final = frozenset({429, 502, 503, 504})
_AGAIN_GRPC: Final = frozenset(
    {
        *(grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED),
        *(grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE),
        *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS),
    }
)
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_metadata_size", MAX_ANSWER_BYTES),
    ("grpc.enable_retries", 0),  # we try again, and count
    ("grpc.enable_http_proxy", 0),  # the environment does not lead us elsewhere
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.primary_user_agent", "agent-authz"),
)


class SendError(Exception):
    """Signals that a batch was not taken; the message says why, without the collector's words.

    Attributes:
        may_repeat: whether the same batch may be sent again.
    """

    def __init__(self, message: str, *, may_repeat: bool) -> None:
        """Say why, and whether another try makes sense."""
        super().__init__(message)
        self.may_repeat = may_repeat


class Sender(Protocol):
    """Sends batches. One thread calls ``send``; ``close`` may come from another meanwhile."""

    def send(self, data: bytes, seconds: float) -> int:
        """Send a serialised request within this time, and return the spans that were refused.

        The number is the collector's, and may be anything. Raises SendError.
        """

    def close(self) -> None:
        """End what is open; a ``send`` that runs fails at once if that is possible."""


def open_sender(settings: OtlpSettings) -> Sender:
    """Return a sender by the protocol of the settings; it connects when it first sends.

    Raises FetchError for a file of certificates that can't be used.
    """
    tls = settings.tls
    if not is_plaintext(settings.endpoint):
        tls_context(tls.ca_file)
        if tls.client is not None:
            check_certificate(tls.client)
    return GrpcSender(settings) if settings.protocol is OtlpProtocol.GRPC else HttpSender(settings)


class GrpcSender:
    """Sends by OTLP/gRPC, over one connection for as long as it works.

    After a failure the next batch goes over a new one, for which all files are read anew.
    """

    def __init__(self, settings: OtlpSettings) -> None:
        """Keep the settings; nothing is connected yet."""
        self._settings = settings
        self._channel: grpc.Channel | None = None

    def send(self, data: bytes, seconds: float) -> int:
        """Send a batch, as ``Sender.send``. Raises SendError."""
        try:
            metadata = tuple(
                (name.lower(), value) for name, value in _headers(self._settings).items()
            )
            if self._channel is None:
                self._channel = _channel(self._settings)
            call = self._channel.unary_unary(EXPORT, bytes, bytes)
            answer = call(data, timeout=seconds, metadata=metadata)
        except FetchError as error:
            raise SendError(str(error), may_repeat=True) from None
        except grpc.RpcError as error:
            self.close()
            code = error.code()
            raise SendError(f"gRPC status {code.name}", may_repeat=code in _AGAIN_GRPC) from None
        except ValueError:  # closed meanwhile
            raise SendError("the connection was closed", may_repeat=False) from None
        if answer is None:  # an OK alone, as of something that is no collector
            raise SendError("it answered without a message: see endpoint", may_repeat=True)
        return _refused(answer)

    def close(self) -> None:
        """Close the connection, which ends a call at once."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


class HttpSender:
    """Sends by OTLP/HTTP with protobuf, a connection for each batch."""

    def __init__(self, settings: OtlpSettings) -> None:
        """Read the CAs. Raises FetchError."""
        self._settings = settings
        client, ca_file = settings.tls.client, settings.tls.ca_file
        self._certificate = CertificateContext(client, ca_file) if client is not None else None
        self._context = None if is_plaintext(settings.endpoint) else tls_context(ca_file)

    def send(self, data: bytes, seconds: float) -> int:
        """Send a batch, as ``Sender.send``. Raises SendError."""
        deadline = time.monotonic() + seconds
        try:
            shown = self._certificate
            ask = DocumentRequest(
                self._settings.endpoint,
                MAX_ANSWER_BYTES,
                {**_headers(self._settings), "content-type": _CONTENT, "accept": _CONTENT},
                data,
                self._context if shown is None else shown.get(),
                content_type=_ANY_TYPE,
            )
            return _refused(fetch_document(ask, deadline).body)
        except StatusError as error:
            raise SendError(str(error), may_repeat=error.status in _AGAIN_HTTP) from None
        except TooLargeError as error:
            raise SendError(str(error), may_repeat=False) from None
        except FetchError as error:
            raise SendError(str(error), may_repeat=True) from None

    def close(self) -> None:
        """Do nothing: a batch's connection ends by its deadline."""


def _headers(settings: OtlpSettings) -> dict[str, str]:
    """Return the headers of the settings, and the token as it is now. Raises FetchError."""
    headers = dict(settings.headers)
    if settings.token_file is not None:
        headers["authorization"] = f"Bearer {read_bearer_token(settings.token_file)}"
    return headers


def _refused(answer: bytes) -> int:
    """Return the number of refused spans in an answer; one that can't be read refuses none."""
    with suppress(DecodeError):
        refused: int = ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans
        return refused
    return 0


def _channel(settings: OtlpSettings) -> grpc.Channel:
    """Open a channel, which connects when it is used. Raises FetchError."""
    target, named = grpc_target(settings.endpoint)
    options = (*_OPTIONS, *named)
    if is_plaintext(settings.endpoint):
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, _credentials(settings), options)


def _credentials(settings: OtlpSettings) -> grpc.ChannelCredentials:
    """Return the CAs, the system's by default, and our certificate. Raises FetchError."""
    trusted = tls_context(settings.tls.ca_file).get_ca_certs(binary_form=True)
    roots = "".join(map(ssl.DER_cert_to_PEM_cert, trusted)).encode()
    client = settings.tls.client
    if client is None:
        return grpc.ssl_channel_credentials(roots)
    check_certificate(client)
    try:
        key, chain = (
            read_between(path, MAX_PEM_BYTES) for path in (client.private_key, client.certificate)
        )
    except OSError as error:
        raise FetchError(f"tls: {client.certificate} can't be read: {error.strerror}") from None
    return grpc.ssl_channel_credentials(roots, key, chain)
