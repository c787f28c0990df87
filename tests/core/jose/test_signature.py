"""Signatures by each algorithm: what another library signs verifies, and nothing else."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from authz.core.jose.jwk import Key, KeyVerifyError
from lab.issuer import PrivateKey

DATA = b"header.payload"
RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, PrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), RSA),
    **dict.fromkeys(("EdDSA", "Ed25519"), ed25519.Ed25519PrivateKey.generate()),
}


def key_of(*algorithms: str) -> Key:
    """The public key of the first algorithm, for all of these."""
    return Key("k", frozenset(algorithms), KEYS[algorithms[0]].public_key(), "t")


def sign(algorithm: str) -> bytes:
    """A signature of another library."""
    name = "EdDSA" if algorithm == "Ed25519" else algorithm
    signature: bytes = jwt.get_algorithm_by_name(name).sign(DATA, KEYS[algorithm])
    return signature


@pytest.mark.parametrize("algorithm", KEYS)
def test_each_algorithm(algorithm: str) -> None:
    """A signature verifies over its data, and not changed, shortened, zero, or over other data."""
    key, signature = key_of(algorithm), sign(algorithm)
    key.verify(algorithm, DATA, signature)
    changed = bytes([signature[0] ^ 1, *signature[1:]])
    for bad in (changed, signature[:-1], signature + b"\0", bytes(len(signature)), b""):
        with pytest.raises(KeyVerifyError):
            key.verify(algorithm, DATA, bad)
    with pytest.raises(KeyVerifyError):
        key.verify(algorithm, DATA + b"x", signature)


@pytest.mark.parametrize("wrong", sorted(KEYS.keys() - {"RS256"}))
def test_another_algorithm(wrong: str) -> None:
    """An RS256 signature verifies by no other algorithm, not even one that its key may have."""
    with pytest.raises(KeyVerifyError):
        key_of("RS256", wrong).verify(wrong, DATA, sign("RS256"))
    with pytest.raises(KeyVerifyError):
        key_of("RS256").verify(wrong, DATA, sign("RS256"))
