"""A certificate authority for trying: it issues X509-SVIDs at once, and discards its key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME: Final = timedelta(days=30)  # long enough to try, too short to rely on
_EARLY: Final = timedelta(minutes=5)  # for clocks that are behind
_USAGES: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True, slots=True)
class IssuedSvid:
    """A certificate and its key, both as PEM."""

    certificate: bytes
    key: bytes


class TryOutAuthority:
    """A root of trust that issues the SVIDs of a folder, all from the same moment on."""

    def __init__(self, trust_domain: str, now: datetime) -> None:
        """Make the root."""
        self._now = now
        self._key = generate_private_key(SECP256R1())
        self._name = _name(f"{trust_domain} CA, made by authz init for trying")
        builder = self._builder(self._name, self._key, is_ca=True)
        builder = builder.add_extension(_uris(f"spiffe://{trust_domain}"), critical=False)
        self.certificate = _pem(builder.sign(self._key, hashes.SHA256()))

    def issue(self, name: str, spiffe_id: str, hosts: Sequence[str] = ()) -> IssuedSvid:
        """Issue an X509-SVID: one URI name (X509-SVID section 2), beside a server's hosts."""
        key = generate_private_key(SECP256R1())
        builder = self._builder(_name(name), key, is_ca=False)
        builder = builder.add_extension(_uris(spiffe_id, hosts), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(_USAGES), critical=False)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return IssuedSvid(_pem(builder.sign(self._key, hashes.SHA256())), pem)

    def _builder(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, *, is_ca: bool
    ) -> x509.CertificateBuilder:
        """Begin a certificate with the fields that all of them have (RFC 5280 section 4.2.1)."""
        public, own = key.public_key(), self._key.public_key()
        limits = x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(own)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _EARLY)
            .not_valid_after(self._now + LIFETIME)
            .add_extension(limits, critical=True)
            .add_extension(_key_usage(is_ca=is_ca), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer, critical=False)
        )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])  # RFC 5280 appendix A.1


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _uris(uri: str, hosts: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """Return the key usage: an SVID signs handshakes, a CA certificates (X509-SVID section 4.3)."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
