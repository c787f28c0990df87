"""Issuers of every kind, and tokens that they might make, at random: good ones and near misses.

A config is plain data, as ``docs_model`` reads it.
"""

import random
from typing import Any, Final

from support.docs_model import Token

Members = dict[str, Any]

NOW: Final = 1_790_000_000
ISSUER: Final = "https://as.example"
API: Final = "https://api.example"
CLIENT: Final = "client-travel"
AGENTS: Final = "spiffe://corp.example/ns/agents/sa"
TRAVEL: Final = f"{AGENTS}/travel"
UUID: Final = "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"
ACCOUNT: Final = "system:serviceaccount:agents:travel"
SIGNED_IN: Final = NOW - 60

# Names that stand for the travel agent with one setting or another, and others near them.
NAMES: Final = [
    *(CLIENT, CLIENT, TRAVEL, ACCOUNT, UUID, "Client-Travel", "client-payments", "client-"),
    *("client-travel\n", "client-..", "client-a/b", "client-travel.", "xclient-travel", "travel"),
    *("system:serviceaccount:agents:travel:x", "system:serviceaccount:agents:", f"{AGENTS}/x"),
    *("system:serviceaccount:..:travel", "spiffe://corp.example/ns/agents/sa/travel/", "alice"),
    *("spiffe://evil.example/ns/agents/sa/travel", f"{CLIENT}@clients", "{name}", "auth0|7"),
]
MAPS: Final[list[Members]] = [
    {},
    {CLIENT: TRAVEL},
    {CLIENT: TRAVEL, UUID: TRAVEL, "client-payments": f"{AGENTS}/payments"},
    {TRAVEL: f"{AGENTS}/payments", "auth0|7": TRAVEL},
]
PATTERNS: Final[list[Members]] = [
    {},
    {},
    {"client-{name}": f"{AGENTS}/{{name}}"},
    {"system:serviceaccount:{ns}:{sa}": "spiffe://corp.example/ns/{ns}/sa/{sa}"},
    {"{a}/{b}": f"{AGENTS}/{{b}}/x/{{a}}", "{name}": f"{AGENTS}/{{name}}"},
]
CLAIMS: Final[list[Any]] = [
    *("act", "act", "act", "azp", "azp", "sub", "cid"),
    *(["azp", "appid"], ["azp", "client_id"], ["client_id", "cid", "appid"]),
]
SHOWN_BY: Final[list[Members]] = [
    {"sub": ["*"]},
    {"email": ["*"], "amr": ["pwd"]},
    {"idtyp": ["user"]},
]
MODES: Final = [["delegated"], ["autonomous"], ["delegated", "autonomous"]]
CHANGED: Final = [
    *("sub", "aud", "azp", "client_id", "cid", "appid", "act", "scope", "scp", "jti"),
    *("oid", "typ", "token_use", "nonce", "at_hash", "events", "amr", "auth_time", "email"),
    *("exp", "nbf", "status", "clientAddress", "idtyp", "username", "gty", "sub_profile"),
]
VALUES: Final[list[Any]] = [None, True, 0, 7, "", "x", [], ["x"], {}, {"sub": TRAVEL}, [CLIENT]]


def issuer(r: random.Random) -> Members:
    """The settings of an issuer, of which each that can be opened may be open."""
    types = r.choice([["JWT"], ["JWT", "at+jwt"], ["JWT", "JOSE"], ["at+jwt"], ["JOSE"]])
    claim = r.choice(CLAIMS)
    made: Members = {
        "issuer": ISSUER,
        "keys": {"file": "jwks.json"},
        "typ": types,
        "audiences": r.choice([[API], [API, CLIENT], [CLIENT]]),
        "scope_claim": r.choice(["scope", "scope", "scp"]),
        "actor": {"claim": claim, "map": r.choice(MAPS), "patterns": r.choice(PATTERNS)},
        "max_actors": r.choice([1, 2, 4]),
        "one_time": r.random() < 0.3,
    }
    if claim != "act" and r.random() < 0.3:
        made["person_shown_by"] = r.choice(SHOWN_BY)
    if r.random() < 0.1:
        made["actors_from"] = r.choice([["corp.example"], ["partner.example"]])
    return made


def token(r: random.Random, settings: Members) -> Token:
    """A token that may well be good at an issuer, with a few members changed."""
    claims: Members = {"iss": ISSUER, "iat": NOW - 10, "exp": NOW + 300, "sub": "alice"}
    audience = r.choice([*settings["audiences"] * 4, API, CLIENT])
    claims |= {"aud": r.choice([audience, [audience], [audience, "x"]]), "jti": "j"}
    if r.random() < 0.7:
        claims[settings["scope_claim"]] = r.choice(["read", "read write", ["read"], "", []])
    claims |= r.choice([kept_by_user, kept_by_user, kept_by_client, kept_by_workload])(r)
    name_agent(r, settings["actor"], claims)
    for _ in range(r.choice([0, 0, 0, 1, 1, 2])):
        change(r, claims)
    other = r.choice(["JWT", "JOSE", "", "at+jwt", "dpop+jwt"])
    typ = r.choice([*settings["typ"] * 4, other])
    return Token(claims, typ="" if typ == "JWT" and r.random() < 0.5 else typ)


