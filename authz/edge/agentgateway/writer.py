"""Writes what agentgateway is told, which is the ext_authz answer in its words.

What agentgateway does with an answer (its source of August 2026) decides the shape of ours:

- An answer without a result, and an RPC error, is refused, or with ``failOpen`` an allow: so each
  answer has a result, and whatever went wrong is an ``error`` within an answer.
- Headers are set, then removed: so no name is in both lists.
- ``mcp_error`` is data of the JSON-RPC error, by its API's words the error itself: so it is a whole
  error, which is good as either.
"""

import re
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

from authz._pb import ext_authz_pb2 as ext
from authz._pb import ext_mcp_pb2 as pb
from authz.core.decision import Effect
from authz.core.reason import Reason

_Result = pb.McpRequestResult | pb.McpResponseResult
_REASONS: Final = {reason.code: reason for reason in Reason}
_FOLDED: Final = re.compile("[^a-z0-9]+")  # what some servers write "_" for, whatever it is
_CODES: Final = {
    400: pb.AuthorizationError.INVALID,
    413: pb.AuthorizationError.INVALID,
    503: pb.AuthorizationError.RESOURCE_EXHAUSTED,
}


def request_result(
    answers: Sequence[ext.CheckResponse],
    sent: AbstractSet[str] = frozenset(),
    kept: AbstractSet[str] = frozenset(),
) -> pb.McpRequestResult:
    """The answer before a call, from those for each of its targets: all must allow.

    ``sent`` are the names of the client's headers; ``kept`` of those that the gateway is to remove
    itself.
    """
    result = pb.McpRequestResult()
    if not all_allow(answers):
        _write_refusal(result, answers)
        return result
    _pass(result)
    written, removed = _mutations([answer.ok_response for answer in answers])
    for name, value in sorted(written.items()):
        result.header_mutation.set.add(key=name, value=value.encode())
    removed |= _alike(sent, {*written, *removed})
    result.header_mutation.remove.extend(sorted(removed - written.keys() - kept))
    result.metadata.CopyFrom(answers[-1].dynamic_metadata)
    return result


def response_passed(filtered: bytes | None = None) -> pb.McpResponseResult:
    """The answer after a call: the result to give in its place, None to leave it as it is."""
    result = pb.McpResponseResult()
    if filtered is None:
        _pass(result)
    else:
        result.mutated = filtered
    return result


def response_refused(answers: Sequence[ext.CheckResponse]) -> pb.McpResponseResult:
    """The answer after a call whose result the client does not get."""
    result = pb.McpResponseResult()
    _write_refusal(result, answers)
    return result


def all_allow(answers: Sequence[ext.CheckResponse]) -> bool:
    """Whether there are answers, and each is an allow."""
    return bool(answers) and all(is_allow(answer) for answer in answers)


def is_own_fault(answer: ext.CheckResponse) -> bool:
    """Whether it says something about us: no allow, and no word on who asks."""
    return not is_allow(answer) and _reason_of(answer).is_own_fault


def is_allow(answer: ext.CheckResponse) -> bool:
    """Whether it is one in each of the places where an answer says so."""
    return (
        answer.status.code == 0
        and answer.WhichOneof("http_response") == "ok_response"
        and _said(answer, "decision") == Effect.ALLOW
    )


def _write_refusal(result: _Result, answers: Sequence[ext.CheckResponse]) -> None:
    """Write what the first answer that is no allow says; without any, that it is our fault."""
    answer = next((one for one in answers if not is_allow(one)), ext.CheckResponse())
    reason = _reason_of(answer)
    error = _error(answer) or {
        "code": reason.jsonrpc_code,
        "message": f"{reason.code}: {reason.message}",
        "data": {"reason": reason.code, "decision_id": _said(answer, "decision_id")},
    }
    code = _CODES.get(reason.http_status, pb.AuthorizationError.PERMISSION_DENIED)
    result.error.code = code
    result.error.reason = error["message"]
    result.error.mcp_error = msgspec.json.encode(error)


def _reason_of(answer: ext.CheckResponse) -> Reason:
    return _REASONS.get(_said(answer, "reason"), Reason.INTERNAL_ERROR)


class _JsonRpc(msgspec.Struct):
    """The body of a refusal on a route for MCP."""

    error: dict[str, Any]


def _error(answer: ext.CheckResponse) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(answer.denied_response.body, type=_JsonRpc).error
    except msgspec.MsgspecError:  # of another route
        return None


def _pass(result: _Result) -> None:
    getattr(result, "pass").SetInParent()  # a word of Python's


def _alike(sent: Iterable[str], ours: Iterable[str]) -> set[str]:
    """The client's headers whose names a server may take for ours, as CGI does with "." or "_"."""
    known = {_FOLDED.sub("", name) for name in ours}
    return {name for name in sent if _FOLDED.sub("", name) in known}


def _mutations(responses: Sequence[ext.OkHttpResponse]) -> tuple[dict[str, str], set[str]]:
    """The headers that every target may see: what only one may is removed, as it goes to all."""
    written = [{o.header.key: o.header.value for o in one.headers} for one in responses]
    removed = {name for one in responses for name in one.headers_to_remove}
    shared: dict[str, str] = {}
    for name in {name for headers in written for name in headers}:
        values = {headers.get(name) for headers in written}
        value = values.pop()
        if values or value is None:
            removed.add(name)
        elif name not in removed:
            shared[name] = value
    return shared, removed


def _said(answer: ext.CheckResponse, name: str) -> str:
    return answer.dynamic_metadata.fields[name].string_value
