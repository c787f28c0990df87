"""Writes the question to a decision point and reads its answer (AuthZEN Authorization API 1.0).

Pure. The question holds the established facts but neither token nor jti, so that different tokens
can have the same question. Anything but a clear yes is a refusal.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from authz.core import strict_json
from authz.core.decision import Allow
from authz.core.paths import written_path
from authz.core.protocols.mcp_methods import PING, is_notification
from authz.core.reason import Denied, Reason
from authz.core.request import Call, Operation

MAX_ANSWER_BYTES: Final = 64 * 1024  # an answer is one word, and perhaps reasons for people
# Members of the context that hold a no's reason: shown to operators when it is short.
_REASON_NAMES: Final = ("id", "reason")
_REASON: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,63}")
_MEMBERSHIPS: Final = ("groups", "roles")  # claims that decision points use


@dataclass(frozen=True, slots=True)
class PdpPermit:
    """A clear yes, made by ``read_answer`` only."""


def build_evaluation(allow: Allow, operation: Operation) -> bytes:
    """Return the access evaluation request (section 6.1), the same bytes for the same question."""
    agent, delegation = allow.agent.spiffe_id.text, allow.delegation
    path, call = written_path(operation.path), operation.call
    return msgspec.json.encode(
        {
            "subject": {
                "type": "identity",
                "id": delegation.subject or agent,  # no principal yet: the agent acts for itself
                "properties": {
                    "issuer": delegation.issuer,
                    "scopes": sorted(delegation.scopes),
                    **_memberships(delegation.claims),
                },
            },
            "action": {"name": call.method if call else operation.method},
            "resource": {
                **_resource(operation.protocol, call, operation.host + path),
                "properties": {"host": operation.host, "path": path},
            },
            "context": {
                "agent": agent,
                "mode": delegation.mode,
                "chain": [
                    {"iss": actor.issuer, "sub": actor.subject} for actor in delegation.actors
                ],
                "rules": {
                    "agent": allow.permit.agent_rule,
                    "principal": allow.permit.principal_rule,
                },
            },
        }
    )


def is_asked(operation: Operation) -> bool:
    """Tell whether to ask about a call.

    Not if it only keeps a session alive (COAZ, MCP binding).
    """
    call = operation.call
    return call is None or not (call.method in ("", PING) or is_notification(call.method))


def _resource(protocol: str, call: Call | None, url: str) -> dict[str, str]:
    """Return the operation's resource: a call's target, the server of the messages, or the URL."""
    if call is None:
        return {"type": "http", "id": url}
    if not call.kind or call.hides_name:  # any target of the server may be meant
        return {"type": f"{protocol}_server", "id": url}
    return {"type": call.kind, "id": call.name}


def _memberships(claims: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the groups and roles of a token that has lists of them."""
    listed = {name: claims.get(name) for name in _MEMBERSHIPS}
    return {
        name: [member for member in value if isinstance(member, str)]
        for name, value in listed.items()
        if isinstance(value, list)
    }


def read_answer(body: bytes) -> PdpPermit:
    """Return the yes of an access evaluation response (section 6.2).

    Raises Denied(POLICY_DENIED) for a no, and for a yes with obligations: none is supported, and an
    unknown obligation makes it a no. Raises Denied(PDP_UNAVAILABLE) for an answer that is neither.
    """
    try:
        answer = strict_json.loads(body)
    except strict_json.StrictJsonError as error:
        raise Denied(Reason.PDP_UNAVAILABLE, f"the decision point's answer: {error}") from None
    members = answer if isinstance(answer, dict) else {}
    decision = members.get("decision")
    if not isinstance(decision, bool):
        detail = "the decision point's answer has no decision of true or false"
        raise Denied(Reason.PDP_UNAVAILABLE, detail)
    context = members.get("context", {})
    if not decision:
        raise Denied(Reason.POLICY_DENIED, "the decision point denied it" + _reason(context))
    if not isinstance(context, dict):
        raise Denied(
            Reason.PDP_UNAVAILABLE,
            "the decision point allowed with a context that is not an object",
        )
    if any(holder.get("obligations", []) != [] for holder in (members, context)):
        raise Denied(
            Reason.POLICY_DENIED,
            "the decision point allowed with obligations, and none is supported",
        )
    return PdpPermit()


def _reason(context: object) -> str:
    members = context if isinstance(context, dict) else {}
    given = [members.get(name) for name in _REASON_NAMES]
    words = [word for word in given if isinstance(word, str) and _REASON.fullmatch(word)]
    return f": {words[0]}" if words else ""
