"""The server's certificate, key and CAs from its files: parsed, and required to fit together."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from authz.adapters.files import FileState
from authz.adapters.pem_files import CERTIFICATE, PRIVATE_KEY, told
from authz.adapters.tls_fitness import ended, faults_at_any_time, said
from authz.core.told_error import ToldError

# The settings of files, each with the setting that it may be swapped with.
BESIDE: Final[Mapping[str, str]] = {
    "certificate": "private_key",
    "private_key": "certificate",
    "client_ca": "private_key",
}
_T = TypeVar("_T")


class TlsError(ToldError):
    """Signals that certificate, key and CA are invalid or do not fit; the message says why.

    ``key`` is the setting that is wrong, "" if it is not a single setting.
    """

    def __init__(self, message: str, key: str = "") -> None:
        """Take the message, which begins with the setting if there is one."""
        self.key = key
        self._message = message
        super().__init__(self.of("server.tls"))

    def of(self, section: str) -> str:
        """Return the message about a setting of this section of the config."""
        return f"{section}.{self.key}: {self._message}" if self.key else self._message


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Certificate, key and CAs that fit together, in PEM, and parsed.

    Attributes:
        certificate: our certificate, and its intermediates after it.
        private_key: its key.
        client_ca: the CAs that callers' certificates come from.
        chain: our certificate and its intermediates, parsed.
        authorities: the same CAs, parsed.
        path: the certificate's file, for messages.
        faults: why no proxy takes the certificate at any time.
    """

    certificate: bytes
    private_key: bytes
    client_ca: bytes
    chain: tuple[x509.Certificate, ...]
    authorities: tuple[x509.Certificate, ...]
    path: str
    faults: tuple[str, ...]

    @property
    def not_after(self) -> float:
        """Return when our certificate expires, unix seconds."""
        return self.chain[0].not_valid_after_utc.timestamp()

    @property
    def seconds_to_begin(self) -> float:
        """Return the seconds until our certificate is valid, negative if it is."""
        begin = self.chain[0].not_valid_before_utc
        return (begin - dt.datetime.now(dt.UTC)).total_seconds()

    def fault_now(self) -> str:
        """Say that our certificate has expired, or begins later; "" if it is valid now."""
        why = ended(self.chain, dt.datetime.now(dt.UTC))
        if not why and self.seconds_to_begin > 0:
            why = f"it is not valid before {said(self.chain[0].not_valid_before_utc)}: check clocks"
        return f"{self.path}: {why}" if why else ""

    def with_authorities(self, files: "TlsFiles") -> "TlsMaterial":
        """Return this certificate with the CAs of the files. Raises TlsError for invalid ones."""
        authorities = files.authorities()
        return replace(self, client_ca=files.client_ca, authorities=authorities)

    def check_replaces(self, before: "TlsMaterial") -> None:
        """Require that proxies can take this certificate, if they could take the one before.

        Raises TlsError.
        """
        new = [fault for fault in self.faults if fault not in before.faults]
        why = self.fault_now() or (f"{self.path}: {new[0]}" if new else "")
        if why:
            raise TlsError(why, "certificate")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files' contents, which show a change, and their states, which show whether they rest."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes
    states: tuple[FileState, ...] = field(default=(), compare=False)
    paths: Mapping[str, str] = field(default_factory=dict, compare=False)

    def checked(self) -> TlsMaterial:
        """Parse the files, and require that key and certificate fit. Raises TlsError."""
        chain = self._parsed("certificate", x509.load_pem_x509_certificates)
        key = self._parsed("private_key", _public_key_of)
        authorities = self.authorities()
        owners = [_encoded(certificate.public_key()) == key for certificate in chain]
        if not owners[0]:
            raise self._mismatch(is_behind=any(owners))
        return TlsMaterial(
            self.certificate,
            self.private_key,
            self.client_ca,
            tuple(chain),
            authorities,
            self._path("certificate"),
            tuple(faults_at_any_time(chain[0])),
        )

    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Return the CAs of callers' certificates. Raises TlsError."""
        return tuple(self._parsed("client_ca", x509.load_pem_x509_certificates))

    def _parsed(self, key: str, parse: Callable[[bytes], _T]) -> _T:
        """Return the content of a setting's file. Raises TlsError."""
        data, beside = getattr(self, key), BESIDE[key]
        try:
            return parse(data)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            wanted = PRIVATE_KEY if key == "private_key" else CERTIFICATE
            other = (beside, getattr(self, beside, b""))
            raise TlsError(told(self._path(key), data, wanted, other), key) from None

    def _mismatch(self, *, is_behind: bool) -> TlsError:
        certificate = self._path("certificate")
        if is_behind:
            message = f"{certificate} begins with a CA's certificate: put the server's own first"
            return TlsError(message, "certificate")
        message = (
            f"{self._path('private_key')} does not belong to the certificate in {certificate}: name"
            " the key that it was issued for"
        )
        return TlsError(message, "private_key")

    def _path(self, key: str) -> str:
        return self.paths.get(key, "the Workload API's answer")


def _encoded(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public_key_of(private_key: bytes) -> bytes:
    """Return the encoded public key of a private key in PEM. Raises ValueError, TypeError."""
    key = load_pem_private_key(private_key, None).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
