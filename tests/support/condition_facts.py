"""The facts of a request, and what conditions say of them."""

from math import inf
from typing import Any

import pytest

from authz.core.conditions import Condition, ConditionFailedError
from authz.core.conditions.facts import Facts
from authz.core.decision import Actor, Agent, Delegation
from authz.core.request import Call, MessageProtocol, Operation, Request
from authz.core.spiffe import SpiffeId

BUYER = "spiffe://corp.example/ns/agents/sa/buyer"
PLANNER = "spiffe://corp.example/ns/agents/sa/planner"
CLAIMS: dict[str, Any] = {
    "sub": "alice",
    "level": 3,
    "ratio": 0.5,
    "none": None,
    "admin": False,
    "groups": ["staff", "team-blue"],
    "authorization_details": [{"type": "orders", "actions": ["read", "write"]}],
}


def facts(
    claims: dict[str, Any] | None = None,
    *,
    path: str = "/orders/17",
    headers: str = "x-tenant",
    call: Call | None = None,
) -> Facts:
    """Return the facts of a request: the buyer orders for alice, by way of the planner."""
    request = Request(
        "POST",
        "API.corp.example:443",
        path,
        headers=(("authorization", "Bearer e.y.J"), ("dpop", "p"), ("x-tenant", "blue")),
        protocol=MessageProtocol.MCP if call else MessageProtocol.NONE,
        calls=(call,) if call else (),
    )
    return Facts(
        Agent(SpiffeId.parse(BUYER)),
        Delegation(
            "https://idp.example",
            "alice",
            (Actor("https://idp.example", BUYER), Actor("https://idp.example", PLANNER)),
            frozenset({"orders.write", "orders.read"}),
            0,
            inf,
            claims=CLAIMS if claims is None else claims,
        ),
        Operation.of(request),
        request,
        headers=headers.split(),
    )


def holds(text: str, about: Facts | None = None) -> bool:
    """Return what a condition says of a request."""
    return Condition.parse(text).holds(about or facts())


def failure(text: str, about: Facts | None = None) -> str:
    """Return why a condition has no value for a request."""
    condition = Condition.parse(text)
    with pytest.raises(ConditionFailedError) as raised:
        condition.holds(about or facts())
    return str(raised.value)
