"""A decision on what is not remembered: the pipeline, and what it can't do without the world.

It may wait for an issuer's new key, ask the decision point, and see that a proof comes once only;
each within the caller's deadline, and not at all when too much waits already.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

from authz._pb import ext_authz_pb2 as pb
from authz.bounded import Generation
from authz.decision import Allow, Decision, Deny
from authz.envoy import attempt_of
from authz.reason import DPOP_SCHEME, Denied, Reason
from authz.replay import ReplayStore, ReplayStoreFullError
from authz.request import Operation, Request
from authz.service.snapshot import Snapshot
from authz.waiting import TooManyWaitError, Waits

# Left of the caller's deadline for the answer's way back when we wait for others.
ANSWER_MARGIN_SECONDS: Final = 0.05
# What deciding takes at most, way back included: a 503 in time is better than no answer.
DECISION_SECONDS: Final = 0.005
# Longest wait for a key that may just have been published, whatever the caller would allow.
MAX_KEY_WAIT_SECONDS: Final = 2.0
Remaining = Callable[[], float | None]
"""Seconds that the caller still waits; None for no deadline."""


class KeyRefresher(Generation, Protocol):
    """What the edge asks of the key store."""

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch for an unknown key, once for all who ask; True when the set changed."""


class Decider:
    """Decides by a snapshot, with the keys, the decision point and the proofs that there are."""

    def __init__(
        self,
        keys: KeyRefresher,
        replays: ReplayStore,
        waits: Waits,
        is_overloaded: Callable[[], bool],
        clocks: tuple[Callable[[], float], Callable[[], float]],
    ) -> None:
        """Take what it works with, as Service does."""
        self._keys = keys
        self._replays = replays
        self._waits = waits
        self._is_overloaded = is_overloaded
        self._now, self._monotonic = clocks

    def decide(
        self,
        snapshot: Snapshot,
        request: Request,
        message: pb.CheckRequest,
        now: float,
        time_remaining: Remaining,
        *,
        decision_id: str,
    ) -> Decision:
        """The decision on a request, ``now`` in unix seconds."""
        busy = self._busy(time_remaining)
        if busy is not None:  # what is remembered is answered all the same
            return busy
        decision = self._with_fresh_keys(snapshot, request, now, time_remaining)
        decision = self._confirmed(snapshot, request, decision, time_remaining, decision_id)
        return self._used_once(decision, message)

    def judge(self, snapshot: Snapshot, request: Request, time_remaining: Remaining) -> Decision:
        """What the settings alone say, as of what a list has: neither recorded nor confirmed."""
        return self._busy(time_remaining) or snapshot.authorizer.decide(request, self._now())

    def _busy(self, time_remaining: Remaining) -> Deny | None:
        """The refusal where nothing new is to be decided."""
        if self._is_overloaded():
            return Deny(Reason.OVERLOADED, "too many checks wait")
        remaining = time_remaining()
        if remaining is not None and remaining < DECISION_SECONDS:
            return Deny(Reason.OVERLOADED, "too late to decide before the caller gives up")
        return None

    def _with_fresh_keys(
        self,
        snapshot: Snapshot,
        request: Request,
        now: float,
        time_remaining: Remaining,
    ) -> Decision:
        """Decide; and when only a key was missing, fetch and decide once more."""
        decision = snapshot.authorizer.decide(request, now)
        if not isinstance(decision, Deny) or not decision.key_issuer:
            return decision
        remaining = time_remaining()
        wait = MAX_KEY_WAIT_SECONDS if remaining is None else remaining - ANSWER_MARGIN_SECONDS
        wait = max(0.0, min(wait, MAX_KEY_WAIT_SECONDS))
        agent = decision.agent.spiffe_id.text if decision.agent else ""
        try:
            with self._waits.waiting(agent):
                is_known = self._keys.refresh(decision.key_issuer, decision.key_id, wait)
        except TooManyWaitError:
            return Deny(Reason.OVERLOADED, "too many requests wait for keys", agent=decision.agent)
        return snapshot.authorizer.decide(request, self._now()) if is_known else decision

    def _confirmed(
        self,
        snapshot: Snapshot,
        request: Request,
        decision: Decision,
        time_remaining: Remaining,
        decision_id: str,
    ) -> Decision:
        """Ask the decision point about an allow, if there is one: both must allow."""
        point = snapshot.decision_point
        if point is None or not isinstance(decision, Allow):
            return decision
        agent, delegation = decision.agent, decision.delegation
        remaining = time_remaining()
        seconds = math.inf if remaining is None else remaining - ANSWER_MARGIN_SECONDS
        deadline = self._monotonic() + seconds
        try:
            with self._waits.waiting(agent.spiffe_id.text):
                for operation in Operation.of(request).each(request):
                    left = deadline - self._monotonic()
                    decision = point.confirm(
                        decision, operation, decision_id, now=self._now(), seconds=left
                    )
                return decision
        except TooManyWaitError:
            reason, detail = Reason.OVERLOADED, "too many requests wait for the decision point"
        except Denied as denied:
            reason, detail = denied.reason, denied.detail
        return Deny(reason, detail, agent=agent, delegation=delegation, flags=decision.flags)

    def _used_once(self, decision: Decision, message: pb.CheckRequest) -> Decision:
        """Deny what came with a proof that was used before (RFC 9449 section 11.1)."""
        if not isinstance(decision, Allow) or decision.delegation.once is None:
            return decision
        try:
            if self._replays.use(decision.delegation.once, attempt_of(message), self._now()):
                return decision
            reason, detail = Reason.DPOP_PROOF, "the proof was used before"
        except ReplayStoreFullError:
            reason, detail = Reason.OVERLOADED, "too many proofs to remember"
        agent, delegation = decision.agent, decision.delegation
        return Deny(reason, detail, scheme=DPOP_SCHEME, agent=agent, delegation=delegation)
