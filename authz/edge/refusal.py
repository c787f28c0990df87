"""Builds the body of a refusal, in the form that clients of each protocol read."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from authz.core.approval_request import ApprovalRequest
from authz.core.decision import Deny
from authz.core.reason import REFUSED, RETRY_AFTER, URL_ELICITATION_REQUIRED
from authz.core.request import MessageProtocol
from authz.edge.challenge import told_parameters

JSON: Final = "application/json"
# Of the arguments of a call that an answer repeats: an authorization request has a similar limit,
# and an answer must not become as large as the largest body.
_MAX_TOLD_BYTES: Final = 16 * 1024
_MAX_IN_URL_BYTES: Final = 2048  # percent-encoded up to three times as long; servers read 8 KiB
_TEXT: Final = "text/plain; charset=utf-8"


class Body(msgspec.Struct, frozen=True, gc=False):
    """The body of a refusal.

    Attributes:
        content_type: of the HTTP answer.
        text: the body; "" for a JSON-RPC error, which is completed with the request's id.
        error: JSON-RPC's member ``error`` as JSON; "" for another form.
        message: the words of that error.
    """

    content_type: str
    text: str
    error: str = ""
    message: str = ""


NO_BODY: Final = Body("", "")


def build_body(deny: Deny, protocol: MessageProtocol, decision_id: str) -> Body:
    """Return the body of a refusal on a route of this protocol; NONE means plain HTTP."""
    reason = deny.reason
    told = f"{reason.code}: {reason.message}{_scopes(deny)}"
    if protocol is MessageProtocol.OPENAI:  # as its clients print it
        error = {"message": told, "type": "agent_authz", "param": None, "code": reason.code}
        return Body(JSON, _json({"error": error | {"decision_id": decision_id}, **_remedy(deny)}))
    if protocol:
        code = reason.jsonrpc_code
        if code == REFUSED and protocol is not MessageProtocol.MCP:
            # In A2A that code means a task that was not found (5.4). Refusals have a code of the
            # server's own (3.3.2), outside of the range that JSON-RPC reserves. The standard codes
            # of 9.5 are the same in both protocols.
            code = reason.http_status
        # A gateway that asks about messages answers with HTTP 200: no challenge, no headers.
        told_data = dict(told_parameters(deny)) | dict(_retry_after(deny))
        data = {"reason": reason.code, "decision_id": decision_id, **told_data, **_remedy(deny)}
        if elicitations := _elicitations(deny, decision_id):
            code, data = URL_ELICITATION_REQUIRED, {**data, "elicitations": elicitations}
        return Body(JSON, "", _json({"code": code, "message": told, "data": data}), told)
    if deny.approvals:
        data = {"error": reason.error, "reason": reason.code, "message": reason.message}
        return Body(JSON, _json({**data, "decision_id": decision_id, **_remedy(deny)}))
    return Body(_TEXT, f"{reason.code}: {reason.message}\ndecision: {decision_id}\n")


def _remedy(deny: Deny) -> dict[str, Any]:
    """Return what the client may ask its authorization server for, nothing if nothing helps.

    The members are those of draft-zehavi-oauth-rar-metadata-04, sections 5.1 and 5.2.
    """
    if not deny.approvals:
        return {}
    types = list(dict.fromkeys(asked.type for asked in deny.approvals))
    told: dict[str, Any] = {"authorization_details_types_required": {"allOf": types}}
    elements = [asked.element for asked in deny.approvals]
    if sum(map(len, elements)) <= _MAX_TOLD_BYTES:
        told["authorization_details"] = list(map(msgspec.Raw, elements))
    return told


def asks_for_urls(deny: Deny) -> bool:
    """Tell whether the client is asked to open a page, which it reads in an error alone."""
    return any(map(_can_open, deny.approvals))


def _can_open(asked: ApprovalRequest) -> bool:
    return bool(asked.url) and len(asked.element) <= _MAX_IN_URL_BYTES


def _elicitations(deny: Deny, decision_id: str) -> list[dict[str, str]]:
    """Return the pages to open (MCP 2025-11-25, "URL Elicitation Required Error")."""
    return [
        {
            "mode": "url",
            "elicitationId": _numbered(decision_id, at),
            "url": _filled(asked, _numbered(decision_id, at)),
            "message": f"{asked.about} needs your approval.",
        }
        for at, asked in enumerate(deny.approvals)
        if _can_open(asked)
    ]


def _numbered(decision_id: str, at: int) -> str:
    return f"{decision_id}-{at}" if at else decision_id


def _filled(asked: ApprovalRequest, elicitation_id: str) -> str:
    details = quote(b"[%b]" % asked.element, safe="")
    url = asked.url.replace("{id}", elicitation_id)
    return url.replace("{authorization_details}", details)


def _retry_after(deny: Deny) -> Iterator[tuple[str, int]]:
    """Yield the seconds after which the client may try again, if the refusal says so."""
    for name, value in deny.headers:
        if name == RETRY_AFTER:
            yield "retry_after", int(value)


def _scopes(deny: Deny) -> str:
    """Return the needed scopes, as in the challenge: many clients show the message alone."""
    scopes = dict(deny.parameters).get("scope", "")
    return f"; it needs the scope {scopes}" if scopes else ""


def jsonrpc_error(error: bytes, ids: tuple[bytes, ...]) -> bytes:
    """Return a JSON-RPC 2.0 response with this error (section 5); for several ids a batch."""
    answers = [b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (id_, error) for id_ in ids or (b"null",)]
    return answers[0] if len(answers) == 1 else b"[%b]" % b",".join(answers)


def _json(value: dict[str, object]) -> str:
    return msgspec.json.encode(value).decode()
