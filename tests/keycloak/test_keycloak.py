"""What the how-to says of a real Keycloak's tokens, through a real Envoy."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from lab.keycloak import ID_TOKEN, Keycloak, KeycloakError, Realm
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL
from support.keycloak_howto import AGENT, FRONT_END, READ, USER, Howto, Proxy, commands, users_token

pytestmark = pytest.mark.timeout(900)  # the first waits for Keycloak
USERS = "/finance/balance"
AGENTS = "/nightly/balance"
RFC_9068 = "access.token.header.type.rfc9068"
LIGHTWEIGHT = "client.use.lightweight.access.token.enabled"
SESSION = "client_credentials.use_refresh_token"
OTHER_AGENT = "payments-agent"
LIGHT_MAPPERS = (
    ("oidc-audience-mapper", {"included.custom.audience": AUDIENCE, "lightweight.claim": "true"}),
    ("oidc-sub-mapper", {"lightweight.claim": "true"}),
    (
        "oidc-usermodel-attribute-mapper",
        {
            "user.attribute": "username",
            "claim.name": "preferred_username",
            "jsonType.label": "String",
            "lightweight.claim": "true",
        },
    ),
)


@pytest.fixture(scope="module")
def other_agent(corp: Realm) -> str:
    """Another agent's client, like the first, which the config has not."""
    client = {
        "clientId": OTHER_AGENT,
        "serviceAccountsEnabled": True,
        "attributes": {"standard.token.exchange.enabled": "true"},
        "optionalClientScopes": [READ],
    }
    corp.admin("POST", "/clients", client)
    return OTHER_AGENT


@pytest.fixture(scope="module")
def other_realm(keycloak: Keycloak) -> Realm:
    """Another realm of the same Keycloak, with a client of the agent's name."""
    realm = Realm(keycloak, "partner").create()
    realm.admin("POST", "/clients", {"clientId": AGENT, "serviceAccountsEnabled": True})
    return realm


def part(token: str, number: int) -> dict[str, Any]:
    """Return a token's header (0) or claims (1)."""
    found: dict[str, Any] = json.loads(urlsafe_b64decode(token.split(".")[number] + "=="))
    return found


def front_ends(corp: Realm, name: str = "access_token") -> str:
    """Return a token that the front end got when the user logged in."""
    return str(corp.by_login(FRONT_END, USER)[name])


def again(corp: Realm, token: str) -> str:
    """Let the agent exchange a token."""
    return str(corp.exchange(AGENT, token, READ)["access_token"])


def answer(proxy: Proxy, path: str, token: str) -> tuple[int, str]:
    """Return what the agent is answered: the status, and the reason of a refusal."""
    reply = proxy.agent(TRAVEL).get(path, token)
    return reply.status, reply.reason


def test_a_users_token(proxy: Proxy, corp: Realm) -> None:
    """With what it got in exchange for a user's token, an agent acts for the user."""
    reply = proxy.agent(TRAVEL).get(USERS, users_token(corp))

    assert (reply.status, reply.reason) == (200, "")
    seen = dict(reply.seen_headers("x-agent"))
    assert seen["x-agent-id"] == TRAVEL
    assert seen["x-agent-principal"] == corp.user_id(USER)
    assert seen["x-agent-issuer"] == corp.issuer
    assert proxy.record(reply)["mode"] == "mapped"


def test_an_agents_own_token(proxy: Proxy, corp: Realm) -> None:
    """With a token of its own, an agent acts for itself, where the route takes that."""
    reply = proxy.agent(TRAVEL).get(AGENTS, corp.own(AGENT, READ))

    assert (reply.status, reply.reason) == (200, "")
    seen = dict(reply.seen_headers("x-agent"))
    assert seen["x-agent-principal"] == corp.service_account_id(AGENT)
    assert proxy.record(reply)["mode"] == "autonomous"


def test_the_id_to_list(howto: Howto, corp: Realm) -> None:
    """The how-to's command prints the id by which the agent itself is listed."""
    assert corp.service_account_id(AGENT) in howto.run(commands()[1])


def test_a_password_and_a_refresh(proxy: Proxy, corp: Realm) -> None:
    """It makes no difference how the user's token was got: by password, or refreshed."""
    client = corp.client(FRONT_END)
    with_password = {**client, "directAccessGrantsEnabled": True}
    corp.admin("PUT", f"/clients/{client['id']}", with_password)
    first = corp.by_password(FRONT_END, USER, "openid")
    refreshed = corp.refresh(FRONT_END, first["refresh_token"])

    assert answer(proxy, USERS, again(corp, first["access_token"])) == (200, "")
    assert answer(proxy, USERS, again(corp, refreshed)) == (200, "")


