"""Near misses: a good request with one thing changed, in it, its token or its message."""

import random
from collections.abc import Callable
from copy import deepcopy

from support.company.approvals import change_approval
from support.company.names import (
    AGENTS,
    CLIENTS,
    CORP,
    PARTNER,
    SERVICES,
    STRANGER,
    SUSPENDED,
    host,
    words,
)
from support.company.near_messages import change_body
from support.company.near_tokens import OF_TOKENS, of_another_status
from support.docs_model import Asked
from support.docs_model.approvals import DETAILS

Change = Callable[[random.Random, Asked], None]

TAILS = words(
    "/a%2Fb /.. /. /%2e%2e/x //x /a;v=1 /a%5Cb /%00 /a%25b /a%252Fb /a%3Fb /%C0%AF /a%zz /..;/x"
    " /x%2e /%EF%BC%8F \\x /;x /a%2F /a%2F..%2Fb /a%3Bv /%25252F /ü /%ff /... /a// /a%2Fb;c"
    " /%C3%BC%2541 #x /%23ops /lib%2Fclass%2Erb /%2E%2e /a%2523 /..%3F /a%3B.. /.%23x"
)
OTHER_AGENTS = [
    *AGENTS,
    *SUSPENDED,
    *SUSPENDED,
    *(STRANGER, STRANGER, "spiffe://evil.example/x", f"spiffe://{CORP}/ns/agents/sa/a01x"),
    *(f"spiffe://{CORP}/ns/agents/sa", f"spiffe://{CORP}/ns/lab/team1/sa/l9"),
    *(f"spiffe://{PARTNER}/agents/p3", f"SPIFFE://{CORP}/ns/agents/sa/a01", ""),
]


def near_miss(r: random.Random, asked: Asked) -> Asked:
    """The same with one change."""
    near = deepcopy(asked)
    claims = near.token.claims if near.token else {}
    if DETAILS in claims and "status" not in claims and r.random() < 0.6:  # few have a status
        change_approval(r, claims)
        near.near_miss = "approval"
    elif near.body and r.random() < 0.4:
        change_body(r, near)
    elif near.token and r.random() < 0.6:
        of_status = [of_another_status] * 30 if "status" in near.token.claims else []
        change_token = r.choice([*OF_TOKENS, *of_status])
        change_token(r, near.token)
        near.near_miss = change_token.__name__
    else:
        change = r.choice(OF_REQUESTS)
        change(r, near)
        near.near_miss = change.__name__
    return near


def method(r: random.Random, asked: Asked) -> None:
    """Another method, or none."""
    asked.method = r.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "M-SEARCH"])


def tail(r: random.Random, asked: Asked) -> None:
    """Another path."""
    path, question, query = asked.path.partition("?")
    shorter = path.rpartition("/")[0] or "/"
    path = r.choice([f"{path}/", f"{path}/x", shorter, path.upper(), f"{path}x"])
    asked.path = path + question + query


def odd_tail(r: random.Random, asked: Asked) -> None:
    """A path that is read in several ways, or nearly so."""
    path, question, query = asked.path.partition("?")
    asked.path = path + r.choice(TAILS) + question + query


def other_host(r: random.Random, asked: Asked) -> None:
    """Another host, or another spelling."""
    name, other = asked.host, host(r.choice(SERVICES))
    asked.host = r.choice(
        [name.upper(), f"{name}:8443", f"{name}.", f"x{name}", f"x.{name}", "a b", other]
    )


def other_agent(r: random.Random, asked: Asked) -> None:
    """Another caller than the token names."""
    asked.agent = r.choice(OTHER_AGENTS)


def other_agent_and_actor(r: random.Random, asked: Asked) -> None:
    """Another caller, whom the token names."""
    other_agent(r, asked)
    if asked.token and "act" in asked.token.claims:
        asked.token.claims["act"]["sub"] = asked.agent
    if asked.token and asked.agent in AGENTS and "azp" in asked.token.claims:
        asked.token.claims["azp"] = next(c for c, a in CLIENTS.items() if a == asked.agent)


def header(r: random.Random, asked: Asked) -> None:
    """A header that rules look at."""
    asked.headers[r.choice(["x-env", "x-tenant"])] = r.choice(["prod", "stage", "PROD", "", "red"])


def certificate(r: random.Random, asked: Asked) -> None:
    """No certificate, or not the caller's, or an old one."""
    asked.certificate = r.choice(["none", "other", "expired"])


def named_route(r: random.Random, asked: Asked) -> None:
    """A route that the proxy names, whatever the path."""
    asked.route = r.choice(["named", "legal", "pay", "auto", "travel-mcp", "git", "helper-a2a"])


def no_token(_: random.Random, asked: Asked) -> None:
    """No token."""
    asked.token = None


OF_REQUESTS: list[Change] = [
    method,
    tail,
    odd_tail,
    odd_tail,
    other_host,
    other_agent,
    other_agent_and_actor,
    other_agent_and_actor,
    header,
    certificate,
    named_route,
    no_token,
]
