"""An opaque token through a real Envoy, introspected at a real authorization server (RFC 7662)."""

from pathlib import Path

import pytest

from lab.mesh import PAYMENTS, TRAVEL, Mesh
from support.opaque_issuer import OpaqueIssuer
from support.world import BALANCE, wait_until

pytestmark = pytest.mark.e2e


def test_through_envoy(tmp_path: Path) -> None:
    """A user's token allows the agent that it names, and no other; a revoked one allows nobody."""
    with OpaqueIssuer(tmp_path) as issuer, Mesh(tmp_path / "mesh") as mesh:
        given = {"client_id": "authz", "client_secret_file": str(issuer.secret_file)}
        server, agent = mesh.servers[0], mesh.agent(TRAVEL)
        server.write_config(issuer.config({**given, "max_age": "1s"}))
        token = issuer.user_tokens()["access_token"]
        # Envoy waits 200 ms for a check, and the first call may take longer on a busy machine.
        wait_until(lambda: agent.get(BALANCE, token).status == 200)
        assert dict(agent.get(BALANCE, token).seen_headers("x-agent-"))["x-agent-principal"] == (
            "alice"
        )
        wait_until(lambda: mesh.agent(PAYMENTS).get(BALANCE, token).reason == "actor_mismatch")
        wait_until(lambda: agent.get(BALANCE, "made-up").reason == "token_inactive")
        issuer.revoke(token)
        wait_until(lambda: agent.get(BALANCE, token).reason == "token_inactive")
        found = f'authz_introspection_calls_total{{issuer="{issuer.url}",result="active"}}'
        assert server.metric(found) >= 1
        assert token not in server.audit.read_text() + server.process.log.read_text()
