"""Says why no proxy takes a server's certificate, although TLS can load it."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

# Curves of a server's key whose signatures BoringSSL accepts, which Envoy and gRPC are built with.
# By default it accepts neither Ed25519 nor P-521.
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)
_MIN_RSA_BITS: Final = 2048  # OpenSSL's security level 2 loads no shorter key for a server
_MIN_HASH_BYTES: Final = 32  # SHA-1 and MD5 are refused in signatures of certificates


def faults_at_any_time(certificate: x509.Certificate) -> Iterator[str]:
    """Yield the reasons why a proxy refuses a server's certificate at any time."""
    try:
        if not _has_usable_key(certificate):
            yield (
                "Envoy and gRPC take no such key in a handshake:"
                " use ECDSA with P-256 or P-384, or RSA of 2048 bits or more"
            )
        if _is_weakly_signed(certificate):
            yield "it is signed with a broken hash: let the CA sign with SHA-256 or better"
        extensions = certificate.extensions
    except (ValueError, UnsupportedAlgorithm):
        yield "its key or its extensions can't be read"
        return
    if not any(isinstance(one.value, x509.SubjectAlternativeName) for one in extensions):
        yield (
            "it has no subject alternative name, as a SPIFFE ID or a DNS name,"
            " and a proxy can verify it by no other name"
        )
    if not is_for(certificate, ExtendedKeyUsageOID.SERVER_AUTH):
        yield "it is not for server authentication, by its extended key usage"


def ended(chain: Sequence[x509.Certificate], now: dt.datetime) -> str:
    """Say that a certificate, or the intermediate that issued it, has expired; "" if neither has.

    Further intermediates count for nothing: a proxy may know another way to its CA.
    """
    leaf = chain[0]
    if leaf.not_valid_after_utc < now:
        return (
            f"it expired at {said(leaf.not_valid_after_utc)}, so that nobody accepts it: renew it"
        )
    issuer = next((one for one in chain[1:] if one.subject == leaf.issuer), None)
    if issuer is not None and issuer.not_valid_after_utc < now:
        when = said(issuer.not_valid_after_utc)
        return f"the intermediate that issued it expired at {when}: put the CA's present one there"
    return ""


def is_for(certificate: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    """Tell whether the extended key usage, if there is one, permits this (RFC 5280 4.2.1.12)."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except (ValueError, x509.ExtensionNotFound):
        return True
    return not {usage, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}.isdisjoint(extension.value)


def said(when: dt.datetime) -> str:
    """Return a time in UTC, in words for people."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}"


def _has_usable_key(certificate: x509.Certificate) -> bool:
    """Tell whether BoringSSL takes the key. Raises ValueError, UnsupportedAlgorithm."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _MIN_RSA_BITS
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _is_weakly_signed(certificate: x509.Certificate) -> bool:
    """Tell whether the CA signed a short hash. Raises UnsupportedAlgorithm."""
    algorithm = certificate.signature_hash_algorithm  # None for Ed25519, which has its own
    return algorithm is not None and algorithm.digest_size < _MIN_HASH_BYTES
