"""Reads an introspection endpoint's answer, plain or signed (RFC 7662 section 2.2, RFC 9701)."""

from collections.abc import Mapping
from typing import Any, Final

from authz.adapters.signing_keys import SigningKeys
from authz.core import strict_json
from authz.core.delegation import MAX_TIMEOUT_SECONDS, IssuerSettings
from authz.core.delegation.opaque import IntrospectionAnswer
from authz.core.delegation.verifier import check_signature, find_key
from authz.core.jose.jwk import MAX_KEY_ID_CHARS
from authz.core.jose.jws import Jws, parse_compact
from authz.core.reason import Denied

MAX_ANSWER_BYTES: Final = 64 * 1024  # a user with a thousand groups has some 40 KiB
SIGNED_TYPE: Final = "application/token-introspection+jwt"  # RFC 9701 section 5
_ACTIVE: Final = "active"
_LONGEST_CALL: Final = MAX_TIMEOUT_SECONDS


class AnswerError(Exception):
    """Signals an answer that can't be trusted; the message says why, and quotes nothing."""


def read_plain(body: bytes, asked_at: float, max_age_seconds: float) -> IntrospectionAnswer:
    """Read a JSON answer to a question of ``asked_at`` (unix seconds). Raises AnswerError."""
    try:
        members = strict_json.loads(body)
    except strict_json.StrictJsonError as error:
        raise AnswerError(str(error)) from None
    return _answer(members, body, asked_at, max_age_seconds)


def _answer(
    members: object, text: bytes, asked_at: float, max_age_seconds: float
) -> IntrospectionAnswer:
    is_active = members.get(_ACTIVE) if isinstance(members, dict) else None
    if not isinstance(members, dict) or not isinstance(is_active, bool):
        raise AnswerError("it is not an object with active: true or false")
    usable_until = asked_at + max_age_seconds
    if not is_active:  # section 2.2: it should have no other members, and none is read
        return IntrospectionAnswer(False, {}, b"", asked_at, usable_until)
    said = {name: value for name, value in members.items() if name != _ACTIVE}
    return IntrospectionAnswer(True, said, text, asked_at, usable_until)


class SignedReader:
    """Reads the signed answers of an issuer (RFC 9701 section 5)."""

    def __init__(
        self, issuer: IssuerSettings, client_id: str, keys: SigningKeys, max_age_seconds: float
    ) -> None:
        """Take the issuer of the answers, and their audience."""
        self._issuer = issuer
        self._client_id = client_id
        self._keys = keys
        self._max_age_seconds = max_age_seconds

    def read(self, body: bytes, asked_at: float, seconds: float) -> IntrospectionAnswer:
        """Read a signed answer to a question of ``asked_at`` (unix seconds).

        Waits ``seconds`` at most for a key that was just published. Raises AnswerError.
        """
        try:
            jws = parse_compact(body.decode("ascii", "replace").strip(), MAX_ANSWER_BYTES)
        except Denied as denied:
            raise AnswerError(f"signed: {denied.detail}") from None
        self._check_header(jws)
        self._check_signature(jws, asked_at, seconds)
        self._check_claims(jws.payload, asked_at)
        said = jws.payload.get("token_introspection")
        return _answer(said, jws.payload_text, asked_at, self._max_age_seconds)

    def _check_header(self, jws: Jws) -> None:
        header = jws.header
        if header.media_type != SIGNED_TYPE:
            raise AnswerError("signed: its typ is not token-introspection+jwt")
        if header.algorithm not in self._issuer.algorithms:
            raise AnswerError("signed: its alg is not one of the issuer's algorithms")
        if header.is_critical or header.is_foreign:
            raise AnswerError("signed: encrypted, or with a critical member")

    def _check_signature(self, jws: Jws, now: float, seconds: float) -> None:
        """Verify the signature like a token's, with a key that may just have been published."""
        key_id = jws.header.members.get("kid")
        if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARS:
            raise AnswerError("signed: its kid is missing or not a short string")
        name = self._issuer.issuer
        self._keys.refresh(name, key_id, max(0.0, seconds))
        try:
            key, _ = find_key(self._keys.get(name), self._issuer, jws, now)
            check_signature(key, jws)
        except Denied as denied:
            raise AnswerError(f"signed: {denied.detail}") from None

    def _check_claims(self, claims: Mapping[str, Any], asked_at: float) -> None:
        if claims.get("iss") != self._issuer.issuer:
            raise AnswerError("signed: its iss is another issuer")
        audience = claims.get("aud")
        if self._client_id not in (audience if isinstance(audience, list) else [audience]):
            raise AnswerError("signed: its aud is not client_id")
        issued_at, skew = claims.get("iat"), self._issuer.clock_skew
        if not isinstance(issued_at, int | float) or isinstance(issued_at, bool):
            raise AnswerError("signed: its iat is missing or not a number")
        # An attacker may repeat an earlier answer, after the token was revoked.
        if not asked_at - skew <= issued_at <= asked_at + skew + _LONGEST_CALL:
            raise AnswerError("signed: its iat is not the time of this answer")
