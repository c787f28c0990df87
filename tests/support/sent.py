"""Requests with a message, as a proxy presents them, for tests of protocols."""

import json
from collections.abc import Mapping
from typing import Any

from authz.core.protocols.message import Message, MessageInput
from authz.core.protocols.reading import read
from authz.core.reason import Reason
from authz.core.request import MessageProtocol

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def encoded(value: object) -> bytes:
    """Return the bytes, or the JSON of a value as the standard library writes it."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def sent(
    value: object, headers: Mapping[str, str | None] | None = None, **changes: Any
) -> MessageInput:
    """Make a POST of bytes or of a value's JSON, as Envoy sends it; None leaves a header out."""
    body = encoded(value)
    given = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-envoy-auth-partial-body": "false",
        **(headers or {}),
    }
    present = {name: text for name, text in given.items() if text is not None}
    fields: dict[str, Any] = {"method": "POST", "path": "/mcp", "size": len(body), **changes}
    return MessageInput(headers=present, body=body, **fields)


def rpc(method: str, params: object = None, **members: object) -> dict[str, object]:
    """Make a JSON-RPC request of id 1; None leaves a member out."""
    given = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **members}
    return {name: value for name, value in given.items() if value is not None}


def mcp(value: object, headers: Mapping[str, str | None] | None = None, **changes: Any) -> Message:
    """Read an MCP request."""
    return read(MessageProtocol.MCP, sent(value, headers, **changes))


def reason(message: Message) -> Reason | None:
    """Return why the message is unread, None if it is read."""
    return message.unread[0] if message.unread else None
