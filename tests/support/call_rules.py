"""Policies of rules on messages, and questions about one message."""

from typing import Any

from authz.core.decision import Actor, Agent, Delegation
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.shadow import PolicyStep
from authz.core.reason import Denied
from authz.core.request import Call, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId
from support.path_rules import AGENT, ISSUER


def rule(**keys: Any) -> RuleSettings:
    """Make a rule for everything; an allow that asks for no scope unless the keys say so."""
    if keys.get("effect") != "deny":
        keys = {"scopes": (), **keys}
    return RuleSettings.model_validate(
        {"hosts": ("*",), "methods": ("*",), "paths": ("/**",), **keys}
    )


def policy(*agent: RuleSettings, principal: tuple[RuleSettings, ...] | None = None) -> Policy:
    """Make a policy of an agent and a principal, who is unrestricted if no rules are given."""
    held: dict[str, Any] = {"grants": ("p",)} if principal else {"unrestricted": True}
    return Policy(
        [AgentSettings(id=AGENT, grants=("a",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), **held)],
        {"a": agent, "p": principal or ()},
    )


def queries(
    *calls: Call,
    protocol: str = "mcp",
    scopes: str = "",
    **claims: Any,
) -> list[PolicyQuery]:
    """Return the questions of a message; without calls that of a plain request."""
    request = Request(
        "POST", "h", "/x", protocol=MessageProtocol(protocol if calls else ""), calls=calls
    )
    delegation = Delegation(
        ISSUER, "alice", (Actor(ISSUER, AGENT),), frozenset(scopes.split()), 0, 1, claims=claims
    )
    agent = Agent(SpiffeId.parse(AGENT))
    each = Operation.of(request).each(request)
    return [PolicyQuery(agent, delegation, operation, request, 0.5) for operation in each]


def refusal(subject: PolicyStep, asked: list[PolicyQuery]) -> Denied | None:
    """Return why a request is refused, None if it is allowed."""
    outcome = evaluate_all(subject, asked).outcome
    return outcome if isinstance(outcome, Denied) else None


def code(subject: PolicyStep, *calls: Call, **how: Any) -> str:
    """Return "allow", or the code of the reason."""
    denied = refusal(subject, queries(*calls, **how))
    return denied.reason.code if denied else "allow"
