"""The gateway asks over TLS, and accepts no other server than agent-authz."""

from pathlib import Path

import pytest

from authz.starter.envoy_tls import server_id
from support.agentgateway.raw_mcp import INITIALIZE, Session, message_of
from support.agentgateway.rig import EDGE, Rig

IDENTITY = "default: {identity: metadata}"
CALLERS = {IDENTITY: f"default: {{identity: metadata, callers: ['{EDGE}']}}"}
OTHER = "spiffe://corp.example/ns/agents/sa/travel"


@pytest.mark.parametrize("changes", [{}, CALLERS], ids=["any profile", "the caller's profile"])
def test_both_protocols(tmp_path: Path, changes: dict[str, str]) -> None:
    """With the gateway's SVID a session begins, and a service is reached."""
    with Rig(tmp_path, changes, server=server_id("corp.example")) as rig:
        begun = Session(rig.client(), rig.token()).begin()
        tools = message_of(begun.post("tools/list"))["result"]["tools"]
        accounts = rig.client().get("/accounts/1", rig.token(), host="api.corp.example")

    assert "github_search" in {tool["name"] for tool in tools}
    assert accounts.status == 200


def test_another_server(tmp_path: Path) -> None:
    """Whoever has another SPIFFE ID of the same CA is not asked, and nothing passes."""
    with Rig(tmp_path, server=OTHER) as rig:
        reply = Session(rig.client(), rig.token()).post("initialize", INITIALIZE)
        accounts = rig.client().get("/accounts/1", rig.token(), host="api.corp.example")
        received = rig.taken()

    assert message_of(reply)["error"]["code"] == -32603
    assert accounts.status == 503
    assert received == []
