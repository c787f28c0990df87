"""For operators: /metrics, /healthz and /readyz over plain HTTP, on loopback by default."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from pydantic import Field

from authz.settings import Settings

REQUEST_SECONDS: Final = 5.0  # a slow client loses its connection, not our thread
_POLL_SECONDS: Final = 0.1
Readiness = Callable[[], tuple[bool, dict[str, Any]]]


class AdminSettings(Settings):
    """Where operators look: /metrics, /healthz and /readyz."""

    listen: str = Field(default="127.0.0.1:9192", pattern=r"^.+:[0-9]{1,5}$")
    """host:port. There is no authentication: keep it where only operators come."""


class AdminError(RuntimeError):
    """The admin address can't be listened on; the message says which."""


class AdminServer:
    """The admin HTTP server."""

    def __init__(
        self, settings: AdminSettings, registry: CollectorRegistry, readiness: Readiness
    ) -> None:
        """Take the settings, the metrics, and who knows whether we are ready."""
        self.address = settings.listen
        self._registry = registry
        self._readiness = readiness
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen. Raises AdminError."""
        host, _, port = self.address.rpartition(":")
        try:
            server = ThreadingHTTPServer((host.strip("[]"), int(port)), self._handler())
        except (OSError, OverflowError) as error:
            raise AdminError(f"can't listen on {self.address} for admin: {error}") from None
        server.daemon_threads = True
        self.address = f"{host}:{server.server_port}"
        self._server = server
        threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="admin", daemon=True
        ).start()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        admin = self

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_SECONDS

            def do_GET(self) -> None:
                status, content_type, body = admin.answer(
                    self.path.partition("?")[0], self.headers.get("accept", "")
                )
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def version_string(self) -> str:
                return "agent-authz"

            def log_message(self, *_: object) -> None:
                """Nothing: scrapes are no news."""

        return Handler

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a GET."""
        if path == "/metrics":
            encoder, content_type = choose_encoder(accept)
            return 200, content_type, encoder(self._registry)
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if path == "/readyz":
            is_ready, checks = self._readiness()
            body = msgspec.json.encode({"ready": is_ready, "checks": checks}) + b"\n"
            return 200 if is_ready else 503, "application/json", body
        return 404, "text/plain", b"not found: try /metrics, /healthz or /readyz\n"
