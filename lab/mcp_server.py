"""An MCP server made with the official SDK: a travel desk, over every HTTP transport it has.

Run as a process of its own (``McpServer``). Who may call what is no concern of it: that is decided
in front of it. ``PATHS`` says where each transport is.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, Self

import uvicorn
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from lab.processes import Process

HOST: Final = "mcp.corp.example"
PATHS: Final[Mapping[str, str]] = {
    "stateful": "/trips/mcp",
    "stateless": "/trips/stateless",
    "json": "/trips/json",
    "sse": "/trips/sse",
}
_MESSAGES_PATH: Final = "/trips/messages/"  # to which clients of the SSE transport post
# The server is reached under the proxy's name, which its check against DNS rebinding has to know.
_SECURITY: Final = TransportSecuritySettings(allowed_hosts=[HOST])


class Trip(BaseModel):
    """A trip that can be booked."""

    number: str
    to: str
    price: float


class Answer(BaseModel):
    """What a person says to a question."""

    sure: bool


class McpServer:
    """The server, running behind loopback's port ``port``."""

    def __init__(self, folder: Path) -> None:
        """Start it; its log is in the folder."""
        self.process = Process(
            "mcp-server", [sys.executable, "-m", "lab.mcp_server"], folder / "mcp-server.log"
        )
        self.port = 0

    def wait_ready(self) -> Self:
        """Wait until it serves. Raises ProcessError."""
        self.process.wait_until(self._is_ready)
        return self

    def _is_ready(self) -> bool:
        log = self.process.log.read_text(errors="replace")
        for line in log.splitlines():
            if line.startswith("port "):
                self.port = int(line.removeprefix("port "))
        return "Application startup complete" in log


def travel_desk() -> MCPServer:
    """The tools, the resource and the prompt."""
    desk = MCPServer("travel-desk", log_level="WARNING")
    booked: list[str] = []

    @desk.tool()
    def search_trips(to: str) -> list[Trip]:
        """Trips to a city."""
        return [Trip(number=f"T{price}", to=to, price=price) for price in (120, 480, 2400)]

    @desk.tool()
    def book_trip(to: str, price: Annotated[float, Field(ge=0)]) -> str:
        """Book one."""
        booked.append(to)
        return f"booked {to} for {price:.2f}"

    @desk.tool()
    def delete_trip(number: str) -> str:
        """Delete one."""
        return f"deleted {number}"

    @desk.tool()
    def itinerary(
        pages: int, office: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Office"})]
    ) -> str:
        """A long text, a KiB for each page; the office is mirrored in a header, Mcp-Param-Office."""
        return "\n".join([office, *(f"{page:08d}".ljust(1023, ".") for page in range(pages))])

    @desk.tool()
    async def compare_prices(sites: int, context: Context) -> str:
        """Report progress after each site."""
        for site in range(1, sites + 1):
            await context.report_progress(site, sites)
        return f"compared {sites}"

    @desk.tool()
    async def wait_for_seat(seconds: float) -> str:
        """Take long, unless cancelled."""
        print("waiting", flush=True)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
        return "a seat"

    async def ask() -> Elicit[Answer]:
        return Elicit("Are you sure?", Answer)

    @desk.tool()
    def cancel_trip(number: str, answer: Annotated[Answer, Resolve(ask)]) -> str:
        """Ask the person first, in the protocol's own way."""
        return f"cancelled {number}" if answer.sure else "nothing done"

    @desk.resource("trips://policy/{region}")
    def policy(region: str) -> str:
        """What a trip may cost there."""
        return f"{region}: at most 500.00"

    @desk.resource("trips://booked")
    def bookings() -> str:
        """What was booked."""
        return "\n".join(booked)

    @desk.prompt()
    def plan(city: str) -> str:
        """How to ask for a plan."""
        return f"Plan two days in {city}."

    return desk


def application() -> Starlette:
    """One server for each transport, side by side: their sessions are their own."""
    desks = {name: travel_desk() for name in PATHS}
    parts = [
        desks[name].streamable_http_app(
            streamable_http_path=PATHS[name],
            stateless_http=name == "stateless",
            json_response=name == "json",
            transport_security=_SECURITY,
        )
        for name in ("stateful", "stateless", "json")
    ]
    parts.append(
        desks["sse"].sse_app(
            sse_path=PATHS["sse"], message_path=_MESSAGES_PATH, transport_security=_SECURITY
        )
    )

    @asynccontextmanager
    async def sessions(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for name in ("stateful", "stateless", "json"):
                await stack.enter_async_context(desks[name].session_manager.run())
            yield

    return Starlette(routes=[route for part in parts for route in part.routes], lifespan=sessions)


def main() -> None:
    """Serve on a free port of loopback, which the first line says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"port {listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(application(), access_log=False, timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
