"""Reads a logout token's claims (OpenID Connect Back-Channel Logout 1.0 sections 2.4 and 2.6)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.core.signals.errors import SignalError, SignalFault
from authz.core.signals.sender import SignalSender
from authz.core.signals.signed import time_of
from authz.core.signals.subjects import MAX_TEXT_CHARS

# Section 2.4 recommends logout+jwt; without it, the event is what tells it from other tokens.
MEDIA_TYPES: Final = frozenset({"application/logout+jwt", "application/jwt"})
EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_INVALID: Final = SignalFault.INVALID_REQUEST


class Logout(msgspec.Struct, frozen=True):
    """A logout: of a session, of a subject, or of both; one of them is there.

    Attributes:
        subject, session: the ``sub`` and ``sid``, None if it has none.
        jti: the token's id.
        at: unix seconds.
    """

    subject: str | None
    session: str | None
    jti: str
    at: float


def read_logout(claims: Mapping[str, Any], sender: SignalSender, now: float) -> Logout:
    """Return the logout of verified claims (section 2.6, steps 4 to 7). Raises SignalError."""
    if now >= time_of(claims, "exp") + sender.clock_skew:
        raise SignalError(_INVALID, "its exp has passed")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise SignalError(_INVALID, "its events lack the logout event")
    if "nonce" in claims:  # so that no ID token is one
        raise SignalError(_INVALID, "a logout token has no nonce")
    subject, session = _text(claims, "sub"), _text(claims, "sid")
    if subject is None and session is None:
        raise SignalError(_INVALID, "it has neither sub nor sid")
    return Logout(subject, session, str(claims["jti"]), time_of(claims, "iat"))


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if name in claims and not (isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS):
        raise SignalError(_INVALID, f"its {name} is not a short string")
    return value
