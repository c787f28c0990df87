"""Counts signals, for metrics and tests."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.adapters.locked_counter import LockedCounter
from authz.core.signals.events import EVENT_NAMES, LOGOUT, OTHER
from authz.core.signals.sender import SignalSender


class SignalResult(StrEnum):
    """What became of a signal."""

    REVOKED = "revoked"  # entries were written
    RESTORED = "restored"  # entries were taken back, if there were any
    NOTED = "noted"  # it means nothing for tokens
    UNMAPPED = "unmapped"  # we can't tell what it means, or for whom
    REPEATED = "repeated"  # it came before
    REFUSED = "refused"  # it is not valid
    FAILED = "failed"  # it could not be verified or written now; the other side has to try again


@dataclass(frozen=True, slots=True)
class SignalStatus:
    """The counts since the start.

    Attributes:
        signals: by issuer of the signal, event and result.
        polls: by issuer and whether the poll succeeded.
        heard_at: unix seconds, by issuer of a transmitter, when the last valid signal came, or an
            answer to a poll; before the first, when we began to listen.
    """

    signals: Mapping[tuple[str, str, SignalResult], int]
    polls: Mapping[tuple[str, bool], int]
    heard_at: Mapping[str, float]


NOTHING_HEARD: Final = SignalStatus({}, {}, {})


class SignalCounts:
    """Counts for many threads."""

    def __init__(
        self, issuers: frozenset[str], logged_out_by: frozenset[str] = frozenset()
    ) -> None:
        """Begin with nothing heard of these issuers, whose silence is worth knowing.

        ``logged_out_by`` are the issuers of logout tokens.
        """
        events = itertools.product(issuers, sorted(EVENT_NAMES - {LOGOUT}))
        pairs = (*events, *((issuer, LOGOUT) for issuer in logged_out_by))
        self._signals: LockedCounter[tuple[str, str, SignalResult]] = LockedCounter(_zeros(pairs))
        self._polls: LockedCounter[tuple[str, bool]] = LockedCounter()
        # Its keys never change, so that a copy needs no lock.
        self._heard_at = dict.fromkeys(issuers, time.time())

    def add(self, issuer: str, event: str, result: SignalResult) -> None:
        """Count a signal."""
        self._signals.add((issuer, event, result))
        is_taken = result not in {SignalResult.REFUSED, SignalResult.FAILED}
        if is_taken and issuer in self._heard_at:
            self._heard_at[issuer] = time.time()

    def polled_by(self, sender: SignalSender) -> Callable[[bool], None]:
        """Return what counts a poll of a sender, and whether it was answered."""

        def count(is_answered: bool) -> None:  # noqa: FBT001 - as called
            self._polls.add((sender.issuer, is_answered))
            if is_answered:
                self._heard_at[sender.issuer] = time.time()

        return count

    def status(self) -> SignalStatus:
        """Return the counts."""
        return SignalStatus(self._signals.counts(), self._polls.counts(), dict(self._heard_at))


def _zeros(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, SignalResult]]:
    """Yield what alerts watch, of issuers and events. What can't be read is no certain event."""
    for issuer, event in pairs:
        yield issuer, event, SignalResult.UNMAPPED
        if event in {OTHER, LOGOUT}:
            yield issuer, event, SignalResult.REFUSED
            yield issuer, event, SignalResult.FAILED
