"""Takes a signal in: verifies it, works out what follows, and has that written.

A signal is taken when it returns: what it revokes is written, and will count. Threads of the
receiver and of pollers call it; none of them answers checks.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from cachetools import TTLCache

from authz.adapters.signals.status import SignalCounts, SignalResult
from authz.adapters.signals.writer import RevocationWriter, WriteError
from authz.adapters.signing_keys import SigningKeys
from authz.core.jose.jws import Jws
from authz.core.signals.effects import SignalEffect, effect_of, effect_of_logout
from authz.core.signals.errors import (
    SignalError,
    SignalFault,
    SignalKeyUnknownError,
    SignalUnverifiedError,
)
from authz.core.signals.events import LOGOUT, OTHER
from authz.core.signals.logout_token import MEDIA_TYPES as LOGOUT_TYPES
from authz.core.signals.logout_token import read_logout
from authz.core.signals.security_event import MEDIA_TYPES as EVENT_TYPES
from authz.core.signals.security_event import read_events
from authz.core.signals.sender import SignalSender
from authz.core.signals.signed import read_signed, verify_signed

KEY_SECONDS: Final = 3.0  # how long a signal may wait for a key that was just published
# How long an event with an unknown key has to be sent again. A key may be new, while its set can't
# be fetched; to refuse the event would be to lose it.
UNKNOWN_KEY_SECONDS: Final = 300.0
_UNKNOWN_KEYS: Final = 1000
# A repeated signal makes the entries that it made before, so to remember it only saves work.
REMEMBERED: Final = 10_000
REMEMBERED_SECONDS: Final = 3600.0
_log: Final = logging.getLogger("authz.signals")
EffectsOf = Callable[[Mapping[str, Any], float], list[SignalEffect]]
"""Returns what follows from verified claims, by the time now. Raises SignalError."""
ReadToken = Callable[[], str]
"""Returns the token of what was sent. Raises SignalError, SignalUnverifiedError.

