"""Mutual TLS on our own port: our certificate, and which proxies may ask (X509-SVID section 5).

The files are read again at every handshake, so that a renewed certificate needs no restart; through
symbolic links, as Kubernetes swaps them. What does not fit together is not taken: the last good
certificate stays.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import Field

from authz.patterns import SpiffePattern, SpiffePatternText
from authz.settings import Settings
from authz.spiffe import SpiffeId, SpiffeIdError

_PEER_URIS: Final = "peer_uri"  # gRPC's name for the URI names of the peer's certificate
_log: Final = logging.getLogger("authz.tls")


class TlsError(RuntimeError):
    """The files are no certificate, key and CA that go together; the message says why."""


class TlsSettings(Settings):
    """Mutual TLS on the host:port addresses of server.listen; unix sockets have none."""

    certificate: str = Field(min_length=1)
    """A PEM file with our certificate, and its intermediates after it."""
    private_key: str = Field(min_length=1)
    """A PEM file with its key."""
    client_ca: str = Field(min_length=1)
    """A PEM file with the CA certificates that proxies' certificates come from."""
    allowed_callers: tuple[SpiffePatternText, ...] = Field(min_length=1)
    """SPIFFE IDs (* for a segment) of the proxies that may ask."""


@dataclass(frozen=True, slots=True)
class _Files:
    """The contents, compared to know a change."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes

    def checked(self) -> grpc.ServerCertificateConfiguration:
        """As gRPC wants them. Raises TlsError."""
        try:
            certificates = x509.load_pem_x509_certificates(self.certificate)
            key = load_pem_private_key(self.private_key, None)
            x509.load_pem_x509_certificates(self.client_ca)
        except (ValueError, TypeError) as error:
            raise TlsError(f"not PEM as it should be: {error}") from None
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if certificates[0].public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
            raise TlsError("the private key is not the certificate's")
        pair = (self.private_key, self.certificate)
        return grpc.ssl_server_certificate_configuration([pair], self.client_ca)


class ServerTls:
    """Our side of the connections, and who may be on the other.

    Attributes:
        reloads: how many changed certificates were "taken" and "refused".
    """

    def __init__(self, settings: TlsSettings) -> None:
        """Read the files. Raises TlsError."""
        self._settings = settings
        self._callers = [SpiffePattern.parse(text) for text in settings.allowed_callers]
        self._lock = threading.Lock()  # handshakes only; no check waits here
        self.reloads = {"taken": 0, "refused": 0}
        self._seen = self._read()
        self._first = self._seen.checked()

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which asks for a change at every handshake."""
        return grpc.dynamic_ssl_server_credentials(
            self._first,
            self._changed,  # type: ignore[arg-type] # None, for no change, is documented
            require_client_authentication=True,
        )

    def _read(self) -> _Files:
        paths = (
            self._settings.certificate,
            self._settings.private_key,
            self._settings.client_ca,
        )
        try:
            return _Files(*(Path(path).read_bytes() for path in paths))
        except OSError as error:
            raise TlsError(f"{error.filename} can't be read: {error.strerror}") from None

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new certificate, None for no good one. Never raises: it would end the connection."""
        with self._lock:
            try:
                files = self._read()
                if files == self._seen:
                    return None
                self._seen = files  # a bad change is told once
                changed = files.checked()
            except TlsError as error:
                self.reloads["refused"] += 1
                _log.error("certificate not taken, the last good one stays: %s", error)
                return None
            self.reloads["taken"] += 1
            _log.info("certificate taken")
            return changed

    def caller(self, auth_context: Any) -> str | None:  # noqa: ANN401 - grpcio has no types
        """The SPIFFE ID of the proxy that asks; None for one that may not."""
        spiffe_id = _only_id(auth_context.get(_PEER_URIS, ()))
        if spiffe_id is None or not any(one.matches(spiffe_id) for one in self._callers):
            return None
        return spiffe_id.text


def _only_id(uris: Sequence[bytes]) -> SpiffeId | None:
    if len(uris) != 1:  # X509-SVID section 2
        return None
    try:
        return SpiffeId.parse(uris[0].decode("ascii"))
    except (SpiffeIdError, UnicodeDecodeError):
        return None
