"""Istio's proxies with the manifests of deploy: their recorded configuration, in a real Envoy."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.client import Client, Reply, bearer
from lab.mesh import PAYMENTS, TRAVEL
from support.istio.recorded import recorded
from support.istio.rig import IN_MESH, INGRESS, LEDGER, OTHER_SIDECAR, OUTSIDE, WAYPOINT, Mesh
from support.world import wait_until

pytestmark = pytest.mark.e2e
PATH = "/finance/balance"
XFCC = "x-forwarded-client-cert"
LIMIT_BYTES = 65536  # maxRequestBytes of the provider
MCP = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")]


@dataclass(frozen=True)
class Proxies:
    """The ports of the proxies, by their kinds."""

    mesh: Mesh
    sidecar: int
    gateway: int
    waypoint: int
    unnamed_waypoint: int

    def direct(self, agent: str = TRAVEL) -> Client:
        """Return an agent in the mesh, which reaches the workload's sidecar."""
        return self.mesh.client(agent, self.sidecar)

    def outside(self, agent: str = TRAVEL) -> Client:
        """Return an agent outside of the mesh, which reaches the gateway."""
        return self.mesh.client(agent, self.gateway)


@pytest.fixture(scope="module")
def istio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    """A sidecar, a gateway in front of it, and a waypoint with the annotation and one without."""
    with Mesh(tmp_path_factory.mktemp("istio")) as mesh:
        sidecar = mesh.sidecar("sidecar", recorded("sidecar"))
        yield Proxies(
            mesh,
            sidecar,
            mesh.gateway("gateway", recorded("gateway"), sidecar),
            mesh.waypoint("waypoint", recorded("waypoint")),
            mesh.waypoint("waypoint-bare", recorded("waypoint-bare")),
        )


def call(tool: str, padding: int = 0) -> bytes:
    """Return a call of a tool, with some bytes in an argument."""
    params = {"name": tool, "arguments": {"text": "a" * padding}}
    return json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    ).encode()


def chunked(client: Client, token: str, body: bytes) -> Reply:
    """Send a message whose length no header tells."""
    headers = [*bearer(token), *MCP, ("transfer-encoding", "chunked")]
    pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return client.request("POST", "/mcp", headers, pieces, host=IN_MESH)


def test_a_sidecar_lets_the_agent_of_the_token_through(istio: Proxies) -> None:
    """The agent is the peer of the mutual TLS; the upstream gets our headers, and no token."""
    reply = istio.direct().get(PATH, istio.mesh.token(), host=IN_MESH)

    assert reply.status == 200
    assert ("x-agent-id", TRAVEL) in reply.seen_headers("x-agent")
    assert reply.seen_headers("authorization") == []


def test_a_sidecar_refuses_another_agents_token(istio: Proxies) -> None:
    """A token that names another agent is refused, and so is a request without a token."""
    taken = istio.direct(PAYMENTS).get(PATH, istio.mesh.token(), host=IN_MESH)
    without = istio.direct().get(PATH, None, host=IN_MESH)

    assert (taken.status, taken.reason) == (403, "actor_mismatch")
    assert (without.status, without.reason) == (401, "token_missing")


def test_a_forged_header_changes_nothing_at_a_sidecar(istio: Proxies) -> None:
    """An agent that reaches the sidecar directly is the peer, whatever header it sends."""
    chain = f"By={INGRESS};URI={TRAVEL},By={LEDGER};URI={INGRESS}"
    for forged in (f"By={LEDGER};URI={TRAVEL}", chain):
        headers = [*bearer(istio.mesh.token()), (XFCC, forged)]
        reply = istio.direct(PAYMENTS).request("GET", PATH, headers, host=IN_MESH)
        own = istio.direct().request("GET", PATH, headers, host=IN_MESH)

        assert (reply.status, reply.reason) == (403, "actor_mismatch")
        assert own.status == 200


def test_gateway_and_sidecar_both_check(istio: Proxies) -> None:
    """The gateway leaves the token, the sidecar behind it checks again and takes it away."""
    reply = istio.outside().get(PATH, istio.mesh.token(), host=OUTSIDE)

    assert reply.status == 200
    assert ("x-agent-id", TRAVEL) in reply.seen_headers("x-agent")
    assert reply.seen_headers("authorization") == []
    wait_until(lambda: istio.mesh.askers()[-2:] == [(INGRESS, TRAVEL), (LEDGER, TRAVEL)])


def test_a_gateway_replaces_a_forged_header(istio: Proxies) -> None:
    """The header that an agent sends to the gateway is gone; the gateway's own names the agent."""
    forged = f"By={INGRESS};URI={TRAVEL}"
    headers = [*bearer(istio.mesh.token()), (XFCC, forged)]
    own = istio.outside().request("GET", PATH, headers, host=OUTSIDE)
    other = istio.outside(PAYMENTS).request("GET", PATH, headers, host=OUTSIDE)

    assert own.status == 200
    assert (other.status, other.reason) == (403, "actor_mismatch")


