"""Answers agentgateway's MCP guardrails: its messages' bytes in, its results' bytes out.

A call is checked once for each target, and all must allow. A list goes on if any of its targets
allows it; the items that the agent may not call are taken out of its result. Other results are the
server's own affair, and stay as they are.
Any error becomes a refusal within an answer: to a gateway that is set to fail open, an RPC that
fails is an allow.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from authz._pb import ext_mcp_pb2 as pb
from authz.core.decision import Allow, Deny
from authz.core.protocols.mcp_methods import METHODS, ListKind
from authz.core.reason import Denied
from authz.core.request import Call, Request, Unread
from authz.edge.agentgateway import reader, writer
from authz.edge.agentgateway.list_filter import Item, ListResult
from authz.edge.agentgateway.reader import MCP, GuardrailRequest
from authz.edge.answered import Answered, DecodedCheck
from authz.edge.clock import TimeRemaining
from authz.edge.ids import new_decision_id
from authz.edge.service import CheckService

# Of a thread's time for one list, should the gateway set no deadline; 1000 items take 0.1 s.
MAX_LIST_SECONDS: Final = 2.0
# A check of which nothing is known, except that its answer is for MCP.
_UNREADABLE: Final = DecodedCheck(Request("", "", "", protocol=MCP))


class McpGuardrails:
    """The methods of ``agentgateway.dev.ext_mcp.ExtMcp``."""

    def __init__(self, service: CheckService) -> None:
        """Take the service that decides."""
        self._service = service

    def check_request(self, data: bytes, time_remaining: TimeRemaining, proxy: str = "") -> bytes:
        """Answer a serialised McpRequest with a serialised McpRequestResult. Never raises.

        The arguments are those of Envoy's ``Authorization.check``.
        """
        check = _Check(self._service, time_remaining)
        try:
            message = pb.McpRequest.FromString(data)
            asked = reader.read_request(check.snapshot.inputs, message, check.id, proxy)
            answers, kept = _before(check, asked)
            result = writer.request_result(answers, asked.header_names, kept)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to the gateway
            result = writer.request_result([check.fault(error)])
        return result.SerializeToString()

    def check_response(self, data: bytes, time_remaining: TimeRemaining, proxy: str = "") -> bytes:
        """Answer a serialised McpResponse with a serialised McpResponseResult. Never raises."""
        check = _Check(self._service, time_remaining)
        try:
            message = pb.McpResponse.FromString(data)
            asked = reader.read_response(check.snapshot.inputs, message, check.id, proxy)
            result = _after(check, asked, message.mcp_response)
        except Exception as error:  # noqa: BLE001 - likewise
            result = writer.response_refused([check.fault(error)])
        return result.SerializeToString()


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


class _Check:
    """One check, of every target and of a list's items, with one id and one snapshot."""

    def __init__(self, service: CheckService, time_remaining: TimeRemaining) -> None:
        self.id = new_decision_id()
        self.snapshot = service.snapshot
        self._service = service
        self._time_remaining = time_remaining

    def answers(self, asked: GuardrailRequest, unread: Unread | None = None) -> list[Answered]:
        """Return the answer for each target, up to the first refusal; each leaves its record.

        ``unread`` says why the result that has come is refused, whoever asked for it.
        """
        answers: list[Answered] = []
        for check in asked.checks.values():
            answers.append(self._answer(_with_unread(check, unread) if unread else check))
            if not answers[-1].is_allow:
                break
        return answers

    def by_target(self, asked: GuardrailRequest) -> dict[str, Answered]:
        """Return the answer for each target, whatever the others' are; each leaves its record."""
        return {name: self._answer(check) for name, check in asked.checks.items()}

    def fault(self, error: Exception) -> Answered:
        """Return the refusal of a message that could not be read."""
        return self._service.refuse(error, self._service.clock.moment(), self.id, _UNREADABLE)

    def _answer(self, check: DecodedCheck) -> Answered:
        begun = self._service.clock.moment()
        return self._service.answer(self.snapshot, check, begun, self._time_remaining, self.id)

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
