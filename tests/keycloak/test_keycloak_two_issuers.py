"""A real Keycloak and our token service as two issuers of one server, through a real Envoy.

A user logs in at Keycloak, and the token service makes a delegation of the ID token. What the agent
gets in exchange at Keycloak itself is exchanged there once more by the server, for an upstream.
Ways to confuse the two are refused, each where it can first be known.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from lab.issuer import claims_of
from lab.keycloak import Keycloak, Realm
from lab.mesh import PAYMENTS, TRAVEL, Mesh
from lab.sts import ACCESS_TOKEN, ID_TOKEN
from support.forged import altered, unsigned
from support.keycloak_howto import AGENT, FRONT_END, READ, USER, Howto, users_token
from support.keycloak_two_issuers import GATEWAY, UPSTREAM, TwoIssuers, two_issuers
from support.world import wait_until

pytestmark = pytest.mark.timeout(900)  # the first waits for Keycloak
BALANCE: Final = "/finance/balance"  # for tokens of both
ORDERS: Final = "/orders/42"  # whose upstream gets Keycloak's token
_CLAIM: Final = "oidc-hardcoded-claim-mapper"


@pytest.fixture(scope="module")
def both(
    mesh: Mesh, howto: Howto, corp: Realm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TwoIssuers]:
    """The how-to's config with an exchange and a second issuer: our token service."""
    with two_issuers(mesh, howto, corp, tmp_path_factory.mktemp("two-issuers")) as running:
        yield running


def test_both(both: TwoIssuers) -> None:
    """The agent acts for the user by either issuer's token, and the upstream gets Keycloak's."""
    user, token = both.realm.user_id(USER), both.ours()
    by_ours = both.travel.get(BALANCE, token)
    by_keycloaks = both.travel.get(ORDERS, users_token(both.realm))

    assert claims_of(token)["sub_id"]["iss"] == both.realm.issuer
    assert (by_ours.status, by_keycloaks.status) == (200, 200)
    assert dict(by_ours.seen_headers())["x-agent-principal"] == user
    [(_, value)] = by_keycloaks.seen_headers("authorization")
    claims = claims_of(value)
    assert (claims["aud"], claims["sub"], claims["azp"]) == (UPSTREAM, user, GATEWAY)


@contextmanager
def short_lived(realm: Realm) -> Iterator[None]:
    """Let new tokens live for a second."""
    before = realm.admin("GET", "")
    realm.admin("PUT", "", {**before, "accessTokenLifespan": 1})
    try:
        yield
    finally:
        realm.admin("PUT", "", before)


