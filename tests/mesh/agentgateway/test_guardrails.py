"""The shipped config in a real agentgateway: what agents see, may call, and can't smuggle past."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from mcp import Client, MCPError

from authz.core.protocols.mcp_methods import is_notification
from support.agentgateway.mcp_servers import Received
from support.agentgateway.raw_mcp import INITIALIZE, Session, message_of
from support.agentgateway.rig import FORGED, STRANGER, TRAVEL, Rig
from support.world import wait_until

MODES = ["auto", "legacy"]
METADATA = "https://mcp.corp.example/.well-known/oauth-protected-resource/finance"
# What the gateway passes on without asking, of a session.
UNASKED: list[tuple[str, Any]] = [
    ("resources/subscribe", {"uri": "github+repo://secret/readme"}),
    ("resources/unsubscribe", {"uri": "github+repo://secret/readme"}),
    (
        "completion/complete",
        {
            "ref": {"type": "ref/prompt", "name": "github_leak"},
            "argument": {"name": "code", "value": "x"},
        },
    ),
]
_Result = TypeVar("_Result")


def during(
    rig: Rig, mode: str, act: Callable[[Client], Awaitable[_Result]], token: str | None = None
) -> _Result:
    """What comes of acting with a connected client."""

    async def run() -> _Result:
        async with rig.connected(mode, token or rig.token()) as client:
            return await act(client)

    return asyncio.run(run())


def session(rig: Rig, agent: str = TRAVEL, token: str | None = "") -> Session:
    """A session to begin; with a good token unless another is given."""
    return Session(rig.client(agent), rig.token() if token == "" else token)


def smuggled(received: Iterable[Received]) -> list[tuple[str, str, str]]:
    """What reached a server though it is the client's: a forged header, or the token."""
    return [
        (one.http, one.method, name)
        for one in received
        for name, value in one.headers.items()
        if name == "authorization" or (name in FORGED and value == "forged")
    ]


@pytest.mark.parametrize("mode", MODES)
def test_lists_are_cut(rig: Rig, mode: str) -> None:
    """An agent sees what it may use, of each server."""

    async def act(client: Client) -> tuple[list[str], list[str], list[str]]:
        return (
            [tool.name for tool in (await client.list_tools()).tools],
            [prompt.name for prompt in (await client.list_prompts()).prompts],
            [str(one.uri) for one in (await client.list_resources()).resources],
        )

    tools, prompts, resources = during(rig, mode, act)

    assert sorted(tools) == ["github_get_issue", "github_search", "jira_lookup"]
    assert prompts == ["github_review"]
    assert len(resources) == 1
    assert "open/readme" in resources[0]
    assert smuggled(rig.taken()) == []


@pytest.mark.parametrize("mode", MODES)
def test_calls(rig: Rig, mode: str) -> None:
    """An allowed call reaches its server with our headers; a refused call reaches none."""

    async def act(client: Client) -> tuple[str, list[MCPError]]:
        await client.list_tools()
        allowed = await client.call_tool("github_search", {})
        refusals = []
        for name in ("github_delete_repo", "jira_remove", "jira_search"):
            with pytest.raises(MCPError) as refusal:
                await client.call_tool(name, {})
            refusals.append(refusal.value)
        return str(allowed.content), refusals

    text, refusals = during(rig, mode, act)
    received = rig.taken()
    calls = [one for one in received if one.method == "tools/call"]

    assert "github.search" in text
    assert [one.server for one in calls] == ["github"]
    assert calls[0].headers["x-agent-id"] == TRAVEL
    assert calls[0].headers["x-agent-principal"] == "alice"
    assert len(calls[0].headers["x-agent-decision-id"]) == 32
    assert smuggled(received) == []
    for refusal in refusals:
        assert refusal.code == -32001
        assert refusal.message == "policy_denied: not allowed"
        assert refusal.data["code"] == -32001
        assert refusal.data["data"].keys() == {"reason", "decision_id"}
        assert refusal.data["data"]["reason"] == "policy_denied"


@pytest.mark.parametrize("mode", MODES)
def test_prompts_and_resources(rig: Rig, mode: str) -> None:
    """Prompts and resources are decided under the server's own names."""

    async def act(client: Client) -> tuple[str, str]:
        (resource,) = (await client.list_resources()).resources
        uri = str(resource.uri)
        read = await client.read_resource(uri)
        prompt = await client.get_prompt("github_review", {"code": "1"})
        with pytest.raises(MCPError, match="policy_denied"):
            await client.read_resource(uri.replace("open", "secret"))
        with pytest.raises(MCPError, match="policy_denied"):
            await client.get_prompt("github_leak", {"code": "1"})
        return str(read), str(prompt)

    read, prompt = during(rig, mode, act)

    assert "github: open" in read
    assert "review 1" in prompt
    assert smuggled(rig.taken()) == []


