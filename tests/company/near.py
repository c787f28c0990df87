"""Near misses: a good request with one thing changed."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from docs_model import Asked, Token

from company.names import (
    AGENTS,
    AUDIENCE,
    CLIENTS,
    CORP,
    LEGACY_ISSUER,
    PARTNER,
    PARTNER_ISSUER,
    SERVICES,
    STAFF_ISSUER,
    STRANGER,
    SUSPENDED,
    TOOLS,
    host,
    words,
)

Change = Callable[[random.Random, Asked], None]
TokenChange = Callable[[random.Random, Token], None]

TAILS = words(
    "/a%2Fb /.. /. /%2e%2e/x //x /a;v=1 /a%5Cb /%00 /a%25b /a%252Fb /a%3Fb /%C0%AF /a%zz /..;/x"
    " /x%2e /%EF%BC%8F \\x /;x /a%2F /a%2F..%2Fb /a%3Bv /%25252F /ü /%ff /... /a// /a%2Fb;c"
    " /%C3%BC%2541 #x"
)
OTHER_AGENTS = [
    *AGENTS,
    *SUSPENDED,
    *SUSPENDED,
    *(STRANGER, "spiffe://evil.example/x", f"spiffe://{CORP}/ns/agents/sa/a01x"),
    *(f"spiffe://{CORP}/ns/agents/sa", f"spiffe://{CORP}/ns/lab/team1/sa/l9"),
    *(f"spiffe://{PARTNER}/agents/p3", f"SPIFFE://{CORP}/ns/agents/sa/a01", ""),
]
URIS = words(
    "file:///docs/a.md file:///docs/a/b.md file:///docs/../etc/x FILE:///docs/a.md trips://policy"
    " trips://policy/ trips://policy/a?b trips://policy//a file:///docs/%61.md file:///docs/x.md?y"
    " pay-mcp://exact?x=1 file:///etc/passwd file:///docs/secret.md trips://u@policy/a"
)
METHODS = words(
    "tools/list logging/setLevel custom/x custom/danger foo/bar ListTasks CancelTask Tools/call"
    " resources/templates/list roots/list server/discover"
)


def near_miss(r: random.Random, asked: Asked) -> Asked:
    """The same with one change."""
    near = deepcopy(asked)
    if near.body and r.random() < 0.4:
        change_body(r, near)
    elif near.token and r.random() < 0.6:
        change_token = r.choice(OF_TOKENS)
        change_token(r, near.token)
        near.near_miss = change_token.__name__
    else:
        change = r.choice(OF_REQUESTS)
        change(r, near)
        near.near_miss = change.__name__
    return near


# --- of the request ------------------------------------------------------------------------------


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
    asked.host = r.choice([name.upper(), f"{name}:8443", f"{name}.", f"x{name}", "a b", other])


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
    *(method, tail, odd_tail, odd_tail, other_host, other_agent, other_agent_and_actor),
    *(other_agent_and_actor, header, certificate, named_route, no_token),
]

# --- of the token --------------------------------------------------------------------------------


def scope(r: random.Random, token: Token) -> None:
    """A scope less."""
    name = "scp" if "scp" in token.claims else "scope"
    words = token.claims[name]
    words = words.split() if isinstance(words, str) else words
    token.claims[name] = r.sample(words, max(0, len(words) - 1))
    if name == "scope":
        token.claims[name] = " ".join(token.claims[name])


def issuer(r: random.Random, token: Token) -> None:
    """Another issuer."""
    strangers = [f"{STAFF_ISSUER}/", "https://evil.example"]
    token.claims["iss"] = r.choice([PARTNER_ISSUER, LEGACY_ISSUER, *strangers])


def times(r: random.Random, token: Token) -> None:
    """Over, not begun, too long, or authenticated otherwise."""
    issued = token.claims["iat"]
    token.claims |= r.choice(
        [
            {"iat": issued - 4000, "exp": issued - 100},
            {"nbf": issued + 9000, "exp": issued + 12000},
            {"iat": issued - 4000},
            {"exp": issued + 90000},
            {"acr": "pwd"},
            {"auth_time": issued - 20000},
        ]
    )


def longer_chain(r: random.Random, token: Token) -> None:
    """An actor more at the chain's end."""
    act = token.claims.get("act", {})
    while "act" in act:
        act = act["act"]
    act["act"] = {"sub": r.choice([*OTHER_AGENTS[:-1], *SUSPENDED])}


