"""An issuer for trying: a signing key in a file, which says that it is for nothing else.

The private JWK has members of our own beside those of RFC 7517, by which ``authz token make`` knows
the keys that ``authz init`` made: it signs with no other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from authz.adapters.files import read_between
from authz.core import strict_json
from authz.core.jose.jwk import proof_key
from authz.starter.errors import StarterError
from authz.starter.marks import KEY_ID_PREFIX, MADE_BY, TRY_OUT_ISSUER

PRIVATE_KEY: Final = "issuer.jwk"
ALGORITHM: Final = "ES256"
MAX_BYTES: Final = 16 * 1024  # of the file: ours has half a KiB
NOT_OURS: Final = (
    "is not a signing key that authz init made, and no other is used: authz is not an "
    "authorization server. Take tokens from your issuer, or make a folder with authz init"
)


@dataclass(frozen=True, slots=True)
class TryOutIssuer:
    """A signing key, and the contents of its tokens.

    Attributes:
        audience: the ``aud`` of its tokens, if nothing else is asked for.
        agents: the SPIFFE IDs of the agents that were created with it, by short name.
    """

    private: EllipticCurvePrivateKey = field(repr=False)
    audience: str
    agents: Mapping[str, str]

    @classmethod
    def make(cls, audience: str, agents: Mapping[str, str]) -> Self:
        """Make a new key."""
        return cls(generate_private_key(SECP256R1()), audience, agents)

    @classmethod
    def parse(cls, document: bytes) -> Self:
        """Return the issuer of a private JWK. Raises StarterError if ``private_jwk`` isn't its."""
        try:
            parsed = strict_json.loads(document)
            jwk = parsed if isinstance(parsed, dict) else {}
            issuer = cls(_private_key(jwk), _text(jwk["audience"]), _texts(jwk["agents"]))
            is_ours = issuer.private_jwk() == jwk
        except (LookupError, TypeError, ValueError, jwt.PyJWTError):
            is_ours = False
        if not is_ours:
            raise StarterError(NOT_OURS)
        return issuer

    @property
    def key_id(self) -> str:
        """The kid: a mark, and the key's thumbprint (RFC 7638)."""
        return str(self.public_jwk()["kid"])

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key as a JWK."""
        jwk = _numbers(self.private.public_key())
        thumbprint = proof_key(jwk, frozenset({ALGORITHM})).thumbprint
        return {**jwk, "kid": f"{KEY_ID_PREFIX}{thumbprint}", "alg": ALGORITHM, "use": "sig"}

    def jwks(self) -> bytes:
        """Return the JWK Set to publish."""
        return _document({"keys": [self.public_jwk()]})

    def private_jwk(self) -> dict[str, Any]:
        """Return the private key as a JWK with our marks."""
        return {
            "made_by": MADE_BY,
            "issuer": TRY_OUT_ISSUER,
            "audience": self.audience,
            "agents": dict(self.agents),
            **self.public_jwk(),
            **_numbers(self.private),
        }

    def document(self) -> bytes:
        """Return the private JWK as the file has it."""
        return _document(self.private_jwk())

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return a signed access token (RFC 9068)."""
        header = {"typ": "at+jwt", "kid": self.key_id}
        return jwt.encode(
            {"iss": TRY_OUT_ISSUER, **claims}, self.private, ALGORITHM, headers=header
        )


def _private_key(jwk: Mapping[str, Any]) -> EllipticCurvePrivateKey:
    key = jwt.get_algorithm_by_name(ALGORITHM).from_jwk(dict(jwk))
    if not isinstance(key, EllipticCurvePrivateKey):
        raise TypeError
    return key


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError
    return {_text(name): _text(text) for name, text in value.items()}


def _numbers(key: object) -> dict[str, Any]:
    members = jwt.get_algorithm_by_name(ALGORITHM).to_jwk(key, as_dict=True)
    return {name: members[name] for name in ("kty", "crv", "x", "y", "d") if name in members}


def _document(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def read_issuer(folder: Path) -> TryOutIssuer:
    """Return the issuer of a folder. Raises StarterError."""
    path = folder / PRIVATE_KEY
    try:
        data = read_between(path, MAX_BYTES)
    except OSError as error:
        raise StarterError(
            f"{path}: {error.strerror}. authz init {folder} makes it; "
            "or name the folder that authz init wrote"
        ) from None
    try:
        return TryOutIssuer.parse(data)
    except StarterError as error:
        raise StarterError(f"{path} {error}") from None
