"""Says what a file holds instead of the wanted PEM, and what would be right."""

import re
from collections.abc import Mapping
from typing import Final

CERTIFICATE: Final = "a certificate"
PRIVATE_KEY: Final = "a private key"
_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_DER: Final = re.compile(rb"\A\x30[\x80-\x84\x01-\x7f]", re.DOTALL)  # an ASN.1 sequence
_ENCRYPTED: Final = (b"ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")
_LABELS: Final[Mapping[bytes, str]] = {  # RFC 7468, and OpenSSL's older ones
    b"CERTIFICATE": CERTIFICATE,
    b"X509 CERTIFICATE": CERTIFICATE,
    b"TRUSTED CERTIFICATE": CERTIFICATE,
    b"CERTIFICATE REQUEST": "a certificate request",
    b"NEW CERTIFICATE REQUEST": "a certificate request",
    b"PUBLIC KEY": "a public key",
    b"RSA PUBLIC KEY": "a public key",
    b"PRIVATE KEY": PRIVATE_KEY,
    b"RSA PRIVATE KEY": PRIVATE_KEY,
    b"EC PRIVATE KEY": PRIVATE_KEY,
    b"EC PARAMETERS": PRIVATE_KEY,  # OpenSSL writes them before the key
    b"OPENSSH PRIVATE KEY": "a key of SSH",
    b"X509 CRL": "a revocation list",
}
_CURES: Final[Mapping[str, str]] = {
    "a certificate request": "the CA makes the certificate of it",
    "a public key": "the private key is in another file, and the certificate comes from the CA",
    "an encrypted private key": "decrypt it, as with openssl pkey -in FILE -out NEW",
    "a JWK": "write it as PEM",
    "DER, the binary form": "convert it to PEM, as with openssl x509 -inform der -in FILE -out NEW",
    "a key of SSH": "TLS needs another key, as from openssl genpkey",
    "a revocation list": "name the CA's certificate",
}


def kind_of(data: bytes) -> str:
    """Return the kind of a file's content, in words for people; for a chain, of its first part."""
    if not data.strip():
        return "nothing"
    if any(mark in data for mark in _ENCRYPTED):
        return "an encrypted private key"
    if match := _BEGIN.search(data):
        return _LABELS.get(match[1], "PEM of another kind")
    if _DER.match(data):
        return "DER, the binary form"
    if b'"kty"' in data:
        return "a JWK"
    return "no PEM"


def told(path: str, data: bytes, wanted: str, other: tuple[str, bytes] = ("", b"")) -> str:
    """Say what a file holds instead of ``wanted``, and what would be right.

    ``other`` is the setting beside it, and the kind of content of its file: they may be swapped.
    """
    found, (key, beside) = kind_of(data), other
    if found == wanted:
        return f"{path} holds {wanted} that can't be read: is it cut, or edited?"
    if found in {CERTIFICATE, PRIVATE_KEY} and kind_of(beside) == wanted:
        return f"{path} holds {found}; is {key} swapped with it?"
    cure = _CURES.get(found, f"name the file with {wanted} in PEM")
    return f"{path} holds {found}, not {wanted}: {cure}"
