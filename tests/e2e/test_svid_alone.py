"""An agent without a token through a real Envoy: its SVID alone, and credentials that are near."""

import json
import time
from collections.abc import Iterator

import pytest

from lab.client import Client, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.issuer import SigningKey, make_key, sign_raw
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL, TRUST_DOMAIN, Mesh

pytestmark = pytest.mark.e2e
DOMAIN = f"spiffe://{TRUST_DOMAIN}"
KEY = SigningKey("jwt-authority", "ES256", make_key("ES256"))


@pytest.fixture(scope="module")
def port(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An Envoy before a server on which an SVID alone, or a JWT-SVID, is enough."""
    folder = tmp_path_factory.mktemp("alone")
    bundle = folder / "bundle.json"
    bundle.write_text(json.dumps({"keys": [{**KEY.jwk(), "use": "jwt-svid"}]}))
    keys = f"{{spiffe_bundle: {{trust_domain: {TRUST_DOMAIN}, file: '{bundle}'}}}}"
    issuer = f"- {{issuer: spire, kind: spire, keys: {keys}, audiences: ['{AUDIENCE}']}}"
    changes = (
        LAB.with_routes("- {name: batch, paths: [/batch/**], modes: [autonomous]}")
        .with_items(("issuers",), issuer)
        .with_rules("public", "[{hosts: ['*'], methods: [GET], paths: [/batch/x], scopes: []}]")
        .with_principals(f"- {{match: {{issuer: spire, subjects: [{TRAVEL}]}}, grants: [public]}}")
    )
    server = mesh.server("alone", changes)
    server.wait_ready()
    envoy = Envoy(
        folder,
        bootstrap(
            server=mesh.gateway,
            bundle=mesh.authority.path,
            upstream_port=mesh.upstream.port,
            sockets=server.sockets,
        ),
    )
    try:
        envoy.wait_ready()
        yield envoy.port
    finally:
        envoy.stop()
        server.process.stop()


@pytest.fixture
def travel(mesh: Mesh, port: int) -> Client:
    """The travel agent, with its SVID."""
    return mesh.agent(TRAVEL, port)


def test_an_svid_is_enough(mesh: Mesh, port: int, travel: Client) -> None:
    """The upstream sees the agent as its own principal, whatever identity the client claims."""
    reply = travel.request("GET", "/batch/x", [("x-agent-principal", "root")])
    seen = dict(reply.seen_headers("x-agent"))

    assert reply.status == 200
    assert seen.pop("x-agent-decision-id")
    assert seen == {
        "x-agent-id": TRAVEL,
        "x-agent-principal": TRAVEL,
        "x-agent-issuer": DOMAIN,
    }
    assert mesh.agent(PAYMENTS, port).request("GET", "/batch/x").reason == "policy_denied"
    assert travel.request("GET", "/batch/y").reason == "policy_denied"
    assert travel.request("GET", "/public/x").reason == "token_missing"


NEAR = [
    ("/batch/x", [("authorization", "Bearer x")], "token_malformed"),
    ("/batch/x", [("authorization", "")], "token_missing"),
    ("/batch/x", [("Authorization", "Basic eA==")], "token_missing"),
    ("/batch/x", [("authorization", "Bearer x"), ("authorization", "Bearer y")], "auth_ambiguous"),
    ("/batch/x", [("dpop", "x")], "token_missing"),
    ("/batch/x", [("cookie", "a=1; Authorization=x")], "token_missing"),
    ("/batch/x?access_token=x", [], "token_missing"),
]


@pytest.mark.parametrize(("target", "headers", "reason"), NEAR)
def test_what_was_sent_counts(
    travel: Client, target: str, headers: list[tuple[str, str]], reason: str
) -> None:
    """A credential that is no good is refused: the SVID does not stand in for it."""
    assert travel.request("GET", target, headers).reason == reason


def test_a_jwt_svid(travel: Client) -> None:
    """A JWT-SVID as SPIRE mints it, without iss, is the agent's own token."""
    now = int(time.time())
    header = {"alg": "ES256", "kid": KEY.key_id, "typ": "JWT"}
    claims = {"aud": [AUDIENCE], "exp": now + 300, "iat": now, "sub": TRAVEL}
    token = sign_raw(KEY, json.dumps(header).encode(), json.dumps(claims).encode())
    reply = travel.request("GET", "/batch/x", bearer(token))

    assert reply.status == 200
    assert dict(reply.seen_headers("x-agent"))["x-agent-issuer"] == "spire"
    assert reply.seen_headers("authorization") == []
