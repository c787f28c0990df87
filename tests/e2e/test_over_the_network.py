"""Envoy that asks over TCP and over mutual TLS: as over a unix socket, health checks included."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from authz.starter.envoy_tls import SERVER_ID
from lab.ca import Authority
from lab.client import Client, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap, tls_bootstrap
from lab.live_files import logged
from lab.mesh import CHECK_TIMEOUT, GATEWAY, TRAVEL, Mesh, Server
from lab.upstream import Upstream
from support.load import Answers, under_load
from support.ports import SERVER, Port, listening, listening_plainly
from support.world import BALANCE, READ, wait_until

pytestmark = pytest.mark.e2e
PLACE = Path("/nowhere/authz.sock")
ENDPOINT = f"{{pipe: {{path: {PLACE}}}}}"
ALPN = "            alpn_protocols: [h2]\n"
# On a busy machine a late answer is neither a lost nor an unhealthy one.
PATIENT = {f"timeout: {CHECK_TIMEOUT}\n": "timeout: 60s\n", "timeout: 0.5s\n": "timeout: 60s\n"}
HEALTH = "cluster.authz.health_check."


def bootstrap_for(
    port: Port, upstream: Upstream, kind: str, changes: Mapping[str, str] | None
) -> str:
    """Return the shipped bootstrap of this kind; with TLS it pins this server's SPIFFE ID."""
    authority = port.world.authority
    gateway = authority.issue(GATEWAY, dns=("localhost",))
    number = int(port.transport.addresses[0].rpartition(":")[2])
    if kind == "tls":
        return tls_bootstrap(
            server=gateway,
            bundle=authority.path,
            upstream_port=upstream.port,
            ports=[number],
            changes=PATIENT | dict({SERVER_ID: SERVER} if changes is None else changes),
        )
    text = bootstrap(
        server=gateway,
        bundle=authority.path,
        upstream_port=upstream.port,
        sockets=[PLACE],
        changes=PATIENT,
    )
    assert ENDPOINT in text
    return text.replace(
        ENDPOINT, f"{{socket_address: {{address: 127.0.0.1, port_value: {number}}}}}"
    )


@contextmanager
def asking(
    folder: Path, port: Port, kind: str, changes: Mapping[str, str] | None = None
) -> Iterator[tuple[Envoy, Client]]:
    """Run an Envoy that asks on the port, and a client of its; with changes it may be unwell."""
    authority = port.world.authority
    with closing(Upstream()) as upstream:
        envoy = Envoy(folder, bootstrap_for(port, upstream, kind, changes))
        try:
            wait_until(lambda: envoy._is_ready() or (bool(changes) and envoy.port != 0))
            yield envoy, Client(envoy.port, authority.path, authority.issue(TRAVEL))
        finally:
            envoy.stop()


@contextmanager
def over(kind: str, folder: Path) -> Iterator[Port]:
    """Listen on TCP, or on TLS."""
    opening = listening(folder) if kind == "tls" else listening_plainly(folder, "127.0.0.1:0")
    with opening as port:
        port.transport.set_serving(serving=True)
        yield port


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_checks_and_health_checks(kind: str, tmp_path: Path) -> None:
    """Envoy is answered, and finds us well; once we stop, it finds that, too."""
    with over(kind, tmp_path) as port, asking(tmp_path, port, kind) as (envoy, client):
        token = port.world.token(scope=READ)
        for _ in range(20):
            assert client.request("GET", BALANCE, bearer(token)).status == 200
        assert client.request("GET", BALANCE, []).status == 401
        wait_until(lambda: envoy.stat(HEALTH + "success") > 1)
        assert envoy.stat(HEALTH + "failure") == 0
        assert envoy.stat("cluster.authz.membership_healthy") == 1
        assert envoy.stat("cluster.authz.upstream_rq_total") >= 21

        port.transport.set_serving(serving=False)
        wait_until(lambda: envoy.stat(HEALTH + "failure") > 0)


