"""The demo's second act: an MCP server, called with the client of the official SDK."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp import Client, MCPError

from lab.client import Reply, bearer
from lab.mcp_client import LEGACY, NEWEST, McpAgent
from lab.mesh import TRAVEL, Mesh
from lab.table import Line
from lab.trips import BOOK, METADATA, PATHS, READ, RESOURCE

Action = Callable[[Client], Awaitable[Any]]


def story(mesh: Mesh) -> list[Line]:
    """Yield the requests, in order."""
    issuer = mesh.issuer
    both = issuer.token(TRAVEL, scope=f"{READ} {BOOK}", aud=RESOURCE)
    read = issuer.token(TRAVEL, scope=READ, aud=RESOURCE)
    elsewhere = issuer.token(TRAVEL, scope=READ)  # for the finance service

    def line(
        what: str,
        status: int,
        reason: str,
        why: str,
        act: Action,
        *,
        token: str | None = both,
        mode: str = NEWEST,
    ) -> Line:
        who = "alice" if token else "-"
        return Line("travel", who, what, status, reason, why, lambda: _ask(mesh, token, mode, act))

    def post(headers: dict[str, str], body: bytes) -> Callable[[], Reply]:
        fields = [("content-type", "application/json"), *bearer(both), *headers.items()]
        return lambda: _told(mesh.agent(TRAVEL).request("POST", PATHS["stateless"], fields, body))

    two_names = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_trips",'
    two_names += b'"name":"delete_trip"}}'
    return [
        line("server/discover, tools/list", 200, "", "what a session needs, granted with its tools",
             lambda c: c.list_tools(), mode="auto"),
        line("search_trips", 200, "", "a tool that was granted",
             lambda c: c.call_tool("search_trips", {"to": "Bern"})),
        line("search_trips, in a session", 200, "", "likewise with a version of 2025",
             lambda c: c.call_tool("search_trips", {"to": "Bern"}), mode=LEGACY),
        line("who_asks", 200, "", "the server knows from our headers alone",
             lambda c: c.call_tool("who_asks", {})),
        line("read trips://policy/eu", 200, "", "a resource that was granted",
             lambda c: c.read_resource("trips://policy/eu")),
        line("book_trip, price 480", 200, "", "at most 500: a condition on the argument",
             lambda c: c.call_tool("book_trip", {"to": "Bern", "price": 480})),
        line("book_trip, price 2400", 403, "policy_denied", "over that limit",
             lambda c: c.call_tool("book_trip", {"to": "Bern", "price": 2400})),
        line("delete_trip", 403, "policy_denied", "a tool that nobody granted",
             lambda c: c.call_tool("delete_trip", {"number": "T1"})),
        line("read trips://secrets", 403, "policy_denied", "a resource that nobody granted",
             lambda c: c.read_resource("trips://secrets")),
        line("book_trip, price 480", 403, "scope", "the token lacks trips:book",
             lambda c: c.call_tool("book_trip", {"to": "Bern", "price": 480}), token=read),
        line("search_trips", 401, "token_audience", "a token for the finance service",
             lambda c: c.call_tool("search_trips", {"to": "Bern"}), token=elsewhere),
        line("search_trips", 401, "token_missing", "no token; the answer says where one is had",
             lambda c: c.call_tool("search_trips", {"to": "Bern"}), token=None),
        Line("travel", "alice", "delete_trip as search_trips", 400, "mcp_header_mismatch",
             "the header Mcp-Name says another tool than the body",
             post(headers_of("tools/call", "search_trips"), call_of("delete_trip", {}))),
        Line("travel", "alice", "search_trips or delete_trip", 400, "message_malformed",
             "a body with two names", post({}, two_names)),
    ]  # fmt: skip


def _ask(mesh: Mesh, token: str | None, mode: str, act: Action) -> Reply:
    """Connect and act; return the HTTP answer that decided, and the SDK's words."""
    agent = McpAgent.of(mesh, TRAVEL, token)
    error = asyncio.run(_error_of(agent, mode, act))
    refusals = [answer for answer in agent.answers if "x-authz-reason" in answer.headers]
    answer = (refusals or agent.answers)[-1]
    status, headers = answer.status_code, answer.headers
    told = f"MCPError: {error}" if error else ""
    if METADATA in headers.get("www-authenticate", "") and status == 401:
        told = f"{told}; see {METADATA}"
    return Reply(status, dict(headers), b"", told)


async def _error_of(agent: McpAgent, mode: str, act: Action) -> BaseException | None:
    error: BaseException | None = None
    try:
        async with agent.connect(mode=mode) as client:
            await act(client)
    except* MCPError as errors:  # in groups of groups: of the tasks that serve the connection
        error = errors
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    return error


def _told(reply: Reply) -> Reply:
    """Return the reply with the words of its JSON-RPC error."""
    words = reply.body.decode()
    if reply.headers.get("content-type") == "application/json":
        words = f"JSON-RPC error: {json.loads(words)['error']['message']}"
    return Reply(reply.status, reply.headers, reply.body, words)


def headers_of(method: str, name: str) -> dict[str, str]:
    """Return the headers that mirror a call."""
    return {"mcp-protocol-version": NEWEST, "mcp-method": method, "mcp-name": name}


def call_of(tool: str, arguments: Mapping[str, Any]) -> bytes:
    """Return a call as the SDK sends it."""
    own = "io.modelcontextprotocol"
    meta = {f"{own}/protocolVersion": NEWEST, f"{own}/clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(call).encode()
