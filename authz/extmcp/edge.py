"""The edge of agentgateway's MCP guardrails: the same checks as those of ext_authz, in its words.

A call is checked once for each target, and all must allow. Of a result that is a list, what the
agent may not call is taken out; other results are the server's own affair, and stay as they are.
Whatever goes wrong is a refusal within an answer: to a gateway that is set to fail open, an RPC
that fails is an allow.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final, NoReturn

import msgspec

from authz._pb import ext_authz_pb2 as ext
from authz._pb import ext_mcp_pb2 as pb
from authz.decision import Allow, Deny
from authz.envoy import Reading
from authz.extmcp import reader, writer
from authz.extmcp.lists import Item, Listing
from authz.extmcp.reader import Asked
from authz.reason import Denied, Reason
from authz.request import Call, Request
from authz.service import Amend, Service, Snapshot, new_decision_id

_MCP: Final = "mcp"
# Of a thread's time for one list, should the gateway set no deadline; 1000 items take 0.1 s.
MAX_LIST_SECONDS: Final = 2.0
# Methods whose results list nothing that could be called; what asks for them was checked before.
_UNCHANGED: Final = frozenset(
    {
        "initialize",
        "ping",
        "server/discover",
        "tools/call",
        "prompts/get",
        "resources/read",
        "resources/subscribe",
        "resources/unsubscribe",
        "completion/complete",
        "logging/setLevel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/cancel",
    }
)
TimeRemaining = Callable[[], float | None]
Unread = tuple[Reason, str]


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
            result = writer.request_result(check.answers(asked))
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to the gateway
            result = writer.request_result([check.fault(error)])
        return result.SerializeToString()

    def check_response(self, data: bytes, time_remaining: TimeRemaining, proxy: str = "") -> bytes:
        """Answer a serialised McpResponse with a serialised McpResponseResult. Never raises."""
        check = _Check(self._service, time_remaining, proxy)
        try:
            message = pb.McpResponse.FromString(data)
            asked = reader.read_response(message, check.id)
            if asked.method in _UNCHANGED:
                return writer.response_passed().SerializeToString()
            result = _listed(check, asked, message.mcp_response)
        except Exception as error:  # noqa: BLE001 - likewise
            result = writer.response_refused([check.fault(error)])
        return result.SerializeToString()


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
            answers.append(self._answer(message, partial(_of_mcp, unread=unread)))
            if not writer.all_allow(answers[-1:]):
                break
        return answers

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

    def only(self, listing: Listing, asked: Asked) -> bytes | None:
        """The list with what may be called; None where that is all. Raises Denied(OVERLOADED)."""
        end = time.monotonic() + MAX_LIST_SECONDS

        def left() -> float:
            own, remaining = end - time.monotonic(), self._time_remaining()
            return own if remaining is None else min(own, remaining)

        snapshot = self._service.snapshot
        requests = {
            target: _of_mcp(snapshot.reader.read(message, self._proxy)).request
            for target, message in asked.checks.items()
        }

        def may(item: Item) -> bool:
            owners = requests if item.owner is None else [item.owner]
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


def _of_mcp(reading: Reading, unread: Unread | None = None) -> Reading:
    """Take it for a message of MCP: on a route whose messages are not, that is refused."""
    request = msgspec.structs.replace(
        reading.request, protocol=_MCP, unread=unread or reading.request.unread
    )
    return msgspec.structs.replace(reading, request=request)


def _listed(check: _Check, asked: Asked, result: bytes) -> pb.McpResponseResult:
    """The answer to a result that is a list; what is no known one is refused."""
    try:
        listing = Listing(asked.method, result, is_prefixed=asked.is_prefixed)
        answers = check.answers(asked)
        if not writer.all_allow(answers):
            return writer.response_refused(answers)
        return writer.response_passed(check.only(listing, asked))
    except Denied as denied:
        return writer.response_refused(check.answers(asked, (denied.reason, denied.detail)))