def test_without_alpn_only_requests_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without the line in Envoy's cluster requests say h2, health checks don't: it is told."""
    changes = {SERVER_ID: SERVER, ALPN: ""}
    with over("tls", tmp_path) as port, asking(tmp_path, port, "tls", changes) as (envoy, client):
        wait_until(lambda: envoy.stat(HEALTH + "failure") > 1)
        reply = client.request("GET", BALANCE, bearer(port.world.token(scope=READ)))

        assert reply.status == 200
        assert envoy.stat(HEALTH + "success") == 0
        assert envoy.stat("cluster.authz.membership_healthy") == 0
        assert "ALPN h2 is demanded" in caplog.text


def test_tls_without_http2_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An Envoy that does not say h2 gets no connection, and finds us unwell; the log says why."""
    changes = {SERVER_ID: SERVER, ALPN: ALPN.replace("h2", "http/1.1")}
    with over("tls", tmp_path) as port, asking(tmp_path, port, "tls", changes) as (envoy, _):
        wait_until(lambda: "ALPN h2 is demanded" in caplog.text)
        wait_until(lambda: envoy.stat(HEALTH + "failure") > 0)
        assert envoy.stat(HEALTH + "success") == 0


def test_another_server_of_the_trust_domain_is_refused(tmp_path: Path) -> None:
    """A server with another SPIFFE ID gets no request, and nobody gets access."""
    pinned = {SERVER_ID: f"{SERVER}-of-another-team"}
    with over("tls", tmp_path) as port, asking(tmp_path, port, "tls", pinned) as (envoy, client):
        reply = client.request("GET", BALANCE, bearer(port.world.token(scope=READ)))

        assert reply.status == 503
        assert envoy.stat("cluster.authz.ssl.fail_verify_san") > 0
        assert envoy.stat(HEALTH + "success") == 0
        assert envoy.stat("cluster.authz.ssl.handshake") == 0


class TlsServer:
    """A server process of a mesh that listens on a TLS port, and can begin anew on it."""

    def __init__(self, mesh: Mesh, authority: Authority, name: str) -> None:
        """Start it."""
        self._mesh, self._name = mesh, name
        svid = authority.issue(SERVER_ID)
        self._tls = {
            "certificate": str(svid.certificate_path),
            "private_key": str(svid.key_path),
            "client_ca": str(authority.path),
            "allowed_callers": [GATEWAY],
        }
        self._running, self.port = self._start("first", 0)

    def _start(self, life: str, port: int) -> tuple[Server, int]:
        listen = LAB.with_(("server", "listen"), f"127.0.0.1:{port}")
        changes = listen.with_(("server", "tls"), self._tls)
        server = self._mesh.server(f"{self._name}-{life}", changes)
        server.wait_ready()
        log = server.process.log
        server.process.wait_until(lambda: bool(logged(log, "listen")))  # it is ready before
        return server, int(logged(log, "listen")[-1].rpartition(":")[2])

    def restart(self) -> None:
        """End it as an operator does, and start it again on its port."""
        self._running.process.signal(signal.SIGTERM)
        assert self._running.process.wait() == 0
        self._running, _ = self._start("second", self.port)


def test_restarts_over_tls_lose_no_request(mesh: Mesh, tmp_path: Path) -> None:
    """Two servers over TLS start anew one after the other under load: not one request fails."""
    servers = [TlsServer(mesh, mesh.authority, f"tls-{number}") for number in (1, 2)]
    config = tls_bootstrap(
        server=mesh.gateway,
        bundle=mesh.authority.path,
        upstream_port=mesh.upstream.port,
        ports=[server.port for server in servers],
        changes=PATIENT,
    )
    envoy = Envoy(tmp_path, config)
    try:
        envoy.wait_ready()
        assert answers_during_restarts(mesh, envoy, servers).keys() == {(200, "", b"")}
    finally:
        envoy.stop()


def answers_during_restarts(mesh: Mesh, envoy: Envoy, servers: list[TlsServer]) -> Answers:
    """Restart each server once both are well, and count the answers meanwhile."""
    client, token = mesh.agent(TRAVEL, envoy.port), mesh.issuer.token(TRAVEL, scope=READ)
    with under_load(client, token) as answers:
        for server in servers:
            wait_until(lambda: envoy.stat("cluster.authz.membership_healthy") == 2)
            server.restart()
        before = answers.total()
        wait_until(lambda: answers.total() > before + 20)
    return answers
