"""What a decision point is asked, and what of its answer is a yes (AuthZEN Authorization API 1.0).

Pure. The question holds what was established and no token, no jti: so equal questions of different
tokens are one. Anything but a clear yes is a refusal.
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
# What decision points name a no's reason by, in the context: taken for operators when it is short.
_REASON_NAMES: Final = ("id", "reason")
_REASON: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,63}")
_MEMBERSHIPS: Final = ("groups", "roles")  # claims that decision points decide by


@dataclass(frozen=True, slots=True)
class PdpPermit:
    """A clear yes, made by ``read_answer`` only."""


def build_evaluation(allow: Allow, operation: Operation) -> bytes:
    """The access evaluation request (section 6.1), the same bytes for the same question."""
    agent, delegation = allow.agent.spiffe_id.text, allow.delegation
    path, call = written_path(operation.path), operation.call
    return msgspec.json.encode(
        {
            "subject": {
                "type": "identity",
                "id": delegation.subject or agent,  # for nobody yet: for itself
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
                "chain": [{"iss": one.issuer, "sub": one.subject} for one in delegation.actors],
                "rules": {
                    "agent": allow.permit.agent_rule,
                    "principal": allow.permit.principal_rule,
                },
            },
        }
    )


def is_asked(operation: Operation) -> bool:
    """Whether a call is one to ask about: what keeps a session going is not (COAZ, MCP binding)."""
    call = operation.call
    return call is None or not (call.method in ("", PING) or is_notification(call.method))


def _resource(protocol: str, call: Call | None, url: str) -> dict[str, str]:
    """What the operation is on: a call's target, the server of the messages, or the URL."""
    if call is None:
        return {"type": "http", "id": url}
    if not call.kind or call.hides_name:  # any of the server's may be meant
        return {"type": f"{protocol}_server", "id": url}
    return {"type": call.kind, "id": call.name}


def _memberships(claims: Mapping[str, object]) -> dict[str, list[str]]:
    """The groups and roles of a token that has lists of them."""
    listed = {name: claims.get(name) for name in _MEMBERSHIPS}
    return {
        name: [one for one in value if isinstance(one, str)]
        for name, value in listed.items()
        if isinstance(value, list)
    }


def read_answer(body: bytes) -> PdpPermit:
    """The yes of an access evaluation response (section 6.2).

    Raises Denied(POLICY_DENIED) for a no, and for a yes with obligations: we know none, and an
    unknown one is a no. Raises Denied(PDP_UNAVAILABLE) for what is neither yes nor no.
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
    if any(one.get("obligations", []) != [] for one in (members, context)):
        raise Denied(
            Reason.POLICY_DENIED,
            "the decision point allowed with obligations, and none is supported",
        )
    return PdpPermit()


def _reason(context: object) -> str:
    members = context if isinstance(context, dict) else {}
    given = [members.get(name) for name in _REASON_NAMES]
    words = [one for one in given if isinstance(one, str) and _REASON.fullmatch(one)]
    return f": {words[0]}" if words else ""
