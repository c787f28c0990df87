"""Decides a check that is not in the cache: the pipeline, and its steps that need the network.

The steps are numbered in ``authz.core.authorizer``. If the first three lack a fact, it may be
learned (``authz.edge.learning``). Then the decision point is asked, the upstream's credential is
obtained (``authz.edge.obtaining``), what may be used once is marked as used, and budgets are spent
(``authz.edge.consuming``). Each of these waits only within the caller's deadline, and not at all if
too many checks already wait. Steps 1 to 3 do not wait. So only a learner, a decision point, an
exchange of tokens and a store that replicas share need a wait, and a caller that must not wait gets
no decision.

An allow that waited is looked at again before it is given: it must not have ended meanwhile, and if
keys, status lists or revocations have changed, the first three steps must still allow.
"""

from collections.abc import Callable
from typing import Final

from authz.core.decision import Allow, Decision, Deny, Progress
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.edge.answered import DecodedCheck
from authz.edge.bulkhead import Bulkhead, BulkheadFullError
from authz.edge.clock import Clock, TimeRemaining
from authz.edge.consuming import Consumption, takes_any
from authz.edge.learning import Learning, seconds_to_wait
from authz.edge.obtaining import Obtaining
from authz.edge.snapshot import Snapshot
from authz.edge.waits import Waits, waiting

# The longest time to decide, including the answer's way back: a 503 in time is better than no
# answer.
DECISION_SECONDS: Final = 0.005


