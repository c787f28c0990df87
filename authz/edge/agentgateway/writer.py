"""Writes the answers to agentgateway: every McpRequestResult and McpResponseResult.

agentgateway's way of reading an answer (by its source of August 2026) decides the shape of ours:

- An answer without a result, and an RPC error, is refused, or with ``failOpen`` an allow: so each
  answer has a result, and every failure is an ``error`` within an answer.
- Headers are set, then removed: so no name is in both lists.
- ``mcp_error`` becomes data of the JSON-RPC error; by the API's documentation it is the error
  itself. So it is a complete error, which fits either reading.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from google.protobuf.struct_pb2 import Struct

from authz._pb import ext_mcp_pb2 as pb
from authz.core.decision import Progress
from authz.core.reason import Denied, Reason
from authz.edge.agentgateway.reader import MCP
from authz.edge.answered import Answered
from authz.edge.identity_headers import names_read_alike
from authz.edge.refusal import Body, build_body
from authz.edge.response import ID_PLACE

_Result = pb.McpRequestResult | pb.McpResponseResult
_CODES: Final = {
    400: pb.AuthorizationError.INVALID,
    413: pb.AuthorizationError.INVALID,
    429: pb.AuthorizationError.RESOURCE_EXHAUSTED,
    503: pb.AuthorizationError.RESOURCE_EXHAUSTED,
}


def request_result(
    answers: Sequence[Answered],
    sent: AbstractSet[str] = frozenset(),
    kept: AbstractSet[str] = frozenset(),
) -> pb.McpRequestResult:
    """Return the answer before a call, from those for each of its targets: all must allow.

    ``sent`` has the names of the client's headers; ``kept`` the names that the gateway removes
    itself.
    """
    result = pb.McpRequestResult()
    if not all_allow(answers):
        _write_refusal(result, answers)
        return result
    _pass(result)
    written, removed = _mutations(answers)
    for name, value in sorted(written.items()):
        result.header_mutation.set.add(key=name, value=value.encode())
    removed |= names_read_alike(sent, {*written, *removed})
    result.header_mutation.remove.extend(sorted(removed - written.keys() - kept))
    valid_until = min(answer.valid_until for answer in answers)
    _write_metadata(result.metadata, answers[-1], valid_until)
    return result


def response_passed(filtered: bytes | None = None) -> pb.McpResponseResult:
    """Return the answer after a call: the filtered result, or None to leave it as it is."""
    result = pb.McpResponseResult()
    if filtered is None:
        _pass(result)
    else:
        result.mutated = filtered
    return result


def response_refused(answers: Sequence[Answered]) -> pb.McpResponseResult:
    """Return the answer after a call whose result the client does not get."""
    result = pb.McpResponseResult()
    _write_refusal(result, answers)
    return result


def all_allow(answers: Sequence[Answered]) -> bool:
    """Tell whether there are answers, and each is an allow."""
    return bool(answers) and all(answer.is_allow for answer in answers)


def _write_refusal(result: _Result, answers: Sequence[Answered]) -> None:
    """Write the error of the first refusal.

    Without a refusal, an error that says it is our fault.
    """
    answer = next((answer for answer in answers if not answer.is_allow), None)
    reason = (answer and answer.rendered.reason) or Reason.INTERNAL_ERROR
    decision_id = answer.decision_id if answer else ""
    body = answer.rendered.response.body if answer else None
    if body is None or not body.error:
        body = _body_of(reason)
    result.error.code = _CODES.get(reason.http_status, pb.AuthorizationError.PERMISSION_DENIED)
    result.error.reason = body.message
    result.error.mcp_error = body.error.replace(ID_PLACE, decision_id).encode()


def _body_of(reason: Reason) -> Body:
    """Return a refusal's body for MCP, if the refusal was not rendered for MCP."""
    return build_body(Progress().refuse(Denied(reason)), MCP, ID_PLACE)


def _write_metadata(metadata: Struct, answer: Answered, valid_until: float) -> None:
    described = answer.rendered.response.metadata
    texts = {name: text.replace(ID_PLACE, answer.decision_id) for name, text in described.items()}
    cache = "hit" if answer.is_hit else "miss"
    metadata.update({**texts, "cache": cache, "valid_until": valid_until})


def _pass(result: _Result) -> None:
    getattr(result, "pass").SetInParent()  # Python's own word


def _mutations(answers: Sequence[Answered]) -> tuple[dict[str, str], set[str]]:
    """Return the headers to set, which every target may see, and those to remove.

    Headers go to all targets: a header that is not the same for each of them is removed.
    """
    written = [_headers(answer) for answer in answers]
    removed: set[str] = set()
    for answer in answers:
        removed.update(answer.rendered.response.removed, answer.check.twins)
    shared: dict[str, str] = {}
    for name in {name for headers in written for name in headers}:
        values = {headers.get(name) for headers in written}
        value = values.pop()
        if values or value is None:
            removed.add(name)
        elif name not in removed:
            shared[name] = value
    return shared, removed


def _headers(answer: Answered) -> dict[str, str]:
    headers = answer.rendered.response.headers
    return {name: value.replace(ID_PLACE, answer.decision_id) for name, value in headers}
