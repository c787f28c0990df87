"""The public key of a JWK's own certificate (RFC 7517 section 4.7).

The certificate is only an envelope for the key. The set's origin vouches for the key, so the
certificate's chain, names and dates do not count. Issuers keep expired certificates around keys
that are in use.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

MAX_CERTIFICATE_CHARS: Final = 16 * 1024  # in base64; real ones have 1 to 3 thousand
_CURVES: Final[Mapping[str, str]] = {
    "secp256r1": "ES256",
    "secp384r1": "ES384",
    "secp521r1": "ES512",
}
_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "EC": ("x", "y"),
    "OKP": ("x",),
    "RSA": ("n", "e"),
}


def with_certified_key(jwk: dict[str, Any]) -> dict[str, Any]:
    """Return a JWK with the parameters of its certificate's key, if it lacks its own.

    The ``kty``, and the ``crv`` if given, must be those of the certificate's key.
    """
    kind = jwk.get("kty")
    names = _PARAMETERS.get(kind, ()) if isinstance(kind, str) else ()
    if not names or jwk.keys() & set(names):
        return jwk
    spki = certified_spki(jwk)
    certified = None if spki is None else _members(load_der_public_key(spki))
    if certified is None or certified["kty"] != kind:
        return jwk
    return {**certified, **jwk}


def certified_spki(jwk: Mapping[str, Any]) -> bytes | None:
    """Return the key of a JWK's first certificate as DER (RFC 5280's SubjectPublicKeyInfo).

    None if there is no certificate that can be read.
    """
    chain = jwk.get("x5c")
    first = chain[0] if isinstance(chain, list) and chain else None
    if not isinstance(first, str) or len(first) > MAX_CERTIFICATE_CHARS:
        return None
    # Few keys have one, and what reads it takes long to load for a command. A server has it loaded.
    from cryptography import x509  # noqa: PLC0415 - see above

    try:
        certificate = x509.load_der_x509_certificate(b64decode(first, validate=True))
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return certificate.public_key().public_bytes(*form)
    except Exception:  # noqa: BLE001 - hostile certificates make the libraries raise anything
        return None


def _members(public: object) -> Mapping[str, Any] | None:
    if isinstance(public, rsa.RSAPublicKey):
        name = "RS256"
    elif isinstance(public, ed25519.Ed25519PublicKey):
        name = "EdDSA"
    elif isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        name = _CURVES[public.curve.name]
    else:
        return None
    members: Mapping[str, Any] = jwt.get_algorithm_by_name(name).to_jwk(public, as_dict=True)
    return {at: members[at] for at in ("kty", "crv", "x", "y", "n", "e") if at in members}
