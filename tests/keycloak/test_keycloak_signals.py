"""A real Keycloak tells of logouts and of revoked sessions, through a real Envoy.

By its back-channel logout, and by its transmitter of security events.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from lab.keycloak import Realm
from lab.mesh import TRAVEL, Mesh
from support.keycloak_howto import AGENT, FRONT_END, READ, USER, Howto, Proxy, serve
from support.receiving import address_of
from support.world import wait_until

pytestmark = pytest.mark.timeout(900)  # the first waits for Keycloak
USERS = "/finance/balance"
LOGOUTS = "/logouts/keycloak"
EVENTS = "/events/keycloak"
AUDIENCE = "https://authz.corp.example/events"
RECEIVER = "authz-events"
STREAM_TOKEN = "a-bearer-token-of-the-stream"
SCOPES = ("ssf.read", "ssf.manage")
SESSION_REVOKED = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"


@pytest.fixture(scope="module")
def told(
    mesh: Mesh, howto: Howto, corp: Realm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """The how-to's config with signals, behind an Envoy."""
    folder = tmp_path_factory.mktemp("told")
    token, revoked = folder / "token", folder / "revoked.jsonl"
    token.write_text(STREAM_TOKEN)
    revoked.write_bytes(b"")
    config = howto.config()
    config["revocations"] = {"file": str(revoked)}
    config["signals"] = {
        "listen": "127.0.0.1:0",
        "insecure": True,
        "transmitters": [
            {
                "issuer": corp.issuer,
                "audiences": [AUDIENCE],
                "push": {"path": EVENTS, "token_file": str(token)},
                "by_session": True,
            }
        ],
        "logout": [
            {
                "issuer": corp.issuer,
                "client_ids": [FRONT_END],
                "path": LOGOUTS,
                "by_session": True,
            }
        ],
    }
    running = serve(mesh, "told", config)
    try:
        yield running
    finally:
        running.envoy.stop()


@pytest.fixture(scope="module")
def logging_out(corp: Realm, told: Proxy) -> None:
    """The front end's back-channel logout URL is ours."""
    client = corp.client(FRONT_END)
    attributes = {
        **client["attributes"],
        "backchannel.logout.url": f"http://{address_of(told.server)}{LOGOUTS}",
        "backchannel.logout.session.required": "true",
    }
    corp.admin("PUT", f"/clients/{client['id']}", {**client, "attributes": attributes})


def answer(proxy: Proxy, token: str) -> tuple[int, str]:
    """What the agent is answered."""
    reply = proxy.agent(TRAVEL).get(USERS, token)
    return reply.status, reply.reason


def count(proxy: Proxy, corp: Realm, event: str, result: str) -> float:
    """How many signals ended so."""
    labels = f'event="{event}",issuer="{corp.issuer}",result="{result}"'
    return proxy.server.metric(f"authz_signals_total{{{labels}}}")


def logged_in(corp: Realm) -> tuple[dict[str, Any], str]:
    """A login of the user at the front end, and the agent's token for it."""
    login = corp.by_login(FRONT_END, USER)
    return login, str(corp.exchange(AGENT, login["access_token"], READ)["access_token"])


def log_out(corp: Realm, login: dict[str, Any]) -> None:
    """Log the user out of this session, as the front end does."""
    client = corp.client(FRONT_END)
    form = {
        "client_id": FRONT_END,
        "client_secret": client["secret"],
        "refresh_token": login["refresh_token"],
    }
    path = f"/realms/{corp.name}/protocol/openid-connect/logout"
    corp.keycloak.call("POST", path, form=form)


def test_a_back_channel_logout(told: Proxy, corp: Realm, logging_out: None) -> None:  # noqa: ARG001 - a fixture
    """A logout ends the token of its session, and of no other session of the user."""
    first, token = logged_in(corp)
    _, other = logged_in(corp)
    assert answer(told, token) == (200, "")
    assert answer(told, other) == (200, "")

    log_out(corp, first)

    wait_until(lambda: answer(told, token) == (401, "token_revoked"))
    assert answer(told, other) == (200, "")
    assert count(told, corp, "logout", "revoked") == 1


@pytest.fixture(scope="module")
def stream(corp: Realm, told: Proxy) -> None:
    """A stream of security events to us, as a receiver of Keycloak registers it."""
    realm = corp.admin("GET", "")
    attributes = {**realm["attributes"], "ssf.transmitterEnabled": "true"}
    corp.admin("PUT", "", {**realm, "attributes": attributes})
    target = f"http://{address_of(told.server)}{EVENTS}"
    client = {
        "clientId": RECEIVER,
        "serviceAccountsEnabled": True,
        "standardFlowEnabled": False,
        "attributes": {
            "ssf.enabled": "true",
            "ssf.streamAudience": AUDIENCE,
            "ssf.defaultSubjects": "ALL",
            "ssf.validPushUrls": target,
        },
    }
    corp.admin("POST", "/clients", client)
    scopes = {scope["name"]: scope["id"] for scope in corp.admin("GET", "/client-scopes")}
    for name in SCOPES:
        path = f"/clients/{corp.client(RECEIVER)['id']}/optional-client-scopes/{scopes[name]}"
        corp.admin("PUT", path)
    delivery = {
        "method": "urn:ietf:rfc:8935",
        "endpoint_url": target,
        "authorization_header": f"Bearer {STREAM_TOKEN}",
    }
    asked = {"delivery": delivery, "events_requested": [SESSION_REVOKED]}
    token = corp.own(RECEIVER, " ".join(SCOPES))
    place = f"/realms/{corp.name}/ssf/transmitter"
    made = corp.keycloak.call("POST", f"{place}/streams", asked, token=token)
    wanted = {"stream_id": made["stream_id"], "state": "asked-by-a-test"}
    corp.keycloak.call("POST", f"{place}/verify", wanted, token=token)


def test_a_stream_of_security_events(told: Proxy, corp: Realm, stream: None) -> None:  # noqa: ARG001 - a fixture
    """A session that ends at Keycloak is told as session-revoked, and its token is refused."""
    wait_until(lambda: count(told, corp, "verification", "noted"))
    login, token = logged_in(corp)
    assert answer(told, token) == (200, "")

    log_out(corp, login)

    wait_until(lambda: count(told, corp, "session-revoked", "revoked"))
    wait_until(lambda: answer(told, token) == (401, "token_revoked"))
