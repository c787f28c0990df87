"""Writes what agentgateway is told, which is the ext_authz answer in its words.

What agentgateway does with an answer (its source of August 2026) decides the shape of ours:

- An answer without a result, and an RPC error, is refused, or with ``failOpen`` an allow: so each
  answer has a result, and whatever went wrong is an ``error`` within an answer.
- Headers are set, then removed: so no name is in both lists.
- ``mcp_error`` is data of the JSON-RPC error, by its API's words the error itself: so it is a whole
  error, which is good as either.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from authz._pb import ext_authz_pb2 as ext
from authz._pb import ext_mcp_pb2 as pb
from authz.reason import Reason

_Result = pb.McpRequestResult | pb.McpResponseResult
_REASONS: Final = {reason.code: reason for reason in Reason}
_CODES: Final = {
    400: pb.AuthorizationError.INVALID,
    413: pb.AuthorizationError.INVALID,
    503: pb.AuthorizationError.RESOURCE_EXHAUSTED,
}


def request_result(answers: Sequence[ext.CheckResponse]) -> pb.McpRequestResult:
    """The answer before a call, from those for each of its targets: all must allow."""
    result = pb.McpRequestResult()
    if not all_allow(answers):
        _write_refusal(result, answers)
        return result
    _pass(result)
    _mutate(result.header_mutation, [answer.ok_response for answer in answers])
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
    return bool(answers) and all(_is_allow(answer) for answer in answers)


def _is_allow(answer: ext.CheckResponse) -> bool:
    """Whether it is one in each of the places where an answer says so."""
    return (
        answer.status.code == 0
        and answer.WhichOneof("http_response") == "ok_response"
        and _said(answer, "decision") == "allow"
    )


def _write_refusal(result: _Result, answers: Sequence[ext.CheckResponse]) -> None:
    """Write what the first answer that is no allow says; without any, that it is our fault."""
    answer = next((one for one in answers if not _is_allow(one)), ext.CheckResponse())
    reason = _REASONS.get(_said(answer, "reason"), Reason.INTERNAL_ERROR)
    error = _error(answer) or {
        "code": reason.jsonrpc_code,
        "message": f"{reason.code}: {reason.message}",
        "data": {"reason": reason.code, "decision_id": _said(answer, "decision_id")},
    }
    code = _CODES.get(reason.http_status, pb.AuthorizationError.PERMISSION_DENIED)
    result.error.code = code
    result.error.reason = error["message"]
    result.error.mcp_error = msgspec.json.encode(error)


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


def _mutate(mutation: pb.HeaderMutation, responses: Sequence[ext.OkHttpResponse]) -> None:
    """The headers that every target may see: what only one may is removed, as it goes to all."""
    written = [{o.header.key: o.header.value for o in one.headers} for one in responses]
    removed = {name for one in responses for name in one.headers_to_remove}
    names = {name for headers in written for name in headers}
    for name in sorted(names):
        values = {headers.get(name) for headers in written}
        value = values.pop()
        if values or value is None:
            removed.add(name)
        elif name not in removed:
            mutation.set.add(key=name, value=value.encode())
    mutation.remove.extend(sorted(removed))


def _said(answer: ext.CheckResponse, name: str) -> str:
    return answer.dynamic_metadata.fields[name].string_value