def test_a_waypoint_lets_the_agent_of_the_token_through(istio: Proxies) -> None:
    """The waypoint's header names the peer of the tunnel; a header of the agent is replaced."""
    travel = istio.mesh.ztunnel(TRAVEL, istio.waypoint)
    payments = istio.mesh.ztunnel(PAYMENTS, istio.waypoint)
    forged = [(XFCC, f"By={WAYPOINT};URI={TRAVEL}")]
    allowed = travel.get(PATH, istio.mesh.token())
    taken = payments.get(PATH, istio.mesh.token(), forged)

    assert allowed.status == 200
    assert ("x-agent-id", TRAVEL) in allowed.seen_headers("x-agent")
    assert (taken.status, taken.reason) == (403, "actor_mismatch")


def test_a_waypoint_without_the_annotation_is_refused(istio: Proxies) -> None:
    """Without the annotation nothing names the agent, and its own header is not taken either."""
    travel = istio.mesh.ztunnel(TRAVEL, istio.unnamed_waypoint)
    forged = [(XFCC, f"By={WAYPOINT};URI={TRAVEL}")]

    for headers in ([], forged):
        reply = travel.get(PATH, istio.mesh.token(), headers)

        assert (reply.status, reply.reason) == (403, "agent_missing")


def test_messages_with_and_without_a_length_are_read(istio: Proxies) -> None:
    """A granted tool is called and another refused, in chunks as with content-length."""
    token = istio.mesh.token()
    for tool, status in (("search", 200), ("delete", 403)):
        headers = [*bearer(token), *MCP]
        whole = istio.direct().request("POST", "/mcp", headers, call(tool), host=IN_MESH)
        pieces = chunked(istio.direct(), token, call(tool))

        assert whole.status == pieces.status == status, (whole, pieces)


def test_a_message_that_fills_the_limit_is_refused(istio: Proxies) -> None:
    """A cut message is refused: with a length, and in chunks, where no header tells its length."""
    token = istio.mesh.token()
    body = call("search", LIMIT_BYTES)
    cut = istio.direct().request("POST", "/mcp", [*bearer(token), *MCP], body, host=IN_MESH)
    message = call("search")
    filled = message + b" " * (LIMIT_BYTES - len(message)) + call("delete")

    assert cut.reason == "body_truncated"
    assert chunked(istio.direct(), token, filled).reason == "body_truncated"


def test_a_large_upload_passes(istio: Proxies) -> None:
    """The limit is that of what agent-authz reads, not of what agents may send."""
    headers = bearer(istio.mesh.token())
    body = b"a" * (3 * LIMIT_BYTES)
    reply = istio.direct().request("POST", "/finance/upload", headers, body, host=IN_MESH)

    assert reply.status == 200
    assert reply.seen()["body_bytes"] == len(body)


def test_a_plain_sidecar_has_the_profile_of_all(istio: Proxies) -> None:
    """A sidecar that the config does not name takes the peer, and reads no header."""
    mesh = istio.mesh
    port = mesh.sidecar("plain", recorded("sidecar"), own=OTHER_SIDECAR)
    forged = [*bearer(mesh.token()), (XFCC, f"By={OTHER_SIDECAR};URI={TRAVEL}")]

    assert mesh.client(TRAVEL, port).get(PATH, mesh.token(), host=IN_MESH).status == 200
    reply = mesh.client(PAYMENTS, port).request("GET", PATH, forged, host=IN_MESH)
    assert (reply.status, reply.reason) == (403, "actor_mismatch")


def test_without_a_server_the_answer_is_503(istio: Proxies) -> None:
    """A request that nobody could check is no refusal: statusOnError says so."""
    port = istio.mesh.deserted("deserted", recorded("sidecar"))
    reply = istio.mesh.client(TRAVEL, port).get(PATH, istio.mesh.token(), host=IN_MESH)

    assert reply.status == 503


def test_two_providers_take_turns(istio: Proxies) -> None:
    """With pilot's flag one provider sends bodies where messages are, and another sends none."""
    mesh = istio.mesh
    client = mesh.client(TRAVEL, mesh.sidecar("two", recorded("sidecar-two-providers")))
    headers = [*bearer(mesh.token()), *MCP]

    assert client.get(PATH, mesh.token(), host=IN_MESH).status == 200
    for tool, status in (("search", 200), ("delete", 403)):
        reply = client.request("POST", "/mcp", headers, call(tool), host=IN_MESH)
        assert reply.status == status
