"""A SPIFFE certificate authority: issues valid X509-SVIDs, and invalid ones on purpose."""

import datetime as dt
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class Svid:
    """A certificate with its key, as PEM and in files."""

    certificate: x509.Certificate
    certificate_pem: str
    key_pem: str
    certificate_path: Path
    key_path: Path

    @property
    def url_encoded(self) -> str:
        """Return a PEM as Envoy writes it to ``source.certificate``."""
        return quote(self.certificate_pem, safe="")


class Authority:
    """A root of trust that issues leaves."""

    def __init__(
        self,
        folder: Path,
        name: str = "lab",
        lifetime_seconds: float = 30 * 24 * 3600,
        *,
        spiffe_id: str = "",
    ) -> None:
        """Make the root, of the trust domain ``spiffe_id`` if given, and write ``ca.pem``."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(seconds=lifetime_seconds))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
        )
        if spiffe_id:
            names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
            builder = builder.add_extension(names, critical=False)
        self.certificate = builder.sign(self._key, hashes.SHA256())
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        self._numbers = count(1)  # several threads may ask for leaves

    def issue(
        self,
        *uris: str,
        dns: tuple[str, ...] = (),
        common_name: str = "",
        ca: bool = False,
        key_usage: bool = True,
        signs_certificates: bool = False,
        usages: tuple[x509.ObjectIdentifier, ...] = _BOTH,
        starts_in_seconds: float = -60,
        lifetime_seconds: float = 24 * 3600,
        key: Key | None = None,
    ) -> Svid:
        """Issue a leaf with these URI and DNS names; the switches make it invalid."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        start = now + dt.timedelta(seconds=starts_in_seconds)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(seconds=lifetime_seconds))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names.extend(x509.DNSName(name) for name in dns)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if key_usage:
            builder = builder.add_extension(_key_usage(ca=signs_certificates), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        return self._write(builder.sign(self._key, hashes.SHA256()), key)

    def _write(self, certificate: x509.Certificate, key: Key) -> Svid:
        number = next(self._numbers)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        certificate_path = self.folder / f"leaf-{number}.pem"
        key_path = self.folder / f"leaf-{number}.key"
        certificate_path.write_bytes(pem)
        key_path.write_bytes(key_pem)
        return Svid(certificate, pem.decode(), key_pem.decode(), certificate_path, key_path)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
