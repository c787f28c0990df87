"""Near misses of kinds of tokens: an ID token, the own token of a client, another client's name."""

import random
from collections.abc import Callable
from typing import Any

from support.company.names import AUDIENCE
from support.company.vendors import APPS
from support.docs_model import Token

Claims = dict[str, Any]
TokenChange = Callable[[random.Random, Token], None]

CLIENT_CLAIMS = ["azp", "appid", "cid", "client_id"]
NAMES = [
    *APPS,
    *(
        "agent-a03",
        "agent-a03x",
        "agent-",
        "agent-..",
        "agent-a/b",
        "Agent-a03",
        "app-99",
        "app-1.",
    ),
    *("system:serviceaccount:agents:a03", "system:serviceaccount:..:a03", "spiffe://x/y"),
    "system:serviceaccount:agents:a03:x",
]


def client_of(claims: Claims) -> Any:
    """What the token calls its client."""
    return next((claims[name] for name in CLIENT_CLAIMS if name in claims), AUDIENCE)


def id_token(r: random.Random, token: Token) -> None:
    """An ID token of the same user at the same issuer."""
    claims = token.claims
    client = client_of(claims)
    for name in ("scope", "scp", *CLIENT_CLAIMS[1:] * (r.random() < 0.7)):
        claims.pop(name, None)
    marks: list[Claims] = [{"typ": "ID"}, {"token_use": "id"}, {"nonce": "n"}, {"at_hash": "h"}, {}]
    claims |= {"aud": r.choice([client, [client], AUDIENCE])} | r.choice(marks)


def no_scopes(r: random.Random, token: Token) -> None:
    """No claim of scopes, or an empty one."""
    for name in ("scope", "scp"):
        if name in token.claims and r.random() < 0.6:
            del token.claims[name]
        elif name in token.claims:
            token.claims[name] = r.choice(["", []])


def other_client(r: random.Random, token: Token) -> None:
    """Another client, nobody's name, or two that differ."""
    names = [name for name in CLIENT_CLAIMS if name in token.claims]
    token.claims[r.choice([*names, *names, "appid", "azp"])] = r.choice([*NAMES, ["app-3"], None])


def other_name_in_act(r: random.Random, token: Token) -> None:
    """An actor by another name, or of another issuer."""
    act = token.claims.get("act")
    if not isinstance(act, dict):
        token.claims["act"] = {"sub": r.choice(NAMES)}
        return
    others = ["https://evil.example", "spiffe://corp.example", token.claims["iss"], 7]
    act |= r.choice([{"sub": r.choice(NAMES)}, {"iss": r.choice(others)}])


def other_subject(r: random.Random, token: Token) -> None:
    """A subject by another agent's name."""
    token.claims["sub"] = r.choice(NAMES)


def apps_own(r: random.Random, token: Token) -> None:
    """What says that an app got the token for itself, or nearly does."""
    claims = token.claims
    other = claims["sub"].upper() if isinstance(claims.get("sub"), str) else "x"
    claims |= r.choice(
        [
            {"oid": claims.get("sub")},
            {"oid": other},
            {"jti": r.choice(["onrtcc:1", "trrtte:1", "trltte:1", "onrtte:1", "xxrtcc:1"])},
            {"jti": r.choice(["onrtac:1", "onrtacx", "ONRTAC:1", " onrtac:1"])},
            {r.choice(["clientHost", "clientAddress"]): r.choice(["h", None])},
        ]
    )
    if r.random() < 0.5:
        claims.pop("scp", None)


def audience(r: random.Random, token: Token) -> None:
    """No audience, or the client itself."""
    client = client_of(token.claims)
    token.claims["aud"] = r.choice([client, [client], [client, AUDIENCE], [], AUDIENCE])
    if r.random() < 0.3:
        del token.claims["aud"]


def azp_in_place(r: random.Random, token: Token) -> None:
    """The client by azp alone, or by neither."""
    client = token.claims.pop("client_id", "shell")
    if r.random() < 0.6:
        token.claims["azp"] = client


OF_KINDS: list[TokenChange] = [
    id_token,
    no_scopes,
    other_client,
    other_name_in_act,
    other_subject,
    apps_own,
    audience,
    azp_in_place,
]
