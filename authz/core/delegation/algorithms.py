"""The signature algorithms that a token may have: of public keys only (RFC 8725 section 3.2)."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

_BY_SECRET: Final = frozenset({"HS256", "HS384", "HS512"})
_INSTEAD: Final = "name the algorithm of the issuer's keys, such as ES256 or RS256"


def _not_forgeable(name: object) -> object:
    """Refuse algorithms with which others than the issuer could make tokens (RFC 8725 2.1)."""
    if isinstance(name, str) and name.upper() in _BY_SECRET:
        raise ValueError(
            f"{name} is never accepted: HMAC verifies with the secret that signs, so that whoever"
            f" can verify a token could make one; {_INSTEAD}"
        )
    if isinstance(name, str) and name.lower() == "none":
        raise ValueError(
            f"{name} is never accepted: anybody could make a token without a signature; {_INSTEAD}"
        )
    return name


AlgorithmName = Literal[
    "ES256",
    "ES384",
    "ES512",
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "Ed25519",
    "EdDSA",
]
Algorithm = Annotated[AlgorithmName, BeforeValidator(_not_forgeable)]
"""For settings: an algorithm of public keys."""
