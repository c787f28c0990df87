"""The server's certificate, key and CAs from its files: parsed, and required to fit together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
        super().__init__(f"server.tls.{key}: {message}" if key else message)
        self.key = key


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Certificate, key and CAs that fit together, in PEM, and parsed.

    Attributes:
        certificate: our certificate, and its intermediates after it.
        private_key: its key.
        client_ca: the CAs that callers' certificates come from.
        not_after: when our certificate expires, unix seconds.
        authorities: the same CAs, parsed.
    """

    certificate: bytes
    private_key: bytes
    client_ca: bytes
    not_after: float
    authorities: tuple[x509.Certificate, ...]


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
        authorities = tuple(self._parsed("client_ca", x509.load_pem_x509_certificates))
        owners = [_encoded(certificate.public_key()) == key for certificate in chain]
        if not owners[0]:
            raise self._mismatch(is_behind=any(owners))
        not_after = chain[0].not_valid_after_utc.timestamp()
        return TlsMaterial(
            self.certificate, self.private_key, self.client_ca, not_after, authorities
        )

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
