"""ext_authz of a real agentgateway with the shipped config, and in front of guardrails."""

import asyncio
import json
from pathlib import Path

import httpx2
import pytest
from mcp import Client, MCPError

from lab.client import tls_context
from support.agentgateway.raw_mcp import INITIALIZE, Session
from support.agentgateway.rig import FORGED, TRAVEL, Rig

API = "api.corp.example"
MODELS = "models.corp.example"
LIMIT = 65536  # of a body, in the gateway's config
METADATA = "https://mcp.corp.example/.well-known/oauth-protected-resource/finance"
JSON = ("content-type", "application/json")
# ext_authz in front: a route and a rule for the host that clients reach.
FRONT = """\
token: {forward: true}
routes:
  - name: front
    hosts: [mcp.corp.example]
    paths: [/mcp]
    protocol: mcp
    resource: https://mcp.corp.example/finance
"""
OF_THE_FRONT = """\
grants:
  finance-read:
    - name: front
      hosts: [mcp.corp.example]
      methods: [GET, POST, DELETE]
      paths: [/mcp]
      scopes: []
      mcp: {tools: ["github_*", "jira_*"], prompts: ["*"], resources: ["*"]}
"""


def chat(model: str, pad: int = 0) -> bytes:
    """A call of a model, with a longer text if need be."""
    messages = [{"role": "user", "content": "x" * pad}]
    return json.dumps({"model": model, "messages": messages}).encode()


def bearer(rig: Rig) -> tuple[str, str]:
    """The header with a good token."""
    return ("authorization", f"Bearer {rig.token()}")


def test_requests(rig: Rig) -> None:
    """An allowed request arrives with our headers alone; a refused one has status and reason."""
    client = rig.client()
    headers = [bearer(rig), *FORGED.items()]
    allowed = client.request("GET", "/accounts/1", headers, host=API)
    denied = client.request("GET", "/other", headers, host=API)
    elsewhere = client.request("GET", "/accounts/1", headers, host="github")

    assert allowed.status == 200
    seen = allowed.seen_headers()
    assert ("x-agent-id", TRAVEL) in seen
    assert ("x-agent-principal", "alice") in seen
    # The client's own: a proof is removed where one was needed, and this token needs none.
    assert [(name, value) for name, value in seen if value == "forged"] == [("dpop", "forged")]
    assert "authorization" not in dict(seen)
    assert (denied.status, denied.reason) == (403, "policy_denied")
    assert elsewhere.status == 403


def test_the_challenge(rig: Rig) -> None:
    """Without a token ext_authz's refusal is a 401 with a challenge."""
    reply = rig.client().get("/accounts/1", host=API)

    assert (reply.status, reply.reason) == (401, "token_missing")
    assert reply.headers["www-authenticate"].startswith("Bearer")


def test_bodies(rig: Rig) -> None:
    """Messages are read up to the limit, with and without a content-length."""
    client, head = rig.client(), [bearer(rig), JSON]
    path = "/v1/chat/completions"
    small = client.request("POST", path, head, chat("small-1"), host=MODELS)
    large = client.request("POST", path, head, chat("large-1"), host=MODELS)
    long = client.request("POST", path, head, chat("small-1", LIMIT), host=MODELS)
    verify = tls_context(rig.authority.path, rig.svid())
    with httpx2.Client(verify=verify, timeout=30.0) as http:
        unannounced = http.post(
            f"https://localhost:{rig.port}{path}",
            content=iter([chat("small-1")]),
            headers=dict([*head, ("host", MODELS)]),
        )

    assert small.status == 200
    assert (large.status, large.reason) == (403, "policy_denied")
    assert long.status == 413
    assert unannounced.status_code == 200


def test_in_front_of_guardrails(tmp_path: Path) -> None:
    """Both together: 401 with a challenge for a client that logs in, and lists that are cut."""
    changes = {"grants:\n  finance-read:\n": OF_THE_FRONT, "routes:\n": FRONT}
    with Rig(tmp_path, changes) as rig:
        refused = Session(rig.client(), None).post("initialize", INITIALIZE)

        async def act() -> tuple[list[str], str]:
            async with rig.connected("legacy", rig.token()) as client:
                return await used(client)

        async def used(client: Client) -> tuple[list[str], str]:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            text = str((await client.call_tool("github_search", {})).content)
            with pytest.raises(MCPError):
                await client.call_tool("github_delete_repo", {})
            return tools, text

        tools, text = asyncio.run(act())
        received = rig.taken()

    assert refused.status == 401
    assert f'resource_metadata="{METADATA}"' in refused.headers["www-authenticate"]
    assert "github_search" in tools
    assert "github_delete_repo" not in tools
    assert "github.search" in text
    assert all("authorization" not in one.headers for one in received)
    (call,) = (one for one in received if one.method == "tools/call")
    assert call.headers["x-agent-id"] == TRAVEL
