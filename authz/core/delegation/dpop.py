"""The check of DPoP proofs: the caller holds the token's key, for this request (RFC 9449 4.3).

The proof's target is compared with the configured origin of the route's resource, never with a Host
header; its method and path with the request that the proxy saw. The edge has a memory and refuses a
proof that is sent twice; this module only names the proof (``SingleUse``).
"""

import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec

from authz.core.base64url import base64url
from authz.core.delegation.credential import Credential, token_hash
from authz.core.delegation.token_settings import DpopSettings, NonceNeed
from authz.core.jose.jwk import Key, KeySetError, KeyVerifyError, proof_key
from authz.core.jose.jws import Jws, parse_compact
from authz.core.paths import canonical_path
from authz.core.reason import DPOP_SCHEME, Denied, Reason
from authz.core.request import Request
from authz.core.routes import Route, url_origin
from authz.core.single_use import SingleUse

MAX_PROOF_BYTES: Final = 4096  # an ES256 proof is 600 bytes, one of RSA-4096 2 KiB
MAX_ID_CHARS: Final = 256
_TYP: Final = "application/dpop+jwt"
_URI: Final = re.compile(r"(?P<origin>[A-Za-z]+://[^/?#\\]+)(?P<path>/[^?#]*)?(?:[?#].*)?")
_NONCE_BYTES: Final = 18
Target = tuple[str, str, str]
"""What a proof is for: a method, an origin as ``url_origin`` returns it, and a path."""


class NonceSecret(Protocol):
    """The key from which nonces are derived, which may be replaced at any time."""

    @property
    def value(self) -> bytes:
        """Return the key as it is now: 32 bytes or more."""


class FixedSecret(msgspec.Struct, frozen=True):
    """A secret that stays as it is."""

    value: bytes

    def __repr__(self) -> str:
        """Return no part of it."""
        return "FixedSecret()"


