"""The official MCP SDK on both sides of a real Envoy: unharmed if allowed, told why if not."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.auth import utils as oauth
from mcp.client.session import ClientRequestContext

from lab.demo_mcp import story
from lab.mcp_client import LEGACY, NEWEST, McpAgent
from lab.mcp_server import BOOKED
from lab.mesh import PAYMENTS, TRAVEL, Mesh
from lab.table import as_expected, sent
from lab.trips import BOOK, METADATA, PATHS, READ, RESOURCE
from support.world import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e
_Result = TypeVar("_Result")
ALL = f"{READ} {BOOK}"
NEWER = [("stateful", "auto"), ("stateless", "auto"), ("json", "auto")]
OLDER = [("stateful", LEGACY), ("stateless", LEGACY), ("json", LEGACY)]
SSE = [("sse", "auto"), ("sse", LEGACY)]
LIMIT = 65_536  # of a body, in envoy.yaml
VERSIONS = {"auto": "2026-07-28", LEGACY: "2025-11-25"}


def agent(mesh: Mesh, scope: str = ALL, spiffe_id: str = TRAVEL, **claims: Any) -> McpAgent:
    """The travel agent for alice."""
    token = mesh.issuer.token(spiffe_id, scope=scope, aud=RESOURCE, **claims)
    return McpAgent.of(mesh, spiffe_id, token)


def during(
    one: McpAgent,
    act: Callable[[Client], Awaitable[_Result]],
    transport: str = "stateful",
    mode: str = "auto",
    **options: Any,
) -> _Result:
    """What comes of acting with a connected client."""

    async def run() -> _Result:
        async with one.connect(transport, mode, **options) as client:
            return await act(client)

    return asyncio.run(run())


def text_of(result: types.CallToolResult) -> str:
    """The text of a tool's result, which must be no error."""
    assert not result.is_error, result
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    return block.text


async def say_yes(_: ClientRequestContext, asked: types.ElicitRequestParams) -> types.ElicitResult:
    """A person who is sure."""
    assert asked.message == "Are you sure?"
    return types.ElicitResult(action="accept", content={"sure": True})


@pytest.mark.parametrize(("transport", "mode"), [*NEWER, *OLDER, *SSE])
def test_every_transport_works(trips: Mesh, transport: str, mode: str) -> None:
    """Over each HTTP transport and both eras an allowed client gets all that the server offers."""

    async def act(client: Client) -> None:
        assert client.protocol_version == VERSIONS[mode]
        assert len((await client.list_tools()).tools) == 8
        assert text_of(await client.call_tool("who_asks", {})) == f"{TRAVEL} for alice"
        assert "T120" in text_of(await client.call_tool("search_trips", {"to": "Zürich 東京"}))
        arguments = {"to": "Bern", "price": 480}
        assert text_of(await client.call_tool("book_trip", arguments)) == "booked Bern for 480.00"
        policy = await client.read_resource("trips://policy/eu")
        assert "at most 500" in policy.contents[0].model_dump_json()
        assert len((await client.list_resource_templates()).resource_templates) == 1
        assert len((await client.list_resources()).resources) == 1
        assert len((await client.list_prompts()).prompts) == 1
        prompt = await client.get_prompt("plan", {"city": "Bern"})
        assert "two days in Bern" in prompt.model_dump_json()

    during(agent(trips), act, transport, mode)


@pytest.mark.parametrize(("transport", "mode"), [NEWER[0], OLDER[0], SSE[1]])
def test_http2_works(trips: Mesh, transport: str, mode: str) -> None:
    """Over HTTP/2, where one connection has the streams and the calls, it works likewise."""
    one = replace(agent(trips), http2=True)
    seen: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (3, None)
        seen.append(progress)

    async def act(client: Client) -> list[str]:
        calls = [client.call_tool("compare_prices", {"sites": n}) for n in range(6)]
        await client.call_tool("compare_prices", {"sites": 3}, progress_callback=note)
        await client.call_tool("cancel_trip", {"number": "T1"})
        return [text_of(result) for result in await asyncio.gather(*calls)]

    told = during(one, act, transport, mode, elicitation_callback=say_yes)

    assert told == [f"compared {n}" for n in range(6)]
    assert seen == [1, 2, 3]


