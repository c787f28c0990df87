"""The edge of agentgateway's MCP guardrails: the same checks as those of ext_authz, in its words.

A call is checked once for each target, and all must allow. A list goes on where one of its targets
allows it; of its result, what the agent may not call is taken out. Other results are the server's
own affair, and stay as they are.
Whatever goes wrong is a refusal within an answer: to a gateway that is set to fail open, an RPC
that fails is an allow.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NoReturn

import msgspec

from authz._pb import ext_authz_pb2 as ext
from authz._pb import ext_mcp_pb2 as pb
from authz.core.decision import Allow, Deny
from authz.core.protocols.mcp import LISTENING_UNSEEN
from authz.core.protocols.mcp_methods import LISTEN, METHODS, Listed
from authz.core.reason import Denied
from authz.core.request import Call, MessageProtocol, Request, Unread
from authz.edge.agentgateway import reader, writer
from authz.edge.agentgateway.list_filter import Item, Listing
from authz.edge.agentgateway.reader import Asked
from authz.edge.envoy import Reading
from authz.edge.ids import new_decision_id
from authz.edge.service import Amend, Service
from authz.edge.snapshot import Snapshot

# Of a thread's time for one list, should the gateway set no deadline; 1000 items take 0.1 s.
MAX_LIST_SECONDS: Final = 2.0
TimeRemaining = Callable[[], float | None]


class ExtMcp:
    """Answers agentgateway's checks of MCP methods and of their results."""

    def __init__(self, service: Service) -> None:
        """Take who decides."""
        self._service = service

    def check_request(self, data: bytes, time_remaining: TimeRemaining, proxy: str = "") -> bytes:
        """Answer a serialised McpRequest with a serialised McpRequestResult. Never raises.

        The arguments are those of ``Service.check``.
        """
        check = _Check(self._service, time_remaining, proxy)
        try:
            asked = reader.read_request(pb.McpRequest.FromString(data), check.id)
            answers, kept = _before(check, asked)
            result = writer.request_result(answers, asked.header_names, kept)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to the gateway
            result = writer.request_result([check.fault(error)])
        return result.SerializeToString()

    def check_response(self, data: bytes, time_remaining: TimeRemaining, proxy: str = "") -> bytes:
        """Answer a serialised McpResponse with a serialised McpResponseResult. Never raises."""
        check = _Check(self._service, time_remaining, proxy)
        try:
            message = pb.McpResponse.FromString(data)
            result = _after(check, reader.read_response(message, check.id), message.mcp_response)
        except Exception as error:  # noqa: BLE001 - likewise
            result = writer.response_refused([check.fault(error)])
        return result.SerializeToString()


def _before(check: "_Check", asked: Asked) -> tuple[list[ext.CheckResponse], frozenset[str]]:
    """The answers that count for a call, and the headers that are left to the gateway."""
    if asked.listed is None:
        return check.answers(asked), frozenset()
    # The result's check needs the token again, and has only what is left of the request.
    kept = check.credential_headers if asked.strips_token else frozenset[str]()
    return _counting(check.by_target(asked).values()), kept


def _after(check: "_Check", asked: Asked, result: bytes) -> pb.McpResponseResult:
    """The answer to a result, by the table that said what of the request is checked."""
    if asked.listed is not None:
        return _cut(check, asked, asked.listed, result)
    if asked.method not in METHODS:  # a rule's own, or nobody's: as it was with the request
        answers = check.answers(asked)
        if not writer.all_allow(answers):
            return writer.response_refused(answers)
    return writer.response_passed()


def _cut(check: "_Check", asked: Asked, listed: Listed, result: bytes) -> pb.McpResponseResult:
    """The answer to a list: what a target has that refuses it is not in it."""
    try:
        listing = Listing(listed, result, is_prefixed=asked.prefixes(listed))
        answers = check.by_target(asked)
        counting = _counting(answers.values())
        if not writer.all_allow(counting):
            return writer.response_refused(counting)
        targets = [target for target, answer in answers.items() if writer.is_allow(answer)]
        return writer.response_passed(check.only(listing, asked, targets))
    except Denied as denied:
        return writer.response_refused(check.answers(asked, Unread(denied.reason, denied.detail)))


