"""Checks what security event tokens and logout tokens have in common: form, key, sender, time."""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.delegation.verifier import check_signature, find_key
from authz.core.jose.jws import Jws, parse_compact
from authz.core.jose.key_set import KeySet
from authz.core.reason import Denied, Reason
from authz.core.signals.errors import (
    SignalError,
    SignalFault,
    SignalKeyUnknownError,
    SignalUnverifiedError,
)
from authz.core.signals.sender import SignalSender

MAX_TOKEN_BYTES: Final = 64 * 1024  # real ones have 1 KiB
MAX_ID_CHARS: Final = 256  # of a jti or kid; real ones have some 40
MAX_NUMERIC_DATE: Final = 2**53  # exact in a float; beyond, comparisons would round
_NUMBER: Final = frozenset({int, float})  # the types that JSON's numbers have here
_INVALID: Final = SignalFault.INVALID_REQUEST


def read_signed(text: str, sender: SignalSender, media_types: frozenset[str]) -> Jws:
    """Parse a token of one of these types, and check its header. Raises SignalError.

    Nothing of it is verified yet.
    """
    try:
        jws = parse_compact(text, MAX_TOKEN_BYTES)
    except Denied as denied:
        raise SignalError(_INVALID, f"not a signed token: {denied.detail}") from None
    header = jws.header
    if header.media_type not in media_types:  # RFC 8417 section 2.3: no other kind of token
        raise SignalError(_INVALID, "its typ is of another kind of token")
    if header.is_critical or header.is_foreign:
        raise SignalError(_INVALID, "encrypted, nested, or with a critical member")
    if header.algorithm not in sender.algorithms:
        raise SignalError(SignalFault.INVALID_KEY, "its alg is not one of the accepted algorithms")
    key_id = header.members.get("kid")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_ID_CHARS:
        raise SignalError(SignalFault.INVALID_KEY, "its kid is missing or not a short string")
    return jws


def verify_signed(
    jws: Jws, sender: SignalSender, keys: KeySet | None, now: float
) -> Mapping[str, Any]:
    """Return the claims of a token that this sender made, for us, and lately.

    Raises SignalError, SignalUnverifiedError.
    """
    claims = jws.payload
    if claims.get("iss") != sender.issuer:
        raise SignalError(SignalFault.INVALID_ISSUER, "its iss is another issuer")
    _check_signature(jws, sender, keys, now)
    _check_audience(claims, sender)
    _check_age(claims, sender, now)
    if not _is_short(claims.get("jti")):
        raise SignalError(_INVALID, "its jti is missing or not a short string")
    return claims


def time_of(claims: Mapping[str, Any], name: str) -> float:
    """Return a time in unix seconds. Raises SignalError."""
    value: Any = claims.get(name)
    if type(value) not in _NUMBER or not 0 <= value < MAX_NUMERIC_DATE:
        raise SignalError(_INVALID, f"its {name} is missing or not a time")
    return float(value)


def _check_signature(jws: Jws, sender: SignalSender, keys: KeySet | None, now: float) -> None:
    try:
        key, _ = find_key(keys, sender, jws, now)
        check_signature(key, jws)
    except Denied as denied:
        if denied.reason is Reason.KEYS_UNAVAILABLE:
            raise SignalUnverifiedError(denied.detail) from None
        is_unknown = denied.reason is Reason.TOKEN_KEY_UNKNOWN
        kind = SignalKeyUnknownError if is_unknown else SignalError
        raise kind(SignalFault.INVALID_KEY, denied.detail) from None


def _check_audience(claims: Mapping[str, Any], sender: SignalSender) -> None:
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(name, str) and name in sender.audiences for name in named):
        raise SignalError(SignalFault.INVALID_AUDIENCE, "its aud is not ours")


def _check_age(claims: Mapping[str, Any], sender: SignalSender, now: float) -> None:
    issued_at = time_of(claims, "iat")
    if issued_at > now + sender.clock_skew:
        raise SignalError(_INVALID, "its iat is in the future")
    if issued_at < now - sender.max_age - sender.clock_skew:
        raise SignalError(_INVALID, "its iat is longer ago than max_age")


def _is_short(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_ID_CHARS