@pytest.mark.parametrize(("transport", "mode"), [NEWER[0], NEWER[2], OLDER[0], OLDER[2], SSE[1]])
def test_long_results_arrive(trips: Mesh, transport: str, mode: str) -> None:
    """A result of half a megabyte comes whole: the limit is one of requests, not of answers."""

    async def act(client: Client) -> str:
        await client.list_tools()  # for its schema, which mirrors an argument in a header
        return text_of(await client.call_tool("itinerary", {"pages": 500, "office": "Genève"}))

    text = during(agent(trips), act, transport, mode)

    assert text.startswith("Genève\n")
    assert len(text) == len("Genève\n") + 500 * 1024 - 1


@pytest.mark.parametrize(("transport", "mode"), [NEWER[0], OLDER[0], OLDER[1], SSE[0], SSE[1]])
def test_progress_arrives(trips: Mesh, transport: str, mode: str) -> None:
    """Notifications of progress come before the result, in order."""
    seen: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (5, None)
        seen.append(progress)

    async def act(client: Client) -> str:
        result = await client.call_tool("compare_prices", {"sites": 5}, progress_callback=note)
        return text_of(result)

    assert during(agent(trips), act, transport, mode) == "compared 5"
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("transport", "mode"), [*NEWER, OLDER[0], *SSE])
def test_the_person_is_asked(trips: Mesh, transport: str, mode: str) -> None:
    """A tool that asks back gets its answer: in a second call, or as a response of the client's."""

    async def act(client: Client) -> str:
        return text_of(await client.call_tool("cancel_trip", {"number": "T1"}))

    told = during(agent(trips), act, transport, mode, elicitation_callback=say_yes)

    assert told == "cancelled T1"


@pytest.mark.parametrize(("transport", "mode"), [NEWER[0], OLDER[0], SSE[1]])
def test_calls_at_once(trips: Mesh, transport: str, mode: str) -> None:
    """Calls at once over one client each get their own answer."""

    async def act(client: Client) -> list[str]:
        calls = [client.call_tool("compare_prices", {"sites": n}) for n in range(12)]
        return [text_of(result) for result in await asyncio.gather(*calls)]

    assert during(agent(trips), act, transport, mode) == [f"compared {n}" for n in range(12)]


@pytest.mark.parametrize(("transport", "mode"), [NEWER[0], OLDER[0], SSE[1]])
def test_a_call_is_cancelled(trips: Mesh, transport: str, mode: str) -> None:
    """A caller that gives up ends the call in the server too, and can go on."""
    log = trips.mcp.process.log
    waiting, cancelled = (log.read_text().count(word) for word in ("waiting", "cancelled"))

    async def act(client: Client) -> str:
        call = asyncio.create_task(client.call_tool("wait_for_seat", {"seconds": 3600}))
        while log.read_text().count("waiting") == waiting:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.01)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        return text_of(await client.call_tool("compare_prices", {"sites": 1}))

    assert during(agent(trips), act, transport, mode) == "compared 1"
    wait_until(lambda: log.read_text().count("cancelled") > cancelled)


def test_a_session_ends_with_a_delete(trips: Mesh) -> None:
    """The client's DELETE at the end of a session reaches the server: the session is gone."""
    one = agent(trips)

    async def act(client: Client) -> None:
        await client.list_tools()

    during(one, act, mode=LEGACY)
    session = one.answers[0].headers["mcp-session-id"]

    async def again() -> int:
        async with one.http() as http:
            answer = await http.post(
                f"https://localhost:{one.port}{PATHS['stateful']}",
                json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"},
                headers={
                    "accept": "application/json, text/event-stream",
                    "mcp-session-id": session,
                    "mcp-protocol-version": "2025-11-25",
                },
            )
            return answer.status_code

    assert (one.answers[-1].request.method, one.answers[-1].status_code) == ("DELETE", 200)
    assert asyncio.run(again()) == 404


def test_a_subscription_stays_open(trips: Mesh) -> None:
    """A stream of events that a client listens to is let through as they come."""

    async def act(client: Client) -> str:
        async with client.listen(resource_subscriptions=[BOOKED]) as events:
            await client.call_tool("book_trip", {"to": "Bern", "price": 1})
            with anyio.fail_after(PATIENCE_SECONDS):
                return repr([await anext(aiter(events))])

    assert during(agent(trips), act) == f"[ResourceUpdated(uri='{BOOKED}')]"


