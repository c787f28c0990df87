"""An MCP server made with the official SDK: a travel desk, over every HTTP transport it has.

Run as a process by ``lab.trips``. It does not decide who may call what: the proxy does.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Final

import uvicorn
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel, Field
from starlette.applications import Starlette

from lab.trips import HOST, PATHS

BOOKED: Final = "trips://booked"
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


async def ask() -> Elicit[Answer]:
    """A question to the person, in the way of the protocol's version."""
    return Elicit("Are you sure?", Answer)


class TravelDesk:
    """Its tools, resources and prompts. The docstrings are what clients read of them."""

    def __init__(self) -> None:
        """Begin without bookings."""
        self._booked: list[str] = []

    def server(self) -> MCPServer:
        """Build the server."""
        server = MCPServer("travel-desk", log_level="WARNING")
        tools = (
            self.search_trips,
            self.book_trip,
            self.delete_trip,
            self.cancel_trip,
            self.who_asks,
            self.itinerary,
            self.compare_prices,
            self.wait_for_seat,
        )
        for tool in tools:
            server.add_tool(tool)
        server.resource(BOOKED)(self.bookings)
        server.resource("trips://policy/{region}")(self.policy)
        server.prompt()(self.plan)
        return server

    def search_trips(self, to: str) -> list[Trip]:
        """Trips to a city."""
        return [Trip(number=f"T{price}", to=to, price=price) for price in (120, 480, 2400)]

    async def book_trip(self, to: str, price: float, context: Context) -> str:
        """Book one."""
        self._booked.append(to)
        await context.notify_resource_updated(BOOKED)  # to those who listen
        await context.session.send_resource_updated(BOOKED)  # on the stream of an older session
        return f"booked {to} for {price:.2f}"

    def delete_trip(self, number: str) -> str:
        """Delete one."""
        print("deleted", flush=True)
        return f"deleted {number}"

    def cancel_trip(self, number: str, answer: Annotated[Answer, Resolve(ask)]) -> str:
        """Cancel one; the person is asked first."""
        return f"cancelled {number}" if answer.sure else "nothing done"

    def who_asks(self, context: Context) -> str:
        """Who the caller is: what stands in the headers that the proxy sets. The token does not."""
        headers = context.headers or {}
        assert "authorization" not in headers
        return f"{headers['x-agent-id']} for {headers['x-agent-principal']}"

    def itinerary(
        self,
        pages: int,
        office: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Office"})],
    ) -> str:
        """A long text, a KiB for each page. The office goes into a header too, Mcp-Param-Office."""
        return "\n".join([office, *(f"{page:08d}".ljust(1023, ".") for page in range(pages))])

    async def compare_prices(self, sites: int, context: Context) -> str:
        """Compare prices; there is progress after each site."""
        for site in range(1, sites + 1):
            await context.report_progress(site, sites)
        return f"compared {sites}"

    async def wait_for_seat(self, seconds: float) -> str:
        """Wait that long, unless cancelled."""
        print("waiting", flush=True)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
        return "a seat"

    def policy(self, region: str) -> str:
        """What a trip may cost there."""
        return f"{region}: at most 500.00"

    def bookings(self) -> str:
        """What was booked."""
        return "\n".join(self._booked)

    def plan(self, city: str) -> str:
        """How to ask for a plan."""
        return f"Plan two days in {city}."


def application() -> Starlette:
    """Build an application with a server for each transport, each with its own sessions."""
    streamable = {name: TravelDesk().server() for name in ("stateful", "stateless", "json")}
    parts = [
        server.streamable_http_app(
            streamable_http_path=PATHS[name],
            stateless_http=name == "stateless",
            json_response=name == "json",
            transport_security=_SECURITY,
        )
        for name, server in streamable.items()
    ]
    sse = TravelDesk().server()
    parts.append(
        sse.sse_app(
            sse_path=PATHS["sse"], message_path=_MESSAGES_PATH, transport_security=_SECURITY
        )
    )

    @asynccontextmanager
    async def sessions(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for server in streamable.values():
                await stack.enter_async_context(server.session_manager.run())
            yield

    return Starlette(routes=[route for part in parts for route in part.routes], lifespan=sessions)


def main() -> None:
    """Serve on a free port of loopback, and print it as the first line."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"port {listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(application(), access_log=False, timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
