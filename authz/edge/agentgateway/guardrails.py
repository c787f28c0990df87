"""Answers agentgateway's MCP guardrails: its messages' bytes in, its results' bytes out.

A call is checked once for each target, and all must allow. A list goes on if any of its targets
allows it; the items that the agent may not call are taken out of its result. Other results are the
server's own affair, and stay as they are.
Any error becomes a refusal within an answer: to a gateway that is set to fail open, an RPC that
fails is an allow.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from google.protobuf.message import Message

from authz._pb import ext_mcp_pb2 as pb
from authz.core.decision import Allow, Deny
from authz.core.protocols.mcp_methods import METHODS, ListKind
from authz.core.reason import Denied
from authz.core.request import Call, Request, Unread
from authz.edge.agentgateway import reader, writer
from authz.edge.agentgateway.list_filter import Item, ListResult
from authz.edge.agentgateway.reader import MCP, GuardrailRequest
from authz.edge.answered import Answered, DecodedCheck
from authz.edge.clock import Moment, TimeRemaining
from authz.edge.ids import new_decision_id
from authz.edge.service import CheckService

# Of a thread's time for one list, should the gateway set no deadline; 1000 items take 0.1 s.
MAX_LIST_SECONDS: Final = 2.0
# A check of which nothing is known, except that its answer is for MCP.
_UNREADABLE: Final = DecodedCheck(Request("", "", "", protocol=MCP))
_Target = tuple[str, Unread | None]  # its name, and why its result is refused, whoever asks


class McpGuardrails:
    """The methods of ``agentgateway.dev.ext_mcp.ExtMcp``.

    Attributes:
        check_request: answers a serialised McpRequest with a serialised McpRequestResult.
        check_response: answers a serialised McpResponse with a serialised McpResponseResult.
    """

    def __init__(self, service: CheckService) -> None:
        """Take the service that decides."""
        self.check_request = GuardrailMethod(service, _Call)
        self.check_response = GuardrailMethod(service, _Result)


class GuardrailMethod:
    """A method that answers with the checks of a message's targets."""

    def __init__(self, service: CheckService, kind: "type[_Message]") -> None:
        """Take the service that decides, and the kind of the method's messages."""
        self._service = service
        self._kind = kind

    def begin(self, data: bytes, proxy: str = "", /) -> "bytes | _Message":
        """Return the answer if each target's is remembered, as ``Method.begin``."""
        message = self._kind(_Check(self._service))
        try:
            message.read(data, proxy)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to the gateway
            return message.refused(error)
        return message.told() or message


class _Message(ABC):
    """A message of one kind, whose targets are checked: the ``Undecided`` of this dialect."""

    def __init__(self, check: "_Check") -> None:
        self._check = check

    @abstractmethod
    def read(self, data: bytes, proxy: str) -> None:
        """Read the message. Raises whatever is wrong with it."""

    @abstractmethod
    def result(self) -> Message:
        """Return the result. Raises TakesAWaitError as the check does."""

    @abstractmethod
    def refused(self, error: Exception) -> bytes:
        """Return the serialised refusal for an error."""

    def decide(self, time_remaining: TimeRemaining, *, may_wait: bool) -> bytes | None:
        """Return the serialised result, None where it takes a wait, as ``Undecided.decide``."""
        self._check.go_on(time_remaining, may_wait=may_wait)
        return self.told()

    def told(self) -> bytes | None:
        """Return the serialised result, None where the check can't go on."""
        try:
            return self.result().SerializeToString()
        except TakesAWaitError:
            return None
        except Exception as error:  # noqa: BLE001 - likewise
            return self.refused(error)


class _Call(_Message):
    """A message before a call."""

    def read(self, data: bytes, proxy: str) -> None:
        message, check = pb.McpRequest.FromString(data), self._check
        self._asked = reader.read_request(check.snapshot.inputs, message, check.id, proxy)

    def result(self) -> pb.McpRequestResult:
        answers, kept = _before(self._check, self._asked)
        return writer.request_result(answers, self._asked.header_names, kept)

    def refused(self, error: Exception) -> bytes:
        return writer.request_result([self._check.fault(error)]).SerializeToString()


class _Result(_Message):
    """A message after a call, with its result."""

    def read(self, data: bytes, proxy: str) -> None:
        message, check = pb.McpResponse.FromString(data), self._check
        self._asked = reader.read_response(check.snapshot.inputs, message, check.id, proxy)
        self._result = message.mcp_response

    def result(self) -> pb.McpResponseResult:
        return _after(self._check, self._asked, self._result)

    def refused(self, error: Exception) -> bytes:
        return writer.response_refused([self._check.fault(error)]).SerializeToString()


