"""Random tokens: whose one is by the docs, as a slow program, and by the server."""

import random
from typing import Any, Final

import pytest

from authz.core.delegation.claims import Claims
from authz.core.delegation.person import is_clients_own, says_clients_own, why_no_person
from authz.core.delegation.settings import IssuerSettings
from support.docs_model import persons

TOKENS: Final = 1500
NAMES: Final = [
    "sub",
    "preferred_username",
    "username",
    "user_name",
    "uid",
    "upn",
    "unique_name",
    "email",
    "client_id",
    "cid",
    "appid",
    "clientId",
    "aud",
    "act",
    "may_act",
    "gty",
    "grant_type",
    "idtyp",
    "sub_profile",
    "sub_type",
    "aut",
    "xms_sub_fct",
    "auth_time",
    "amr",
    "acr",
    "sid",
    "oid",
    "scp",
    "token_use",
    "more",
    "clientHost",
    "clientAddress",
    "jti",
    "kubernetes.io",
    "azp",
]
TEXTS: Final = [
    *("travel-client", "TRAVEL-CLIENT@clients", "other", "service-account-other", "(age!other)"),
    *("alice", "Alice.Smith@corp.example", "alice.", "ALICE@x", "walter", "a.b|c", "\u00e9"),
    *("client_credentials", "ClientCredentials", "client.credentials", "urn:x:client_credentials"),
    *(
        "x client-credentials",
        "client credentials",
        "ak-x-client_credentials",
        "a\nclient_credentials",
    ),
    *("auth0|1", "client|1", "m2m-x|1", "(usr!a)", "x@y.iam.gserviceaccount.com", "system:x"),
    *("user", "app", "APPLICATION", "APPLICATION_USER", "authorization_code", "password", "13"),
    *("9 11", "", "goauthentik.io/x", "travels", "payments", "botservices", "0oa1", "SPIFFE://x"),
    *(
        "onrtcc:1",
        "ofltcc:",
        "trrtte:1",
        "trltte:1",
        "onrtte:1",
        "xxrtcc:1",
        "onxxcc:1",
        "ONRTCC:1",
    ),
    *(
        "ntrtac:1",
        "trltro:",
        "ftrtdg:1",
        "onltci:1",
        "onrtac",
        " onrtac:1",
        "onrtac:\n",
        "onrtrt:1",
    ),
    *("agent-travel", "agent-..", "agent-a/b", "agent-", "spiffe://corp.example/ns/agents/sa/x"),
    *("spiffe://corp.example/a/../b", "spiffe://corp.example", "agent-9@clients"),
]
OTHERS: Final[list[Any]] = [None, True, False, 0, 13, 1.5, -1, [], {}]
AGENTS: Final = "spiffe://corp.example/ns/agents/sa"
ISSUER: Final[dict[str, Any]] = {
    "issuer": "https://as.example",
    "keys": {"file": "jwks.json"},
    "audiences": ("https://api.example",),
    "actor": {
        "claim": "azp",
        "map": {
            "travel-client": f"{AGENTS}/travel",
            "Other": f"{AGENTS}/payments",
            "0oa1": f"{AGENTS}/planner",
        },
    },
}


ISSUERS: Final[dict[str, dict[str, Any]]] = {
    "map": {},
    "person_shown_by": {"person_shown_by": {"amr": ("*",), "email": ("user",)}},
    "claims": {"actor": ISSUER["actor"] | {"claim": ("azp", "appid")}},
    "patterns": {
        "actor": {"claim": ("cid", "azp"), "patterns": {"agent-{name}": f"{AGENTS}/{{name}}"}}
    },
    "itself": {"actor": {"claim": "azp"}},
}


def value(r: random.Random, depth: int = 0) -> Any:
    """Something that a claim may be."""
    kind = r.choice(["text", "text", "text", "other", "list", "object"])
    if kind == "text" or depth > 2:
        return r.choice(TEXTS)
    if kind == "list":
        return [value(r, depth + 1) for _ in range(r.randrange(3))]
    return {"x": value(r, depth + 1)} if kind == "object" else r.choice(OTHERS)


def token(r: random.Random) -> dict[str, Any]:
    """Claims of a token that is good but for whose it is."""
    claims = {r.choice(NAMES): value(r) for _ in range(r.randrange(4))}
    subject = r.choice([r.choice(TEXTS), "alice", "5b7c"]) or "alice"
    if r.random() < 0.1:
        claims["oid"] = subject
    client = r.choice([*ISSUER["actor"]["map"], "agent-travel", f"{AGENTS}/travel"])
    return {"azp": client} | claims | {"sub": subject}


@pytest.mark.parametrize("name", ISSUERS)
def test_docs_and_server_agree(name: str) -> None:
    """Each token is the client's own, and shows a person, as the docs have it."""
    r = random.Random(f"13 {name}")
    settings = ISSUER | ISSUERS[name]
    issuer = IssuerSettings.model_validate(settings)
    seen = set()
    for _ in range(TOKENS):
        members = token(r)
        claims = Claims(members["sub"], 1, 2, "", frozenset(), members)
        found = is_clients_own(claims, issuer), not why_no_person(claims, issuer)

        by_docs = persons.is_clients_own(settings, members), persons.shows_person(settings, members)
        assert found == by_docs, members
        assert says_clients_own(claims) == persons.says_clients_own(members), members
        seen.add(found)
    assert len(seen) >= 3
