"""JSON Web Keys to try: public members, odd ones, and what becomes of a set of them."""

import datetime as dt
import json
from base64 import b64encode, urlsafe_b64encode
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from authz.core.jose.jwk import parse_key_set

ALL = frozenset(
    "ES256 ES384 ES512 RS256 RS384 RS512 PS256 PS384 PS512 Ed25519 EdDSA".split()  # noqa: SIM905 - easier to read
)
RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
PRIVATE: dict[str, Any] = {
    **{name: ec.generate_private_key(curve) for name, curve in CURVES.items()},
    "RSA": rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
PRIVATE |= dict.fromkeys(RSA_ALGORITHMS, PRIVATE["RSA"]) | {"Ed25519": PRIVATE["EdDSA"]}


def number(value: int) -> str:
    """Write a number as JWKs do."""
    data = value.to_bytes((value.bit_length() + 7) // 8 or 1, "big")
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def method(algorithm: str) -> Any:
    """Return PyJWT's own object for an algorithm."""
    return jwt.get_algorithm_by_name("EdDSA" if algorithm == "Ed25519" else algorithm)


def jwk(algorithm: str = "ES256", **changes: Any) -> dict[str, Any]:
    """Return a public JWK of kid k, without alg; a change to ... leaves a member out."""
    members = method(algorithm).to_jwk(PRIVATE[algorithm].public_key(), as_dict=True)
    members.pop("key_ops", None)
    members = {**members, "kid": "k"} | changes
    return {name: value for name, value in members.items() if value is not ...}


def parse(*keys: Any, algorithms: frozenset[str] = ALL, issuer: str = "") -> Any:
    """Parse a set of these keys, for an issuer."""
    return parse_key_set(json.dumps({"keys": keys}).encode(), algorithms, issuer)


def refusal(key: Any, issuer: str = "") -> tuple[str, str]:
    """Return how a key is refused between two valid keys."""
    keys, refused = parse(jwk(kid="a"), key, jwk("RS256", kid="b"), issuer=issuer)
    assert set(keys) == {"a", "b"}
    ((name, why),) = refused
    return name, why


def x5c(public: Any, days: int = 1) -> str:
    """Return a certificate of a public key as ``x5c`` has it, which ends in so many days."""
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(public)
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=365))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(PRIVATE["ES256"], hashes.SHA256())
    )
    return b64encode(certificate.public_bytes(Encoding.DER)).decode()


def certified(algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    """Return a JWK as ``jwk``, whose key is in its certificate alone."""
    own = {
        "x5c": [x5c(PRIVATE[algorithm].public_key())],
        **dict.fromkeys(("n", "e", "x", "y"), ...),
    }
    return jwk(algorithm, **own | changes)