It is called where refusals are counted and logged: whatever a sender gets wrong, operators see it.
"""


class SignalDelayedError(Exception):
    """Signals that a signal could not be taken now: the other side has to send it again."""


class NotVerifiedYetError(SignalDelayedError):
    """Signals the same for reasons of this signal alone."""


@dataclass(frozen=True, slots=True)
class Party:
    """A sender, and the source of its keys."""

    sender: SignalSender
    keys: SigningKeys
    keys_name: str


class Intake:
    """Takes signals of all senders."""

    def __init__(self, writer: RevocationWriter, counts: SignalCounts) -> None:
        """Take where to write, and what counts."""
        self._writer = writer
        self._counts = counts
        self._lock = threading.Lock()
        self._taken: TTLCache[bytes, None] = TTLCache(REMEMBERED, REMEMBERED_SECONDS)
        # Keys, and when each was first missing, in monotonic seconds.
        self._unknown: TTLCache[tuple[str, str], float] = TTLCache(
            _UNKNOWN_KEYS, 2 * UNKNOWN_KEY_SECONDS
        )

    def take_event_token(self, read: ReadToken, party: Party, jti: str | None = None) -> None:
        """Take a security event token (RFC 8417), with this ``jti`` if one is given.

        Raises SignalError, SignalDelayedError.
        """
        sender = party.sender

        def effects(claims: Mapping[str, Any], _now: float) -> list[SignalEffect]:
            if jti is not None and claims["jti"] != jti:  # RFC 8936 section 2.3
                raise SignalError(SignalFault.INVALID_REQUEST, "its jti is not the one it is under")
            return [effect_of(event, sender) for event in read_events(claims, sender)]

        self._take(read, party, EVENT_TYPES, OTHER, effects)

    def take_logout_token(self, read: ReadToken, party: Party) -> None:
        """Take a logout token. Raises SignalError, SignalDelayedError."""
        sender = party.sender

        def effects(claims: Mapping[str, Any], now: float) -> list[SignalEffect]:
            return [effect_of_logout(read_logout(claims, sender, now), sender)]

        self._take(read, party, LOGOUT_TYPES, LOGOUT, effects)

    def _take(
        self,
        read: ReadToken,
        party: Party,
        media_types: frozenset[str],
        name: str,
        effects_of: EffectsOf,
    ) -> None:
        """Verify, and write what follows. ``name`` is the event to count what can't be read as."""
        issuer = party.sender.issuer
        try:
            jws, claims = self._verified(read(), party, media_types)
            effects = effects_of(claims, time.time())
            self._write(party, jws, str(claims["jti"]), effects)
        except SignalError as error:
            self._counts.add(issuer, name, SignalResult.REFUSED)
            _log.warning("signal of %s refused: %s", issuer, error)
            raise
        except (SignalUnverifiedError, WriteError) as error:
            self._counts.add(issuer, name, SignalResult.FAILED)
            _log.error("signal of %s not taken, it has to be sent again: %s", issuer, error)
            is_own = isinstance(error, SignalUnverifiedError)
            raise (NotVerifiedYetError if is_own else SignalDelayedError)(str(error)) from None

    def _verified(
        self, text: str, party: Party, media_types: frozenset[str]
    ) -> tuple[Jws, Mapping[str, Any]]:
        """Return a token's parts and its claims, verified.

        Waits a while for a key that was just published. Raises SignalError, SignalUnverifiedError.
        """
        jws = read_signed(text, party.sender, media_types)
        party.keys.refresh(party.keys_name, jws.header.key_id, KEY_SECONDS)
        keys = party.keys.get(party.keys_name)
        try:
            return jws, verify_signed(jws, party.sender, keys, time.time())
        except SignalKeyUnknownError as error:
            # Anybody may post a logout, and no provider sends it again.
            if media_types is EVENT_TYPES and self._may_be_new(party, jws.header.key_id):
                raise SignalUnverifiedError(str(error)) from None
            raise

    def _may_be_new(self, party: Party, key_id: str) -> bool:
        """Tell whether a key was first seen so lately that its set may lack it still."""
        now, key = time.monotonic(), (party.sender.issuer, key_id)
        with self._lock:
            self._unknown.expire()
            if len(self._unknown) >= _UNKNOWN_KEYS and key not in self._unknown:
                return False  # not in the place of another, which would be new again then
            return now - self._unknown.setdefault(key, now) < UNKNOWN_KEY_SECONDS

    def _write(self, party: Party, jws: Jws, jti: str, effects: Sequence[SignalEffect]) -> None:
        """Write what follows from a signal, unless that was done before. Raises WriteError."""
        issuer, key = party.sender.issuer, _key_of(party, jws)
        with self._lock:
            is_repeated = key in self._taken
        if is_repeated:
            self._count(issuer, effects, SignalResult.REPEATED)
            return
        by = f"signal {issuer} {jti}"
        if entries := [entry for effect in effects for entry in effect.entries]:
            self._writer.add(entries, by)
        restorations = [each for effect in effects for each in effect.restorations]
        restored = self._writer.restore(restorations, by) if restorations else 0
        with self._lock:
            self._taken[key] = None
        self._count(issuer, effects)
        ids = ", ".join(entry.id for entry in entries)
        _log.info(
            "signal taken",
            extra={
                "issuer": issuer,
                "jti": jti,
                "events": ", ".join(effect.event for effect in effects),
                "revocations": ids,
                "taken_back": restored,
            },
        )

    def _count(
        self, issuer: str, effects: Sequence[SignalEffect], result: SignalResult | None = None
    ) -> None:
        for effect in effects:
            self._counts.add(issuer, effect.event, result or _result_of(effect))
            if not effect.is_mapped:
                _log.warning(
                    "signal of %s has no effect: the event %s, or its subject, is unknown",
                    issuer,
                    effect.event,
                )


def _key_of(party: Party, jws: Jws) -> bytes:
    """Return a digest of what was said: an id that is used again for something else is no repeat.

    A signal that is signed again is.
    """
    return sha256(party.sender.issuer.encode() + b"\0" + jws.payload_text).digest()


def _result_of(effect: SignalEffect) -> SignalResult:
    if not effect.is_mapped:
        return SignalResult.UNMAPPED
    if effect.restorations:
        return SignalResult.RESTORED
    return SignalResult.REVOKED if effect.entries else SignalResult.NOTED
