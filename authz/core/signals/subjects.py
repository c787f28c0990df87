"""Reads whom a security event is about (RFC 9493; Shared Signals Framework 1.0 section 3)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from authz.core.signals.errors import SignalError, SignalFault
from authz.core.signals.sender import SignalSender

MAX_TEXT_CHARS: Final = 1024  # real ones have some 40; an entry of a revocation file has several
MAX_ALIASES: Final = 64


class Target(msgspec.Struct, frozen=True):
    """Whose tokens an event is about: exactly one member is set.

    Attributes:
        subject: the tokens' ``sub``.
        email: their ``email``.
        session: their ``sid``.
        token_id: the ``jti`` of a single token.
    """

    subject: str | None = None
    email: str | None = None
    session: str | None = None
    token_id: str | None = None


def read_targets(
    subject: object, sender: SignalSender, *, is_of_session: bool = False
) -> tuple[Target, ...]:
    """Return all whom a subject means, none if we can't tell.

    A member that narrows a complex subject in a way that tokens do not show, such as a device,
    is left out: more is revoked, never less. ``is_of_session`` says that the event is about a
    session: then an opaque id may be a session's as well as a user's (CAEP 1.0 section 3.1), and a
    session that tokens name is all that a complex subject means. Any other event is about the user,
    such as a changed credential, whatever session it was in.

    Raises SignalError for more aliases than are read: the one that tokens have may be left out.
    """
    if not isinstance(subject, dict):
        return ()
    if subject.get("format") != "complex":
        found = [*_simple(subject, sender)]
        if is_of_session and subject.get("format") == "opaque":
            found += _sessions(subject, sender)
        return tuple(dict.fromkeys(found))
    users = tuple(dict.fromkeys(_simple(subject.get("user"), sender)))
    sessions = tuple(_sessions(subject.get("session"), sender))
    if sessions and sender.by_session and is_of_session:
        return sessions
    return users + sessions


def _simple(subject: object, sender: SignalSender) -> Iterator[Target]:
    """Yield whom a simple subject means, or any of its aliases, which mean the same person."""
    if not isinstance(subject, dict):
        return
    if subject.get("format") != "aliases":
        yield from _identified(subject, sender)
        return
    listed = subject.get("identifiers")
    aliases = listed if isinstance(listed, list) else ()
    if len(aliases) > MAX_ALIASES:
        raise SignalError(SignalFault.INVALID_REQUEST, f"it has more than {MAX_ALIASES} aliases")
    for alias in aliases:
        if isinstance(alias, dict):
            yield from _identified(alias, sender)


def _identified(subject: Mapping[str, Any], sender: SignalSender) -> Iterator[Target]:
    # Some of RFC 9493's formats name nobody whom a token of ours names: account, phone_number,
    # did, uri.
    match subject.get("format"):
        case "iss_sub" if _is_about(subject, sender) and (text := _text(subject, "sub")):
            yield Target(subject=text)
        case "opaque" if text := _text(subject, "id"):
            yield Target(subject=text)
        case "email" if text := _text(subject, "email"):
            yield Target(email=text)
        case "jwt_id" if _is_about(subject, sender) and (text := _text(subject, "jti")):
            yield Target(token_id=text)


def _sessions(subject: object, sender: SignalSender) -> Iterator[Target]:
    """Yield the session that a complex subject names by an opaque id, or by ``iss`` and ``sub``."""
    for target in _simple(subject, sender):
        if target.subject is not None:
            yield Target(session=target.subject)


def _is_about(subject: Mapping[str, Any], sender: SignalSender) -> bool:
    """Tell whether the subject is of an issuer that this sender may speak of."""
    issuer = subject.get("iss")
    return isinstance(issuer, str) and issuer in {sender.issuer, sender.about}


def _text(subject: Mapping[str, Any], name: str) -> str | None:
    value = subject.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_TEXT_CHARS else None
