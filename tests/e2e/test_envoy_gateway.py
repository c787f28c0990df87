"""The overlay for Envoy Gateway in a real Envoy, as ``support.envoy_gateway`` translates it."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.ca import Authority
from lab.client import Client, Reply, bearer
from lab.issuer import Issuer, JwksServer
from lab.live_files import logged
from lab.mesh import AUDIENCE, GATEWAY, ISSUER
from lab.processes import Process
from lab.upstream import Upstream
from support.envoy_gateway import OVERLAY, GatewayEnvoy, bootstrap_of
from support.world import READ

pytestmark = pytest.mark.e2e
PLANNER = "spiffe://corp.example/ns/agents/sa/planner"
AUTHZ = "spiffe://corp.example/ns/agent-authz/sa/agent-authz"
LIMIT = 65536
# What stands behind the deny of a wildcard's exceptions: nothing may slip past it.
DENY = """
- {hosts: [mcp.corp.example], methods: [POST], paths: [/trips/**], scopes: [], mcp: {tools: ["*"]}}
- effect: deny
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/**]
  mcp: {tools: ["delete_*", "*drop"]}
- effect: deny
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/**]
  mcp: {tools: [pay]}
  when: operation.arguments.to == "mallory"
"""


@dataclass
class Edge:
    """The running gateway, and the issuer of its agents' tokens."""

    envoy: GatewayEnvoy
    authority: Authority
    issuer: Issuer
    upstream: Upstream

    def call(
        self, tool: bytes, *headers: tuple[str, str], size: int = 0, to: bytes = b"bob"
    ) -> Reply:
        """Call a tool, in a message of this many bytes, or as short as it is."""
        params = b'{"name":"%s","arguments":{"to":"%s"}}' % (tool, to)
        call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}' % params
        sent = [
            *headers,
            *bearer(self.issuer.token(PLANNER, scope=READ)),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ]
        return self.client().request("POST", "/trips/mcp", sent, call.ljust(size))

    def client(self) -> Client:
        """Return the planner's client."""
        return Client(self.envoy.port, self.authority.path, self.authority.issue(PLANNER))


@contextmanager
def edge(folder: Path, rules: str = "", *, is_bare: bool = False) -> Iterator[Edge]:
    """Run agent-authz by the overlay's config, and the gateway.

    ``rules`` replace the team's; a bare gateway takes any header of its clients.
    """
    with ExitStack() as stack:
        authority = Authority(folder / "pki")
        issuer = Issuer(ISSUER, AUDIENCE)
        jwks = stack.enter_context(closing(JwksServer(issuer)))
        upstream = stack.enter_context(closing(Upstream()))
        config = write_config(folder, authority, f"{jwks.url}/jwks", rules)
        command = [sys.executable, "-m", "authz", "serve", str(config)]
        server = Process("authz", command, folder / "authz.log")
        stack.callback(server.stop)
        server.wait_until(lambda: port_of(folder / "authz.log") > 0)
        gateway = authority.issue(GATEWAY, dns=("localhost",))
        text = bootstrap_of(gateway, authority.path, port_of(folder / "authz.log"), upstream.port)
        envoy = GatewayEnvoy(folder, taking_any_header(text) if is_bare else text)
        stack.callback(envoy.stop)
        yield Edge(envoy, authority, issuer, upstream)


def taking_any_header(text: str) -> str:
    """Return the gateway's config without its own care of headers."""
    config = yaml.safe_load(text)
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    del manager["early_header_mutation_extensions"], manager["common_http_protocol_options"]
    return str(yaml.safe_dump(config))


def write_config(folder: Path, authority: Authority, jwks_uri: str, rules: str) -> Path:
    """Write the overlay's config with this machine's addresses and files."""
    config: Any = yaml.safe_load((OVERLAY / "config/config.yaml").read_text())
    svid = authority.issue(AUTHZ)
    config["server"].update(listen="127.0.0.1:0", drain="1s", notice="0s")
    config["server"]["tls"].update(
        certificate=str(svid.certificate_path),
        private_key=str(svid.key_path),
        client_ca=str(authority.path),
    )
    config["admin"] = {"listen": "127.0.0.1:0"}
    config["issuers"][0]["keys"] = {"jwks_uri": jwks_uri, "insecure": True, "cooldown": "1s"}
    (folder / "revoked.jsonl").touch()
    config["revocations"] = {"file": str(folder / "revoked.jsonl")}
    config["audit"] = {"path": str(folder / "audit.jsonl")}
    team: Any = yaml.safe_load((OVERLAY / "config/team-trips.yaml").read_text())
    if rules:
        team["grants"]["trips"] = yaml.safe_load(rules)
    (folder / "team-trips.yaml").write_text(yaml.safe_dump(team))
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def port_of(log: Path) -> int:
    """Return the port that the server chose, 0 before it serves."""
    for address in logged(log, "listen"):
        return int(address.rpartition(":")[2])
    return 0


def test_agents_are_checked(tmp_path: Path) -> None:
    """Messages and requests are decided on, and what a client forges reaches no upstream."""
    forged = [
        ("x-agent-id", "root"),
        ("x-agent-roles", "admin"),
        ("x.agent.roles", "admin"),
        ("x-forwarded-client-cert", "URI=spiffe://corp.example/ns/agents/sa/root"),
    ]
    with edge(tmp_path) as gateway:
        gateway.envoy.wait_ready()
        allowed = gateway.call(b"search", *forged)
        token = bearer(gateway.issuer.token(PLANNER, scope=READ))

        assert (allowed.status, allowed.reason) == (200, "")
        assert ("x-agent-id", PLANNER) in allowed.seen_headers("x-agent-")
        assert not {"root", "admin"} & {value for _, value in allowed.seen()["headers"]}
        assert "sa/root" not in allowed.body.decode()
        assert allowed.seen_headers("authorization") == []
        assert (gateway.call(b"remove").status, gateway.call(b"remove").reason) == (
            403,
            "policy_denied",
        )
        assert gateway.call(b"search", size=LIMIT - 1).status == 200
        assert gateway.call(b"search", size=LIMIT + 1).status == 413
        assert gateway.call(b"search", ("x_agent_id", "root")).status == 400
        assert gateway.client().request("GET", "/finance/balance", token).status == 403
        assert gateway.client().request("GET", "/finance/balance").status == 401
        assert gateway.client().request("GET", "/trips%2Fmcp", token).status == 400


def test_our_answer_removes_what_the_policy_does_not(tmp_path: Path) -> None:
    """Without the ClientTrafficPolicy's part about headers the prefix is still ours alone."""
    names = ["x-agent-id", "x-agent-roles", "x.agent.roles", "x_agent_roles", "X!Agent!Id"]
    with edge(tmp_path, is_bare=True) as gateway:
        gateway.envoy.wait_ready()
        reply = gateway.call(b"search", *((name, "admin") for name in names))

        assert reply.status == 200
        assert "admin" not in reply.body.decode()
        assert ("x-agent-principal", "alice") in reply.seen_headers("x-agent-")


@pytest.mark.parametrize(
    "tool", [b"delete_all", b"delete_\xff", b"\xffdrop", b"\xc3(drop", b"drop"]
)
def test_bytes_that_are_not_text_pass_no_deny(tool: bytes, shared_edge: Edge) -> None:
    """Envoy replaces such bytes in what we see, and not in what goes on: a deny still denies."""
    before = shared_edge.upstream.requests

    reply = shared_edge.call(tool)

    assert b"error" in reply.body
    assert shared_edge.upstream.requests == before


@pytest.mark.parametrize("to", [b"mallory", b"mallory\xff", b"\xffmallory", b"mal\xc3lory"])
def test_nor_do_they_in_arguments(to: bytes, shared_edge: Edge) -> None:
    """Nor does an argument that a condition of a deny reads, although Envoy shows another text."""
    before = shared_edge.upstream.requests

    assert shared_edge.call(b"pay").status == 200
    assert b"error" in shared_edge.call(b"pay", to=to).body
    assert shared_edge.upstream.requests == before + 1


@pytest.fixture(scope="module")
def shared_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Yield a gateway whose rules allow every tool but some."""
    with edge(tmp_path_factory.mktemp("edge"), DENY) as gateway:
        gateway.envoy.wait_ready()
        assert gateway.call(b"search").status == 200
        yield gateway
