"""Checks the targets of one message, each once, in as many passes as necessary."""

import time
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from authz.core.decision import Allow, Deny
from authz.core.reason import Denied
from authz.core.request import Call, Request, Unread
from authz.edge.agentgateway.list_filter import Item, ListResult
from authz.edge.agentgateway.reader import BEFORE_RPC, MCP, GuardrailRequest
from authz.edge.answered import Answered, DecodedCheck
from authz.edge.clock import Moment, TimeRemaining
from authz.edge.ids import new_decision_id
from authz.edge.presenting import decision_of
from authz.edge.service import CheckService

# Of a thread's time for one list, should the gateway set no deadline; 1000 items take 0.1 s.
MAX_LIST_SECONDS: Final = 2.0
# A check without any facts, except that its answer is for MCP.
_UNREADABLE: Final = DecodedCheck(Request("", "", "", protocol=MCP))
# Its name, and the reason to refuse its result for every caller.
_Target = tuple[str, Unread | None]


class TakesAWaitError(Exception):
    """Signals that a check can't go on in this thread, or needs deciding first."""


class TargetChecks:
    """One check, of every target and of a list's items, with one id and one snapshot.

    It may take several passes, until nothing in it needs a wait. Each target is answered once:
    earlier answers are kept.

    Its methods raise TakesAWaitError if they can't go on.
    """

    def __init__(self, service: CheckService, rpc: str = BEFORE_RPC) -> None:
        """Keep the service that decides, and its current snapshot.

        ``rpc`` is the method that the gateway called, as in DecodedCheck.
        """
        self.id = new_decision_id()
        self._rpc = rpc
        self.snapshot = service.snapshot
        self._service = service
        self._begun: dict[_Target, Moment] = {}
        self._answered: dict[_Target, Answered] = {}
        self._is_deciding = self._may_wait = False
        self._time_remaining: TimeRemaining = lambda: None

    def go_on(self, time_remaining: TimeRemaining, *, may_wait: bool) -> None:
        """Decide from now on; until now only cached answers were given."""
        self._time_remaining = time_remaining
        self._is_deciding, self._may_wait = True, may_wait

    @property
    def decision(self) -> str:
        """The code of the first refusal of any target, else "allow"."""
        reasons = (answered.rendered.reason for answered in self._answered.values())
        return decision_of(next(filter(None, reasons), None))

    def need_time(self) -> None:
        """Raise TakesAWaitError unless the thread may be kept, for a wait or for long work."""
        if not self._may_wait:
            raise TakesAWaitError

    def answers(self, asked: GuardrailRequest, unread: Unread | None = None) -> list[Answered]:
        """Return the answer for each target, up to the first refusal; each leaves its record.

        ``unread`` is the reason to refuse the result for every caller.
        """
        answers: list[Answered] = []
        for name, check in asked.checks.items():
            answers.append(self._answer((name, unread), check))
            if not answers[-1].is_allow:
                break
        return answers

    def by_target(self, asked: GuardrailRequest) -> dict[str, Answered]:
        """Return the answer for each target, also after a refusal; each leaves its record."""
        return {name: self._answer((name, None), check) for name, check in asked.checks.items()}

    def fault(self, error: Exception) -> Answered:
        """Return the refusal of a message that could not be read."""
        check = msgspec.structs.replace(_UNREADABLE, rpc=self._rpc)
        return self._service.refuse(error, self._service.clock.moment(), self.id, check)

    def _answer(self, target: _Target, check: DecodedCheck) -> Answered:
        """Return a target's answer, which is recorded the first time."""
        answered = self._answered.get(target)
        if answered is None:
            _, unread = target
            answered = self._first_answer(target, _with_unread(check, unread) if unread else check)
            self._answered[target] = answered
        return answered

    def _first_answer(self, target: _Target, check: DecodedCheck) -> Answered:
        answered, begun = None, self._begun.get(target)
        if begun is None:
            begun = self._begun[target] = self._service.clock.moment()
            answered = self._service.remembered(self.snapshot, check, begun, self.id)
        if answered is None and self._is_deciding:
            answered = self._decided(check, begun)
        if answered is None:
            raise TakesAWaitError
        return answered

    def _decided(self, check: DecodedCheck, begun: Moment) -> Answered | None:
        remaining, may_wait = self._time_remaining, self._may_wait
        return self._service.decide(
            self.snapshot, check, begun, remaining, self.id, may_wait=may_wait
        )

    def only(self, listing: ListResult, answers: Mapping[str, Answered]) -> bytes | None:
        """Return the list with the items that the agent may call; None if it may call all of them.

        An item that any target may have must be allowed at each of them. Raises Denied if an item
        can't be decided, such as Denied(OVERLOADED).
        """
        end = time.monotonic() + MAX_LIST_SECONDS

        def left() -> float:
            own, remaining = end - time.monotonic(), self._time_remaining()
            return own if remaining is None else min(own, remaining)

        allows = {name: answer for name, answer in answers.items() if answer.is_allow}
        allowed = {name: answer.check.request for name, answer in allows.items()}

        def may(item: Item) -> bool:
            owners: Iterable[str] = answers if item.owner is None else [item.owner]
            return all(
                owner in allowed and self._may(allowed[owner], item.call, left) for owner in owners
            )

        return listing.only(may)

    def _may(self, request: Request, call: Call, left: TimeRemaining) -> bool:
        request = msgspec.structs.replace(request, calls=(call,))
        decision = self._service.judge(self.snapshot, request, left)
        if isinstance(decision, Deny) and decision.reason.is_own_fault:  # not about the item
            raise Denied(decision.reason, decision.detail)
        return isinstance(decision, Allow)


def _with_unread(check: DecodedCheck, unread: Unread) -> DecodedCheck:
    request = msgspec.structs.replace(check.request, unread=unread)
    return msgspec.structs.replace(check, request=request)
