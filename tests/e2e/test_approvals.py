"""Booking for more than 500 needs Alice's yes: an MCP server behind a real Envoy."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import mcp_types as types
import pytest
from mcp import Client, MCPError

from lab.config_builder import AT_ISSUER, LAB
from lab.mcp_client import LEGACY, McpAgent
from lab.mesh import TRAVEL, Mesh
from lab.trips import BOOK, READ, RESOURCE

pytestmark = pytest.mark.e2e
TYPE: Final = "https://corp.example/authz/call"
DEAR: Final = {"to": "Bern", "price": 620}
CHANGES: Final = LAB.with_((*AT_ISSUER, "approval_types"), [TYPE]).with_rules(
    "trips-book",
    f"""\
- name: with-approval
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/**]
  scopes: ["trips:book"]
  mcp: {{tools: [book_trip]}}
  approval: {{type: "{TYPE}", url: "https://approve.corp.example/?id={{id}}"}}
""",
)


@pytest.fixture(scope="module")
def approving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh with an MCP server, and a rule that asks for approval."""
    folder = tmp_path_factory.mktemp("approving")
    with Mesh(folder, with_mcp=True, changes=CHANGES) as mesh:
        yield mesh


def book(mesh: Mesh, arguments: dict[str, Any], mode: str, *details: Any) -> str | MCPError:
    """Book with the official SDK, and a token with these elements; what it returns or raises."""
    held: dict[str, Any] = {"authorization_details": list(details)} if details else {}
    token = mesh.issuer.token(TRAVEL, scope=f"{READ} {BOOK}", aud=RESOURCE, **held)
    agent = McpAgent.of(mesh, TRAVEL, token)
    return asyncio.run(_booked(agent, arguments, mode))


async def _booked(agent: McpAgent, arguments: dict[str, Any], mode: str) -> str | MCPError:
    async with agent.connect("stateful", mode) as client:
        first = await _call(client, arguments)
        if isinstance(first, MCPError):
            return first
        again = await _call(client, arguments)
        assert isinstance(again, MCPError) or again == first
        return first if isinstance(again, str) else f"{first}, then refused"


async def _call(client: Client, arguments: dict[str, Any]) -> str | MCPError:
    try:
        result = await client.call_tool("book_trip", arguments)
    except MCPError as error:
        return error
    assert not result.is_error, result
    block = result.content[0]
    assert isinstance(block, types.TextContent)
    return block.text


def test_book_over_500_needs_a_yes(approving: Mesh) -> None:
    """Up to 500 the agent books by itself; over 500 with an approval of that booking, once."""
    assert book(approving, {"to": "Bern", "price": 480}, LEGACY) == "booked Bern for 480.00"

    refused = book(approving, DEAR, LEGACY)
    assert isinstance(refused, MCPError)
    assert refused.error.code == -32042
    data = refused.error.data
    assert data["elicitations"][0]["url"].startswith("https://approve.corp.example/?id=")
    (asked,) = data["authorization_details"]  # which Alice approves, at the authorization server
    assert asked["arguments"] == DEAR
    assert asked["locations"] == [RESOURCE]

    assert book(approving, DEAR, LEGACY, asked) == "booked Bern for 620.00, then refused"
    other = book(approving, {**DEAR, "price": 9000}, LEGACY, asked)
    assert isinstance(other, MCPError)
    assert other.error.data["authorization_details"][0]["arguments"]["price"] == 9000


def test_what_plain_http_tells(approving: Mesh) -> None:
    """A client of another version gets 403, the challenge of OAuth, and the element to ask for."""
    token = approving.issuer.token(TRAVEL, scope=BOOK, aud=RESOURCE)
    call = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {"name": "book_trip", "arguments": DEAR},
    }
    headers = [
        ("authorization", f"Bearer {token}"),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2025-06-18"),
    ]
    reply = approving.agent(TRAVEL).request(
        "POST", "/trips/mcp", headers, body=json.dumps(call).encode()
    )

    assert (reply.status, reply.reason) == (403, "approval_required")
    challenge = reply.headers["www-authenticate"]
    assert challenge.startswith('Bearer error="insufficient_authorization_details"')
    error = json.loads(reply.body)["error"]
    assert error["data"]["authorization_details"][0]["identifier"] == "book_trip"