def actor(r: random.Random, token: Token) -> None:
    """Another actor, or none, or one that is no object."""
    if "azp" in token.claims and r.random() < 0.5:
        del token.claims["azp"]
    wrong: list[Any] = [None, "x", [], {}, {"sub": 5}, {"sub": r.choice(AGENTS)}]
    wrong += [{"sub": r.choice(AGENTS), "iss": "https://evil.example"}]
    wrong += [(token.claims.get("act") or {}) | {"iss": "https://evil.example"}]
    token.claims["act"] = r.choice(wrong)
    if token.claims["act"] is None:
        del token.claims["act"]


def itself(_: random.Random, token: Token) -> None:
    """The agent is the principal too."""
    if "act" in token.claims:
        token.claims["sub"] = token.claims["act"]["sub"]


def about_person(r: random.Random, token: Token) -> None:
    """A claim of another value or type, or none."""
    name = r.choice(["groups", "roles", "department", "level", "region", "clearance", "org"])
    values = [1, True, "true", 5, 2.9, ["super"], ["finance"], "finance", {"tenant": "blue"}]
    token.claims[name] = r.choice(values)
    if r.random() < 0.3:
        del token.claims[name]


def about_token(r: random.Random, token: Token) -> None:
    """A name or audience that is missing or wrong."""
    name = r.choice(["sub", "jti", "client_id", "aud", "aud"])
    token.claims[name] = r.choice(["x", ["x", "y"], 5, "", "a,b\r\nx: y", "legal"])
    if name == "aud":
        token.claims[name] = r.choice(["x", [AUDIENCE, "y"], "legal", ["x"]])


def other_person(r: random.Random, token: Token) -> None:
    """Another principal with the same claims."""
    token.claims["sub"] = f"u{r.randrange(2000):04}"


def defect(r: random.Random, token: Token) -> None:
    """A signature that is wrong."""
    token.defect = r.choice(["signature", "kid", "alg"])


def typ(r: random.Random, token: Token) -> None:
    """Another kind of token."""
    token.typ = r.choice(["JWT", "at+jwt", "dpop+jwt"])


OF_TOKENS: list[TokenChange] = [
    *(scope, issuer, times, times, longer_chain, longer_chain, actor, itself, about_person),
    *(about_person, about_person, about_token, about_token, other_person, defect, typ),
]

# --- of the message ------------------------------------------------------------------------------


def change_body(r: random.Random, asked: Asked) -> None:
    """Something in the message, in its bytes, or in the headers about it."""
    kind = r.choice(["member", "member", "params", "params", "params", "bytes", "headers"])
    asked.near_miss = kind
    if kind == "headers":
        asked.headers |= r.choice(
            [
                {"content-type": "text/plain"},
                {"content-type": "application/json; charset=utf-16"},
                {"content-encoding": "gzip"},
                {"mcp-method": r.choice(["tools/call", "x"])},
                {"mcp-name": r.choice(["get_trip", "x"])},
            ]
        )
    elif kind == "bytes":
        body = asked.body
        asked.is_cut = r.random() < 0.2
        double = body[:-1] + b', "model": "x", "method": "ping"}'
        bad = [b"", body + b"x", body[:-1], b"[" + body + b"]", body + b"\xff", double, b"7"]
        asked.body = body[:-5] if asked.is_cut else r.choice(bad)
    else:
        message = json.loads(asked.body)
        (change_member if kind == "member" else change_params)(r, message)
        asked.body = json.dumps(message).encode()


def change_member(r: random.Random, message: dict[str, Any]) -> None:
    """A member of the message itself."""
    if "model" in message:
        names = ["small-9", "xl-1", "large-2", "SMALL-1", "", "mini"]
        message["stream"] = r.choice([True, "yes"])
        message["model"] = r.choice(names)
        return
    changes: list[dict[str, Any]] = [
        {"method": r.choice(METHODS)},
        {"jsonrpc": "1.0"},
        {"more": 1},
        {"id": r.choice([None, True, 1.5, {}])},
        {"params": r.choice([[], 5, None])},
    ]
    message |= r.choice(changes if "method" in message else changes[1:4])


def change_params(r: random.Random, message: dict[str, Any]) -> None:
    """What is called, and with what."""
    params = message.get("params", {})
    if "name" in params and r.random() < 0.5:
        params["name"] = r.choice([*TOOLS, "Get_trip", "drop_admin", "x", "", "get_\u0007"])
    elif "uri" in params:
        params["uri"] = r.choice(URIS)
    elif "message" in params:
        params["message"]["metadata"] = {"skillId": r.choice(["plan", "wire", "sum-1", "Plan"])}
    elif "arguments" in params:
        amounts = [501, 20000, True, None, "1", 500, -1, 1e300]
        params["arguments"] = {"amount": r.choice(amounts), "currency": r.choice(["EUR", "GBP"])}
