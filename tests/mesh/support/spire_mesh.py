"""Puts agent-authz and Envoy on a running SPIRE: every certificate comes from its agent."""

from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from authz.starter.envoy_tls import GATEWAY_ID, SERVER_ID
from lab.client import Client
from lab.config_builder import LAB, ConfigBuilder
from lab.envoy import Envoy, spire_bootstrap
from lab.issuer import Issuer, JwksServer
from lab.live_files import logged
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL, Server
from lab.upstream import Upstream
from mesh.support.groups import in_group
from mesh.support.spire import Spire
from support.world import READ

TRUST_DOMAIN: Final = "corp.example"
BALANCE: Final = "/finance/balance"
JOB: Final = "/jobs/7"
# By which SPIRE's unix attestor tells workloads apart; no account is needed.
AUTHZ_GROUP, ENVOY_GROUP, TRAVEL_GROUP, PAYMENTS_GROUP, PARTNER_GROUP = range(61001, 61006)
PARTNER_DOMAIN: Final = "partner.example"
PARTNER: Final = f"spiffe://{PARTNER_DOMAIN}/ns/agents/sa/buyer"


def config(spire: Spire, more_issuers: str = "") -> ConfigBuilder:
    """Return the changes of the lab's config: TLS and JWT-SVIDs by the agent's Workload API."""
    socket = f'"unix:{spire.agent_socket}"'
    issuers = f"""\
- issuer: spiffe://{TRUST_DOMAIN}
  kind: spire
  keys:
    cooldown: 1s
    refresh: 60s
    spiffe_bundle: {{trust_domain: {TRUST_DOMAIN}, workload_api: {socket}}}
  audiences: [{AUDIENCE}]
{more_issuers}"""
    tls = f"{{workload_api: {socket}, allowed_callers: ['{GATEWAY_ID}']}}"
    principal = "match: {{issuer: '{0}', subjects: ['{1}']}}, grants: [jobs]"
    both = ((f"spiffe://{TRUST_DOMAIN}", TRAVEL), (f"spiffe://{PARTNER_DOMAIN}", PARTNER))
    principals = [f"- {{{principal.format(*one)}}}\n" for one in both if one[0] in issuers]
    return (
        LAB.with_(("server", "listen"), "127.0.0.1:0")
        .with_yaml(("server", "tls"), tls)
        .with_(("trust_domains",), [TRUST_DOMAIN, PARTNER_DOMAIN])
        .with_items(("issuers",), issuers)
        .with_routes("- {name: jobs, paths: [/jobs/**], modes: [autonomous]}")
        .with_grant("jobs", "[{hosts: ['*'], methods: [GET], paths: [/jobs/**], scopes: []}]")
        .with_(("agents", 0, "grants"), ["finance-read", "public", "jobs"])
        .with_agents(f"- {{id: '{PARTNER}', grants: [finance-read, jobs]}}")
        .with_principals("".join(principals))
    )


class SpireMesh:
    """An issuer, an upstream, agent-authz and Envoy on a SPIRE; leaving the context stops them."""

    def __init__(self, folder: Path, spire: Spire, more_issuers: str = "") -> None:
        """Take a folder for files and logs, and a running SPIRE."""
        self.folder, self.spire = folder, spire
        self._issuers = more_issuers
        self._stack = ExitStack()
        self._fetched = 0

    def __enter__(self) -> Self:
        """Start every part."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop every part."""
        self._stack.close()

    def _start(self) -> None:
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self._jwks = JwksServer(self.issuer)
        self._stack.callback(self._jwks.close)
        self.upstream = Upstream()
        self._stack.callback(self.upstream.close)
        self.server = self.start_server("authz")
        self.server.wait_ready()
        self.envoy = self.start_envoy()

    def start_server(self, name: str, group: int = AUTHZ_GROUP) -> Server:
        """Start an agent-authz server as a workload."""
        changes, prefix = config(self.spire, self._issuers), in_group(group, [])
        uri = f"{self._jwks.url}/jwks"
        server = Server(self.folder, name, uri, changes=changes, prefix=prefix)
        self._stack.callback(server.process.stop)
        return server

    def start_envoy(self) -> Envoy:
        """Start Envoy with the shipped bootstrap, which opens a connection for each 10 checks."""
        keepalive = "http2_protocol_options: {connection_keepalive: {interval: 30s, timeout: 5s}}\n"
        often = "          common_http_protocol_options: {max_requests_per_connection: 10}\n"
        text = spire_bootstrap(
            agent_socket=self.spire.agent_socket,
            upstream_port=self.upstream.port,
            ports=[_port_of(self.server)],
            # A late answer is not a lost one, on a machine with other things to do.
            changes={
                keepalive: keepalive + often,
                "timeout: 1s\n": "timeout: 20s\n",
                "max_interval: 1s": "max_interval: 20s",
                "timeout: 0.5s\n": "timeout: 20s\n",
                "connect_timeout: 0.25s\n": "connect_timeout: 20s\n",
            },
        )
        envoy = Envoy(self.folder, text, prefix=in_group(ENVOY_GROUP, []))
        self._stack.callback(envoy.stop)
        return envoy.wait_ready()

    def client(self, group: int, spire: Spire | None = None) -> Client:
        """Make a client with the X509-SVID that a workload gets now, and our trust bundle."""
        self._fetched += 1
        folder = self.folder / f"svid-{self._fetched}"
        svid = (spire or self.spire).x509_svid(group, folder)
        bundle = folder / "ours.pem"
        bundle.write_text(self.spire.bundle("pem"))
        return Client(self.envoy.port, bundle, svid)

    def token(self, agent: str = TRAVEL) -> str:
        """Make a user's token for an agent, by the authorization server."""
        return self.issuer.token(agent, scope=READ)


def _port_of(server: Server) -> int:
    """Return the port of a server, which is ready a moment before its log says where it listens."""
    log = server.process.log
    server.process.wait_until(lambda: bool(logged(log, "listen")))
    return int(logged(log, "listen")[-1].rpartition(":")[2])


def enter_workloads(spire: Spire, *more: str) -> None:
    """Create the entries of agent-authz, Envoy and two agents; ``more`` goes to the first two."""
    spire.enter(SERVER_ID, AUTHZ_GROUP, *more)
    spire.enter(GATEWAY_ID, ENVOY_GROUP, "-dns", "localhost", *more)
    spire.enter(TRAVEL, TRAVEL_GROUP)
    spire.enter(PAYMENTS, PAYMENTS_GROUP)
