"""The whole mesh, put together: CA, issuer, upstream, agent-authz, Envoy, and its agents."""

import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.ca import Authority, Svid
from lab.client import Client
from lab.config_builder import LAB, ConfigBuilder
from lab.envoy import NOBODY, Envoy, bootstrap
from lab.issuer import Issuer, JwksServer
from lab.live_files import logged
from lab.processes import Process
from lab.sts import TokenService
from lab.trips import CHANGES, McpServer
from lab.upstream import Upstream

TRUST_DOMAIN = "corp.example"
AUDIENCE = "https://mcp.corp.example/finance"
ISSUER = "https://as.corp.example"
TRAVEL = f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/travel"
PAYMENTS = f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/payments"
ORCHESTRATOR = f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/orchestrator"
RETIRED = f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/retired"
STRANGER = f"spiffe://{TRUST_DOMAIN}/ns/agents/sa/stranger"
GATEWAY = f"spiffe://{TRUST_DOMAIN}/ns/gateways/sa/edge"

CONFIG = """\
server:
  listen: "unix:{socket}"
  drain: {drain}
admin: {{listen: "127.0.0.1:{admin_port}"}}
trust_domains: [corp.example]
profiles:
  default: {{certificate: required}}
routes:
  - {{name: finance, paths: [/finance/**], resource: "https://mcp.corp.example/finance"}}
issuers:
  - issuer: https://as.corp.example
    keys: {{jwks_uri: "{jwks_uri}", insecure: true, refresh: 60s, cooldown: 1s}}
    audiences: [https://mcp.corp.example/finance]
    algorithms: [ES256, RS256, PS256, Ed25519]
agents:
  - id: spiffe://corp.example/ns/agents/sa/travel
    grants: [finance-read, public]
  - id: spiffe://corp.example/ns/agents/sa/payments
    grants: [finance-read, finance-pay]
  - id: spiffe://corp.example/ns/agents/sa/retired
    grants: [finance-read]
    suspended: true
principals:
  - match: {{issuer: https://as.corp.example, subjects: [alice]}}
    grants: [finance-read, finance-pay, public]
  - match: {{issuer: https://as.corp.example, groups: [readers]}}
    grants: [finance-read]
grants:
  finance-read:
    - hosts: [mcp.corp.example]
      methods: [GET]
      paths: [/finance/**]
      scopes: ["balance:read"]
  finance-pay:
    - hosts: [mcp.corp.example]
      methods: [POST]
      paths: ["/finance/payments/{{id}}"]
      scopes: ["payments:write"]
  public:
    - hosts: ["*"]
      methods: [GET]
      paths: [/public/**]
      scopes: []
audit: {{path: "{audit}"}}
"""


CHECK_TIMEOUT = "1s"  # as envoy.yaml has it


def config_text(files: Path, jwks_uri: str, drain: str = "3s") -> str:
    """Return the config of a process whose files begin with this path."""
    return CONFIG.format(
        socket=f"{files}-{{worker}}.sock",
        admin_port=0,
        drain=drain,
        jwks_uri=jwks_uri,
        audit=f"{files}.audit.jsonl",
    )


class Server:
    """An agent-authz server process."""

    def __init__(
        self,
        folder: Path,
        name: str,
        jwks_uri: str,
        drain: str = "3s",
        *,
        changes: ConfigBuilder = LAB,
        workers: int = 1,
        prefix: Sequence[str] = (),
    ) -> None:
        """Write the server's config, and start it; ``prefix`` is a command that runs its own."""
        self.sockets = [folder / f"{name}-{number}.sock" for number in range(workers)]
        self.socket = self.sockets[0]
        self.config = folder / f"{name}.yaml"
        self.audit = folder / f"{name}.audit.jsonl"
        self._text = config_text(folder / name, jwks_uri, f"{drain}\n  workers: {workers}")
        self.write_config(changes)
        self.process = Process(
            name,
            [*prefix, sys.executable, "-m", "authz", "serve", str(self.config)],
            folder / f"{name}.log",
        )

    def write_config(self, changes: ConfigBuilder) -> None:
        """Write the config with changes."""
        self.config.write_text(changes.edit(self._text))

    @property
    def admin(self) -> str:
        """The server's admin URL, from its log."""
        for address in logged(self.process.log, "admin"):
            if not address.startswith("unix:"):  # a worker's own
                return f"http://{address}"
        raise ValueError("not started yet")

    def wait_ready(self) -> Self:
        """Wait until the server says that it is ready."""
        self.process.wait_until(self._is_ready)
        return self

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, ValueError):
            return False

    def get(self, path: str) -> tuple[int, str]:
        """Send a GET to the admin address, and return status and body."""
        try:
            with urllib.request.urlopen(self.admin + path, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, sample: str) -> float:
        """Return a sample's value from /metrics, such as ``authz_cache_entries``."""
        return sample_of(self.get("/metrics")[1], sample)


