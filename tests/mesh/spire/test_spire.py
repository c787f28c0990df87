"""SPIRE, agent-authz and Envoy: no certificate and no key in a file, and what each failure does."""

import json
import ssl

import pytest

from authz.starter.envoy_tls import GATEWAY_ID
from lab.mesh import AUDIENCE, TRAVEL
from mesh.support.spire_mesh import (
    BALANCE,
    JOB,
    PAYMENTS_GROUP,
    TRAVEL_GROUP,
    SpireMesh,
)
from support.world import wait_until

pytestmark = pytest.mark.needs("root", "spire-server", "spire-agent")
HEALTH = "cluster.authz.health_check."
UNKNOWN_GROUP = 61999  # of no entry


def test_an_agent_is_who_its_svid_says(corp: SpireMesh) -> None:
    """Its own user's token is allowed, and the upstream is told; another agent's is refused."""
    reply = corp.client(TRAVEL_GROUP).get(BALANCE, corp.token())

    assert reply.status == 200
    assert dict(reply.seen_headers("x-agent-id")) == {"x-agent-id": TRAVEL}
    other = corp.client(PAYMENTS_GROUP).get(BALANCE, corp.token())
    assert other.reason == "actor_mismatch"


def test_without_an_svid_there_is_no_connection(corp: SpireMesh) -> None:
    """A client without a certificate gets no answer."""
    client = corp.client(TRAVEL_GROUP)
    client._tls = ssl.create_default_context(cafile=str(corp.folder / "svid-1" / "ours.pem"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.get(BALANCE, corp.token())


def test_envoy_has_its_certificates_from_the_agent(corp: SpireMesh) -> None:
    """Its SVID and the bundles come by SDS; agents are verified by the bundle of their domain."""
    dump = json.loads(corp.envoy.admin("/config_dump?resource=dynamic_active_secrets"))
    secrets = {one["name"]: one["secret"] for one in dump["configs"]}

    assert secrets.keys() == {GATEWAY_ID, "ALL", "spiffe://corp.example"}
    validator = secrets["ALL"]["validation_context"]["custom_validator_config"]
    domains = validator["typed_config"]["trust_domains"]
    assert [one["name"] for one in domains] == ["corp.example"]


def test_health_checks_pass(corp: SpireMesh) -> None:
    """Envoy's health checks of agent-authz come over mutual TLS, and none fails."""
    wait_until(lambda: corp.envoy.stat(HEALTH + "success") > 1)

    assert corp.envoy.stat(HEALTH + "failure") == 0
    assert corp.envoy.stat("cluster.authz.membership_healthy") == 1


def test_a_jwt_svid_lets_an_agent_act_for_itself(corp: SpireMesh) -> None:
    """It is allowed with the certificate of its agent, for its audience, and nowhere else."""
    travel, token = corp.client(TRAVEL_GROUP), corp.spire.jwt_svid(TRAVEL_GROUP, AUDIENCE)

    assert travel.get(JOB, token).status == 200
    assert corp.client(PAYMENTS_GROUP).get(JOB, token).reason == "actor_mismatch"
    assert travel.get(BALANCE, token).reason == "token_typ"
    foreign = corp.spire.jwt_svid(TRAVEL_GROUP, "https://other.corp.example")
    assert travel.get(JOB, foreign).reason == "token_audience"


def test_a_revoked_jwt_key_ends_its_tokens(corp: SpireMesh) -> None:
    """Remembered decisions included; tokens of the next key are allowed, the first one too."""
    travel, token = corp.client(TRAVEL_GROUP), corp.spire.jwt_svid(TRAVEL_GROUP, AUDIENCE)
    assert travel.get(JOB, token).status == 200
    corp.spire.change_authority("jwt", "prepare", "activate")
    assert travel.get(JOB, token).status == 200

    corp.spire.change_authority("jwt", "taint", "revoke")
    wait_until(lambda: travel.get(JOB, token).reason == "token_key_unknown")
    fresh = corp.spire.jwt_svid(TRAVEL_GROUP, AUDIENCE, "fresh")
    wait_until(lambda: travel.get(JOB, fresh).status == 200)


def test_an_agent_that_is_away_is_not_noticed(corp: SpireMesh) -> None:
    """Envoy and agent-authz go on with what they have, and take up with the agent once it is back.

    New connections between them included.
    """
    # An audience of its own: the agent keeps tokens by audiences, also those of a revoked key.
    svid = corp.spire.jwt_svid(TRAVEL_GROUP, AUDIENCE, "away")
    travel = corp.client(TRAVEL_GROUP)
    connections = corp.envoy.stat("cluster.authz.upstream_cx_total")
    corp.spire.agent.stop()
    try:
        statuses = {travel.get(BALANCE, corp.token()).status for _ in range(40)}
        statuses.add(travel.get(JOB, svid).status)
        opened = corp.envoy.stat("cluster.authz.upstream_cx_total") - connections
    finally:
        corp.spire.start_agent()

    assert statuses == {200}
    assert opened >= 3
    assert corp.client(TRAVEL_GROUP).get(BALANCE, corp.token()).status == 200


def test_a_server_without_an_entry_does_not_start(corp: SpireMesh) -> None:
    """It ends, and says that it needs an entry."""
    server = corp.start_server("stranger", UNKNOWN_GROUP)

    assert server.process.wait(60) == 3
    assert "create a registration entry" in server.process.log.read_text()
