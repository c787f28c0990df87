"""What revocations mean, as slow functions that read nothing of the table."""

from collections.abc import Iterable, Sequence
from typing import Final

from authz.core.decision import Agent, Delegation
from authz.core.reason import Denied, Reason
from authz.core.request import Call, CallKind, Operation
from authz.core.revocations import Revocation

_ORDER: Final = (
    lambda entry: entry.everything,
    lambda entry: entry.agent,
    lambda entry: entry.tool,
    lambda entry: entry.issuer,
)
_OF_CLAIMS: Final = {"session": "sid", "email": "email"}


def revoked_by(
    entry: Revocation, agent: str, token: Delegation, calls: Sequence[Call | None]
) -> Reason | None:
    """Return why an entry alone refuses, None if it does not."""
    if entry.everything:
        return Reason.STOPPED
    if entry.agent:
        return Reason.AGENT_SUSPENDED if entry.agent == agent else None
    if entry.tool:
        tools = [call.name for call in calls if call and call.kind is CallKind.TOOL]
        return Reason.STOPPED if {entry.tool, ""} & {*tools} else None
    claims: dict[str, object] = {"subject": token.subject, "token_id": token.token_id}
    claims |= {"issuer": token.issuer}
    claims |= {"session": token.claims.get("sid"), "email": token.claims.get("email")}
    for name, value in claims.items():
        wanted = getattr(entry, name)
        if wanted is None or (name in _OF_CLAIMS and _is_unreadable(name, token)):
            continue
        if str(wanted).lower() != str(value).lower():
            return None
    if entry.before is not None and token.issued_at >= entry.before.timestamp():
        return None
    return Reason.TOKEN_REVOKED


def _is_unreadable(name: str, token: Delegation) -> bool:
    """Tell whether a claim may be any: it has another form, or is elsewhere."""
    claim = _OF_CLAIMS[name]
    is_elsewhere = claim in str(token.claims.get("_claim_names"))
    value = token.claims.get(claim)
    return is_elsewhere or not isinstance(value, str | None)


def check_all(
    entries: Iterable[Revocation],
    agent: Agent,
    token: Delegation,
    operations: Sequence[Operation],
) -> None:
    """Raise Denied for the first entry that refuses: everything, agents, tools, then tokens."""
    calls = [operation.call for operation in operations]
    for is_of_kind in _ORDER:
        for entry in filter(is_of_kind, entries := [*entries]):
            if reason := revoked_by(entry, agent.spiffe_id.text, token, calls):
                raise Denied(reason)
