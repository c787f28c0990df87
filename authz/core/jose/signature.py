"""The verification of a JWS signature by the algorithm's name (RFC 7518 section 3, RFC 8037 3.1).

The parameters of each algorithm are made once: making them for each signature costs a tenth of the
fastest verification.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
# Takes a key that fits the algorithm, the data and the signature. A key of another kind raises.
_Verify = Callable[[Any, bytes, bytes], None]


def verify_signature(algorithm: str, public: PublicKey, data: bytes, signature: bytes) -> None:
    """Verify a signature over ``data`` by the algorithm, named as in ``alg``; the key must fit it.

    Raises InvalidSignature for a signature that does not verify, and what the library raises for a
    malformed one.
    """
    _VERIFIERS[algorithm](public, data, signature)


def _ecdsa(hash_: hashes.HashAlgorithm) -> _Verify:
    how = ec.ECDSA(hash_)

    def verify(public: ec.EllipticCurvePublicKey, data: bytes, signature: bytes) -> None:
        half = len(signature) // 2  # R and S, of the same length (RFC 7518 section 3.4)
        r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
        public.verify(encode_dss_signature(r, s), data, how)

    return verify


def _pkcs1(hash_: hashes.HashAlgorithm) -> _Verify:
    pad = padding.PKCS1v15()

    def verify(public: rsa.RSAPublicKey, data: bytes, signature: bytes) -> None:
        public.verify(signature, data, pad, hash_)

    return verify


def _pss(hash_: hashes.HashAlgorithm) -> _Verify:
    pad = padding.PSS(padding.MGF1(hash_), hash_.digest_size)  # RFC 7518 section 3.5

    def verify(public: rsa.RSAPublicKey, data: bytes, signature: bytes) -> None:
        public.verify(signature, data, pad, hash_)

    return verify


def _ed25519(public: ed25519.Ed25519PublicKey, data: bytes, signature: bytes) -> None:
    public.verify(signature, data)


_VERIFIERS: Final[Mapping[str, _Verify]] = {
    "ES256": _ecdsa(hashes.SHA256()),
    "ES384": _ecdsa(hashes.SHA384()),
    "ES512": _ecdsa(hashes.SHA512()),
    "RS256": _pkcs1(hashes.SHA256()),
    "RS384": _pkcs1(hashes.SHA384()),
    "RS512": _pkcs1(hashes.SHA512()),
    "PS256": _pss(hashes.SHA256()),
    "PS384": _pss(hashes.SHA384()),
    "PS512": _pss(hashes.SHA512()),
    "Ed25519": _ed25519,
    "EdDSA": _ed25519,  # RFC 9864 renames it
}
