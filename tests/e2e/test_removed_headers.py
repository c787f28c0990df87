"""The operator's own list of headers that no upstream sees, behind a real Envoy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.client import Client, Reply, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.mesh import TRAVEL, Mesh, Server
from support.world import BALANCE, READ

pytestmark = pytest.mark.e2e
REMOVE = LAB.with_section("headers", "{remove: [x-forwarded-user, x-auth-request-*]}")
SHIPPED = "|authorization|dpop"
HOWTO = Path(__file__).parents[2] / "docs/howto/run-behind-envoy.md"


def test_the_list_and_the_expression_of_the_how_to(mesh: Mesh, tmp_path: Path) -> None:
    """With the how-to's expression listed headers are removed; without it, requests get a 500."""
    longer = "|x[^a-z0-9]forwarded[^a-z0-9]user|x[^a-z0-9]auth[^a-z0-9]request[^a-z0-9].*"
    forged = [(name, "admin") for name in ("x-forwarded-user", "x-auth-request-email")]
    server = mesh.server("removing", REMOVE).wait_ready()
    (tmp_path / "short").mkdir()

    with envoy_of(mesh, tmp_path / "short", server, "") as envoy:
        assert get(mesh, envoy, []).status == 500
    with envoy_of(mesh, tmp_path, server, longer) as envoy:
        reply = get(mesh, envoy, forged)

    assert longer in HOWTO.read_text()
    assert reply.status == 200
    assert "admin" not in reply.body.decode()


@contextmanager
def envoy_of(mesh: Mesh, folder: Path, server: Server, more: str) -> Iterator[Envoy]:
    """Start an Envoy of the server, whose expression goes on so."""
    config = bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        sockets=[server.socket],
        changes={SHIPPED: SHIPPED + more},
    )
    envoy = Envoy(folder, config)
    try:
        yield envoy.wait_ready()
    finally:
        envoy.stop()


def get(mesh: Mesh, envoy: Envoy, headers: list[tuple[str, str]]) -> Reply:
    """Ask with a good token, and with these headers."""
    client = Client(envoy.port, mesh.authority.path, mesh.authority.issue(TRAVEL))
    token = mesh.issuer.token(TRAVEL, scope=READ)
    return client.request("GET", BALANCE, [*headers, *bearer(token)])