Token = Callable[[TwoIssuers], str]
AT_STS: Final[dict[str, tuple[str, str, str, Token]]] = {
    "audience: the agent's token for the API": (
        ACCESS_TOKEN, "invalid_request", "token_audience", lambda both: users_token(both.realm)
    ),
    "subject: the agent's own token": (
        ACCESS_TOKEN,
        "invalid_request",
        "token_audience",
        lambda both: both.realm.own(AGENT, "profile"),
    ),
    "an access token as an ID token": (
        ID_TOKEN, "invalid_request", "token_typ", lambda both: both.login()["access_token"]
    ),
    "unsigned": (
        ID_TOKEN,
        "invalid_request",
        "token_alg",
        lambda both: unsigned(claims_of(both.login()["id_token"]), "JWT"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", AT_STS)
def test_refused_at_the_token_service(both: TwoIssuers, what: str) -> None:
    """The token service takes users' logins at the front end, and no other token of the realm."""
    kind, error, reason, token = AT_STS[what]

    assert both.refusal(token(both), kind) == (error, reason)


def test_a_wider_scope(both: TwoIssuers) -> None:
    """Nobody gets a scope of the token service that no rule has."""
    token = both.login()["id_token"]

    assert both.refusal(token, ID_TOKEN, scope="payments:write") == ("invalid_scope", "scope")


def test_may_act(both: TwoIssuers) -> None:
    """A front end's token that names another actor makes no delegation."""
    claim = {"claim.name": "may_act.sub", "claim.value": PAYMENTS, "jsonType.label": "String"}
    with both.realm.with_mapper(FRONT_END, _CLAIM, claim):
        token = both.login()["access_token"]

    assert both.refusal(token) == ("invalid_request", "actor_not_permitted")


def test_another_tenant(both: TwoIssuers, keycloak: Keycloak) -> None:
    """Another realm's token is nobody's, at both places."""
    realm = Realm(keycloak, "two-issuers").create()
    realm.admin("POST", "/clients", {"clientId": AGENT, "serviceAccountsEnabled": True})
    token = realm.own(AGENT, "profile")

    assert both.refusal(token) == ("invalid_request", "token_issuer")
    assert both.travel.get(BALANCE, token).reason == "token_issuer"


def test_expired(both: TwoIssuers) -> None:
    """A token that has ended is refused at both places, and exchanged nowhere."""
    with short_lived(both.realm):
        front_ends = both.login()["access_token"]
        agents = users_token(both.realm)

    wait_until(lambda: both.travel.get(ORDERS, agents).reason == "token_expired")
    assert both.refusal(front_ends) == ("invalid_request", "token_expired")


def test_refused_at_the_server(both: TwoIssuers) -> None:
    """A token is for its audience, its agent and its certificate, as it was signed."""
    ours, keycloaks = both.ours(), users_token(both.realm)
    mesh = both.proxy.mesh
    travel, payments = both.travel, both.proxy.agent(PAYMENTS)
    with_another = mesh.agent(TRAVEL, both.proxy.envoy.port)

    assert travel.get(BALANCE, both.login()["access_token"]).reason == "token_audience"
    assert payments.get(BALANCE, ours).reason == "actor_mismatch"
    assert payments.get(ORDERS, keycloaks).reason == "actor_mismatch"
    assert with_another.get(BALANCE, ours).reason == "cnf_mismatch"
    assert travel.get(BALANCE, altered(ours, act={"sub": PAYMENTS})).reason == "token_signature"
    assert travel.get(BALANCE, unsigned(claims_of(ours))).reason == "token_alg"
    assert travel.get(ORDERS, both.realm.own(AGENT, READ)).reason == "principal_required"


def test_our_token_is_not_for_keycloak(both: TwoIssuers) -> None:
    """Keycloak exchanges its own tokens: ours is refused without asking it."""
    reply = both.travel.get(ORDERS, both.ours())

    assert (reply.status, reply.reason) == (403, "exchange_refused")
    assert "exchanges its own tokens" in both.detail(reply)


ANSWERS: Final[dict[str, tuple[str, str]]] = {
    "sub": ("somebody-else", "its sub is not"),
    "act.sub": (PAYMENTS, "current actor"),
}


@pytest.mark.parametrize("claim", ANSWERS)
def test_an_odd_answer(both: TwoIssuers, claim: str) -> None:
    """Keycloak's token that names another user or agent does not reach the upstream."""
    value, why = ANSWERS[claim]
    token, before = users_token(both.realm), both.proxy.mesh.upstream.requests
    config = {"claim.name": claim, "claim.value": value, "jsonType.label": "String"}
    with both.realm.with_mapper(GATEWAY, _CLAIM, config):
        reply = both.travel.get(ORDERS, token)

    assert (reply.status, reply.reason) == (503, "exchange_unavailable")
    assert why in both.detail(reply)
    assert both.proxy.mesh.upstream.requests == before


def test_an_answer_with_more(both: TwoIssuers) -> None:
    """A scope that was not asked for does not reach the upstream."""
    token = users_token(both.realm)
    scopes = both.realm.admin("GET", "/client-scopes")
    email = next(scope["id"] for scope in scopes if scope["name"] == "email")
    path = f"/clients/{both.realm.client(GATEWAY)['id']}/default-client-scopes/{email}"
    both.realm.admin("PUT", path)
    try:
        reply = both.travel.get(ORDERS, token)
    finally:
        both.realm.admin("DELETE", path)

    assert reply.reason == "exchange_unavailable"
    assert "scopes that were not asked for" in both.detail(reply)
