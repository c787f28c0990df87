"""Answers agentgateway's MCP guardrails: its messages' bytes in, its results' bytes out.

A call is checked once for each target, and all checks must allow. A list is allowed if the check of
any of its targets allows it; the items that the agent may not call are removed from its result.
Other results are not checked and stay unchanged. Any error becomes a refusal within an answer: a
gateway that is set to fail open treats a failed RPC as an allow.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Final

from google.protobuf.message import Message

from authz._pb import ext_mcp_pb2 as pb
from authz.core.protocols.mcp_methods import METHODS, ListKind
from authz.core.reason import Denied
from authz.core.request import Unread
from authz.edge.agentgateway import reader, writer
from authz.edge.agentgateway.list_filter import ListResult
from authz.edge.agentgateway.presenting import GuardrailMessage, note_call
from authz.edge.agentgateway.reader import GuardrailRequest
from authz.edge.agentgateway.target_checks import TakesAWaitError, TargetChecks
from authz.edge.answered import Answered
from authz.edge.beside_body import BodyPlace, require_few_bytes_beside
from authz.edge.clock import TimeRemaining
from authz.edge.service import CheckService

_BODY: Final = BodyPlace((), frozenset({4}))  # mcp_request, mcp_response


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
        """Keep the service that decides, and the kind of the method's messages."""
        self._service = service
        self._kind = kind

    def begin(self, data: bytes, proxy: str = "", /) -> "bytes | _Message":
        """Return the answer if the answer for each target is cached, as ``Method.begin`` does."""
        message = self._kind(self._service, TargetChecks(self._service, self._kind.rpc))
        try:
            message.read(data, proxy)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to the gateway
            return message.refused(error)
        told = message.told()
        return message if told is None else told


class _Message(ABC):
    """A message of one kind, whose targets are checked: the ``Undecided`` of this dialect."""

    _message: GuardrailMessage
    _asked: GuardrailRequest
    rpc: ClassVar[str]

    def __init__(self, service: CheckService, check: TargetChecks) -> None:
        self._service = service
        self._check = check

    @abstractmethod
    def read(self, data: bytes, proxy: str) -> None:
        """Read the message. Raises the error of an invalid message."""

    @abstractmethod
    def result(self) -> Message:
        """Return the result. Raises TakesAWaitError if the check does."""

    @abstractmethod
    def refused(self, error: Exception) -> bytes:
        """Return the serialised refusal for an error."""

    def decide(self, time_remaining: TimeRemaining, *, may_wait: bool) -> bytes | None:
        """Return the serialised result, None if it needs a wait, as ``Undecided.decide`` does."""
        self._check.go_on(time_remaining, may_wait=may_wait)
        told = self.told()
        if told is not None:
            decision, snapshot = self._check.decision, self._check.snapshot
            note_call(self._service, snapshot, self._message, self._asked, decision)
        return told

    def told(self) -> bytes | None:
        """Return the serialised result, None if the check can't go on."""
        try:
            return self.result().SerializeToString()
        except TakesAWaitError:
            return None
        except Exception as error:  # noqa: BLE001 - likewise
            return self.refused(error)


class _Call(_Message):
    """A message before a call."""

    rpc = reader.BEFORE_RPC

    def read(self, data: bytes, proxy: str) -> None:
        require_few_bytes_beside(data, _BODY)
        message, check = pb.McpRequest.FromString(data), self._check
        self._message = message
        self._asked = reader.read_request(check.snapshot.inputs, message, check.id, proxy)

    def result(self) -> pb.McpRequestResult:
        answers, kept = _before(self._check, self._asked)
        return writer.request_result(answers, self._asked.header_names, kept)

    def refused(self, error: Exception) -> bytes:
        return writer.request_result([self._check.fault(error)]).SerializeToString()


class _Result(_Message):
    """A message after a call, with its result."""

    rpc = reader.AFTER_RPC

    def read(self, data: bytes, proxy: str) -> None:
        require_few_bytes_beside(data, _BODY)
        message, check = pb.McpResponse.FromString(data), self._check
        self._message = message
        self._asked = reader.read_response(check.snapshot.inputs, message, check.id, proxy)
        self._result = message.mcp_response

    def result(self) -> pb.McpResponseResult:
        return _after(self._check, self._asked, self._result)

    def refused(self, error: Exception) -> bytes:
        return writer.response_refused([self._check.fault(error)]).SerializeToString()


def _before(check: TargetChecks, asked: GuardrailRequest) -> tuple[list[Answered], frozenset[str]]:
    """Return the answers that count for a call, and the headers that the gateway handles itself."""
    if asked.listed is None:
        return check.answers(asked), frozenset()
    # The check of the result needs the token again, and only sees what is left of the request.
    kept = check.snapshot.credential_headers if asked.strips_token else frozenset[str]()
    return _counting(check.by_target(asked).values()), kept


def _after(check: TargetChecks, asked: GuardrailRequest, result: bytes) -> pb.McpResponseResult:
    """Return the answer to a result, by the same table as the check of the request."""
    if asked.listed is not None:
        return _cut(check, asked, asked.listed, result)
    if asked.method not in METHODS:  # listed by a rule, or unknown: checked as before the call
        answers = check.answers(asked)
        if not writer.all_allow(answers):
            return writer.response_refused(answers)
    return writer.response_passed()


def _cut(
    check: TargetChecks, asked: GuardrailRequest, listed: ListKind, result: bytes
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

    If no target allows, these are all answers. If any answer is a fault of this server, these are
    the faults alone: ignoring them would hide items that the agent may see.
    """
    listed = list(answers)
    faults = [answer for answer in listed if answer.is_own_fault]
    return faults or [answer for answer in listed if answer.is_allow] or listed
