"""Refuses a second use of a DPoP proof (RFC 9449 section 11.1), of a token, or of an approval.

The store keeps the marks, for all replicas or for this process alone. What it can't say for certain
is refused, unless the settings let this process's own marks count while a shared store is away.
"""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec

from authz.adapters.agent_shares import AgentShares
from authz.adapters.locked_counter import LockedCounter
from authz.adapters.replay_settings import ReplaySettings
from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import (
    CLOCKS_DIFFER_SECONDS,
    AlreadyUsedError,
    Mark,
    Marks,
    StoreAwayError,
    StoreBusyError,
    StoreError,
    StoreForgotError,
    StoreFullError,
    unavailable,
)
from authz.core.choice import WhenAway
from authz.core.reason import Denied, Reason
from authz.core.single_use import SingleUse, UseKind

# An answer takes a fraction of a millisecond; to give up sooner would look like the store's fault.
MIN_SECONDS: Final = 0.01


class UseResult(StrEnum):
    """What became of a use.

    Passed; passed by this process's own marks alone, since the store was away; used before; or
    refused because the store was away or full, or too many waited for it, or because its time ended
    while it waited.
    """

    PASSED = "passed"
    PASSED_LOCALLY = "passed_locally"
    USED = "used"
    AWAY = "away"
    FULL = "full"
    BUSY = "busy"
    ENDED = "ended"


_OVERLOADS: Final[Mapping[type[StoreError], UseResult]] = {
    StoreFullError: UseResult.FULL,
    StoreBusyError: UseResult.BUSY,
}


class SingleUseStatus(msgspec.Struct, frozen=True):
    """The number of uses so far, by kind and result."""

    counts: Mapping[tuple[UseKind, UseResult], int]


class SingleUses:
    """The memory of what was used.

    While it is valid, one HTTP request alone may use it, of several at once or one after the other.
    Whether that holds over a restart, and for several processes, depends on the store.

    Attributes:
        is_shared: whether the store is a remote one, so that a use waits for it.
    """

    def __init__(self, store: Marks, settings: ReplaySettings, *, is_shared: bool) -> None:
        """Take the store; a shared one may be away, and then the settings say what counts."""
        self.is_shared = is_shared
        self._store = store
        is_local = is_shared and settings.when_away is WhenAway.LOCAL
        self._local = MemoryStore(settings.entries) if is_local else None
        self._shares = AgentShares(max(1, settings.entries // 2))
        self._counter: LockedCounter[tuple[UseKind, UseResult]] = LockedCounter()

    def status(self) -> SingleUseStatus:
        """Return the number of uses so far."""
        return SingleUseStatus(self._counter.counts())

    def use(
        self, once: SingleUse, attempt: bytes, now: float, seconds: float, *, agent: str = ""
    ) -> None:
        """Check that it is unused and mark it as used, in one step; ``now`` is unix seconds.

        Waits for ``seconds`` at most. ``attempt`` names the HTTP request: a proxy may ask again for
        the same request. ``agent`` is the SPIFFE ID of the agent that makes its proofs, of which it
        has a share; "" for nobody's. Raises Denied: DPOP_PROOF, TOKEN_USED or APPROVAL_REQUIRED if
        another request used it or its time has ended, OVERLOADED if no more marks can be kept or no
        time is left, and STORE_UNAVAILABLE if the store can't say for certain.
        """
        if seconds < MIN_SECONDS:
            raise Denied(Reason.OVERLOADED, "no time is left before the caller's deadline")
        result, detail = self._used_by(agent, once, attempt, now, seconds)
        self._counter.add((once.kind, result))
        if detail:
            raise _refusal(once, result, detail)

    def _used_by(
        self, agent: str, once: SingleUse, attempt: bytes, now: float, seconds: float
    ) -> tuple[UseResult, str]:
        """Return what becomes of a use, as ``_used``: of proofs an agent has its share at most."""
        # Tokens, and the approvals in them, are as many as their issuer makes.
        is_counted = bool(agent) and once.kind is UseKind.PROOF
        try:
            if is_counted:
                self._shares.check(agent, now)
        except StoreFullError as error:
            return UseResult.FULL, str(error)
        result, detail = self._used(once, attempt, now, seconds)
        if is_counted and not detail:
            self._shares.add(agent, once.until)
        return result, detail

    def _used(
        self, once: SingleUse, attempt: bytes, now: float, seconds: float
    ) -> tuple[UseResult, str]:
        """Return what becomes of a use, and why it is refused, "" if it is not."""
        if now >= once.until:  # it waited, and its mark would not be kept
            return UseResult.ENDED, f"the {once.kind} ended while the check waited"
        # Kept for longer, and taken for older, by as much as the clocks may differ.
        made_at, until = once.made_at - CLOCKS_DIFFER_SECONDS, once.until + CLOCKS_DIFFER_SECONDS
        # A digest, as a client may choose a part of the name, of any length.
        mark = Mark(_named(once), sha256(attempt).digest(), made_at, until)
        try:
            return self._marked(mark, now, seconds), ""
        except AlreadyUsedError:
            return UseResult.USED, f"the {once.kind} was used before"
        except (StoreFullError, StoreBusyError) as error:
            return _OVERLOADS[type(error)], str(error)
        except StoreError as error:
            return UseResult.AWAY, str(error)

    def _marked(self, mark: Mark, now: float, seconds: float) -> UseResult:
        """Mark as used. Raises AlreadyUsedError and StoreError."""
        local = self._local
        if local is None:
            self._store.use(mark, now, seconds)
            return UseResult.PASSED
        full = None
        try:  # first: once the store is away, these marks must be there
            local.use(mark, now, seconds)
        except StoreFullError as error:
            full = error
        try:
            self._store.use(mark, now, seconds)
        except (StoreAwayError, StoreForgotError):
            if full is not None:
                raise full from None
            return UseResult.PASSED_LOCALLY
        return UseResult.PASSED


def _named(once: SingleUse) -> bytes:
    """Return the mark's key: a token's and a proof's are never the same."""
    return once.kind.encode() + once.key


def _refusal(once: SingleUse, result: UseResult, detail: str) -> Denied:
    if result in _OVERLOADS.values():
        return Denied(Reason.OVERLOADED, detail)
    if result is UseResult.AWAY:
        return unavailable(detail)
    return Denied(once.kind.reason, detail, approvals=once.approvals)
