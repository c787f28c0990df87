"""Turns an event or a logout into revocations to add, or to take back.

Entries hold nothing but what the signal says, so that a repeated signal makes the same entry.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from math import floor
from typing import Final

import msgspec

from authz.core.email import email_key
from authz.core.revocations import Revocation
from authz.core.signals.events import LOGOUT, OF_SESSIONS, Meaning, meaning_of, name_of
from authz.core.signals.logout_token import Logout
from authz.core.signals.security_event import SecurityEvent
from authz.core.signals.sender import SignalSender
from authz.core.signals.subjects import Target, read_targets

_DISABLED: Final = "account-disabled"
_BY_SIGNAL: Final = "signal "


class Restoration(msgspec.Struct, frozen=True):
    """What an enabled account takes back: entries of its disabling, until then.

    Attributes:
        by: the beginning of ``by`` of the sender's own entries.
        issuer: the issuer whose tokens they are about.
        target: whom they are about.
        at: unix seconds; a later disabling stays.
    """

    by: str
    issuer: str
    target: Target
    at: float


class SignalEffect(msgspec.Struct, frozen=True):
    """What follows from an event.

    Attributes:
        event: its name.
        entries: entries to add.
        restorations: entries to take back.
        is_mapped: whether we know what the event means, and for whom.
    """

    event: str
    entries: tuple[Revocation, ...] = ()
    restorations: tuple[Restoration, ...] = ()
    is_mapped: bool = True


def effect_of(event: SecurityEvent, sender: SignalSender) -> SignalEffect:
    """Return what follows from an event of a sender. Raises SignalError.

    A session alone is not mapped, but revoked, where tokens do not name theirs.
    """
    name = name_of(event.uri)
    meaning = meaning_of(event.uri, event.members)
    if meaning is Meaning.NOTHING:
        return SignalEffect(name)
    targets = read_targets(event.subject, sender, is_of_session=name in OF_SESSIONS)
    if meaning is None or not targets:
        return SignalEffect(name, is_mapped=False)
    if meaning is Meaning.RESTORES:
        by, about = _by(sender, ""), sender.about
        taken = (Restoration(by, about, target, event.at) for target in targets)
        return SignalEffect(name, restorations=tuple(taken))
    entry = _Entry(sender, name, event.jti, event.at)
    is_for_good = meaning is Meaning.ENDS_ALL
    entries = tuple(entry.of(target, is_for_good=is_for_good) for target in targets)
    is_mapped = sender.by_session or any(target.session is None for target in targets)
    return SignalEffect(name, entries, is_mapped=is_mapped)


def effect_of_logout(logout: Logout, sender: SignalSender) -> SignalEffect:
    """Return what follows from a logout (section 2.7: the session, or all of the subject's).

    Where tokens do not name their session, all that the subject has so far are revoked too.
    """
    entry = _Entry(sender, LOGOUT, logout.jti, logout.at)
    targets: list[Target] = []
    if logout.session is not None:
        targets.append(Target(session=logout.session))
    if logout.subject is not None and not (logout.session and sender.by_session):
        targets.append(Target(subject=logout.subject))
    return SignalEffect(LOGOUT, tuple(entry.of(target, is_for_good=False) for target in targets))


def taken_back(entries: Iterable[Revocation], restoration: Restoration) -> tuple[Revocation, ...]:
    """Return those of the entries that a restoration takes back."""
    target = restoration.target
    who = (restoration.issuer, target.subject, _email_key(target.email))
    return tuple(
        entry
        for entry in entries
        if (entry.issuer, entry.subject, _email_key(entry.email)) == who
        and entry.note == _DISABLED
        and (entry.by or "").startswith(restoration.by)
        and entry.since is not None
        and entry.since.timestamp() <= restoration.at
    )


def is_of_signal(entry: Revocation) -> bool:
    """Tell whether a signal made an entry."""
    return (entry.by or "").startswith(_BY_SIGNAL)


def _email_key(text: str | None) -> str | None:
    return None if text is None else email_key(text)


class _Entry(msgspec.Struct, frozen=True):
    """The entries that a signal makes."""

    sender: SignalSender
    event: str
    jti: str
    at: float

    def of(self, target: Target, *, is_for_good: bool) -> Revocation:
        """Return the entry for a target: for good, or until no token can be older than it.

        A token's ``iat`` may be of the same second as the event, and from before it.
        """
        before = floor(self.at) + 1
        # A session, and a single token, ends whenever its token was issued.
        is_dated = target.session is None and target.token_id is None
        lasts = self.sender.token_seconds
        return Revocation(
            issuer=self.sender.about,
            subject=target.subject,
            email=target.email,
            session=target.session,
            token_id=target.token_id,
            before=None if is_for_good or not is_dated else _time(before),
            note=self.event,
            since=_time(self.at),
            by=_by(self.sender, self.jti),
            expires=None if is_for_good else _time(before + lasts),
        )


def _by(sender: SignalSender, jti: str) -> str:
    """Return the ``by`` of an entry; without a ``jti``, the beginning of all of a sender's."""
    return f"{_BY_SIGNAL}{sender.issuer} {jti}"


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(floor(seconds), UTC)
