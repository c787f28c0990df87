"""Sends requests to a collector by OTLP/gRPC."""

import ssl
import time
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from authz.adapters.client_credentials import (
    MAX_PEM_BYTES,
    check_certificate,
    read_bearer_token,
)
from authz.adapters.fetched import FetchError
from authz.adapters.files import read_between
from authz.adapters.grpc_target import Options, grpc_target
from authz.adapters.receiver_settings import OtlpSettings
from authz.adapters.receivers.otlp_signals import Signal
from authz.adapters.receivers.otlp_verdict import (
    OURS_CODES,
    RETRYABLE_CODES,
    RETRYABLE_WITH_DELAY,
    Verdict,
    verdict_of,
)
from authz.adapters.receivers.receiver import (
    MAX_ANSWER_BYTES,
    MAX_RETRY_AFTER_SECONDS,
    ReceiverError,
)
from authz.core.urls import is_plaintext

# A channel is left after this time, so that a changed address or certificate counts.
CHANNEL_SECONDS: Final = 300.0
_STATUS: Final = "grpc-status-details-bin"
_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),  # the environment does not lead us elsewhere
    ("grpc.enable_retries", 0),  # the caller repeats, and counts it
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.use_local_subchannel_pool", 1),  # or a new channel inherits an old one's back-off
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.primary_user_agent", "agent-authz"),
)
# The library's texts, and the words for operators.
_FAULTS: Final = (
    ("Connection refused", "connection refused"),
    ("Deadline Exceeded", "Timeout: it took too long"),
    ("Hostname Verification", "its certificate is for another name"),
    ("andshake failed", "its certificate is invalid: name the CA that made it in tls.ca_file"),
    ("Socket closed", "it ended the connection: it may ask for a certificate, or has no TLS"),
)


class GrpcExporter:
    """A collector, and the channel to it. One thread uses it."""

    def __init__(self, settings: OtlpSettings, signal: Signal) -> None:
        """Take address and credentials; the first request connects."""
        self._settings = settings
        self._signal = signal
        self._channel: grpc.Channel | None = None
        self._leave_at = 0.0

    def export(self, request: bytes, timeout_seconds: float) -> Verdict:
        """Send a request; return the verdict. Raises ReceiverError: it may be sent again."""
        if time.monotonic() >= self._leave_at:
            self.close()
        try:
            call = self._opened().unary_unary(self._signal.method, _as_it_is, _as_it_is)
            answer = call(request, timeout=timeout_seconds, metadata=self._metadata())
        except grpc.RpcError as error:
            # The next attempt connects at once: the channel's own back-off takes up to minutes.
            self.close()
            return _judged(error)
        except ValueError:  # of a channel that was cancelled
            raise ReceiverError("the connection was closed") from None
        if answer is None:  # an OK alone, as of something that is no collector
            self.close()
            raise ReceiverError("it answered without a message: see endpoint")
        return verdict_of(answer, self._signal)

    def close(self) -> None:
        """Close the channel; the next request opens one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def cancel(self) -> None:
        """End an export of another thread at once."""
        channel = self._channel
        if channel is not None:
            channel.close()

    def _opened(self) -> grpc.Channel:
        if self._channel is None:
            target, named = _target(self._settings.endpoint)
            options = (*_OPTIONS, *named)
            if is_plaintext(self._settings.endpoint):
                self._channel = grpc.insecure_channel(target, options=options)
            else:
                self._channel = grpc.secure_channel(target, self._tls(), options=options)
            self._leave_at = time.monotonic() + CHANNEL_SECONDS
        return self._channel

    def _tls(self) -> grpc.ChannelCredentials:
        ca, client = self._settings.tls.ca_file, self._settings.tls.client
        authorities = _system_authorities() if ca is None else _read("ca_file", ca)
        if client is None:
            return grpc.ssl_channel_credentials(authorities)
        key = _read("private_key", client.private_key)
        chain = _read("certificate", client.certificate)
        try:
            check_certificate(client)
        except FetchError as error:
            raise ReceiverError(str(error)) from None
        return grpc.ssl_channel_credentials(authorities, key, chain)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        fields = [(name.lower(), text) for name, text in self._settings.headers.items()]
        if self._settings.token_file is not None:
            try:
                token = read_bearer_token(self._settings.token_file)
            except FetchError as error:
                raise ReceiverError(str(error)) from None
            fields.append(("authorization", f"Bearer {token}"))
        return tuple(fields)


def _target(endpoint: str) -> tuple[str, Options]:
    try:
        return grpc_target(endpoint)
    except FetchError as error:
        raise ReceiverError(str(error)) from None


def _as_it_is(data: bytes) -> bytes:
    return data


def _system_authorities() -> bytes | None:
    """Return the system's CAs in PEM; None, for those that grpcio brings, if there are none."""
    places = ssl.get_default_verify_paths()
    files = [Path(places.cafile)] if places.cafile else []
    if not files and places.capath:
        files = sorted(Path(places.capath).glob("*.[0-9]"))  # the names that OpenSSL reads
    found = [_read("the system's CAs", str(file)) for file in files]
    return b"\n".join(found) or None


def _read(key: str, path: str) -> bytes:
    try:
        return read_between(path, MAX_PEM_BYTES)
    except OSError as error:
        raise ReceiverError(f"tls: {key}: {path} can't be read: {error.strerror}") from None


def _judged(error: Any) -> Verdict:  # noqa: ANN401 - grpcio has no type for what it raises
    """Return the verdict of an error that concerns the items. Raises ReceiverError for others."""
    code = error.code().name
    delay = _retry_delay(error)
    if code in RETRYABLE_CODES or (code == RETRYABLE_WITH_DELAY and delay is not None):
        _again(_in_words(code, error.details() or ""), delay)
    if code in OURS_CODES:
        _again(f"it answered {code}: see endpoint, token_file and headers", None)
    return Verdict(refused=f"it answered {code}")


def _in_words(code: str, details: str) -> str:
    """Return why a request failed, of a closed list: the details may be the collector's."""
    found = [words for text, words in _FAULTS if text in details]
    return found[0] if found else f"it answered {code}"


def _again(message: str, delay: float | None) -> NoReturn:
    raise ReceiverError(message, delay or 0.0)


def _retry_delay(error: Any) -> float | None:  # noqa: ANN401 - likewise
    """Return the seconds of RetryInfo in the status, None if it has none."""
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS:
            return _delay_in(value)
    return None


def _delay_in(status: bytes) -> float | None:
    info = RetryInfo()
    try:
        details = Status.FromString(status).details
        if not any(detail.Unpack(info) for detail in details):
            return None
    except (DecodeError, TypeError):
        return None
    delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
    return min(max(0.0, delay), MAX_RETRY_AFTER_SECONDS)
