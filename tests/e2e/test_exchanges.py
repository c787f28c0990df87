"""The exchange of tokens behind a real Envoy: the upstream sees the exchanged token alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest

from lab.client import Client, Reply, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import ISSUER, TRAVEL, Mesh, Server
from support.exchange_issuer import CLIENT, SECRET, ExchangeIssuer
from support.jwks_server import answer
from support.world import BALANCE, READ, wait_until

pytestmark = pytest.mark.e2e
ORDERS = "https://orders.corp.example"


@contextmanager
def behind_envoy(mesh: Mesh, folder: Path, endpoint: ExchangeIssuer) -> Iterator[Client]:
    """The travel agent's client at an Envoy whose server exchanges tokens at this endpoint."""
    secret = folder / "secret"
    secret.write_text(SECRET)
    settings = {
        "url": endpoint.url,
        "client_id": CLIENT,
        "client_secret_file": str(secret),
        "ca_file": str(mesh.authority.path),
        "timeout": "10s",
    }
    changes = (
        LAB.with_(("issuers", 0, "exchange"), settings)
        .with_(("routes", "finance", "upstream_token"), "exchange")
        .with_(("routes", "finance", "exchange"), {"issuer": ISSUER, "audience": ORDERS})
    )
    server: Server = mesh.server("exchanging", changes).wait_ready()
    config = bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        sockets=[server.socket],
    )
    envoy = Envoy(folder, config)
    try:
        envoy.wait_ready()
        yield Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
    finally:
        envoy.stop()
    said = server.audit.read_text() + server.process.log.read_text()
    for token in endpoint.tokens:
        assert not any(part in said for part in token.split("."))


def test_through_envoy(mesh: Mesh, tmp_path: Path) -> None:
    """The upstream gets another token for each client's, over TLS, and never the client's own."""
    tls = mesh.authority.issue(dns=("localhost",))
    with (
        ExchangeIssuer(mesh.issuer, tls) as endpoint,
        behind_envoy(mesh, tmp_path, endpoint) as agent,
    ):
        token = mesh.issuer.token(TRAVEL, scope=READ)
        forged = [("x-agent-principal", "root"), ("x-agent-assertion", "x")]
        wait_until(lambda: agent.get(BALANCE, token).status == 200)  # a busy machine's first
        for more in ([], forged):
            reply = agent.request("GET", BALANCE, [*bearer(token), *more])
            claims = exchanged(reply, token)
            assert (claims["aud"], claims["sub"], claims["act"]) == (
                ORDERS,
                "alice",
                {"sub": TRAVEL},
            )
        second = mesh.issuer.token(TRAVEL, scope=READ)
        assert exchanged(agent.get(BALANCE, second), second)["jti"] != claims["jti"]

        endpoint.behaviour = answer(b'{"error":"invalid_target"}', 400, "application/json")
        refused = agent.get(BALANCE, mesh.issuer.token(TRAVEL, scope=READ))
        assert (refused.status, refused.reason) == (403, "exchange_refused")
        endpoint.behaviour = answer(b"", 500)
        refused = agent.get(BALANCE, mesh.issuer.token(TRAVEL, scope=READ))
        assert (refused.status, refused.reason) == (503, "exchange_unavailable")
        endpoint.behaviour, endpoint.claims = None, {"sub": "mallory"}
        refused = agent.get(BALANCE, mesh.issuer.token(TRAVEL, scope=READ))
        assert (refused.status, refused.reason) == (503, "exchange_unavailable")
        assert exchanged(agent.get(BALANCE, token), token)["sub"] == "alice"  # as before


def exchanged(reply: Reply, sent: str) -> dict[str, object]:
    """The claims of the only token that the upstream saw, which is not the client's."""
    assert reply.status == 200, reply.reason
    seen = reply.seen_headers()
    tokens = [value for name, value in seen if "authorization" in name]
    assert len(tokens) == 1
    assert not any(part in f"{seen}" for part in sent.split(".")[1:])
    claims: dict[str, object] = jwt.decode(
        tokens[0].removeprefix("Bearer "), options={"verify_signature": False}
    )
    return claims