def _counting(answers: Iterable[ext.CheckResponse]) -> list[ext.CheckResponse]:
    """The answers by which a list of several targets goes: the allows, where there are some.

    All of them where there is none; and a fault of ours alone, since what it would leave out is not
    what the agent may not see.
    """
    listed = list(answers)
    faults = [answer for answer in listed if writer.is_own_fault(answer)]
    return faults or [answer for answer in listed if writer.is_allow(answer)] or listed


class _Check:
    """One check, with its id: of every target, and of what a list has."""

    def __init__(self, service: Service, time_remaining: TimeRemaining, proxy: str) -> None:
        self.id = new_decision_id()
        self._service = service
        self._time_remaining = time_remaining
        self._proxy = proxy

    def answers(self, asked: Asked, unread: Unread | None = None) -> list[ext.CheckResponse]:
        """What is decided for each target, up to the first refusal; each leaves its record.

        ``unread`` says why the result that has come is refused, whoever asked for it.
        """
        answers: list[ext.CheckResponse] = []
        for message in asked.checks.values():
            answers.append(self._answer(message, partial(_of_mcp, asked=asked, unread=unread)))
            if not writer.all_allow(answers[-1:]):
                break
        return answers

    def by_target(self, asked: Asked) -> dict[str, ext.CheckResponse]:
        """What is decided for each target, whatever it is for others; each leaves a record."""
        amend = partial(_of_mcp, asked=asked)
        return {name: self._answer(message, amend) for name, message in asked.checks.items()}

    @property
    def credential_headers(self) -> frozenset[str]:
        """The headers in which an agent proves for whom it acts."""
        return self._service.snapshot.credential_headers

    def fault(self, error: Exception) -> ext.CheckResponse:
        """The refusal of what could not even be asked."""

        def fail(_: Reading) -> NoReturn:
            raise error

        return self._answer(ext.CheckRequest(), fail)

    def _answer(self, message: ext.CheckRequest, amend: Amend) -> ext.CheckResponse:
        data = message.SerializeToString()
        answer = self._service.check(
            data, self._time_remaining, self._proxy, amend=amend, decision_id=self.id
        )
        return ext.CheckResponse.FromString(answer)

    def only(self, listing: Listing, asked: Asked, targets: Sequence[str]) -> bytes | None:
        """The list with what may be called at these targets; None where that is all of it.

        An item that any target may have has to be allowed at each. Raises Denied(OVERLOADED).
        """
        end = time.monotonic() + MAX_LIST_SECONDS

        def left() -> float:
            own, remaining = end - time.monotonic(), self._time_remaining()
            return own if remaining is None else min(own, remaining)

        snapshot = self._service.snapshot
        requests = {
            target: _of_mcp(snapshot.reader.read(asked.checks[target], self._proxy), asked).request
            for target in targets
        }

        def may(item: Item) -> bool:
            owners = asked.checks if item.owner is None else [item.owner]
            return all(
                owner in requests
                and _may(self._service, snapshot, requests[owner], item.call, left)
                for owner in owners
            )

        return listing.only(may)


def _may(
    service: Service, snapshot: Snapshot, request: Request, call: Call, left: TimeRemaining
) -> bool:
    decision = service.judge(snapshot, msgspec.structs.replace(request, calls=(call,)), left)
    if isinstance(decision, Deny) and decision.reason.is_own_fault:  # says nothing of the item
        raise Denied(decision.reason, decision.detail)
    return isinstance(decision, Allow)


def _of_mcp(reading: Reading, asked: Asked, unread: Unread | None = None) -> Reading:
    """Take it for a message of MCP: on a route whose messages are not, that is refused."""
    request = reading.request
    if request.protocol is MessageProtocol.MCP and asked.method == LISTEN and not asked.has_params:
        # The gateway never shows what a client listens to: so it may be anything.
        request = msgspec.structs.replace(request, calls=LISTENING_UNSEEN, unread=None)
    request = msgspec.structs.replace(
        request, protocol=MessageProtocol.MCP, unread=unread or request.unread
    )
    return msgspec.structs.replace(reading, request=request)
