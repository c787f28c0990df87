"""Reads a security event token's claims (RFC 8417 section 2.2, Shared Signals Framework 1.0)."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.core.signals.errors import SignalError, SignalFault
from authz.core.signals.sender import SignalSender
from authz.core.signals.signed import time_of

MEDIA_TYPES: Final = frozenset({"application/secevent+jwt"})
MAX_EVENTS: Final = 16  # the framework wants a single one (section 4.1.9)
_INVALID: Final = SignalFault.INVALID_REQUEST


class SecurityEvent(msgspec.Struct, frozen=True):
    """An event that a sender tells of.

    Attributes:
        uri: its type.
        members: what is said of it.
        subject: whom it is about, unread; None if the token does not say.
        jti: the token's id.
        at: unix seconds: when it happened, as far as that can be believed.
        told_at: unix seconds: when the token was made.
    """

    uri: str
    members: Mapping[str, Any]
    subject: object
    jti: str
    at: float
    told_at: float


def read_events(claims: Mapping[str, Any], sender: SignalSender) -> tuple[SecurityEvent, ...]:
    """Return the events of verified claims. Raises SignalError."""
    if "exp" in claims:  # framework section 4.1.7: so that it is no other kind of token
        raise SignalError(_INVALID, "a security event token has no exp")
    if "sub" in claims:  # section 4.1.2
        raise SignalError(_INVALID, "a security event token has no sub, but sub_id")
    events = claims.get("events")
    if not isinstance(events, dict) or not 0 < len(events) <= MAX_EVENTS:
        raise SignalError(_INVALID, "its events are missing, or too many")
    if not all(isinstance(members, dict) for members in events.values()):
        raise SignalError(_INVALID, "an event is not an object")
    return tuple(_event(uri, members, claims, sender) for uri, members in events.items())


def _event(
    uri: str, members: Mapping[str, Any], claims: Mapping[str, Any], sender: SignalSender
) -> SecurityEvent:
    told_at = time_of(claims, "iat")
    # Earlier drafts, which some transmitters still follow, have the subject in the event.
    subject = claims.get("sub_id", members.get("subject"))
    at = _happened_at(members.get("event_timestamp", claims.get("toe")), told_at, sender)
    return SecurityEvent(uri, members, subject, str(claims["jti"]), at, told_at)


def _happened_at(said: object, told_at: float, sender: SignalSender) -> float:
    """Return when an event happened; its token's ``iat`` for a time that can't be meant.

    A time in milliseconds is far in the future, and would revoke tokens that are not made yet. A
    time long ago would revoke none.
    """
    if isinstance(said, bool) or not isinstance(said, int | float):
        return told_at
    is_meant = told_at - sender.max_age <= said <= told_at + sender.clock_skew
    return float(said) if is_meant else told_at
