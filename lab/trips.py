"""The part of the mesh that speaks MCP: a server process behind the proxy, and its policy."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from lab.config_builder import AT_ALICE, AT_ISSUER, LAB
from lab.processes import Process

HOST: Final = "mcp.corp.example"
PATHS: Final[Mapping[str, str]] = {
    "stateful": "/trips/mcp",
    "stateless": "/trips/stateless",
    "json": "/trips/json",
    "sse": "/trips/sse",
}
RESOURCE: Final = f"https://{HOST}/trips"
METADATA: Final = f"https://{HOST}/.well-known/oauth-protected-resource/trips"
READ: Final = "trips:read"
BOOK: Final = "trips:book"

_RULES: Final = """\
trips-read:
  - hosts: [mcp.corp.example]
    methods: [GET, POST, DELETE]
    paths: [/trips/**]
    scopes: ["trips:read"]
    mcp:
      tools: [search_trips, itinerary, compare_prices, wait_for_seat, cancel_trip, who_asks]
      resources: ["trips://booked", "trips://policy/*"]
      prompts: [plan]
trips-book:
  - hosts: [mcp.corp.example]
    methods: [POST]
    paths: [/trips/**]
    scopes: ["trips:book"]
    when: operation.arguments.price <= 500.0
    mcp: {tools: [book_trip]}
"""
_ROUTES: Final = f"""\
- name: trips-json
  paths: [{PATHS["json"]}]
  protocol: mcp
  refusals: message
  resource: {RESOURCE}
- name: trips
  paths: [/trips/**]
  protocol: mcp
  resource: {RESOURCE}
"""
_FINANCE: Final = "https://mcp.corp.example/finance"
# What the lab's config has besides, when an MCP server is in the mesh.
CHANGES: Final = (
    LAB.with_routes(_ROUTES)
    .with_((*AT_ISSUER, "audiences"), [_FINANCE, RESOURCE])
    .with_items(("agents", 0, "grants"), "[trips-read, trips-book]", before=2)
    .with_items((*AT_ALICE, "grants"), "[trips-read, trips-book]", before=3)
    .with_keys(("grants",), _RULES)
)


class McpServer:
    """``lab.mcp_server`` as a process, behind loopback's port ``port``."""

    def __init__(self, folder: Path) -> None:
        """Start the server; its log is in the folder."""
        self.process = Process(
            "mcp-server", [sys.executable, "-m", "lab.mcp_server"], folder / "mcp-server.log"
        )
        self.port = 0

    def wait_ready(self) -> Self:
        """Wait until the server serves. Raises ProcessError."""
        self.process.wait_until(self._is_ready)
        return self

    def _is_ready(self) -> bool:
        log = self.process.log.read_text(errors="replace")
        for line in log.splitlines():
            if line.startswith("port "):
                self.port = int(line.removeprefix("port "))
        return "Application startup complete" in log
