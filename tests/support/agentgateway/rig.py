"""A gateway with the config of ``deploy/agentgateway``, agent-authz, MCP servers and a service.

Only ports, addresses and files of the config differ from what we ship.
"""

import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import grpc
import httpx2
import yaml
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from authz.config import load
from authz.review.gateways.agentgateway import agentgateway_text
from authz.starter.template import replace_all
from lab.ca import Authority, Svid
from lab.client import Client as HttpClient
from lab.client import tls_context
from lab.issuer import Issuer
from lab.processes import READY_SECONDS, Process
from lab.upstream import Upstream
from support.agentgateway.mcp_servers import McpServer, Received
from support.agentgateway.recorder import Recorder

ROOT: Final = Path(__file__).parents[3]
SHIPPED: Final = ROOT / "deploy" / "agentgateway" / "config.yaml"
BINARY: Final = "AGENTGATEWAY"  # the environment variable that names the binary
ISSUER: Final = "https://as.corp.example"
RESOURCE: Final = "https://mcp.corp.example/finance"
HOST: Final = "mcp.corp.example"
TRAVEL: Final = "spiffe://corp.example/ns/agents/sa/travel"
STRANGER: Final = "spiffe://corp.example/ns/agents/sa/stranger"
EDGE: Final = "spiffe://corp.example/ns/gateways/sa/edge"
SCOPE: Final = "repo:read"
TOOLS: Final = {
    "github": ["search", "get_issue", "delete_repo"],
    "jira": ["lookup", "remove"],
}
# What a client may try: each is one of our names, or is read as one by some servers.
FORGED: Final = {
    "x-agent-id": "forged",
    "x_agent_id": "forged",
    "x-agent_principal": "forged",
    "x-agent-decision_id": "forged",
    "dpop": "forged",
}
# Beside what we ship: addresses that would be the same for all tests of a machine.
_QUIET: Final = (
    'config: {enableIpv6: false, adminAddr: "off", statsAddr: "off", readinessAddr: "off"}'
)
_TIMEOUT_SECONDS: Final = 30.0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


class Rig:
    """The parts; leaving the context stops all of them."""

    def __init__(
        self,
        folder: Path,
        changes: Mapping[str, str] | None = None,
        *,
        has_authz: bool = True,
        server: str = "",
    ) -> None:
        """Take texts to replace in our config, and whether agent-authz runs at all.

        With ``server`` the gateway asks over TLS, and agent-authz has this SPIFFE ID.
        """
        self._folder = folder
        self._changes = changes or {}
        self._has_authz = has_authz
        self._server = server
        self._stack = ExitStack()
        self.received: list[Received] = []

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
        self.authority = Authority(self._folder / "pki")
        self.issuer = Issuer(ISSUER, RESOURCE)
        (self._folder / "jwks.json").write_bytes(self.issuer.jwks())
        self.upstream = Upstream()
        self._stack.callback(self.upstream.close)
        self.servers = [
            McpServer(name, tools, self.received.append) for name, tools in TOOLS.items()
        ]
        for server in self.servers:
            self._stack.callback(server.stop)
        config = self._folder / "config.yaml"
        made_from = self._folder / "shipped.yaml"
        shipped = yaml.safe_load(replace_all(SHIPPED.read_text(), self._changes))
        shipped["server"] |= self._tls() if self._server else {}
        made_from.write_text(yaml.safe_dump(shipped))
        port = free_port()
        config.write_text(self._own_config(made_from.read_text(), port))
        if self._has_authz:
            self._start_authz(config)
            self.recorder = Recorder(self._folder / "authz.sock")
            self._stack.callback(self.recorder.stop)
            port = port if self._server else self.recorder.port
        self._start_gateway(agentgateway_text(load(made_from)), port)

    def _tls(self) -> dict[str, Any]:
        svid = self.authority.issue(self._server)
        files = {
            "certificate": str(svid.certificate_path),
            "private_key": str(svid.key_path),
            "client_ca": str(self.authority.path),
        }
        return {"tls": files | {"allowed_callers": [EDGE]}}

    def _own_config(self, text: str, port: int) -> str:
        data: dict[str, Any] = yaml.safe_load(text)
        socket_path = f"unix:{self._folder / 'authz.sock'}"
        secured = [f"127.0.0.1:{port}"] if self._server else []
        data["server"]["listen"] = [socket_path, *secured]
        data["admin"] = {"listen": "127.0.0.1:0"}
        data["issuers"][0] |= {
            "keys": {"file": str(self._folder / "jwks.json")},
            "algorithms": ["ES256"],
        }
        return yaml.safe_dump(data)

    def _start_authz(self, config: Path) -> None:
        command = [sys.executable, "-m", "authz", "serve", str(config)]
        self.authz = Process("authz", command, self._folder / "authz.log")
        self._stack.callback(self.authz.stop)
        path = self._folder / "authz.sock"
        self.authz.wait_until(path.exists)
        with grpc.insecure_channel(f"unix:{path}") as channel:
            grpc.channel_ready_future(channel).result(READY_SECONDS)

    def _start_gateway(self, text: str, authz_port: int) -> None:
        self.port = free_port()
        svid = self.authority.issue(EDGE, dns=("localhost",))
        replacements = {
            'config: {adminAddr: "off"}': _QUIET,
            "port: 8443": f"port: {self.port}",
            "127.0.0.1:9191": f"127.0.0.1:{authz_port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.upstream.port}",
            "127.0.0.1:8081": f"127.0.0.1:{self.servers[0].port}",
            "127.0.0.1:8082": f"127.0.0.1:{self.servers[1].port}",
            "gateway.pem": str(svid.certificate_path),
            "gateway.key": str(svid.key_path),
            "agents-ca.pem": str(self.authority.path),
        }
        path = self._folder / "agentgateway.yaml"
        path.write_text(replace_all(text, replacements))
        process = Process(
            "agentgateway",
            [os.environ[BINARY], "-f", str(path)],
            self._folder / "agentgateway.log",
            {"CONNECTION_TERMINATION_DEADLINE": "1s"},  # of streams that clients left open
        )
        self._stack.callback(process.stop)
        process.wait_until(self._listens)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True

    def svid(self, agent: str = TRAVEL) -> Svid:
        """Return a new certificate of an agent."""
        return self.authority.issue(agent)

    def token(self, agent: str = TRAVEL, scope: str = SCOPE) -> str:
        """Return a token of alice's for an agent."""
        return self.issuer.token(agent, scope=scope)

    def client(self, agent: str = TRAVEL) -> HttpClient:
        """Return a client that sends HTTP as it is told."""
        return HttpClient(self.port, self.authority.path, self.svid(agent))

    @asynccontextmanager
    async def connected(
        self, mode: str, token: str | None, agent: str = TRAVEL
    ) -> AsyncIterator[Client]:
        """A client of the SDK that sends forged headers too."""
        own = {"host": HOST} | ({"authorization": f"Bearer {token}"} if token else {})
        verify = tls_context(self.authority.path, self.svid(agent))
        async with httpx2.AsyncClient(
            headers=FORGED | own, verify=verify, timeout=httpx2.Timeout(_TIMEOUT_SECONDS)
        ) as http:
            streams = streamable_http_client(f"https://localhost:{self.port}/mcp", http_client=http)
            async with Client(streams, mode=mode, read_timeout_seconds=_TIMEOUT_SECONDS) as client:
                yield client

    def taken(self) -> list[Received]:
        """Return what the MCP servers received since the last time."""
        received = list(self.received)
        del self.received[: len(received)]
        return received
