"""Policies to try one key of a rule with, and questions about them."""

from datetime import UTC, datetime
from typing import Any

from authz.core.decision import Actor, Agent, Delegation, Mode
from authz.core.policy import (
    AgentSettings,
    ConditionSettings,
    PrincipalMatch,
    PrincipalSettings,
    RuleSettings,
)
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.reason import Denied
from authz.core.request import Operation, Request
from authz.core.spiffe import SpiffeId
from support.path_rules import AGENT, ISSUER

NOW = datetime(2026, 3, 25, 12, tzinfo=UTC).timestamp()  # a Wednesday
CONDITIONS = ConditionSettings(headers=("x-env",), claims=("level",))


def rule(**keys: Any) -> RuleSettings:
    """Make a rule for everything; an allow that asks for no scope unless the keys say so."""
    if keys.get("effect") != "deny":
        keys = {"scopes": (), **keys}
    return RuleSettings(**{"hosts": ("*",), "methods": ("*",), "paths": ("/**",), **keys})


ALL = (rule(),)


def policy(
    agent: tuple[RuleSettings, ...] = ALL, principal: tuple[RuleSettings, ...] = ALL, **entry: Any
) -> Policy:
    """Make a policy of an agent and a principal; ``entry`` has more keys of the principal."""
    match = PrincipalMatch(issuer=ISSUER, **entry.pop("match", {}))
    return Policy(
        [AgentSettings(id=AGENT, grants=("a",))],
        [PrincipalSettings(match=match, grants=("p",), **entry)],
        {"a": agent, "p": principal},
        conditions=CONDITIONS,
    )


def question(
    now: float = NOW,
    *,
    env: str | None = None,
    earlier: tuple[str, ...] = (),
    scopes: tuple[str, ...] = (),
    path: str = "/x",
    subject: str = "alice",
    mode: Mode = Mode.ACT,
    **claims: Any,
) -> PolicyQuery:
    """Make a question by the agent for alice, with a token that was issued at NOW."""
    actors = tuple(Actor(ISSUER, name) for name in (AGENT, *earlier))
    delegation = Delegation(
        ISSUER, subject, actors, frozenset(scopes), NOW, NOW + 600, mode=mode, claims=claims
    )
    request = Request("GET", "h", path, () if env is None else (("x-env", env),))
    operation = Operation("GET", "h", tuple(path[1:].split("/")))
    return PolicyQuery(Agent(SpiffeId.parse(AGENT)), delegation, operation, request, now)


def decide(subject: Policy, case: PolicyQuery) -> str:
    """Return "allow", or the code of the reason."""
    try:
        subject.evaluate(case).permitted()
    except Denied as denied:
        return denied.reason.code
    return "allow"
