"""Subject tokens: good ones, nearly good ones, those of other kinds, and forged ones."""

import json
from typing import Any, Final, NamedTuple

from fuzz.choices import Choices
from fuzz.token_world import APPROVAL, CALL, PREFIXES, REVOKED, REVOKED_ID, SUSPENDED
from lab.dpop import DpopClient
from lab.issuer import Issuer, SigningKey, b64, claims_of, sign_json, sign_raw
from support.forged import altered, unsigned
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    HOTEL,
    IDP,
    ORCHESTRATOR,
    PARTNER,
    STS,
    TRAVEL,
    WEBAPP,
    Service,
)

Members = dict[str, Any]
AGENTS: Final = (ORCHESTRATOR, TRAVEL, HOTEL)
SCOPES: Final = ("trips:plan", "trips:book", "hotels:book", "bank:pay")
AUDIENCES: Final = (WEBAPP, STS, AT_TRAVEL, AT_HOTEL, AT_ORDERS, f"{STS}/", "", "*")
PROOFS: Final = DpopClient()
_OTHER: Final = SigningKey("other", "ES256", DpopClient().key.private)
_ACTORS: Final = ("batch", "cron", f"{TRAVEL}/planner", "spiffe://x")
_ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    7,
    -1.5,
    2**60,
    "",
    "x",
    [],
    ["x"],
    {},
    {"sub": TRAVEL},
    [TRAVEL],
)
_CLAIMS: Final = (
    *("iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "client_id", "azp", "act", "cnf"),
    *("may_act", "sub_id", "auth_time", "groups", "nonce", "events", "typ", "token_use", "idtyp"),
    *("authorization_details", "status", "_claim_names", "crit", "gty", "acr", "entitlements"),
)
_TYPS: Final = (
    *(
        "at+jwt",
        "JWT",
        "jwt",
        "application/at+jwt",
        "JOSE",
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
    ),
    *("authz-assertion+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "id_token+jwt", "", 7, None),
)


class Role(NamedTuple):
    """What is good for a rule: the client, the issuers, audiences and actors, and the targets."""

    agent: str
    issuers: tuple[str, ...]
    audiences: tuple[str, ...]
    actors: tuple[str, ...]
    targets: tuple[str, ...]


ROLES: Final = (
    Role(ORCHESTRATOR, ("id", "idp", "partner"), (WEBAPP, STS), (), (AT_TRAVEL, STS)),
    Role(ORCHESTRATOR, ("partner",), (STS,), (), (AT_ORDERS, AT_HOTEL)),
    Role(TRAVEL, ("own", "own", "idp"), (AT_TRAVEL, STS), (ORCHESTRATOR,), (AT_HOTEL,)),
    Role(HOTEL, ("own", "own", "idp"), (AT_HOTEL, STS), (TRAVEL, ORCHESTRATOR), (AT_ORDERS,)),
)


def subject_token(r: Choices, world: Service, role: Role) -> tuple[str, str]:
    """Return the type of a subject token and its text: of any kind, good or nearly so."""
    named = r.nearly(role.issuers, ["id", "idp", "partner", "own"])
    if named == "id":
        return "id_token", _id_token(r, world)
    issuer = {"own": world.own, "idp": world.idp, "partner": world.partner}[named]
    claims: Members = {
        "sub": r.nearly(["alice", "bob"], ["mallory", "a:alice"]),
        "aud": r.nearly(
            [*role.audiences, [*role.audiences]], [*AUDIENCES, [role.audiences[0], "x"]]
        ),
        "scope": " ".join(r.sample(SCOPES, r.randint(1, 4))),
        "act": _act(r, role),
        "jti": r.nearly(["j"], [REVOKED_ID]),
        **world.times,
    }
    if r.random() < 0.3:
        claims |= {"auth_time": int(world.now) - 9, "groups": ["travellers"]}
    if issuer is world.own:
        claims |= _own(r, claims["sub"])
    for _ in range(r.nearly([0], [1, 1, 2], 0.5)):
        _change(r, claims)
    typ = r.nearly(["at+jwt", "JWT"] if issuer is world.idp else ["at+jwt"], _TYPS)
    token = signed(issuer, claims, typ)
    if r.is_odd(0.2):
        token = _forged(r, world, issuer, token)
    text = r.nearly([token], ["x", "a.b.c", "", "\u00e9", token[:-1]], 0.1)
    return r.choice(["access_token", "access_token", "jwt"]), text


def signed(issuer: Issuer, claims: Members, typ: object) -> str:
    """Return a token of an issuer; a claim that is None is left out."""
    key = issuer.current
    header = {"alg": key.algorithm, "kid": key.key_id, "typ": typ}
    given = {"iss": issuer.url, "client_id": "lab-client"} | claims
    parts = (
        {name: value for name, value in part.items() if value is not None}
        for part in (header, given)
    )
    return sign_json(key, *parts)


def _act(r: Choices, role: Role) -> Members | None:
    """Return the chain that a good token has, or nearly so."""
    chain = list(role.actors)
    if r.is_odd(0.3):
        chain.insert(r.randint(0, len(chain)), r.choice([*AGENTS, SUSPENDED, REVOKED, "batch"]))
    if r.is_odd(0.2):
        chain += r.sample([*_ACTORS, role.agent], r.randint(1, 3))
    if r.is_odd(0.1):
        chain = chain[1:]
    act: Members | None = None
    for name in reversed(chain):
        act = {"sub": name, **({"act": act} if act else {})}
        if r.is_odd(0.1):
            act["iss"] = r.choice([IDP, STS, PARTNER, "spiffe://corp.example", 7])
    return act


def _own(r: Choices, subject: str) -> Members:
    """Return what our own tokens have beside: the principal as its issuer names it, and a key."""
    issuer = r.choice([IDP, IDP, IDP, PARTNER])
    prefix = PREFIXES[r.nearly([issuer], [PARTNER], 0.1)]
    return {
        "sub": prefix + subject,
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": subject},
        "client_id": TRAVEL,
        "cnf": {"x5t#S256": f"thumbprint-of-{r.choice(['travel', 'hotel'])}"},
    }


def _id_token(r: Choices, world: Service) -> str:
    changes: Members = {"groups": ["travellers"]} if r.random() < 0.3 else {}
    for _ in range(r.nearly([0], [1, 1, 2], 0.5)):
        _change(r, changes)
    if r.is_odd(0.2):
        changes["iat"] = int(world.now) - r.choice([500, 700])
    header = {"typ": r.choice(_TYPS)} if r.is_odd(0.3) else {}
    return world.id_token(header=header, **changes)


def _change(r: Choices, claims: Members) -> None:
    name = r.choice(_CLAIMS)
    near: Members = {
        "iss": [IDP, PARTNER, STS, f"{IDP}/"],
        "sub": [TRAVEL, "spiffe:", "a" * 1025, "lab-client", "alice\n"],
        "aud": [*AUDIENCES, [STS, 7], [[STS]]],
        "cnf": [PROOFS.confirmation, {"x5t#S256": "other"}, {"jwk": {}}],
        "may_act": [{"sub": name} for name in (*AGENTS, "alice")] + [{"sub": TRAVEL, "x": 1}],
        "authorization_details": [[{"type": kind, "amount": 5}] for kind in (CALL, APPROVAL, "x")],
        "_claim_names": [{"groups": "src1"}, {"email": "src1"}],
        "scope": [["trips:plan"], "trips:plan  x", " ", ["a b"]],
        "exp": [7, 2**53 - 1, "9999999999"],
        "sub_id": [{"format": "iss_sub", "iss": IDP, "sub": "bob"}, {"format": "opaque"}],
    }
    claims[name] = r.choice([*near.get(name, []) * 3, *_ODD])


def _forged(r: Choices, world: Service, issuer: Issuer, token: str) -> str:
    """Return a token that its issuer did not sign."""
    head, body, signature = token.split(".")
    claims = claims_of(token)
    key = issuer.current
    header = {"alg": "ES256", "kid": key.key_id, "typ": "at+jwt"}
    payload = json.dumps(claims).encode()
    public = key.jwk()
    forgers: list[Any] = [
        lambda: unsigned(claims),
        lambda: altered(token, scope=" ".join(SCOPES)),
        lambda: altered(token, sub="bob"),
        lambda: sign_raw(_OTHER, json.dumps(header).encode(), payload),
        lambda: sign_raw(_OTHER, json.dumps(header | {"jwk": _OTHER.jwk()}).encode(), payload),
        lambda: sign_raw(key, json.dumps(header | {"alg": "none"}).encode(), payload),
        lambda: sign_raw(key, json.dumps(header | {"crit": ["exp"]}).encode(), payload),
        lambda: sign_raw(key, json.dumps(header | {"jwk": public}).encode(), payload),
        lambda: sign_raw(key, json.dumps(header).encode(), _doubled(payload)),
        lambda: signed(world.partner, {**claims, "iss": IDP}, "at+jwt"),
        lambda: f"{head}.{body}.{signature}=",
        lambda: f"{head}.{body}.{b64(bytes(64))}",
        lambda: f"{head}.{body}.",
    ]
    return str(r.choice(forgers)())


def _doubled(payload: bytes) -> bytes:
    """Say a second audience, as some parsers would read it."""
    return payload[:-1] + b', "aud": "' + STS.encode() + b'"}'
