"""Certificates that the lab's authority does not issue: odd keys, odd usages, edited bytes."""

import datetime as dt
from base64 import encodebytes
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding


def pem(der: bytes) -> str:
    """Return the PEM of a certificate's bytes."""
    body = encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


def as_sent(text: str) -> str:
    """Return a PEM text as Envoy writes it to ``source.certificate``."""
    return quote(text, safe="")


def self_made(
    uri: str, *, digital_signature: bool = True, key: rsa.RSAPrivateKey | None = None
) -> str:
    """Make a self-signed leaf with this URI name, valid for an hour, as Envoy would send it."""
    signer = key or ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=True,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(signer.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(usage, critical=True)
        .add_extension(names, critical=True)
        .sign(signer, hashes.SHA256())
    )
    return as_sent(pem(certificate.public_bytes(Encoding.DER)))