def _before(check: "_Check", asked: GuardrailRequest) -> tuple[list[Answered], frozenset[str]]:
    """Return the answers that count for a call, and the headers that are left to the gateway."""
    if asked.listed is None:
        return check.answers(asked), frozenset()
    # The result's check needs the token again, and has only what is left of the request.
    kept = check.snapshot.credential_headers if asked.strips_token else frozenset[str]()
    return _counting(check.by_target(asked).values()), kept


def _after(check: "_Check", asked: GuardrailRequest, result: bytes) -> pb.McpResponseResult:
    """Return the answer to a result, by the same table as the check of the request."""
    if asked.listed is not None:
        return _cut(check, asked, asked.listed, result)
    if asked.method not in METHODS:  # listed by a rule, or unknown: checked as before the call
        answers = check.answers(asked)
        if not writer.all_allow(answers):
            return writer.response_refused(answers)
    return writer.response_passed()


def _cut(
    check: "_Check", asked: GuardrailRequest, listed: ListKind, result: bytes
) -> pb.McpResponseResult:
    """Return the answer to a list, without the items that the agent may not call."""
    check.need_time()
    try:
        listing = ListResult(listed, result, is_prefixed=asked.prefixes(listed))
        answers = check.by_target(asked)
        counting = _counting(answers.values())
        if not writer.all_allow(counting):
            return writer.response_refused(counting)
        return writer.response_passed(check.only(listing, answers))
    except Denied as denied:
        unread = Unread(denied.reason, denied.detail)
        return writer.response_refused(check.answers(asked, unread))


def _counting(answers: Iterable[Answered]) -> list[Answered]:
    """Return the answers that decide a list of several targets: the allows, if there are any.

    All answers if no target allows. Only the faults of ours if there are any: a fault would leave
    out items that the agent may see.
    """
    listed = list(answers)
    faults = [answer for answer in listed if answer.is_own_fault]
    return faults or [answer for answer in listed if answer.is_allow] or listed


class TakesAWaitError(Exception):
    """Signals that a check can't go on in this thread, or needs deciding first."""


class _Check:
    """One check, of every target and of a list's items, with one id and one snapshot.

    It may be gone through several times, until nothing in it takes a wait. Each target is answered
    once: what was answered before is kept.

    Its methods raise TakesAWaitError where they can't go on.
    """

    def __init__(self, service: CheckService) -> None:
        self.id = new_decision_id()
        self.snapshot = service.snapshot
        self._service = service
        self._begun: dict[_Target, Moment] = {}
        self._answered: dict[_Target, Answered] = {}
        self._is_deciding = self._may_wait = False
        self._time_remaining: TimeRemaining = lambda: None

    def go_on(self, time_remaining: TimeRemaining, *, may_wait: bool) -> None:
        """Decide from now on, after only remembered answers were given."""
        self._time_remaining = time_remaining
        self._is_deciding, self._may_wait = True, may_wait

    def need_time(self) -> None:
        """Go on only where the thread may be kept: for a wait, or for long work."""
        if not self._may_wait:
            raise TakesAWaitError

    def answers(self, asked: GuardrailRequest, unread: Unread | None = None) -> list[Answered]:
        """Return the answer for each target, up to the first refusal; each leaves its record.

        ``unread`` says why the result that has come is refused, whoever asked for it.
        """
        answers: list[Answered] = []
        for name, check in asked.checks.items():
            answers.append(self._answer((name, unread), check))
            if not answers[-1].is_allow:
                break
        return answers

    def by_target(self, asked: GuardrailRequest) -> dict[str, Answered]:
        """Return the answer for each target, whatever the others' are; each leaves its record."""
        return {name: self._answer((name, None), check) for name, check in asked.checks.items()}

    def fault(self, error: Exception) -> Answered:
        """Return the refusal of a message that could not be read."""
        return self._service.refuse(error, self._service.clock.moment(), self.id, _UNREADABLE)

    def _answer(self, target: "_Target", check: DecodedCheck) -> Answered:
        """Return a target's answer, which is recorded the first time."""
        answered = self._answered.get(target)
        if answered is None:
            _, unread = target
            answered = self._first_answer(target, _with_unread(check, unread) if unread else check)
            self._answered[target] = answered
        return answered

    def _first_answer(self, target: "_Target", check: DecodedCheck) -> Answered:
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
        """Return the list with the items that the agent may call; None where that is all of it.

        An item that any target may have has to be allowed at each. Raises Denied where an item
        can't be judged, such as Denied(OVERLOADED).
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
