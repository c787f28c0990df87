"""Reads the usable keys of a JWK Set (RFC 7517, RFC 7518, RFC 8725), and says why others are not.

An unusable key is left out and named; the other keys stay usable. Symmetric keys, private keys,
weak keys, two keys of the same kid, and keys for another use or algorithm are never used. A key
that is listed more than once, such as for each of its algorithms, is a single key. A null member
counts as absent, as some libraries write absent members. A key may be given by its certificate
alone.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import jwt
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.core import strict_json
from authz.core.base64url import base64url
from authz.core.jose.key_issuer import is_for_issuer
from authz.core.jose.roca import is_roca_weak
from authz.core.jose.settings import MAX_DOCUMENT_BYTES
from authz.core.jose.signature import PublicKey, verify_signature
from authz.core.jose.x5c import certified_spki, with_certified_key

MAX_KEYS: Final = 100  # real sets have 2 to 10
MAX_KEY_ID_CHARS: Final = 256
MIN_RSA_BITS: Final = 2048  # RFC 7518 section 3.3
MAX_RSA_BITS: Final = 8192  # a verification's time grows with the square
MIN_RSA_EXPONENT: Final = 65537  # NIST FIPS 186-5 section 5.4
MAX_RSA_EXPONENT_BITS: Final = 64  # real ones have 17; a verification's time grows with them
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_EC_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ED25519_ALGORITHMS: Final = frozenset({"Ed25519", "EdDSA"})  # RFC 9864 renames the second
_SIGNATURE_BYTES: Final = {"ES256": 64, "ES384": 96, "ES512": 132, "Ed25519": 64, "EdDSA": 64}
_REQUIRED_MEMBERS: Final = {  # in lexicographic order, as the digest is over them (RFC 7638 3.2)
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}


class KeySetError(ValueError):
    """A document that is not a key set, or has no usable key.

    The message holds none of its text.
    """


class KeyVerifyError(Exception):
    """A signature that does not verify with the key."""


class _UnusableError(ValueError):
    """An unusable key; the message says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithms that it may verify.

    Attributes:
        key_id: its ``kid``.
        algorithms: names as in ``alg``: those of its kind that both the issuer's settings and its
            own ``alg`` allow.
        thumbprint: changes if the key behind a kid or its algorithms change.
    """

    key_id: str
    algorithms: frozenset[str]
    public: PublicKey = field(repr=False)
    thumbprint: str = field(repr=False)

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> None:
        """Verify a JWS signature (RFC 7515 section 5.2). Raises KeyVerifyError."""
        if algorithm not in self.algorithms or len(signature) != self._length(algorithm):
            raise KeyVerifyError
        try:
            verify_signature(algorithm, self.public, signing_input, signature)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            raise KeyVerifyError from None

    def with_more(self, other: "Key") -> "Key":
        """Return the key with the algorithms of another entry of the same key added."""
        algorithms = self.algorithms | other.algorithms
        return Key(self.key_id, algorithms, self.public, _thumbprint(self.public, algorithms))

    def _length(self, algorithm: str) -> int:
        if isinstance(self.public, rsa.RSAPublicKey):
            return (self.public.key_size + 7) // 8
        return _SIGNATURE_BYTES[algorithm]


def parse_key_set(
    document: bytes, algorithms: frozenset[str], issuer: str = ""
) -> tuple[Mapping[str, Key], tuple[tuple[str, str], ...]]:
    """Return the usable keys by kid, and (kid, why) of the others.

    ``algorithms`` are those that the issuer's settings accept; keys that name another ``issuer``
    are unusable. Raises KeySetError for an invalid set, or one without a usable key.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise KeySetError(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    try:
        parsed = strict_json.loads(document)
    except strict_json.StrictJsonError as error:
        raise KeySetError(str(error)) from None
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise KeySetError("not a JWK Set: it has no list named keys")
    keys, refused = usable_keys(listed, algorithms, issuer=issuer)
    if not keys:
        first = f"; the first: {refused[0][1]}" if refused else ""
        raise KeySetError(f"none of its {len(listed)} keys can be used{first}")
    return keys, refused


def usable_keys(
    listed: list[Any], algorithms: frozenset[str], expected_use: str = "sig", issuer: str = ""
) -> tuple[dict[str, Key], tuple[tuple[str, str], ...]]:
    """Return the usable keys of parsed JWKs as ``parse_key_set`` does, which may be none.

    ``expected_use`` is their ``use``: "sig", which is also the default of a key without ``use``, or
    a use of SPIFFE's bundles, which always have it. Raises KeySetError for too many keys.
    """
    if len(listed) > MAX_KEYS:
        raise KeySetError(f"more than {MAX_KEYS} keys")
    jwks = [with_certified_key(_present(jwk)) if isinstance(jwk, dict) else None for jwk in listed]
    meant: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for jwk in jwks:
        if jwk is not None and _has_kid(jwk):
            meant[jwk["kid"]].add(_identity(jwk))
    keys: dict[str, Key] = {}
    refused: list[tuple[str, str]] = []
    for at, jwk in enumerate(jwks):
        try:
            key = _key(_for_issuer(_known(jwk, meant), issuer), algorithms, expected_use)
        except _UnusableError as error:
            name = jwk["kid"] if jwk is not None and _has_kid(jwk) else f"[{at}]"
            refused.append((name, str(error)))
        else:
            keys[key.key_id] = key.with_more(keys[key.key_id]) if key.key_id in keys else key
    return keys, tuple(refused)


def _present(jwk: dict[str, Any]) -> dict[str, Any]:
    """Return the members that are present; empty members of private keys count as absent.

    .NET's libraries write ``"d": null`` and ``"oth": []`` into public keys.
    """
    return {
        name: value
        for name, value in jwk.items()
        if value is not None and not (name in _PRIVATE_MEMBERS and value in ("", []))
    }


def _identity(jwk: dict[str, Any]) -> tuple[str, ...]:
    """Return the members that entries of the same key share: its numbers and its use."""
    names = ("kty", "crv", "n", "e", "x", "y", *sorted(_PRIVATE_MEMBERS))
    values = [jwk.get("use", "sig"), *(jwk.get(name) for name in names)]
    return tuple(map(json.dumps, values))


def _has_kid(jwk: dict[str, Any]) -> bool:
    kid = jwk.get("kid")
    return isinstance(kid, str) and 0 < len(kid) <= MAX_KEY_ID_CHARS


def _known(jwk: dict[str, Any] | None, meant: Mapping[str, set[tuple[str, ...]]]) -> dict[str, Any]:
    """Return the entry if its kid names only one key. Raises _UnusableError."""
    if jwk is None:
        raise _UnusableError("not an object")
    if not _has_kid(jwk):
        raise _UnusableError("its kid is missing or too long")
    if len(meant[jwk["kid"]]) > 1:
        raise _UnusableError("its kid names more than one key")
    return jwk


def _for_issuer(jwk: dict[str, Any], issuer: str) -> dict[str, Any]:
    """Return the entry if no other issuer alone signs with it. Raises _UnusableError."""
    if "issuer" in jwk and not is_for_issuer(jwk["issuer"], issuer):
        raise _UnusableError("for tokens of another issuer (its member issuer)")
    return jwk


def _key(jwk: dict[str, Any], algorithms: frozenset[str], expected_use: str) -> Key:
    if jwk.get("use", "sig") != expected_use:
        raise _UnusableError(f"not for {expected_use} (use)")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise _UnusableError("not for verifying (key_ops)")
    public, possible = _public_key(jwk)
    _check_certificate(jwk, public)
    own = possible if "alg" not in jwk else possible & {_name(jwk["alg"])}
    usable = own & algorithms
    if not usable:
        raise _UnusableError("none of the issuer's algorithms can use it")
    return Key(jwk["kid"], usable, public, _thumbprint(public, usable))


def _check_certificate(jwk: Mapping[str, Any], public: PublicKey) -> None:
    """Require that a readable certificate is of this key (RFC 7517 4.7). Raises _UnusableError.

    A certificate that can't be read is ignored.
    """
    if certified_spki(jwk) not in {None, _spki(public)}:
        raise _UnusableError("its certificate (x5c) is of another key")


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def _public_key(jwk: dict[str, Any]) -> tuple[PublicKey, frozenset[str]]:
    kind, curve = jwk.get("kty"), _name(jwk.get("crv"))
    if kind == "oct":
        raise _UnusableError("a symmetric key")
    if jwk.keys() & _PRIVATE_MEMBERS:
        raise _UnusableError("a private key, which is no longer secret: replace it")
    try:
        if kind == "RSA":
            return _rsa(jwt.get_algorithm_by_name("RS256").from_jwk(jwk))
        if kind == "EC" and curve in _EC_ALGORITHMS:
            name = _EC_ALGORITHMS[curve]
            return jwt.get_algorithm_by_name(name).from_jwk(jwk), frozenset({name})
        if kind == "OKP" and curve == "Ed25519":
            return jwt.get_algorithm_by_name("EdDSA").from_jwk(jwk), _ED25519_ALGORITHMS
    except _UnusableError:
        raise
    except Exception:  # noqa: BLE001 - hostile numbers make the libraries raise anything
        raise _UnusableError("its numbers are not a valid key") from None
    raise _UnusableError("its kind or curve is not supported")


def proof_key(jwk: object, algorithms: frozenset[str]) -> Key:
    """Return the public key within a proof of possession (RFC 9449 section 4.2).

    Its ``key_id`` and ``thumbprint`` are its JWK SHA-256 thumbprint. Raises KeySetError.
    """
    if not isinstance(jwk, dict):
        raise KeySetError("not an object")
    jwk = _present(jwk)
    try:
        public, possible = _public_key(jwk)
    except _UnusableError as error:
        raise KeySetError(str(error)) from None
    thumbprint = _jwk_thumbprint(jwk)
    return Key(thumbprint, possible & algorithms, public, thumbprint)


def _jwk_thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the base64url SHA-256 of a public JWK's required members (RFC 7638 section 3)."""
    names = _REQUIRED_MEMBERS[jwk["kty"]]
    text = json.dumps({name: jwk[name] for name in names}, separators=(",", ":"))
    return base64url(sha256(text.encode()).digest())


def _rsa(public: rsa.RSAPublicKey) -> tuple[PublicKey, frozenset[str]]:
    if not MIN_RSA_BITS <= public.key_size <= MAX_RSA_BITS:
        raise _UnusableError(f"an RSA key of {public.key_size} bits")
    exponent = public.public_numbers().e
    if (
        exponent < MIN_RSA_EXPONENT
        or exponent % 2 == 0
        or exponent.bit_length() > MAX_RSA_EXPONENT_BITS
    ):
        raise _UnusableError("an RSA key with a weak exponent")
    if is_roca_weak(public.public_numbers().n):
        raise _UnusableError(
            "an RSA key of a chip whose keys can be factored (ROCA, CVE-2017-15361)"
        )
    return public, _RSA_ALGORITHMS


def _thumbprint(public: PublicKey, usable: frozenset[str]) -> str:
    return "|".join([sha256(_spki(public)).hexdigest(), *sorted(usable)])


def _spki(public: PublicKey) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
