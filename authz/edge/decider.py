"""A decision on what is not remembered: the pipeline, and what it can't do without the world.

It may wait for an issuer's new key, ask the decision point, and see that a proof comes once only;
each within the caller's deadline, and not at all when too much waits already.
"""

import math
from collections.abc import Callable
from typing import Final, Protocol

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.replay_store import ReplayStore
from authz.core.bounded_map import Generation
from authz.core.decision import Agent, Allow, Decision, Deny, Progress
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import Clock
from authz.edge.envoy import attempt_of
from authz.edge.snapshot import Snapshot

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
        bulkhead: Bulkhead,
        is_overloaded: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """Take what it works with, as Service does."""
        self._keys = keys
        self._replays = replays
        self._bulkhead = bulkhead
        self._is_overloaded = is_overloaded
        self._now, self._monotonic = clock.wall, clock.monotonic

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
        if isinstance(decision, Deny):
            return decision
        progress = decision.progress
        try:  # 4. and 5. of the order in authz.core.authorizer
            decision = self._confirmed(snapshot, decision, time_remaining, decision_id)
            self._use_once(decision, attempt_of(message, decision_id))
        except Denied as denied:
            return progress.refuse(denied)
        return decision

    def judge(self, snapshot: Snapshot, request: Request, time_remaining: Remaining) -> Decision:
        """What the settings alone say, as of what a list has: neither recorded nor confirmed."""
        return self._busy(time_remaining) or snapshot.authorizer.decide(request, self._now())

    def _busy(self, time_remaining: Remaining) -> Deny | None:
        """The refusal where nothing new is to be decided."""
        if self._is_overloaded():
            return _overloaded("too many checks wait")
        remaining = time_remaining()
        if remaining is not None and remaining < DECISION_SECONDS:
            return _overloaded("too late to decide before the caller gives up")
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
            with self._bulkhead.waiting(agent):
                is_known = self._keys.refresh(decision.key_issuer, decision.key_id, wait)
        except BulkheadFullError:
            return _overloaded("too many requests wait for keys", decision.agent)
        return snapshot.authorizer.decide(request, self._now()) if is_known else decision

    def _confirmed(
        self, snapshot: Snapshot, allow: Allow, time_remaining: Remaining, decision_id: str
    ) -> Allow:
        """Ask the decision point, if there is one: both must allow. Raises Denied."""
        point = snapshot.decision_point
        if point is None:
            return allow
        remaining = time_remaining()
        seconds = math.inf if remaining is None else remaining - ANSWER_MARGIN_SECONDS
        deadline = self._monotonic() + seconds
        try:
            with self._bulkhead.waiting(allow.agent.spiffe_id.text):
                for operation in allow.progress.operations:
                    left = deadline - self._monotonic()
                    allow = point.confirm(
                        allow, operation, decision_id, now=self._now(), seconds=left
                    )
        except BulkheadFullError:
            detail = "too many requests wait for the decision point"
            raise Denied(Reason.OVERLOADED, detail) from None
        return allow

    def _use_once(self, allow: Allow, attempt: bytes) -> None:
        """Use the proof that came with it, if one did (RFC 9449 section 11.1). Raises Denied."""
        once = allow.delegation.once
        if once is not None:
            self._replays.use(once, attempt, self._now())


def _overloaded(detail: str, agent: Agent | None = None) -> Deny:
    return Progress(agent=agent).refuse(Denied(Reason.OVERLOADED, detail))
