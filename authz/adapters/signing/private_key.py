"""Reads and makes the private keys that sign our tokens."""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from authz.adapters.pem_files import PRIVATE_KEY, told
from authz.adapters.signing_algorithm import SigningAlgorithm
from authz.core.jose.jwk import proof_key
from authz.core.told_error import ToldError

MAX_KEY_BYTES: Final = 64 * 1024  # a longer file is certainly a wrong one
NEW_KEY: Final = "authz signing-key makes it"
Private = EllipticCurvePrivateKey | Ed25519PrivateKey


class SigningKeyError(ToldError):
    """Signals that a private key can't be used; the message names its file, and holds no key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, and what verifiers are told of it.

    Attributes:
        kid: the SHA-256 thumbprint of its public JWK (RFC 7638): all replicas name it alike.
        algorithm: the ``alg`` of what it signs.
        jwk: the public key, as a JWK Set lists it.
    """

    kid: str
    algorithm: SigningAlgorithm
    jwk: dict[str, Any] = field(compare=False)
    _private: Private = field(repr=False, compare=False)

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """Return the claims as a signed JWT (RFC 7519) with this ``typ`` and our ``kid``."""
        return jwt.encode(claims, self._private, self.algorithm, {"typ": typ, "kid": self.kid})


def parse_signing_key(pem: bytes, path: str) -> SigningKey:
    """Return the key in a file's bytes. Raises SigningKeyError."""
    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SigningKeyError(told(path, pem, PRIVATE_KEY)) from None
    match private:
        case EllipticCurvePrivateKey(curve=SECP256R1()):
            return _signing_key(private, SigningAlgorithm.ES256)
        case Ed25519PrivateKey():
            return _signing_key(private, SigningAlgorithm.EDDSA)
    raise SigningKeyError(
        f"{path} holds a private key of another kind: signing takes EC P-256 or Ed25519; {NEW_KEY}"
    )


def _signing_key(private: Private, algorithm: SigningAlgorithm) -> SigningKey:
    public: Any = private.public_key()
    jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    kid = proof_key(jwk, frozenset({algorithm})).key_id
    listed = {**jwk, "use": "sig", "alg": str(algorithm), "kid": kid}
    return SigningKey(kid, algorithm, listed, private)


def make_signing_key(path: Path, algorithm: SigningAlgorithm) -> bool:
    """Make a private key, which only its owner can read, unless the file exists.

    Tells whether it was made. Of several processes that try, the first makes it, and none sees half
    of a file. Raises SigningKeyError.
    """
    try:
        if path.exists():
            return False
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(_new_pem(algorithm))
                file.flush()
                os.fsync(descriptor)
            with suppress(FileExistsError):
                os.link(name, path)
                return True
        finally:
            Path(name).unlink()
    except OSError as error:
        raise SigningKeyError(f"{path} can't be made: {error.strerror}") from None
    return False


def _new_pem(algorithm: SigningAlgorithm) -> bytes:
    is_ec = algorithm is SigningAlgorithm.ES256
    private: Private = generate_private_key(SECP256R1()) if is_ec else Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
