"""Istio's proxies on loopback, each a stock Envoy, and agent-authz as ``deploy`` configures it."""

import http.client
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any, Final

from lab.ca import Authority, Svid
from lab.client import TIMEOUT_SECONDS, Client, Reply, bearer
from lab.config_builder import LAB
from lab.envoy import NOBODY, Envoy
from lab.issuer import Issuer, JwksServer
from lab.live_files import logged, whole_records
from lab.mesh import AUDIENCE, ISSUER, TRAVEL
from lab.processes import Process
from lab.upstream import Upstream
from support.istio.recorded import OVERLAY, Sent
from support.istio.stock import (
    LOOPBACK,
    Identity,
    Tree,
    address,
    bootstrap,
    fixed,
    on_loopback,
)

DOMAIN: Final = "spiffe://corp.example"
AUTHZ: Final = f"{DOMAIN}/ns/agent-authz/sa/agent-authz"
LEDGER: Final = f"{DOMAIN}/ns/tools/sa/ledger"
INGRESS: Final = f"{DOMAIN}/ns/istio-ingress/sa/ingress"
WAYPOINT: Final = f"{DOMAIN}/ns/tools/sa/waypoint"
OTHER_SIDECAR: Final = f"{DOMAIN}/ns/tools/sa/mail"
IN_MESH: Final = "ledger.tools.svc.cluster.local"
OUTSIDE: Final = "mcp.corp.example"
SERVICE: Final = "10.96.0.1:80"  # the address of the Service ledger
INNER: Final = "main_internal"  # a waypoint's listener that asks agent-authz
OUTER: Final = "connect_terminate"  # a waypoint's listener for ztunnels (HBONE)
_CERTIFICATE: Final = ("cert-chain.pem", "key.pem", "root-cert.pem")


class Proxy(Envoy):
    """A running Envoy, and the ports of its listeners by name."""

    def __init__(self, folder: Path, name: str, config: Tree) -> None:
        """Start it, and wait until its listeners are there. Raises ProcessError."""
        super().__init__(folder, json.dumps(config), name)
        self.ports: dict[str, int] = {}
        self.wait_ready()

    def _is_ready(self) -> bool:
        try:
            found = json.loads(self.admin("/listeners?format=json"))
            live = "LIVE" in self.admin("/ready")
        except (OSError, ValueError):
            return False
        for one in found.get("listener_statuses", []):
            if "socket_address" in one["local_address"]:
                self.ports[one["name"]] = one["local_address"]["socket_address"]["port_value"]
        return live and bool(self.ports)


class Server:
    """agent-authz with the overlay's config; only files, addresses and the keys' URL differ."""

    def __init__(self, folder: Path, svid: Svid, ca: Path, jwks_uri: str) -> None:
        """Write its certificate as Istio's agent does, and start it."""
        self.audit = folder / "audit.jsonl"
        config = folder / "config.yaml"
        for name, path in zip(
            _CERTIFICATE, (svid.certificate_path, svid.key_path, ca), strict=True
        ):
            shutil.copy(path, folder / name)
        shutil.copy(OVERLAY / "config" / "team-finance.yaml", folder)
        (folder / "revoked.jsonl").touch()
        tls = ("server", "tls")
        changes = (
            LAB.with_(("server", "listen"), f"{LOOPBACK}:0")
            .with_((*tls, "certificate"), str(folder / _CERTIFICATE[0]))
            .with_((*tls, "private_key"), str(folder / _CERTIFICATE[1]))
            .with_((*tls, "client_ca"), str(folder / _CERTIFICATE[2]))
            .with_(("admin", "listen"), f"{LOOPBACK}:0")
            .with_(("issuers", 0, "keys"), {"jwks_uri": jwks_uri, "insecure": True})
            .with_(("revocations", "file"), str(folder / "revoked.jsonl"))
            .with_section("audit", f"path: {self.audit}")
        )
        config.write_text(changes.edit((OVERLAY / "config" / "config.yaml").read_text()))
        command = [sys.executable, "-m", "authz", "serve", str(config)]
        self.process = Process("authz", command, folder / "authz.log")
        self.process.wait_until(self._is_ready)
        self.process.wait_until(lambda: bool(logged(self.process.log, "listen")))
        self.port = int(self._logged("listen").rpartition(":")[2])

    def _logged(self, key: str) -> str:
        for text in logged(self.process.log, key):
            return text
        raise ValueError("not started yet")

    def _is_ready(self) -> bool:
        try:
            url = f"http://{self._logged('admin')}/readyz"
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                return bool(response.status == http.HTTPStatus.OK)
        except (OSError, ValueError, urllib.error.HTTPError):
            return False