def test_a_refusal_tells_where_to_get_a_token(rig: Rig) -> None:
    """With HTTP 200 and no challenge, the error's data say where, and which scope."""
    without = session(rig, token=None).post("initialize", INITIALIZE)
    begun = session(rig).begin()._replace(token=rig.token(scope=""))
    narrow = begun.post("tools/call", {"name": "github_search", "arguments": {}})

    assert (without.status, narrow.status) == (200, 200)
    assert "www-authenticate" not in without.headers
    missing, scope = (message_of(reply)["error"] for reply in (without, narrow))
    assert missing["code"] == missing["data"]["code"] == -32001
    assert missing["data"]["data"]["reason"] == "token_missing"
    assert missing["data"]["data"]["resource_metadata"] == METADATA
    assert scope["data"]["data"]["reason"] == "scope"
    assert scope["data"]["data"]["scope"] == "repo:read"
    assert scope["data"]["data"]["resource_metadata"] == METADATA


def test_a_stranger_reaches_no_server(rig: Rig) -> None:
    """An agent that is not registered, with its own token or another's, begins no session."""
    rig.taken()
    for one in (session(rig, STRANGER, rig.token(STRANGER)), session(rig, STRANGER)):
        assert message_of(one.post("initialize", INITIALIZE))["error"]["code"] == -32001

    assert "initialize" not in {one.method for one in rig.taken()}


def test_odd_parameters(rig: Rig) -> None:
    """Parameters that two readers could read otherwise are refused, by the gateway or by us."""
    begun = session(rig).begin()
    rig.taken()
    body = (
        b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":'
        b'{"name":"github_delete_repo","name":"github_search"}}'
    )
    reply = begun.send("POST", body)

    tools = [one for one in rig.taken() if one.method == "tools/call"]
    assert reply.status >= 400 or "error" in message_of(reply) or len(tools) == 1
    assert all(one.headers.get("x-agent-id") == TRAVEL for one in tools)


def test_what_nobody_is_asked_about(rig: Rig) -> None:
    """It arrives without identity, without token, and without anything that the client forged."""
    rig.taken()
    begun = session(rig).begin()
    for method, params in UNASKED:
        begun.post(method, params)
    begun.post("notifications/roots/list_changed", request_id=None)
    begun.send("DELETE")
    wanted = {"notifications/initialized", "resources/subscribe", "completion/complete"}
    wait_until(lambda: wanted <= {one.method for one in rig.received})
    received = rig.taken()
    unasked = [
        one
        for one in received
        if one.http != "POST"
        or is_notification(one.method)
        or one.method in {method for method, _ in UNASKED}
    ]

    assert smuggled(received) == []
    assert all("x-agent-id" not in one.headers for one in unasked)
    assert all("x-agent-principal" not in one.headers for one in unasked)


def test_closed_on_failure(tmp_path: Path) -> None:
    """While nobody answers the gateway nothing is listed or called, and no server is reached."""
    with Rig(tmp_path, has_authz=False) as rig:
        error = message_of(session(rig).post("initialize", INITIALIZE))["error"]
        accounts = rig.client().get("/accounts/1", rig.token(), host="api.corp.example")

        assert error["code"] == -32603
        assert accounts.status == 503
        assert rig.taken() == []
        assert rig.upstream.requests == 0


def test_closed_while_nothing_is_answered(tmp_path: Path) -> None:
    """A process that takes questions and doesn't answer is given up, and nothing passes."""
    with Rig(tmp_path) as rig:
        begun = session(rig).begin()
        rig.taken()
        os.kill(rig.authz.pid, signal.SIGSTOP)
        try:
            call = begun.post("tools/call", {"name": "github_search", "arguments": {}})
            listed = begun.post("tools/list")
            accounts = rig.client().get("/accounts/1", rig.token(), host="api.corp.example")
        finally:
            os.kill(rig.authz.pid, signal.SIGCONT)

        assert [message_of(reply)["error"]["code"] for reply in (call, listed)] == [-32603] * 2
        assert accounts.status == 503
        assert rig.taken() == []
        assert rig.upstream.requests == 0
