"""Agents that speak MCP through the proxy, with the client of the official SDK."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from lab.client import tls_context
from lab.mesh import Mesh
from lab.trips import HOST, PATHS

NEWEST: Final = "2026-07-28"  # this version, and nothing asked before; it has no sessions
LEGACY: Final = "legacy"  # a session, of one of the versions before
TIMEOUT_SECONDS: Final = 30.0


@dataclass
class McpAgent:
    """An agent, with its SVID and its token if it has one.

    Attributes:
        http2: whether it speaks HTTP/2, for which the SDK has to be told.
        answers: each answer of HTTP, in order; their bodies are the SDK's.
    """

    port: int
    tls: ssl.SSLContext
    token: str | None
    http2: bool = False
    answers: list[httpx2.Response] = field(default_factory=list)

    @classmethod
    def of(cls, mesh: Mesh, spiffe_id: str, token: str | None) -> Self:
        """Make an agent with a fresh SVID."""
        svid = mesh.authority.issue(spiffe_id)
        return cls(mesh.envoy.port, tls_context(mesh.authority.path, svid), token)

    @asynccontextmanager
    async def connect(
        self,
        transport: str = "stateful",
        mode: str = "auto",
        **options: Any,  # noqa: ANN401 - the client's own
    ) -> AsyncIterator[Client]:
        """A client of this transport of the server's, which has agreed on a version."""
        url = f"https://localhost:{self.port}{PATHS[transport]}"
        options.setdefault("read_timeout_seconds", TIMEOUT_SECONDS)
        if transport == "sse":
            streams = sse_client(url, httpx_client_factory=self.http)
            async with Client(streams, mode=mode, **options) as client:
                yield client
            return
        async with self.http() as http:
            streams = streamable_http_client(url, http_client=http)
            async with Client(streams, mode=mode, **options) as client:
                yield client

    def http(
        self,
        headers: Mapping[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        """Make an HTTP client with the agent's certificate and token, as the SDK asks for."""
        own = {"host": HOST} | ({"authorization": f"Bearer {self.token}"} if self.token else {})

        async def note(response: httpx2.Response) -> None:
            self.answers.append(response)

        return httpx2.AsyncClient(
            headers={**(headers or {}), **own},
            timeout=timeout or httpx2.Timeout(TIMEOUT_SECONDS),
            auth=auth,
            verify=self.tls,
            http2=self.http2,
            event_hooks={"response": [note]},
        )