def sample_of(text: str, sample: str) -> float:
    """Return a sample's value in the text of /metrics, 0 if it is missing."""
    for line in text.splitlines():
        if line.startswith(f"{sample} "):
            return float(line.rpartition(" ")[2])
    return 0.0


class Mesh:
    """The running mesh; leaving the context stops all of it."""

    def __init__(
        self,
        folder: Path,
        servers: int = 1,
        workers: int = 1,
        *,
        with_mcp: bool = False,
        with_sts: bool = False,
        check_timeout: str = CHECK_TIMEOUT,
        changes: ConfigBuilder = LAB,
    ) -> None:
        """Take a folder for files, logs and sockets; how many servers, of how many workers.

        With an MCP server it takes two seconds longer, and the config has ``lab.trips`` in it; with
        a token service, which needs that, likewise, and ``lab.sts``.
        ``check_timeout`` is how long Envoy waits for a decision, ``changes`` are of the config of
        all servers.
        """
        self.folder = folder
        self._count = servers
        self._workers = workers
        self._with_mcp = with_mcp
        self._with_sts = with_sts
        self._check_timeout = check_timeout
        self._changes = changes
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start every part, in the order in which they need each other."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        mcp = McpServer(self.folder) if self._with_mcp else None
        if mcp:
            self._stack.callback(mcp.process.stop)
            self.mcp = mcp
        self.authority = Authority(self.folder / "pki")
        self.gateway = self.authority.issue(GATEWAY, dns=("localhost",))
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self.jwks = JwksServer(self.issuer)
        self._stack.callback(self.jwks.close)
        self.upstream = Upstream()
        self._stack.callback(self.upstream.close)
        if self._with_sts:
            self._start_sts()
        names = [f"authz-{n}" for n in range(1, self._count + 1)]
        self.servers = [self.server(name, self._changes, self._workers) for name in names]
        for server in self.servers:
            server.wait_ready()
        config = bootstrap(
            server=self.gateway,
            bundle=self.authority.path,
            upstream_port=self.upstream.port,
            mcp_port=mcp.wait_ready().port if mcp else NOBODY,
            sockets=[socket for server in self.servers for socket in server.sockets],
        )
        self.envoy = Envoy(
            self.folder,
            config.replace(f"timeout: {CHECK_TIMEOUT}\n", f"timeout: {self._check_timeout}\n"),
        )
        self._stack.callback(self.envoy.stop)
        self.envoy.wait_ready()

    def _start_sts(self) -> None:
        """Start the token service, with the config that servers have; then these know its port."""
        self.sts = TokenService(self.folder, self.authority)
        text = config_text(self.sts.files, self._uri)
        self.sts.start(self._own_changes().and_(self._changes).edit(text))
        self._stack.callback(self.sts.process.stop)
        self.sts.wait_ready()

    def server(self, name: str, changes: ConfigBuilder = LAB, workers: int = 1) -> Server:
        """Start another agent-authz server, with changes of its config."""
        own = self._own_changes()
        server = Server(self.folder, name, self._uri, changes=own.and_(changes), workers=workers)
        self._stack.callback(server.process.stop)
        return server

    @property
    def _uri(self) -> str:
        return f"{self.jwks.url}/jwks"

    def _own_changes(self) -> ConfigBuilder:
        own = CHANGES if self._with_mcp else LAB
        return own.and_(self.sts.changes()) if self._with_sts else own

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop every part."""
        self._stack.close()

    def check_alive(self) -> None:
        """Raise ProcessError for a part that has died."""
        mcp = [self.mcp.process] if self._with_mcp else []
        sts = [self.sts.process] if self._with_sts else []
        servers = [server.process for server in self.servers]
        for process in (*servers, *mcp, *sts, self.envoy.process):
            process.check_alive()

    def client(self, svid: Svid | None) -> Client:
        """Make a client with an SVID."""
        return Client(self.envoy.port, self.authority.path, svid)

    def agent(self, spiffe_id: str, port: int | None = None) -> Client:
        """Make a client of an agent, with a fresh SVID; ``port`` is another Envoy's, if given."""
        return Client(port or self.envoy.port, self.authority.path, self.authority.issue(spiffe_id))
