"""Shapes of vendors' tokens beyond those of the how-tos, which are tests themselves.

ID tokens, where everything that can be opened is open; Keycloak's act beside azp.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from authz.core.issuer_kind import IssuerKind
from lab.mesh import PAYMENTS, TRAVEL
from support.issuer_pages import sign, with_config
from support.world import World, reason_of

AUDIENCE: Final = "https://mcp.corp.example/finance"
CLIENT: Final = "client-1"
ACCOUNT: Final = "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"  # the travel agent's, at Keycloak
KINDS: Final = [kind.value for kind in IssuerKind if kind is not IssuerKind.SPIRE]
TIMES: Final = {"iat": 1790000000, "exp": 1790000600}


def issuer_of(kind: str) -> str:
    """Return the name of the issuer of a kind."""
    return f"https://{kind}.corp.example"


def _issuer(kind: str, **lines: Any) -> dict[str, Any]:
    """Return an issuer with everything open: its clients are audiences, and each name an agent."""
    names = {CLIENT: TRAVEL, ACCOUNT: TRAVEL, "travel-agent": TRAVEL, "payments-agent": PAYMENTS}
    return {
        "issuer": issuer_of(kind),
        "kind": kind,
        "keys": {"file": "in the test's folder"},
        "audiences": [AUDIENCE, CLIENT],
        "actor": {"map": names},
        **lines,
    }


WHO: Final = {"subjects": ["alice", "travel-agent", CLIENT, ACCOUNT]}
CONFIG: Final = {
    "issuers": [*map(_issuer, KINDS), _issuer("keycloak", issuer=issuer_of("act"), max_actors=2)],
    "routes": [
        {"name": "own", "paths": ["/own/**"], "modes": ["autonomous"]},
        {"name": "both", "paths": ["/both/**"], "modes": ["autonomous", "delegated"]},
    ],
    "agents": [{"id": TRAVEL, "grants": ["all"]}],
    "principals": [
        {"match": {"issuer": issuer_of(kind)} | more, "grants": ["all"]}
        for kind in [*KINDS, "act"]
        for more in ({}, WHO)
    ],
    "grants": {"all": [{"hosts": ["*"], "methods": ["*"], "paths": ["/**"], "scopes": []}]},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with an issuer of each kind."""
    folder = tmp_path_factory.mktemp("vendors")
    with World(folder, with_config(json.dumps(CONFIG), folder)) as opened:
        yield opened


def ask(world: World, header: dict[str, Any], claims: dict[str, Any], path: str) -> str:
    """Return how a request by the travel agent ends: a mode, or the reason of a refusal."""
    token = sign({"alg": "RS256", **header}, {**TIMES, **claims})
    reason = reason_of(world.ask(token, path=path))
    return str(world.audit_records()[-1]["mode"]) if reason == "allow" else reason


ID_TOKENS: Final[dict[str, dict[str, Any]]] = {
    "Google": {"azp": CLIENT, "aud": CLIENT, "at_hash": "x", "hd": "corp.example"},
    "Google without at_hash": {"azp": CLIENT, "aud": CLIENT, "email": "a@corp.example"},
    "GitHub": {"aud": AUDIENCE, "repository": "corp/app", "event_name": "push"},
    "Okta": {"aud": CLIENT, "ver": 1, "amr": ["pwd"], "idp": "i-1", "auth_time": 1789999990},
    "Cognito": {"aud": CLIENT, "token_use": "id", "cognito:username": "alice"},
    "Entra": {"aud": CLIENT, "ver": "2.0", "oid": "o-1", "tid": "t-1", "rh": "x", "uti": "u"},
    "Keycloak": {"aud": CLIENT, "azp": CLIENT, "typ": "ID", "sid": "s-1", "at_hash": "x"},
    "Keycloak's of an exchange": {"aud": CLIENT, "azp": CLIENT, "typ": "ID", "sid": "s-1"},
    "Auth0": {"aud": CLIENT, "nonce": "n", "sid": "s-1"},
    "for the API's audience": {"aud": AUDIENCE, "azp": CLIENT, "email": "alice@corp.example"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ID_TOKENS)
def test_id_tokens_stay_out(world: World, kind: str, name: str) -> None:
    """An ID token is refused on every route, whoever made it, with whatever settings."""
    claims = {"iss": issuer_of(kind), "sub": "alice", **ID_TOKENS[name]}
    for path in ("/finance/balance", "/own/x", "/both/x"):
        for header in ({"typ": "JWT"}, {}):
            assert ask(world, header, claims, path) not in {"act", "mapped", "autonomous"}


KEYCLOAK: Final = {
    "aud": AUDIENCE,
    "typ": "Bearer",
    "sub": "0c1d7b52-2a35-4f5a-8c0e-111111111111",
    "azp": "travel-agent",
    "sid": "s-1",
    "preferred_username": "alice",
    "scope": "profile email balance:read",
    "jti": "ntrtte:1",
}
SERVICE_ACCOUNT: Final = {
    "sub": ACCOUNT,
    "sid": None,
    "preferred_username": "service-account-travel-agent",
    "clientHost": "10.0.0.7",
    "clientAddress": "10.0.0.7",
    "client_id": "travel-agent",
    "jti": "trrtcc:1",
}
BY_KEYCLOAK: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "mapped"),
    ({"act": {"sub": ACCOUNT}}, "mapped"),  # 26.8's delegation: the service account's user id
    ({"act": {"sub": "payments-agent"}}, "actor_mismatch"),
    ({"act": {"sub": "unknown"}}, "actor_mismatch"),
    ({"act": {"sub": ACCOUNT, "act": {"sub": "web"}}}, "mapped"),
    ({"act": {"sub": ACCOUNT, "act": {"sub": "a", "act": {"sub": "b"}}}}, "chain_too_deep"),
    ({"may_act": {"sub": ACCOUNT}}, "mapped"),  # says who may, not who does
    ({"azp": "payments-agent"}, "actor_mismatch"),
    (SERVICE_ACCOUNT, "principal_required"),
    ({**SERVICE_ACCOUNT, "act": {"sub": ACCOUNT}}, "principal_required"),
    ({"sid": None, "preferred_username": None, "jti": "j"}, "principal_required"),
]


