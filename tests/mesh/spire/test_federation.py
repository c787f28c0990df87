"""Two trust domains: the partner's agents and tokens, by the Workload API and by an endpoint."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from lab.mesh import AUDIENCE, TRAVEL
from mesh.support.spire import Spire
from mesh.support.spire_mesh import (
    BALANCE,
    JOB,
    PARTNER,
    PARTNER_DOMAIN,
    PARTNER_GROUP,
    TRAVEL_GROUP,
    TRUST_DOMAIN,
    SpireMesh,
    enter_workloads,
)
from support.world import wait_until

pytestmark = pytest.mark.needs("root", "spire-server", "spire-agent")


@dataclass(frozen=True)
class Federation:
    """Our mesh, and the partner's SPIRE."""

    mesh: SpireMesh
    partner: Spire


def by_workload_api(corp: Spire, _: Spire) -> str:
    """Return the keys of the partner's issuer: what our own agent knows of the partner."""
    return f'workload_api: "unix:{corp.agent_socket}"'


def by_endpoint(_: Spire, partner: Spire) -> str:
    """Return the keys of the partner's issuer: the partner's bundle endpoint."""
    bundle = partner.folder / "bundle.json"
    bundle.write_text(partner.bundle())
    return (
        f'endpoint: "https://127.0.0.1:{partner.endpoint_port}", profile: https_spiffe, '
        f'endpoint_spiffe_id: {partner.spiffe_id("/spire/server")}, bootstrap: "{bundle}"'
    )


def issuer(keys: str) -> str:
    """Return the partner's issuer, as the config lists it."""
    return f"""\
- issuer: spiffe://{PARTNER_DOMAIN}
  kind: spire
  keys: {{cooldown: 1s, refresh: 10s, spiffe_bundle: {{trust_domain: {PARTNER_DOMAIN}, {keys}}}}}
  audiences: [{AUDIENCE}]
"""


@pytest.fixture(scope="module", params=[by_workload_api, by_endpoint])
def federation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    """Our SPIRE trusts the partner's; agent-authz has its bundle from either place."""
    folder = tmp_path_factory.mktemp("federation")
    with ExitStack() as stack:
        corp, partner = Spire(folder / "c", TRUST_DOMAIN), Spire(folder / "p", PARTNER_DOMAIN)
        for spire in (corp, partner):
            stack.callback(spire.stop)
            spire.start()
        corp.trust(partner)
        partner.enter(PARTNER, PARTNER_GROUP)
        enter_workloads(corp, "-federatesWith", partner.spiffe_id(""))
        more = issuer(request.param(corp, partner))
        yield Federation(stack.enter_context(SpireMesh(folder, corp, more)), partner)


def test_the_partners_agent_is_known(federation: Federation) -> None:
    """Its X509-SVID is taken by Envoy, and it is held to a token that was made for it."""
    mesh = federation.mesh
    client = mesh.client(PARTNER_GROUP, federation.partner)

    assert client.get(BALANCE, mesh.token(PARTNER)).status == 200
    assert client.get(BALANCE, mesh.token(TRAVEL)).reason == "actor_mismatch"
    assert mesh.client(TRAVEL_GROUP).get(BALANCE, mesh.token(TRAVEL)).status == 200


def test_the_partners_jwt_svid(federation: Federation) -> None:
    """It lets the partner's agent act for itself, and no agent of ours."""
    mesh, partner = federation.mesh, federation.partner
    token = partner.jwt_svid(PARTNER_GROUP, AUDIENCE)

    assert mesh.client(PARTNER_GROUP, partner).get(JOB, token).status == 200
    assert mesh.client(TRAVEL_GROUP).get(JOB, token).reason == "actor_mismatch"


def test_the_partners_new_jwt_key(federation: Federation) -> None:
    """Its tokens are allowed once the bundle that has the key is known here."""
    mesh, partner = federation.mesh, federation.partner
    client = mesh.client(PARTNER_GROUP, partner)
    partner.change_authority("jwt", "prepare", "activate")
    mesh.spire.trust(partner)  # what a federation relationship refreshes by itself
    number = 0

    def allowed() -> bool:
        nonlocal number
        number += 1  # the agent may still sign with the old key
        token = partner.jwt_svid(PARTNER_GROUP, AUDIENCE, f"fresh-{number}")
        return client.get(JOB, token).status == 200

    wait_until(allowed)
