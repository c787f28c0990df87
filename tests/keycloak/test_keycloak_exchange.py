"""A real Keycloak exchanges the tokens for upstreams (standard token exchange), behind an Envoy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.client import Reply
from lab.issuer import claims_of
from lab.keycloak import Realm
from lab.mesh import TRAVEL, Mesh
from support.keycloak_exchange import exchanging
from support.keycloak_howto import READ, USER, Howto, Proxy, serve, users_token
from support.world import wait_until

pytestmark = pytest.mark.timeout(900)  # the first waits for Keycloak
GATEWAY = "authz"  # our client
ORDERS = "orders"  # the upstream's client
USERS = "/finance/balance"


@pytest.fixture(scope="module")
def upstreams(corp: Realm) -> Iterator[Realm]:
    """The realm with our client, which may exchange the agent's tokens for the upstream's."""
    with exchanging(corp, GATEWAY, ORDERS):
        yield corp


@pytest.fixture(scope="module")
def by_exchange(
    mesh: Mesh, howto: Howto, upstreams: Realm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """The how-to's config with an exchange, behind an Envoy."""
    secret = tmp_path_factory.mktemp("exchange") / "token-secret"
    secret.write_text(str(upstreams.client(GATEWAY)["secret"]))
    running = serve(mesh, "exchange", config_of(howto, upstreams, secret))
    try:
        yield running
    finally:
        running.envoy.stop()


def config_of(howto: Howto, realm: Realm, secret: Path) -> dict[str, Any]:
    """The how-to's config with an exchange for the first route."""
    config = howto.config()
    config["issuers"][0]["exchange"] = {
        "url": f"{realm.issuer}/protocol/openid-connect/token",
        "insecure": True,
        "client_id": GATEWAY,
        "client_secret_file": str(secret),
        "accept_scopes": ["profile"],
        "timeout": "10s",
    }
    config["routes"][0] |= {
        "upstream_token": "exchange",
        "exchange": {"issuer": realm.issuer, "audience": ORDERS},
    }
    return config


def seen(reply: Reply) -> dict[str, Any]:
    """The claims of the token that the upstream saw."""
    token = dict(reply.seen_headers())["authorization"].removeprefix("Bearer ")
    return claims_of(token)


def test_the_upstream_gets_its_own_token(by_exchange: Proxy, upstreams: Realm) -> None:
    """Keycloak's token for the upstream names the user, us and the scope, and nobody else's API."""
    token = users_token(upstreams)
    travel = by_exchange.agent(TRAVEL)
    # The first call may take longer than Envoy waits, on a busy machine.
    wait_until(lambda: travel.get(USERS, token).status == 200)
    reply = travel.get(USERS, token)
    claims = seen(reply)

    assert claims["aud"] == ORDERS
    assert claims["sub"] == upstreams.user_id(USER)
    assert claims["azp"] == GATEWAY
    assert set(claims["scope"].split()) == {READ, "profile"}
    assert by_exchange.record(reply)["upstream"]["gets"] == "exchange"
    assert token.rpartition(".")[2] not in f"{reply.seen_headers()}"


def test_a_log_out_ends_it(by_exchange: Proxy, upstreams: Realm) -> None:
    """After the user has logged out, Keycloak refuses to exchange the token that is still valid."""
    token = users_token(upstreams)
    user = upstreams.user_id(USER)
    upstreams.admin("POST", f"/users/{user}/logout")
    travel = by_exchange.agent(TRAVEL)

    wait_until(lambda: travel.get(USERS, token).reason != "exchange_unavailable")
    reply = travel.get(USERS, token)
    assert (reply.status, reply.reason) == (403, "exchange_refused")
