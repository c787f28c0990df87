"""A gateway in front of a sidecar, both real Envoys that ask about each request.

The headers of the connections are as Istio has its proxies write them: the gateway replaces
``x-forwarded-client-cert``, and the sidecar appends its own element to it.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from lab.client import Client, Reply
from lab.config_builder import LAB
from lab.dpop import DpopClient
from lab.envoy import Envoy, bootstrap
from lab.live_files import whole_lines, whole_records
from lab.mesh import AUDIENCE, GATEWAY, PAYMENTS, TRAVEL, Mesh, Server
from support.world import wait_until

BALANCE: Final = "/finance/balance"
SIDECAR: Final = "spiffe://corp.example/ns/tools/sa/ledger"
CHANGES: Final = LAB.with_profile(
    "gateway", "{certificate: required, upstream_token: forward}"
).with_profile(
    "sidecar",
    "{identity: xfcc, hops: 2, direct: true, upstream_token: strip,"
    f' trusted_proxies: ["spiffe://corp.example/ns/gateways/sa/*", "{SIDECAR}"]}}',
)
# What each Envoy has beside the shipped bootstrap.
EXTENSIONS: Final = "# Where a client learns how to get a token (RFC 9728)."
DETAILS: Final = "set_current_client_cert_details: {uri: true}"
ISTIO_DETAILS: Final = "set_current_client_cert_details: {subject: true, dns: true, uri: true}"
UPSTREAM: Final = "- name: upstream\n      type: STATIC\n"
UPSTREAM_TLS: Final = """\
- name: upstream
      type: STATIC
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          sni: localhost
          common_tls_context:
            tls_certificates:
              - certificate_chain: {{filename: {certificate}}}
                private_key: {{filename: {key}}}
            validation_context:
              trusted_ca: {{filename: {bundle}}}
              match_typed_subject_alt_names:
                - {{san_type: URI, matcher: {{exact: "{sidecar}"}}}}
"""


@dataclass(frozen=True)
class Hops:
    """The two proxies of a mesh, in the order in which a request passes them."""

    mesh: Mesh
    server: Server
    gateway: Envoy
    sidecar: Envoy

    def ask(
        self,
        envoy: Envoy,
        agent: str,
        token: str,
        *headers: tuple[str, str],
        scheme: str = "Bearer",
    ) -> Reply:
        """Send an agent's request to one of the proxies."""
        client: Client = self.mesh.agent(agent, port=envoy.port)
        return client.request("GET", BALANCE, [("authorization", f"{scheme} {token}"), *headers])


@pytest.fixture(scope="module")
def hops(mesh: Mesh) -> Iterator[Hops]:
    """A gateway that forwards the token to a sidecar, which strips it."""
    with ExitStack() as stack:
        server = mesh.server("hops", CHANGES)
        stack.callback(server.process.stop)
        server.wait_ready()
        changes = {
            EXTENSIONS: "authz_profile: sidecar",
            "forward_client_cert_details: SANITIZE_SET": (
                "forward_client_cert_details: APPEND_FORWARD"
            ),
            DETAILS: ISTIO_DETAILS,
        }
        sidecar = _envoy(mesh, server, SIDECAR, mesh.upstream.port, changes)
        stack.callback(sidecar.stop)
        sidecar.wait_ready()
        tls = UPSTREAM_TLS.format(
            certificate=mesh.gateway.certificate_path,
            key=mesh.gateway.key_path,
            bundle=mesh.authority.path,
            sidecar=SIDECAR,
        )
        changes = {EXTENSIONS: "authz_profile: gateway", DETAILS: ISTIO_DETAILS, UPSTREAM: tls}
        gateway = _envoy(mesh, server, GATEWAY, sidecar.port, changes)
        stack.callback(gateway.stop)
        gateway.wait_ready()
        yield Hops(mesh, server, gateway, sidecar)


def test_through_both(hops: Hops) -> None:
    """Both check the request by the token, and the upstream sees the agent and no token."""
    reply = hops.ask(hops.gateway, TRAVEL, hops.mesh.issuer.token(TRAVEL, scope="balance:read"))

    assert reply.status == 200, reply
    assert reply.seen_headers("x-agent-id") == [("x-agent-id", TRAVEL)]
    assert reply.seen_headers("authorization") == []
    [(_, xfcc)] = reply.seen_headers("x-forwarded-client-cert")
    assert xfcc.count("By=") == 2


def test_directly(hops: Hops) -> None:
    """An agent that connects to the sidecar is the one of its connection."""
    for agent in (TRAVEL, PAYMENTS):
        token = hops.mesh.issuer.token(agent, scope="balance:read")
        reply = hops.ask(hops.sidecar, agent, token)

        assert reply.status == 200, reply
        assert reply.seen_headers("x-agent-id") == [("x-agent-id", agent)]
        assert reply.seen_headers("authorization") == []


def test_a_header_of_the_agents_own(hops: Hops) -> None:
    """What an agent writes into the header makes it nobody else, by neither way."""
    stolen = hops.mesh.issuer.token(TRAVEL, scope="balance:read")
    own = hops.mesh.issuer.token(PAYMENTS, scope="balance:read")
    forged = (
        f"By={GATEWAY};URI={TRAVEL}",
        f"By={GATEWAY};URI={TRAVEL},By={SIDECAR};URI={GATEWAY}",
        "x",
    )
    for text in forged:
        header = ("x-forwarded-client-cert", text)
        for envoy in (hops.sidecar, hops.gateway):
            assert hops.ask(envoy, PAYMENTS, stolen, header).reason == "actor_mismatch"
            reply = hops.ask(envoy, PAYMENTS, own, header)
            assert reply.status == 200, (text, reply)
            assert reply.seen_headers("x-agent-id") == [("x-agent-id", PAYMENTS)]


def test_a_proof_is_for_one_of_them(hops: Hops) -> None:
    """A proof that was used at the gateway is used at the sidecar, where one server has both."""
    client = DpopClient()
    token = hops.mesh.issuer.token(TRAVEL, scope="balance:read", cnf=client.confirmation)

    def proof() -> tuple[str, str]:
        return "dpop", client.proof(token, "GET", AUDIENCE.removesuffix("/finance") + BALANCE)

    assert hops.ask(hops.sidecar, TRAVEL, token, proof(), scheme="DPoP").status == 200
    assert hops.ask(hops.gateway, TRAVEL, token, proof(), scheme="DPoP").reason == "dpop_proof"
    wait_until(lambda: "the proof was used before" in str(whole_lines(hops.server.audit)))
    records = whole_records(hops.server.audit)
    assert [one["decision"] for one in records[-2:]] == ["allow", "deny"]  # gateway, sidecar


def _envoy(
    mesh: Mesh, server: Server, name: str, upstream_port: int, changes: dict[str, str]
) -> Envoy:
    """Start an Envoy with a proxy's name, in front of that port."""
    folder = mesh.folder / f"hops-{upstream_port}"
    folder.mkdir()
    config = bootstrap(
        server=mesh.authority.issue(name, dns=("localhost",)),
        bundle=mesh.authority.path,
        upstream_port=upstream_port,
        sockets=[server.socket],
        changes=changes,
    )
    return Envoy(folder, config)
