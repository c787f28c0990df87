"""Messages of MCP over plain HTTP: what an SDK would not send, or not show."""

import json
from typing import Any, Final, NamedTuple

from lab.client import Client, Reply
from support.agentgateway.rig import FORGED

VERSION: Final = "2025-11-25"
INITIALIZE: Final = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


class Session(NamedTuple):
    """A client with its token, and the session's id, "" before there is one."""

    client: Client
    token: str | None
    id: str = ""

    def begin(self) -> "Session":
        """Return the session that the gateway opens."""
        reply = self.post("initialize", INITIALIZE)
        session = self._replace(id=reply.headers["mcp-session-id"])
        session.post("notifications/initialized", request_id=None)
        return session

    def post(self, method: str, params: Any = None, request_id: int | None = 5) -> Reply:
        """Send a message, with forged headers; a notification without an id."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        message |= {} if params is None else {"params": params}
        message |= {} if request_id is None else {"id": request_id}
        return self.send("POST", json.dumps(message).encode())

    def send(self, http_method: str, body: bytes = b"") -> Reply:
        """Send a request of HTTP in this session."""
        headers = [
            ("accept", "application/json, text/event-stream"),
            ("content-type", "application/json"),
            ("mcp-protocol-version", VERSION),
            *FORGED.items(),
        ]
        headers += [("mcp-session-id", self.id)] if self.id else []
        headers += [("authorization", f"Bearer {self.token}")] if self.token else []
        return self.client.request(http_method, "/mcp", headers, body)


def message_of(reply: Reply) -> Any:
    """Return the answer of JSON-RPC: a body of JSON, or the last event of a stream."""
    text = reply.body.decode()
    events = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")]
    return json.loads([event for event in events if event.strip()][-1] if events else text)