class Decider:
    """Decides by a snapshot, with the learners, the decision point and the store."""

    def __init__(
        self,
        learning: Learning,
        consumption: Consumption,
        bulkhead: Bulkhead,
        is_overloaded: Callable[[], bool],
        clock: Clock,
        *,
        generation: Callable[[], int],
    ) -> None:
        """Take the parts to work with, as in ``ServiceParts``.

        ``learning`` learns missing facts, ``consumption`` takes the last steps, and ``generation``
        returns that of keys, status lists and revocations: another number after each change.
        """
        self._learning = learning
        self._consumption = consumption
        self._bulkhead = bulkhead
        self._is_overloaded = is_overloaded
        self._clock = clock
        self._obtaining = Obtaining(bulkhead, clock)
        self._generation = generation

    def decide(
        self,
        snapshot: Snapshot,
        check: DecodedCheck,
        now: float,
        time_remaining: TimeRemaining,
        decision_id: str,
        *,
        may_wait: bool,
        waits: Waits | None = None,
    ) -> Decision | None:
        """Return the decision on a check, ``now`` in unix seconds.

        Without ``may_wait``, returns None if a step has to wait. ``waits`` keeps what the check
        waited for, None if nobody reads it.
        """
        busy = self._busy(time_remaining)
        if busy is not None:  # cached decisions are still answered
            return busy
        generation = self._generation()  # first: a change during the steps shows
        decision = snapshot.authorizer.decide(check.request, now)  # steps 1 to 3
        if isinstance(decision, Allow) and _is_final(snapshot, decision):
            return decision
        if not may_wait and self._takes_a_wait(snapshot, decision):
            return None
        decision = self._learned(snapshot, check.request, decision, time_remaining, waits)
        if isinstance(decision, Deny) or _is_final(snapshot, decision):
            return decision
        taken = self._taken(
            snapshot, check, decision, time_remaining, decision_id, may_wait=may_wait, waits=waits
        )
        is_as_before = (
            self._clock.wall() < decision.valid_until and generation == self._generation()
        )
        if isinstance(taken, Allow) and may_wait and not is_as_before:
            taken = self._unless_refused_now(snapshot, check.request, taken, time_remaining, waits)
        if isinstance(taken, Allow):
            self._obtaining.settle(snapshot, taken)
        return taken

    def _unless_refused_now(
        self,
        snapshot: Snapshot,
        request: Request,
        taken: Allow,
        time_remaining: TimeRemaining,
        waits: Waits | None,
    ) -> Decision:
        """Return an allow that has waited, perhaps for seconds, unless steps 1 to 3 refuse it now.

        The second decision only refuses: what the first has taken and noted stays as it is.
        """
        again = snapshot.authorizer.decide(request, self._clock.wall())
        again = self._learned(snapshot, request, again, time_remaining, waits)
        return again if isinstance(again, Deny) else taken

    def _taken(
        self,
        snapshot: Snapshot,
        check: DecodedCheck,
        allow: Allow,
        time_remaining: TimeRemaining,
        decision_id: str,
        *,
        may_wait: bool,
        waits: Waits | None,
    ) -> Decision | None:
        """Return the decision after the steps 4 to 7, which may wait, and only refuse.

        Without ``may_wait``, returns None if a step has to wait.
        """
        progress = allow.progress
        try:
            with waiting(waits if snapshot.decision_point else None, "decision point"):  # step 4
                allow = self._confirmed(snapshot, allow, time_remaining, decision_id)
            obtained = self._obtaining.obtained(  # step 5, before anything is used up
                snapshot,
                check.request,
                allow,
                time_remaining,
                decision_id,
                may_wait=may_wait,
                waits=waits,
            )
            if obtained is None:
                return None
            consume = self._consumption.consume  # steps 6 and 7
            return consume(obtained, check, decision_id, time_remaining, waits)
        except Denied as denied:
            return progress.refuse(denied)

    def judge(
        self, snapshot: Snapshot, request: Request, time_remaining: TimeRemaining
    ) -> Decision:
        """Return the settings' own decision, as on a list's item: not recorded or confirmed."""
        now = self._clock.wall()
        return self._busy(time_remaining) or snapshot.authorizer.decide(request, now)

    def _busy(self, time_remaining: TimeRemaining) -> Deny | None:
        """Return the refusal while the server is overloaded, else None."""
        if self._is_overloaded():
            return _overloaded("too many checks are waiting")
        remaining = time_remaining()
        if remaining is not None and remaining < DECISION_SECONDS:
            return _overloaded("no time is left before the caller's deadline")
        return None

    def _takes_a_wait(self, snapshot: Snapshot, decision: Decision) -> bool:
        """Tell whether a step after this decision of the pipeline would wait."""
        if isinstance(decision, Deny):
            return self._learning.can_improve(decision)
        return snapshot.decision_point is not None or self._consumption.has_to_wait(decision)

    def _learned(
        self,
        snapshot: Snapshot,
        request: Request,
        decision: Decision,
        time_remaining: TimeRemaining,
        waits: Waits | None,
    ) -> Decision:
        """Return the pipeline's decision, made again if a missing fact was learned."""
        if not isinstance(decision, Deny) or not self._learning.can_improve(decision):
            return decision

        def decide_again() -> Decision:
            return snapshot.authorizer.decide(request, self._clock.wall())

        return self._learning.improve(decision, decide_again, time_remaining, waits)

    def _confirmed(
        self, snapshot: Snapshot, allow: Allow, time_remaining: TimeRemaining, decision_id: str
    ) -> Allow:
        """Ask the decision point, if there is one: both must allow. Raises Denied."""
        point = snapshot.decision_point
        if point is None:
            return allow
        clock = self._clock
        deadline = clock.monotonic() + seconds_to_wait(time_remaining)
        try:
            with self._bulkhead.waiting(allow.agent.spiffe_id.text):
                for operation in allow.progress.operations:
                    left = deadline - clock.monotonic()
                    allow = point.confirm(
                        allow, operation, decision_id, now=clock.wall(), seconds=left
                    )
        except BulkheadFullError:
            detail = "too many requests are waiting for the decision point"
            raise Denied(Reason.OVERLOADED, detail) from None
        return allow


def _is_final(snapshot: Snapshot, allow: Allow) -> bool:
    """Tell whether no later step could refuse, as nearly always."""
    is_alone = snapshot.decision_point is None and not allow.upstream.needs_credential
    return is_alone and not takes_any(allow)


def _overloaded(detail: str) -> Deny:
    return Progress().refuse(Denied(Reason.OVERLOADED, detail))
