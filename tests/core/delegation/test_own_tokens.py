"""Tokens without scopes: an agent's own, where a route allows that, and nobody else's."""

from collections.abc import Iterator
from typing import Any

import pytest

from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL
from support.world import World, reason_of

ACCOUNT = "system:serviceaccount:agents:travel"
OBJECT = "cccccccc-1111-2222-3333-444444444444"
OWN = (
    LAB.with_((*AT_ISSUER, "typ"), ["JWT"])
    .with_routes("[{name: own, paths: [/own/**], modes: [autonomous]}]")
    .with_routes("[{name: both, paths: [/both/**], modes: [autonomous, delegated]}]")
    .with_principals(
        f"[{{match: {{issuer: '{ISSUER}', subjects: [alice, '{TRAVEL}', '{ACCOUNT}', '{OBJECT}']}},"
        " grants: [any]}]"
    )
    .with_(("agents", 0, "grants"), ["finance-read", "public", "any"])
    .with_grant("any", '[{hosts: ["*"], methods: [GET], paths: ["/**"], scopes: []}]')
)
BY_SUB = OWN.with_((*AT_ISSUER, "actor"), {"claim": "sub", "map": {ACCOUNT: TRAVEL}})
BY_AZP = OWN.with_(
    (*AT_ISSUER, "actor"), {"claim": "azp", "map": {"client": TRAVEL, OBJECT: PAYMENTS}}
)


@pytest.fixture(scope="module", params=["act", "sub", "azp"])
def named(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, World]]:
    """A core for each claim that names the agent."""
    kinds = {"act": OWN, "sub": BY_SUB, "azp": BY_AZP}
    with World(tmp_path_factory.mktemp(request.param), kinds[request.param]) as world:
        yield request.param, world


# The changes of a token without act, scope, client_id and jti; and the reason on a route for
# agents that act for themselves.
TOKENS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "act": [
        ({"sub": TRAVEL}, "allow"),  # a JWT-SVID
        ({"sub": PAYMENTS}, "actor_mismatch"),
        ({"sub": "alice"}, "actor_missing"),  # anybody's ID token
        ({"sub": TRAVEL, "client_id": AUDIENCE}, "token_typ"),
        ({"sub": TRAVEL, "azp": AUDIENCE, "aud": [AUDIENCE]}, "token_typ"),
        ({"sub": TRAVEL, "nonce": "n"}, "token_typ"),
        ({"sub": TRAVEL, "typ": "ID"}, "token_typ"),
        ({"sub": "alice", "act": {"sub": TRAVEL}}, "token_typ"),
        ({"sub": TRAVEL, "act": {"sub": TRAVEL}}, "allow"),
        ({"sub": TRAVEL, "act": {"sub": TRAVEL, "act": {"sub": PAYMENTS}}}, "actor_not_permitted"),
    ],
    "sub": [
        ({"sub": ACCOUNT}, "allow"),  # a service account's of Kubernetes
        ({"sub": "system:serviceaccount:other:travel"}, "actor_not_permitted"),
        ({"sub": ACCOUNT, "cid": AUDIENCE}, "token_typ"),
    ],
    "azp": [
        ({"azp": "client", "sub": OBJECT, "oid": OBJECT, "roles": ["R"]}, "allow"),  # Entra's app
        ({"azp": "client", "sub": OBJECT, "idtyp": "app"}, "allow"),
        ({"azp": "client", "sub": "alice", "oid": OBJECT}, "token_typ"),  # Entra's ID token
        ({"azp": "client", "sub": OBJECT, "idtyp": "user"}, "token_typ"),
        ({"azp": "client", "sub": OBJECT, "upn": "client"}, "token_typ"),  # by its name alone
        ({"azp": AUDIENCE, "sub": OBJECT, "oid": OBJECT}, "token_typ"),
        ({"azp": "client", "sub": OBJECT, "gty": "client-credentials"}, "allow"),
        ({"azp": "client", "sub": OBJECT, "grant_type": ["client_credentials"]}, "allow"),
        # A user's ID token for another client, with a name that the user chose.
        ({"azp": "client", "sub": "alice", "name": "client_credentials"}, "token_typ"),
        ({"azp": "client", "sub": "alice", "nickname": "urn:client_credentials"}, "token_typ"),
        (
            {"azp": "client", "sub": "alice", "address": {"region": "client credentials"}},
            "token_typ",
        ),
    ],
}


def test_without_scopes(named: tuple[str, World]) -> None:
    """Accepted where the subject is the caller, or the issuer says that it is an app's own."""
    kind, world = named
    for changes, reason in TOKENS[kind]:
        claims = {"act": None, "scope": None, "client_id": None, "jti": None, **changes}
        token = world.token(header={"typ": None}, **claims)
        for path in ("/own/x", "/both/x"):
            assert (changes, reason_of(world.ask(token, path=path))) == (changes, reason)

        if reason == "allow":
            assert world.audit_records()[-1]["mode"] == "autonomous"
        # Where agents act for somebody it is taken for an ID token, whoever it names.
        assert reason_of(world.ask(token)) in {"token_typ", "token_audience"}


SERVICE_ACCOUNTS: list[dict[str, Any]] = [
    {"clientHost": "10.0.0.7"},
    {"clientAddress": "10.0.0.7"},
    {"jti": "trrtcc:5b7c"},
    {"jti": "onltcc:5b7c"},
    {"jti": "trrtte:5b7c"},
    {"jti": "trltte:5b7c"},
    {"oid": "u", "sub": "u"},
]
OTHERS: list[dict[str, Any]] = [
    {"jti": "onrtac:5b7c"},
    {"jti": "ntrtte:5b7c"},
    {"jti": "onrtrt:5b7c"},
    {"jti": "xxrtcc:5b7c"},
    {"jti": "trrtcc"},
    {"oid": "u", "sub": "v"},
    {"oid": "u", "sub": "u", "scp": "x"},
]


def test_an_own_token_with_act_is_no_users(shared_world: World) -> None:
    """A mapper of Keycloak writes act into a client's own token too; nobody delegated."""
    world = shared_world
    for changes in SERVICE_ACCOUNTS:
        answer = world.ask(world.token(**changes))
        assert (changes, reason_of(answer)) == (changes, "principal_required")
    for changes in OTHERS:
        reason = reason_of(world.ask(world.token(**changes)))
        assert (changes, reason != "principal_required") == (changes, True)


USERS = LAB.with_(
    (*AT_ISSUER, "actor"), {"claim": "azp", "map": {"client": TRAVEL}}
).with_principals(f"[{{match: {{issuer: '{ISSUER}'}}, grants: [finance-read]}}]")


def test_a_keycloak_grant_shows_a_person(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its jti says how the token was got, and tokens that differ there have different terms."""
    grants = {"ac": "allow", "ro": "allow", "dg": "allow", "ci": "allow"}
    refused = dict.fromkeys(("cc", "te", "rt", "pg"), "principal_required")
    with World(tmp_path_factory.mktemp("users"), USERS) as world:
        for number, (grant, reason) in enumerate([*grants.items(), *refused.items()] * 2):
            token = world.token(act=None, azp="client", sub="0c1d7b52", jti=f"onrt{grant}:{number}")

            assert (grant, reason_of(world.ask(token))) == (grant, reason)
