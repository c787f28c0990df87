"""An upstream behind a real Envoy gets an assertion, and verifies it with the published keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import jwt
import pytest

from lab.client import Client, bearer
from lab.config_builder import LAB
from lab.envoy import Envoy, bootstrap
from lab.live_files import logged, whole_records
from lab.mesh import TRAVEL, Mesh, Server
from support.signing import pem
from support.world import BALANCE, READ, wait_until

pytestmark = pytest.mark.e2e
ISSUER: Final = "https://authz.corp.example"
HEADER: Final = "x-agent-assertion"
MCP: Final = "https://mcp.corp.example/finance"
# The shipped file removes what clients send under our prefix before any check: here it does not.
NO_EARLY: Final = {
    'regex: "x[^a-z0-9]+agent[^a-z0-9].*"': 'regex: "none"',
    'regex: "[a-z0-9_-]*[^a-z0-9:_-].*"': 'regex: "none"',
    "headers_with_underscores_action: REJECT_REQUEST": "headers_with_underscores_action: ALLOW",
}
FORGED: Final = [
    (name, "forged")
    for name in (
        HEADER,
        "X-Agent-Assertion",
        "x_agent_assertion",
        "x-agent_assertion",
        "x.agent.assertion",
    )
]


@dataclass(frozen=True)
class Asserting:
    """A server that signs assertions, and an Envoy that asks it."""

    mesh: Mesh
    server: Server
    envoy: Envoy

    def upstream_saw(self, token: str, path: str = BALANCE) -> list[str]:
        """Call with forged copies, and return the values that came under any like name."""
        client = Client(
            self.envoy.port, self.mesh.authority.path, self.mesh.authority.issue(TRAVEL)
        )
        reply = client.request("GET", path, [*FORGED, *bearer(token)])
        assert reply.status == 200, reply.body
        headers = reply.seen()["headers"]
        assert not {"authorization", "dpop"} & {name for name, _ in headers}
        return [v for k, v in headers if "assertion" in k]

    @property
    def jwks_url(self) -> str:
        """Where an upstream fetches the keys."""
        addresses = [text for text in logged(self.server.process.log, "listen") if ":" in text]
        (address,) = [text for text in addresses if text.startswith("127.0.0.1:")]
        return f"http://{address}/jwks.json"


@pytest.fixture(scope="module")
def asserting(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asserting]:
    """The mesh with another server, behind an Envoy of its own."""
    folder = tmp_path_factory.mktemp("asserting")
    (folder / "key.pem").write_bytes(pem())
    given = (
        f"{{issuer: {ISSUER}, keys: [{{file: {folder}/key.pem}}], listen: '127.0.0.1:0',"
        " insecure: true}"
    )
    server = mesh.server(
        "asserting",
        LAB.with_section("assertions", given)
        .with_(("routes", "finance", "upstream_token"), "assert")
        .with_routes(f"- {{name: cut, paths: [/finance/cut/**], resource: '{MCP}'}}\n"),
    ).wait_ready()
    envoy = Envoy(
        folder,
        bootstrap(
            server=mesh.gateway,
            bundle=mesh.authority.path,
            upstream_port=mesh.upstream.port,
            sockets=[server.socket],
            changes=NO_EARLY,
        ),
    )
    try:
        yield Asserting(mesh, server, envoy.wait_ready())
    finally:
        envoy.stop()


def test_the_upstream_verifies_it(asserting: Asserting) -> None:
    """By issuer, audience and published keys, fetched as libraries do; forged copies never arrive.

    A remembered decision brings the same one; a route that strips brings none; the record has its
    txn, and nothing that is written has the assertion.
    """
    token = asserting.mesh.issuer.token(TRAVEL, scope=READ)
    first = asserting.upstream_saw(token)
    again = asserting.upstream_saw(token)
    stripped = asserting.upstream_saw(token, "/finance/cut/a")

    (text,) = first
    key = jwt.PyJWKClient(asserting.jwks_url).get_signing_key_from_jwt(text)
    claims: dict[str, Any] = jwt.decode(text, key, ["ES256", "EdDSA"], audience=MCP, issuer=ISSUER)
    assert again == first
    assert not stripped
    assert (claims["sub"], claims["act"], claims["scope"]) == ("alice", {"sub": TRAVEL}, READ)

    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(text, key, ["ES256"], audience="https://other.example", issuer=ISSUER)
    records = [each for each in _records(asserting.server) if "upstream" in each]
    assert [each["upstream"]["id"] for each in records] == [claims["txn"]] * 2
    written = asserting.server.audit.read_text() + asserting.server.process.log.read_text()
    assert not any(part in written for part in text.split("."))


def _records(server: Server) -> list[dict[str, Any]]:
    """The records of the test's three calls, once they are written."""

    def calls() -> list[dict[str, Any]]:
        records = whole_records(server.audit)
        return [each for each in records if str(each.get("path", "")).startswith("/finance")]

    wait_until(lambda: len(calls()) >= 3)
    return calls()