REFUSED: dict[str, tuple[Callable[[Realm], str], str, int, str]] = {
    "a user's, where agents act for themselves": (users_token, AGENTS, 403, "actor_not_permitted"),
    "an agent's own, where users' are expected": (
        lambda corp: corp.own(AGENT, READ),
        USERS,
        403,
        "principal_required",
    ),
    "an agent's own, exchanged": (
        lambda corp: again(corp, corp.own(AGENT, READ)),
        USERS,
        403,
        "principal_required",
    ),
    "the front end's, not exchanged": (front_ends, USERS, 401, "token_audience"),
    "without the scope of the API": (
        lambda corp: users_token(corp, "profile"),
        USERS,
        401,
        "token_audience",
    ),
    "an ID token": (lambda corp: front_ends(corp, "id_token"), USERS, 401, "token_typ"),
    "an ID token, exchanged": (
        lambda corp: corp.exchange(AGENT, front_ends(corp), f"openid {READ}", ID_TOKEN)[
            "access_token"
        ],
        USERS,
        401,
        "token_typ",
    ),
    "a refresh token": (lambda corp: front_ends(corp, "refresh_token"), USERS, 401, "token_alg"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(proxy: Proxy, corp: Realm, what: str) -> None:
    """Any other token of the realm is refused, for the reason that the how-to says."""
    make, path, status, reason = REFUSED[what]

    assert answer(proxy, path, make(corp)) == (status, reason)


def test_another_agent(proxy: Proxy, corp: Realm, other_agent: str) -> None:
    """A token is its agent's alone, and its client must be in the map."""
    stolen = proxy.agent(PAYMENTS).get(USERS, users_token(corp))

    assert (stolen.status, stolen.reason) == (403, "actor_mismatch")
    assert answer(proxy, USERS, corp.own(other_agent, READ)) == (403, "actor_not_permitted")


def test_only_the_agent_of_the_audience_exchanges(corp: Realm, other_agent: str) -> None:
    """Keycloak exchanges the front end's token for the agents that it names alone."""
    with pytest.raises(KeycloakError, match="not within the token audience"):
        corp.exchange(other_agent, front_ends(corp), READ)


def test_another_realm(proxy: Proxy, other_realm: Realm) -> None:
    """Another realm of the same Keycloak is another issuer."""
    assert answer(proxy, USERS, other_realm.own(AGENT, "profile")) == (401, "token_issuer")


def test_a_session_of_the_agents_own(proxy: Proxy, corp: Realm) -> None:
    """An agent's own token that has a session (sid), as refreshed tokens do, is no user's."""
    with corp.with_attribute(AGENT, SESSION, "true"):
        own = corp.own(AGENT, READ)
        exchanged = again(corp, own)

    assert "sid" in part(own, 1)
    assert answer(proxy, USERS, own) == (403, "principal_required")
    assert answer(proxy, USERS, exchanged) == (403, "principal_required")


def test_rfc_9068(proxy: Proxy, corp: Realm) -> None:
    """With the switch for at+jwt the same tokens are accepted and refused."""
    with corp.with_attribute(AGENT, RFC_9068, "true"):
        user, own = users_token(corp), corp.own(AGENT, READ)

    assert part(user, 0)["typ"] == part(own, 0)["typ"] == "at+jwt"
    assert "client_id" not in part(user, 1)
    assert answer(proxy, USERS, user) == (200, "")
    assert answer(proxy, USERS, own) == (403, "principal_required")
    assert answer(proxy, AGENTS, own) == (200, "")


def test_the_smallest_token(proxy: Proxy, corp: Realm) -> None:
    """The scope basic is enough for a user who logged in with a browser."""
    with corp.without_scope(AGENT, "profile"):
        user, own = users_token(corp), corp.own(AGENT, READ)
        exchanged = again(corp, own)

    members = "iss aud sub azp typ scope sid jti iat auth_time exp"
    assert part(user, 1).keys() == {*members.split()}
    assert answer(proxy, USERS, user) == (200, "")
    assert answer(proxy, USERS, own) == (403, "principal_required")
    assert answer(proxy, USERS, exchanged) == (403, "principal_required")


def test_lightweight_tokens(proxy: Proxy, corp: Realm) -> None:
    """Lightweight tokens lack what is needed, until the mappers write it into them."""
    with corp.with_attribute(AGENT, LIGHTWEIGHT, "true"):
        poor = users_token(corp)
        with ExitStack() as mappers:
            for kind, config in LIGHT_MAPPERS:
                mappers.enter_context(corp.with_mapper(AGENT, kind, config))
            user, own = users_token(corp), corp.own(AGENT, READ)
            exchanged = again(corp, own)

    assert part(poor, 1).keys().isdisjoint({"aud", "preferred_username"})
    assert answer(proxy, USERS, poor) == (401, "token_audience")
    assert answer(proxy, USERS, user) == (200, "")
    assert answer(proxy, USERS, own) == (403, "principal_required")
    assert answer(proxy, USERS, exchanged) == (403, "principal_required")


def test_a_rotated_key(proxy: Proxy, corp: Realm) -> None:
    """Keycloak's new key is fetched when a token names it; its old one stays good."""
    before = users_token(corp)
    corp.rotate_keys()
    after = users_token(corp)

    assert part(before, 0)["kid"] != part(after, 0)["kid"]
    assert answer(proxy, USERS, after) == (200, "")
    assert answer(proxy, USERS, before) == (200, "")


def test_a_logout(proxy: Proxy, corp: Realm) -> None:
    """After a logout the agent gets no new token; the one that it has is good until it expires."""
    front_end = front_ends(corp)
    token = again(corp, front_end)
    corp.admin("POST", f"/users/{corp.user_id(USER)}/logout")

    with pytest.raises(KeycloakError):
        again(corp, front_end)
    assert answer(proxy, USERS, token) == (200, "")