@pytest.mark.parametrize(("changes", "end"), BY_KEYCLOAK)
def test_act_beside_azp(world: World, changes: dict[str, Any], end: str) -> None:
    """An act counts beside the mapped azp, and neither makes a user of a service account."""
    claims = {"iss": issuer_of("act"), **KEYCLOAK, **changes}
    present = {name: value for name, value in claims.items() if value is not None}
    for typ in ("JWT", "at+jwt"):
        assert ask(world, {"typ": typ}, present, "/finance/balance") == end


def test_a_service_account_acts_for_itself(world: World) -> None:
    """Where the route allows that, by its subject."""
    claims = {"iss": issuer_of("act"), **KEYCLOAK, **SERVICE_ACCOUNT}
    del claims["sid"]

    assert ask(world, {"typ": "JWT"}, claims, "/own/x") == "autonomous"


NO_USER: Final = "principal_required"
USER, OBJECT = "0d0d0d0d-1111-2222-3333-444444444444", "cccccccc-1111-2222-3333-444444444444"
ENTRA_V1: Final = {"ver": "1.0", "appid": CLIENT, "appidacr": "1", "oid": USER, "uti": "u"}
FURTHER: Final[list[tuple[str, dict[str, Any], str, str]]] = [
    # Entra's version 1: appid in place of azp; a managed identity; Microsoft's own sample, whose
    # oid is not its sub.
    ("entra", {**ENTRA_V1, "scp": "R", "sub": "p1", "upn": "a@corp.example"}, "mapped", ""),
    ("entra", {**ENTRA_V1, "scp": "R", "sub": "p1", "azp": "payments-agent"}, "actor_mismatch", ""),
    ("entra", {**ENTRA_V1, "idtyp": "app", "sub": OBJECT, "roles": ["R"]}, "token_typ", ""),
    (
        "entra",
        {**ENTRA_V1, "idtyp": "app", "sub": CLIENT, "xms_mirid": "m"},
        "token_typ",
        "autonomous",
    ),
    ("entra", {**ENTRA_V1, "idtyp": "app", "sub": OBJECT}, "token_typ", "policy_denied"),
    ("entra", {**ENTRA_V1, "sub": OBJECT}, "token_typ", "token_typ"),
    ("entra", {**ENTRA_V1, "sub": OBJECT, "scp": "R", "xms_sub_fct": "1 13"}, NO_USER, ""),
    # Auth0's client of the RFC 9068 profile, an organization's, and an agent that is the subject.
    ("auth0", {"client_id": CLIENT, "sub": f"{CLIENT}@clients", "scope": "s"}, NO_USER, ""),
    ("auth0", {"azp": CLIENT, "sub": "auth0|1", "org_id": "org_1", "scope": "s"}, "mapped", ""),
    (
        "auth0",
        {"azp": CLIENT, "sub": "agt_1", "sub_profile": "ai_agent", "scope": "s"},
        NO_USER,
        "",
    ),
    (
        "auth0",
        {"azp": CLIENT, "sub": "auth0|1", "gty": ["client-credentials"], "scope": "s"},
        NO_USER,
        "",
    ),
    # Okta after an exchange: cid is the agent's; a service app with a subject of its own.
    ("okta", {"cid": CLIENT, "uid": "00u1", "sub": "00u1", "scp": ["s"]}, "mapped", ""),
    ("okta", {"cid": CLIENT, "sub": "0oa9other", "scp": ["s"]}, NO_USER, ""),
    # Cognito with an audience (resource binding), and the same for another app client.
    (
        "cognito",
        {"client_id": CLIENT, "username": "alice", "token_use": "access", "scope": "s"},
        "mapped",
        "",
    ),
    (
        "cognito",
        {"client_id": "web", "username": "alice", "token_use": "access", "scope": "s"},
        "actor_not_permitted",
        "",
    ),
    (
        "cognito",
        {"client_id": CLIENT, "sub": CLIENT, "token_use": "access", "scope": "s"},
        NO_USER,
        "autonomous",
    ),
    # A service account's token that lost what is typical, and one of another claim's map.
    ("kubernetes", {"sub": CLIENT, "kubernetes.io": {"namespace": "a"}}, "token_typ", "autonomous"),
    ("kubernetes", {"sub": "system:serviceaccount:a:b"}, "token_typ", "actor_not_permitted"),
]


@pytest.mark.parametrize(("kind", "claims", "delegated", "own"), FURTHER)
def test_further_shapes(
    world: World, kind: str, claims: dict[str, Any], delegated: str, own: str
) -> None:
    """A shape ends in its way on a route for delegation, and on one for agents for themselves."""
    sent = {"iss": issuer_of(kind), "aud": AUDIENCE, "sub": "d3b4a5c6", **claims}

    assert ask(world, {"typ": "JWT"}, sent, "/finance/balance") == delegated
    if own:
        assert ask(world, {"typ": "JWT"}, sent, "/own/x") == own