class Mesh(AbstractContextManager["Mesh"]):
    """An issuer, agents, agent-authz, an upstream, and Istio's proxies as tests start them."""

    def __init__(self, folder: Path) -> None:
        """Start all but the proxies."""
        self.folder = folder
        self.authority = Authority(folder / "pki")
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self._svids: dict[str, Svid] = {}
        with ExitStack() as opened:
            jwks = opened.enter_context(closing(JwksServer(self.issuer)))
            self.upstream = opened.enter_context(closing(Upstream()))
            own = self.svid(AUTHZ)
            self.server = Server(folder, own, self.authority.path, f"{jwks.url}/jwks")
            opened.callback(self.server.process.stop)
            self._opened = opened.pop_all()

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._opened.close()

    def svid(self, identity: str) -> Svid:
        """Return the certificate of a workload, the same each time."""
        if identity not in self._svids:
            self._svids[identity] = self.authority.issue(identity, dns=("localhost",))
        return self._svids[identity]

    def token(self, agent: str = TRAVEL) -> str:
        """Return a token by which the agent acts for alice."""
        return self.issuer.token(agent, "alice", "balance:read")

    def client(self, agent: str, port: int) -> Client:
        """Return a client that shows the agent's certificate."""
        return Client(port, self.authority.path, self.svid(agent))

    def askers(self) -> list[tuple[str, str]]:
        """Return the proxy and the agent of each decision so far."""
        records = whole_records(self.server.audit)
        return [(one.get("proxy", ""), one.get("agent", "")) for one in records]

    def sidecar(
        self, name: str, sent: Sent, own: str = LEDGER, authz_port: int | None = None
    ) -> int:
        """Start a sidecar in front of the upstream, and return its port."""
        upstreams = [fixed(one, self.upstream.port) for one in sent.upstreams()]
        return self._start(name, sent, upstreams, own, authz_port)

    def deserted(self, name: str, sent: Sent) -> int:
        """Start a sidecar whose agent-authz is away, and return its port."""
        return self.sidecar(name, sent, authz_port=NOBODY)

    def gateway(self, name: str, sent: Sent, sidecar: int) -> int:
        """Start an ingress gateway in front of a sidecar, and return its port."""
        upstreams = [fixed(one, sidecar) for one in sent.upstreams()]
        return self._start(name, sent, upstreams, INGRESS, None)

    def _start(
        self, name: str, sent: Sent, upstreams: list[Tree], own: str, authz_port: int | None
    ) -> int:
        listeners = [on_loopback("agents", sent.chain())]
        clusters = [*upstreams, self._authz(sent, authz_port)]
        return self._run(name, listeners, clusters, own).ports["agents"]

    def waypoint(self, name: str, sent: Sent) -> int:
        """Start a waypoint in front of the upstream, and return its port for ztunnels."""
        outer = {**sent.listeners[OUTER], "address": address(0)}
        chains = on_loopback(INNER, sent.chain())["filter_chains"]
        inner = {**sent.listeners[INNER], "filter_chains": chains}
        for key in ("additional_addresses", "bind_to_port"):
            outer.pop(key, None)
        for key in ("filter_chain_matcher", "listener_filters", "default_filter_chain"):
            inner.pop(key, None)
        upstreams = [_plain(fixed(one, self.upstream.port)) for one in sent.upstreams()]
        clusters = [*upstreams, sent.clusters[INNER], self._authz(sent, None)]
        return self._run(name, [outer, inner], clusters, WAYPOINT).ports[OUTER]

    def ztunnel(self, agent: str, waypoint: int) -> "Tunnelled":
        """Start what takes an agent's requests to a waypoint, as ztunnel does."""
        name = f"ztunnel-{agent.rpartition('/')[2]}-{waypoint}"
        listener = on_loopback("agents", _tunnel_chain())
        clusters = [_hbone(waypoint, Identity(self.svid(agent), self.authority.path))]
        return Tunnelled(self._run(name, [listener], clusters, agent).ports["agents"])

    def _authz(self, sent: Sent, port: int | None) -> Tree:
        return fixed(sent.authz_cluster(), self.server.port if port is None else port)

    def _run(self, name: str, listeners: list[Tree], clusters: list[Tree], own: str) -> Proxy:
        identity = Identity(self.svid(own), self.authority.path)
        proxy = Proxy(self.folder, name, bootstrap(listeners, clusters, identity))
        self._opened.callback(proxy.stop)
        return proxy


class Tunnelled:
    """An agent's client without TLS: its ztunnel has the certificate."""

    def __init__(self, port: int) -> None:
        """Take the ztunnel's port."""
        self._port = port

    def get(self, target: str, token: str | None, headers: Sequence[tuple[str, str]] = ()) -> Reply:
        """Send a GET to the Service, and read the reply."""
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=TIMEOUT_SECONDS)
        with closing(connection):
            connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            for name, value in (("host", IN_MESH), *bearer(token), *headers):
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, received, response.read())


def _plain(cluster: Tree) -> Tree:
    """Return the cluster without the tunnel to the workload's own ztunnel."""
    return {key: value for key, value in cluster.items() if key != "transport_socket"}


def _tunnel_chain() -> Tree:
    kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    config = {
        "@type": kind,
        "stat_prefix": "ztunnel",
        "cluster": "hbone",
        "tunneling_config": {"hostname": SERVICE},
    }
    return {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]}


def _hbone(port: int, identity: Identity) -> Tree:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    certificate = {
        "certificate_chain": {"filename": str(identity.svid.certificate_path)},
        "private_key": {"filename": str(identity.svid.key_path)},
    }
    tls: Mapping[str, Any] = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
            "tls_certificates": [certificate],
            "validation_context": {"trusted_ca": {"filename": str(identity.ca)}},
        },
    }
    cluster = {
        "name": "hbone",
        "connect_timeout": "5s",
        "transport_socket": {"name": "tls", "typed_config": tls},
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
            }
        },
    }
    return fixed(cluster, port)
