"""MCP servers of the official SDK behind a gateway, which keep what they receive."""

import json
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final, NamedTuple

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

_ANY_HOST: Final = TransportSecuritySettings(enable_dns_rebinding_protection=False)
Message = MutableMapping[str, Any]  # of ASGI
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Received(NamedTuple):
    """An HTTP request: the server's name, HTTP's method, JSON-RPC's method or "", the headers."""

    server: str
    http: str
    method: str
    headers: dict[str, str]


class McpServer:
    """A server on a free port of loopback, with tools that answer their own name."""

    def __init__(self, name: str, tools: Sequence[str], keep: Callable[[Received], None]) -> None:
        """Start serving."""
        self.name = name
        self._keep = keep
        self._app = _server(name, tools).streamable_http_app(
            streamable_http_path="/mcp", transport_security=_ANY_HOST
        )
        listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            self._kept, interface="asgi3", log_level="warning", access_log=False, ws="none",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()

    async def _kept(self, scope: Message, receive: Receive, send: Send) -> None:
        """Keep a request, and let the SDK's application answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        body = b"".join(message.get("body", b"") for message in messages)
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self._keep(Received(self.name, scope["method"], _method(body), headers))

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join()


def _method(body: bytes) -> str:
    """Return the method of a JSON-RPC message; "" if it is none, or an answer."""
    try:
        message = json.loads(body)
    except ValueError:
        return ""
    return str(message.get("method", "")) if isinstance(message, dict) else ""


def _server(name: str, tools: Sequence[str]) -> MCPServer:
    server = MCPServer(name, log_level="WARNING")
    for tool in tools:
        server.add_tool(_tool(name, tool), name=tool, description=f"{tool} of {name}")
    for place in ("open", "secret"):
        server.resource(f"repo://{place}/readme")(_resource(f"{name}: {place}"))
    for prompt in ("review", "leak"):
        server.prompt(name=prompt)(_prompt(prompt))
    return server


def _tool(server: str, name: str) -> Callable[[], str]:
    def call() -> str:
        """Say which tool this is."""
        return f"{server}.{name}"

    return call


def _resource(text: str) -> Callable[[], str]:
    def read() -> str:
        """Return the text."""
        return text

    return read


def _prompt(name: str) -> Callable[[str], str]:
    def ask(code: str) -> str:
        """Say which prompt this is."""
        return f"{name} {code}"

    return ask