@pytest.mark.parametrize(("transport", "mode"), [OLDER[0], OLDER[2], SSE[1]])
def test_the_stream_of_a_session_works(trips: Mesh, transport: str, mode: str) -> None:
    """What the server says by itself comes on the stream that a session's GET opened."""
    one = agent(trips)

    async def act(client: Client) -> object:
        with anyio.fail_after(PATIENCE_SECONDS):
            while not any(a.request.method == "GET" for a in one.answers):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
            await client.call_tool("book_trip", {"to": "Bern", "price": 1})
            return await told.get()

    told: asyncio.Queue[object] = asyncio.Queue()
    notification = during(one, act, transport, mode, message_handler=told.put)

    assert isinstance(notification, types.ResourceUpdatedNotification)
    assert notification.params.uri == BOOKED


@pytest.mark.parametrize(("transport", "mode"), [*NEWER, *OLDER])
def test_a_refused_call_says_why(trips: Mesh, transport: str, mode: str) -> None:
    """A refused call raises an error with our words and decision, and the client can go on."""
    one = agent(trips)

    async def act(client: Client) -> MCPError:
        with pytest.raises(MCPError) as refusal:
            await client.call_tool("delete_trip", {"number": "T1"})
        assert "T120" in text_of(await client.call_tool("search_trips", {"to": "Bern"}))
        return refusal.value

    refusal = during(one, act, transport, mode)
    statuses = {a.status_code for a in one.answers if "x-authz-reason" in a.headers}

    assert statuses == {200 if transport == "json" else 403}  # there, refusals are by message
    assert refusal.code == -32001
    assert refusal.message == "policy_denied: not allowed"
    assert refusal.data["reason"] == "policy_denied"
    assert len(refusal.data["decision_id"]) == 32


REFUSED: list[Callable[[Client], Awaitable[Any]]] = [
    lambda c: c.call_tool("book_trip", {"to": "Rome", "price": 500.01}),
    lambda c: c.call_tool("book_trip", {"to": "Rome", "price": "1"}),
    lambda c: c.call_tool("book_trip", {"to": "Rome"}),
    lambda c: c.call_tool("Search_trips", {"to": "Rome"}),
    lambda c: c.read_resource("trips://secrets"),
    lambda c: c.read_resource("trips://policy/../secrets"),
    lambda c: c.get_prompt("other"),
    lambda c: c.complete(types.PromptReference(name="other"), {"name": "city", "value": "B"}),
]


@pytest.mark.parametrize("mode", [NEWEST, LEGACY])
def test_what_policy_refuses(trips: Mesh, mode: str) -> None:
    """What no rule names, or a rule limits, never reaches the server, in either era."""
    one = agent(trips)

    async def refused(client: Client) -> None:
        for act in REFUSED:
            with pytest.raises(MCPError, match="policy_denied: not allowed"):
                await act(client)

    during(one, refused, mode=mode)

    reasons = [a.headers["x-authz-reason"] for a in one.answers if "x-authz-reason" in a.headers]
    assert reasons == ["policy_denied"] * len(REFUSED)


def test_a_scope_that_is_missing_is_named(trips: Mesh) -> None:
    """Without a scope the SDK finds in the challenge which one it needs; so does the caller."""
    one = agent(trips, READ)

    async def act(client: Client) -> str:
        with pytest.raises(MCPError) as refusal:
            await client.call_tool("book_trip", {"to": "Bern", "price": 1})
        return str(refusal.value)

    said = during(one, act, mode=NEWEST)
    answer = one.answers[-1]

    assert said == f"scope: the token's scope does not allow this; it needs the scope {BOOK}"
    assert answer.status_code == 403
    assert oauth.extract_field_from_www_auth(answer, "error") == "insufficient_scope"
    assert oauth.extract_scope_from_www_auth(answer) == BOOK
    assert oauth.extract_resource_metadata_from_www_auth(answer) == METADATA


@pytest.mark.parametrize("mode", ["auto", LEGACY])
def test_without_a_token_there_is_no_connection(trips: Mesh, mode: str) -> None:
    """Without a token connecting fails with 401; the SDK finds where to get one in it."""
    one = McpAgent.of(trips, TRAVEL, None)

    async def act(_: Client) -> None:
        """Never comes to pass."""

    with pytest.raises(BaseExceptionGroup) as failure:
        during(one, act, mode=mode)
    refusals = failure.value.subgroup(MCPError)

    assert refusals is not None
    assert "token_missing: a delegation token is required" in repr(refusals.exceptions)
    assert {answer.status_code for answer in one.answers} == {401}
    for answer in one.answers:
        assert oauth.extract_resource_metadata_from_www_auth(answer) == METADATA


