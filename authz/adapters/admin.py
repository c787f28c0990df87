"""The HTTP server for operators, by default on loopback: metrics, health, what proxies present."""

import logging
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from authz.adapters.http_server import (
    NOT_ALLOWED,
    BoundedHttpServer,
    QuietHandler,
    ServerLimits,
    listen,
)

REQUEST_SECONDS: Final = 5.0  # a slow client loses its connection instead of holding our thread
MAX_CONNECTIONS: Final = 64  # at once, with a thread each: far more than probes and scrapes need
_log: Final = logging.getLogger("authz.admin")
_LIMITS: Final = ServerLimits("admin", REQUEST_SECONDS, MAX_CONNECTIONS)
Readiness = Callable[[], tuple[bool, dict[str, Any]]]
Stuck = Callable[[], Sequence[str]]
Presented = Callable[[], dict[str, Any]]


class AdminServer:
    """The admin HTTP server."""

    def __init__(
        self,
        address: str,
        registry: CollectorRegistry,
        readiness: Readiness,
        stuck: Stuck = tuple,
        presented: Presented = dict,
    ) -> None:
        """Take host:port or unix:/path; ``start`` listens there.

        ``registry`` has the metrics; ``readiness`` returns whether we are ready, and the checks of
        /readyz; ``stuck`` returns a line for each part of the process that has made no progress for
        too long; ``presented`` returns what proxies presented, for /presented.
        """
        self.address = address
        self._registry = registry
        self._readiness = readiness
        self._stuck = stuck
        self._presented = presented
        self._server: BoundedHttpServer | None = None

    def start(self) -> None:
        """Listen. Raises ListenError."""
        server = self._server = listen(self.address, self._handler(), _LIMITS)
        self.address = server.address_of(self.address)

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        admin = self

        class Handler(QuietHandler):
            timeout = REQUEST_SECONDS

            def do_GET(self) -> None:  # noqa: N802 - the library's name
                self.server.answering(self.connection)
                path, accept = self.path.partition("?")[0], self.headers.get("accept", "")
                try:
                    status, content_type, body = admin.answer(path, accept)
                except Exception as error:  # noqa: BLE001 - a probe needs an answer after any error
                    _log.error("can't answer a GET on the admin address: %s", type(error).__name__)
                    status, content_type, body = 500, "text/plain", b"internal error\n"
                self._reply(status, content_type, body)

            def refuse(self, status: int) -> None:
                self._reply(status, "text/plain", b"not served: plain GET only\n")

            def _reply(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                if status == NOT_ALLOWED:
                    self.send_header("allow", "GET")
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

        return Handler

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Return status, content type and body for a GET."""
        if path == "/metrics":
            encoder, content_type = choose_encoder(accept)
            return 200, content_type, encoder(self._registry)
        if path == "/healthz":
            stuck = self._stuck()
            body = "".join(f"{line}\n" for line in stuck or ["ok"]).encode()
            return 503 if stuck else 200, "text/plain", body
        if path == "/readyz":
            is_ready, checks = self._readiness()
            body = msgspec.json.encode({"ready": is_ready, "checks": checks}) + b"\n"
            return 200 if is_ready else 503, "application/json", body
        if path == "/presented":
            return 200, "application/json", msgspec.json.encode(self._presented()) + b"\n"
        return 404, "text/plain", b"not found: try /metrics, /healthz, /readyz or /presented\n"