def name_agent(r: random.Random, actor: Members, claims: Members) -> None:
    """Name the travel agent in the claims of the settings, or as an actor."""
    meant = [name for name, agent in actor["map"].items() if agent == TRAVEL]
    made = [name for name in (CLIENT, ACCOUNT) if actor["patterns"]]
    name = r.choice([*meant, *made]) if meant or made else TRAVEL
    names = [actor["claim"]] if isinstance(actor["claim"], str) else actor["claim"]
    for claim in names:
        if claim != "act" and r.random() < 0.8 and (claim != "sub" or r.random() < 0.8):
            claims[claim] = name if r.random() < 0.9 else r.choice(["client-payments", *NAMES])
    if r.random() < (0.7 if "act" in names else 0.2):
        claims["act"] = act(r)
        if r.random() < 0.7:
            claims["act"]["sub"] = r.choice([name, TRAVEL])


def kept_by_user(r: random.Random) -> Members:
    """What a user's token has, of several vendors."""
    return r.choice(
        [
            {"azp": CLIENT, "client_id": CLIENT, "auth_time": SIGNED_IN},
            {"azp": CLIENT, "sub": UUID, "sid": "s", "preferred_username": "alice"},
            {"azp": CLIENT, "sub": UUID, "jti": "onrtac:1", "typ": "Bearer"},
            {"azp": CLIENT, "sub": "x1", "oid": UUID, "scp": "read"},
            {"cid": CLIENT, "uid": "00u1", "sub": "00u1"},
            {"client_id": CLIENT, "sub": UUID, "token_use": "access", "username": "alice"},
        ]
    )


def kept_by_client(r: random.Random) -> Members:
    """What a client's own token has."""
    return r.choice(
        [
            {"azp": CLIENT, "client_id": CLIENT, "sub": CLIENT},
            {"azp": CLIENT, "sub": UUID, "preferred_username": f"service-account-{CLIENT}"},
            {"azp": CLIENT, "sub": UUID, "jti": "trrtcc:1", "clientHost": "h"},
            {"appid": CLIENT, "sub": UUID, "oid": UUID, "idtyp": "app"},
            {"azp": CLIENT, "sub": UUID, "oid": UUID},
            {"azp": CLIENT, "sub": f"{CLIENT}@clients", "gty": "client-credentials"},
            {"client_id": CLIENT, "sub": CLIENT, "token_use": "access"},
        ]
    )


def kept_by_workload(r: random.Random) -> Members:
    """What a token has that a workload got by what it is."""
    return r.choice(
        [{"sub": TRAVEL}, {"sub": ACCOUNT, "kubernetes.io": {}}, {"sub": r.choice(NAMES)}]
    )


def act(r: random.Random, depth: int = 0) -> Members:
    """An actor, by a name or a SPIFFE ID, and at times those before it."""
    made: Members = {"sub": r.choice([TRAVEL, CLIENT, ACCOUNT, UUID, r.choice(NAMES)])}
    if r.random() < 0.3:
        others = ["spiffe://corp.example", "spiffe://partner.example", "https://evil.example", ""]
        made["iss"] = r.choice([ISSUER, *others])
    if depth < 3 and r.random() < 0.3:
        made["act"] = act(r, depth + 1)
    return made


def change(r: random.Random, claims: Members) -> None:
    """Make one member another, or leave it out."""
    name = r.choice(CHANGED)
    if r.random() < 0.3:
        claims.pop(name, None)
    elif r.random() < 0.2:
        claims[name] = None
    elif name not in ("exp", "nbf"):
        claims[name] = r.choice([*VALUES, *NAMES]) if name != "act" else r.choice([act(r), *VALUES])
    else:
        claims[name] = NOW + r.choice([-100, 0, 200, 90_000])


def id_token(r: random.Random) -> Token:
    """An ID token of one of six vendors, with what else it may have."""
    vendor: Members = r.choice(
        [
            {"azp": CLIENT, "sub": "1055", "at_hash": "x", "email": "a@corp.example", "hd": "x"},
            {"sub": "repo:corp/app:ref:refs/heads/main", "aud": API, "event_name": "push"},
            {"sub": "00u1", "ver": 1, "amr": ["pwd"], "idp": "i", "at_hash": "x"},
            {"sub": "00u1", "ver": 1, "amr": ["pwd"], "idp": "i"},
            {"sub": UUID[::-1], "token_use": "id", "cognito:username": "alice"},
            {"sub": "pair-wise", "ver": "2.0", "oid": UUID, "tid": "t", "rh": "x", "uti": "u"},
            {"sub": UUID[::-1], "typ": "ID", "azp": CLIENT, "sid": "s-1", "at_hash": "x"},
        ]
    )
    claims: Members = {"iss": ISSUER, "iat": NOW - 10, "exp": NOW + 300, "aud": CLIENT}
    claims |= vendor
    optional: Members = {
        "nonce": "n",
        "auth_time": SIGNED_IN,
        "amr": ["pwd"],
        "preferred_username": "alice",
        "email": "a@corp.example",
        "name": "Alice",
        "jti": r.choice(["ID.1", "onrtac:1"]),
        "groups": ["travelers"],
        "sid": "s-2",
        "acr": "1",
    }
    claims |= {name: value for name, value in optional.items() if r.random() < 0.3}
    if isinstance(claims["aud"], str) and r.random() < 0.2:
        claims["aud"] = r.choice([[claims["aud"]], [claims["aud"], API]])
    return Token(claims, typ=r.choice(["JWT", ""]))