def test_over_sse_a_refused_call_reaches_nobody(trips: Mesh) -> None:
    """The client of the SSE transport drops a refusal's body: it waits, and nothing happens."""
    one = agent(trips)

    async def act(client: Client) -> MCPError:
        with pytest.raises(MCPError) as refusal:
            await client.call_tool("delete_trip", {"number": "T1"}, read_timeout_seconds=0.5)
        return refusal.value

    assert "timed out" in during(one, act, "sse", LEGACY).message
    answer = one.answers[-1]
    assert (answer.status_code, answer.headers["x-authz-reason"]) == (403, "policy_denied")


def test_a_body_over_the_limit_is_refused(trips: Mesh) -> None:
    """A message larger than the proxy's limit is refused, and the client can go on."""
    one = agent(trips)

    async def act(client: Client) -> None:
        with pytest.raises(MCPError):
            await client.call_tool("search_trips", {"to": "x" * 300_000})
        assert one.answers[-1].status_code == 413
        assert "T120" in text_of(await client.call_tool("search_trips", {"to": "x" * 60_000}))

    during(one, act, mode=NEWEST)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_the_limit_is_exact(trips: Mesh, version: str) -> None:
    """Of a body that fills the proxy's limit or more nothing passes, however its frames are cut.

    Over HTTP/2 Envoy asks with a cut body when the last frame is the one that crosses the limit.
    """
    one = replace(agent(trips), http2=version == "HTTP/2")
    url = f"https://localhost:{one.port}{PATHS['stateless']}"

    def body(size: int) -> bytes:
        frame = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_trips",'
        frame += b'"arguments":{"to":"%b"}}}'
        return frame % (b"x" * (size - len(frame) + 2))

    async def send() -> list[int]:
        headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": "2025-11-25",
        }
        sizes = (LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 3000, LIMIT + 100_000)
        async with one.http() as http:
            return [
                (await http.post(url, content=body(size), headers=headers)).status_code
                for size in sizes
            ]

    assert asyncio.run(send()) == [200, 413, 413, 413, 413]


OLDER_MESSAGES = """\
{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":\
{"name":"mcp","version":"0.1.0"}},"jsonrpc":"2.0","id":0}
{"method":"notifications/initialized","jsonrpc":"2.0"}
{"method":"tools/list","jsonrpc":"2.0","id":1}
{"method":"tools/call","params":{"name":"search_trips","arguments":{"to":"Bern"}},\
"jsonrpc":"2.0","id":2}
{"method":"tools/call","params":{"name":"delete_trip","arguments":{}},"jsonrpc":"2.0","id":3}
"""


def test_what_the_older_sdk_sends(trips: Mesh) -> None:
    """The messages of version 1 of the SDK are understood: ids from 0, no headers at first."""
    one = agent(trips)
    path = f"https://localhost:{one.port}{PATHS['json']}"
    initialize, *later = OLDER_MESSAGES.encode().splitlines()

    async def send() -> list[tuple[int, Any]]:
        headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
        }
        answers = []
        async with one.http() as http:
            first = await http.post(path, content=initialize, headers=headers)
            headers["mcp-session-id"] = first.headers["mcp-session-id"]
            headers["mcp-protocol-version"] = "2025-11-25"
            answers.append((first.status_code, first.json()["id"]))
            for body in later:
                answer = await http.post(path, content=body, headers=headers)
                answers.append((answer.status_code, json.loads(answer.content or b"{}").get("id")))
        return answers

    assert asyncio.run(send()) == [(200, 0), (202, None), (200, 1), (200, 2), (200, 3)]
    assert one.answers[-1].headers["x-authz-reason"] == "policy_denied"


def test_only_who_was_granted_it(trips: Mesh) -> None:
    """An agent without the grant doesn't even begin, whatever its token says."""
    one = agent(trips, ALL, PAYMENTS)

    async def act(_: Client) -> None:
        """Never comes to pass."""

    with pytest.raises(BaseExceptionGroup):
        during(one, act)

    assert {answer.headers["x-authz-reason"] for answer in one.answers} == {"policy_denied"}


def test_the_second_act_of_the_demo(trips: Mesh) -> None:
    """Every MCP request of the demo ends as it says."""
    for line in story(trips):
        reply = sent(line)

        assert as_expected(line, reply), (line.what, line.why, reply)
