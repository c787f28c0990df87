"""Envoy that asks over TCP and over mutual TLS: as over a unix socket, health checks included."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lab.client import Client, bearer
from lab.envoy import Envoy, bootstrap
from lab.mesh import GATEWAY, TRAVEL
from lab.upstream import Upstream
from support.ports import Port, listening, listening_plainly
from support.world import BALANCE, READ, wait_until

pytestmark = pytest.mark.e2e
PLACE = Path("/nowhere/authz.sock")
ENDPOINT = f"{{pipe: {{path: {PLACE}}}}}"
CLUSTER = "      load_assignment:\n        cluster_name: authz\n"
TLS = """\
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: localhost
          common_tls_context:
            alpn_protocols: [{alpn}]
            tls_certificates:
              - certificate_chain: {{filename: "{certificate}"}}
                private_key: {{filename: "{key}"}}
            validation_context: {{trusted_ca: {{filename: "{ca}"}}}}
"""


@contextmanager
def asking(folder: Path, port: Port, alpn: str = "") -> Iterator[tuple[Envoy, Client]]:
    """Run an Envoy that asks on the port, with TLS if it has an ALPN; and a client of its."""
    authority = port.world.authority
    gateway = authority.issue(GATEWAY, dns=("localhost",))
    files = {"certificate": gateway.certificate_path, "key": gateway.key_path}
    how = TLS.format(alpn=alpn, ca=authority.path, **files) if alpn else ""
    number = port.transport.addresses[0].rpartition(":")[2]
    with closing(Upstream()) as upstream:
        text = bootstrap(
            server=gateway,
            bundle=authority.path,
            upstream_port=upstream.port,
            sockets=[PLACE],
            changes={CLUSTER: how + CLUSTER},
        )
        address = f"{{socket_address: {{address: 127.0.0.1, port_value: {number}}}}}"
        assert ENDPOINT in text
        envoy = Envoy(folder, text.replace(ENDPOINT, address))
        try:
            wait_until(lambda: envoy._is_ready() or alpn == "http/1.1")
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
    with (
        over(kind, tmp_path) as port,
        asking(tmp_path, port, "h2" * (kind == "tls")) as (envoy, client),
    ):
        token = port.world.token(scope=READ)
        for _ in range(20):
            assert client.request("GET", BALANCE, bearer(token)).status == 200
        assert client.request("GET", BALANCE, []).status == 401
        assert envoy.stat("cluster.authz.health_check.failure") == 0
        assert envoy.stat("cluster.authz.upstream_rq_total") >= 21

        port.transport.set_serving(serving=False)
        wait_until(lambda: envoy.stat("cluster.authz.health_check.failure") > 0)


def test_tls_without_http2_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An Envoy that does not say h2 gets no connection, and finds us unwell; the log says why."""
    with over("tls", tmp_path) as port, asking(tmp_path, port, "http/1.1") as (envoy, _):
        wait_until(lambda: "ALPN h2 is demanded" in caplog.text)
        wait_until(lambda: envoy.stat("cluster.authz.health_check.failure") > 0)
        assert envoy.stat("cluster.authz.health_check.success") == 0
