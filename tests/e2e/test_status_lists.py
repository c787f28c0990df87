"""A token of a status list through a real Envoy: revoked on its list, it is refused everywhere."""

from functools import partial
from pathlib import Path

import pytest

from lab.client import Client
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import TRAVEL, Mesh
from support.status_server import StatusServer
from support.world import BALANCE, READ, wait_until

pytestmark = pytest.mark.e2e


def is_allowed(agent: Client, token: str) -> bool:
    """Whether the agent gets the balance."""
    return agent.get(BALANCE, token).status == 200


def test_through_envoy(tmp_path: Path) -> None:
    """A list that changes counts for a request that was allowed before, and for its neighbour not.

    A list that is away refuses its tokens when the last good one has ended.
    """
    with StatusServer(tmp_path / "status") as lists, Mesh(tmp_path / "mesh") as mesh:
        server, agent = mesh.servers[0], mesh.agent(TRAVEL)
        lists.publish(mesh.issuer)
        settings = lists.settings(max_age="2s")
        server.write_config(LAB.with_((*AT_ISSUER, "status_list"), settings))
        first, second = (
            mesh.issuer.token(TRAVEL, scope=READ, status=lists.status(index)) for index in (5, 6)
        )
        for token in (first, second):
            wait_until(partial(is_allowed, agent, token))
        lists.publish(mesh.issuer, [1 if index == 5 else 0 for index in range(64)])
        wait_until(lambda: agent.get(BALANCE, first).reason == "token_revoked")
        wait_until(lambda: is_allowed(agent, second))
        lists.publish(mesh.issuer)
        wait_until(lambda: is_allowed(agent, first))
        lists.http.close()
        wait_until(lambda: agent.get(BALANCE, first).reason == "status_unavailable")
        labels = '{issuer="https://as.corp.example",result="failure"}'
        assert server.metric(f"authz_status_list_fetches_total{labels}") >= 1