class DpopVerifier:
    """Checks proofs, and makes the nonces that proofs may have to hold."""

    def __init__(self, settings: DpopSettings, secret: NonceSecret) -> None:
        """Keep the settings, and the secret from which nonces are derived."""
        self._settings = settings
        self._algorithms = frozenset(settings.algorithms)
        self._secret = secret
        self._needs_nonce = settings.nonce is NonceNeed.REQUIRED

    def check(
        self,
        credential: Credential,
        key_thumbprint: object,
        request: Request,
        route: Route,
        now: float,
    ) -> SingleUse:
        """Check the proof for a token bound to ``key_thumbprint``: the steps of section 4.3.

        Raises Denied(POP_MISSING | CNF_MISMATCH | DPOP_PROOF | DPOP_NONCE).
        """
        proof = self._sent(credential, route)  # and 1. one proof
        # 2. to 9., and 11.
        key, claims = self._read(proof, (request.method, route.origin, request.path), now)
        if _string_claim(claims, "ath") != token_hash(credential.token):  # 12. for this token
            raise _bad("its ath is not the token's hash")
        if key.thumbprint != key_thumbprint:  # 12. and by the key that the token is bound to
            raise Denied(
                Reason.CNF_MISMATCH, "the proof is signed by another key", scheme=DPOP_SCHEME
            )
        self._check_nonce(claims, now)  # 10. last: only a client that holds the key gets a nonce
        return self._single_use(key, claims)

    def check_alone(self, proof: str, target: Target, now: float) -> tuple[str, SingleUse]:
        """Check a proof that comes without a token, as at a token endpoint (section 5).

        Returns the thumbprint of its key, to which a token may then be bound, and its use. Raises
        Denied(DPOP_PROOF | DPOP_NONCE).
        """
        key, claims = self._read(proof, target, now)
        self._check_nonce(claims, now)
        return key.thumbprint, self._single_use(key, claims)

    def _read(self, proof: str, target: Target, now: float) -> tuple[Key, Mapping[str, Any]]:
        """Return a proof's key and claims, once steps 2 to 9 and 11 hold. Raises Denied."""
        jws = _parsed(proof)  # 2. a well-formed JWT
        key = self._key(jws)  # 4. typ, 5. alg, 7. a public key
        _verify(key, jws)  # 6. the signature
        claims = jws.payload
        _string_claim(claims, "jti")  # 3. the required claims, here and below
        method, origin, path = target
        if _string_claim(claims, "htm") != method:  # 8.
            raise _bad("its htm is not the request's method")
        _check_target(_string_claim(claims, "htu"), origin, path)  # 9.
        self._check_time(claims, now)  # 11.
        return key, claims

    def _single_use(self, key: Key, claims: Mapping[str, Any]) -> SingleUse:
        """Return the use of a proof whose claims are checked."""
        proof_id, issued_at = claims["jti"], float(claims["iat"])
        mark = sha256(f"{key.thumbprint} {proof_id}".encode()).digest()
        # It may be dated into the future by the skew, so it may have been used that much earlier.
        made_at = issued_at - self._settings.clock_skew
        return SingleUse(mark, made_at, issued_at + self._settings.max_age)

    def _sent(self, credential: Credential, route: Route) -> str:
        if not credential.is_dpop:  # section 7.2: must not be accepted as a bearer token
            detail = "the token is bound to a DPoP key but was sent as a bearer token"
            raise Denied(Reason.POP_MISSING, detail, scheme=DPOP_SCHEME)
        if not credential.proof:
            raise Denied(Reason.POP_MISSING, "no DPoP header", scheme=DPOP_SCHEME)
        if not route.origin:
            detail = "the route has no resource, and a proof must name the resource's origin"
            raise Denied(Reason.POP_MISSING, detail, scheme=DPOP_SCHEME)
        if "," in credential.proof:  # Envoy joins repeated headers with a comma
            raise _bad("more than one DPoP header")
        return credential.proof

    def _key(self, jws: Jws) -> Key:
        header = jws.header
        if header.media_type != _TYP:
            raise _bad("its typ is not dpop+jwt")
        if header.is_critical:
            raise _bad("no critical header member is understood")
        try:
            key = proof_key(header.members.get("jwk"), self._algorithms)
        except KeySetError as error:
            raise _bad(f"its jwk: {error}") from None
        if header.algorithm not in key.algorithms:
            raise _bad("its alg is not accepted, or not its key's")
        return key

    def _check_time(self, claims: Mapping[str, Any], now: float) -> None:
        value = claims.get("iat")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _bad("its iat is missing or not a number")
        if not now - self._settings.max_age < value <= now + self._settings.clock_skew:
            raise _bad("its iat is too old or in the future")

    def _check_nonce(self, claims: Mapping[str, Any], now: float) -> None:
        if not self._needs_nonce:
            return
        nonce = claims.get("nonce")
        # The last nonce counts too, so that each is valid for a lifetime at least.
        for back in (0.0, self._settings.nonce_lifetime):
            if isinstance(nonce, str) and nonce == self.nonce(now - back):
                return
        raise Denied(
            Reason.DPOP_NONCE,
            "its nonce is missing, unknown or too old",
            scheme=DPOP_SCHEME,
            headers=(("dpop-nonce", self.nonce(now)),),
        )

    def nonce(self, now: float) -> str:
        """Return the nonce of a time: all replicas with the secret derive the same nonce."""
        period = int(now / self._settings.nonce_lifetime)
        mac = hmac.digest(self._secret.value, str(period).encode(), sha256)
        return base64url(mac[:_NONCE_BYTES])


def _bad(detail: str) -> Denied:
    return Denied(Reason.DPOP_PROOF, detail, scheme=DPOP_SCHEME)


def _parsed(proof: str) -> Jws:
    try:
        return parse_compact(proof, MAX_PROOF_BYTES)
    except Denied as denied:
        raise _bad(f"the proof: {denied.detail}") from None


def _verify(key: Key, jws: Jws) -> None:
    try:
        key.verify(jws.header.algorithm, jws.signing_input, jws.signature)
    except KeyVerifyError:
        raise _bad("its signature does not verify") from None


def _string_claim(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    limit = MAX_PROOF_BYTES if name == "htu" else MAX_ID_CHARS
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise _bad(f"its {name} is missing or not a short string")
    return value


def _check_target(uri: str, origin: str, path: str) -> None:
    """Check ``htu`` without query and fragment, normalised (section 4.3; RFC 3986 section 6.2).

    Raises Denied(DPOP_PROOF).
    """
    match = _URI.fullmatch(uri)
    try:
        is_same = match is not None and (
            url_origin(match["origin"]) == origin
            and canonical_path(match["path"] or "/") == canonical_path(path)
        )
    except (ValueError, Denied):
        is_same = False
    if not is_same:
        raise _bad("its htu is not this request's")
