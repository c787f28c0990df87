"""The HTTP server for operators, by default on loopback: metrics, health, what proxies present."""

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from authz.adapters.http_server import BoundedHttpServer, RequestHead, ServerLimits

REQUEST_SECONDS: Final = 5.0  # a slow client loses its connection instead of holding our thread
MAX_CONNECTIONS: Final = 64  # at once, with a thread each: far more than probes and scrapes need
_NOT_IMPLEMENTED: Final = 501  # the standard library's answer to an unsupported method
_NOT_ALLOWED: Final = 405
_POLL_SECONDS: Final = 0.1
_log: Final = logging.getLogger("authz.admin")
_LIMITS: Final = ServerLimits("admin", REQUEST_SECONDS, MAX_CONNECTIONS)
Readiness = Callable[[], tuple[bool, dict[str, Any]]]
Stuck = Callable[[], Sequence[str]]
Presented = Callable[[], dict[str, Any]]


class AdminError(RuntimeError):
    """Signals that the server can't listen on the admin address; the message says which and why."""


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
        """Listen. Raises AdminError."""
        host, _, port = self.address.rpartition(":")
        try:
            if host == "unix":
                server = BoundedHttpServer(socket.AF_UNIX, port, self._handler(), _LIMITS)
            else:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                place = host.strip("[]"), int(port)
                server = BoundedHttpServer(family, place, self._handler(), _LIMITS)
                self.address = f"{host}:{server.server_port}"
        except (OSError, OverflowError) as error:
            raise AdminError(f"can't listen on {self.address} for admin: {error}") from None
        thread = threading.Thread(
            target=server.serve_forever, args=(_POLL_SECONDS,), name="admin", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the system has no more threads
            server.server_close()
            raise AdminError(f"can't listen on {self.address} for admin: {error}") from None
        self._server = server

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
            server: BoundedHttpServer

            def parse_request(self) -> bool:
                self.rfile = RequestHead(self.rfile)  # type: ignore[assignment] # all that is used
                return super().parse_request()

            def do_GET(self) -> None:
                self.server.answering(self.connection)
                path, accept = self.path.partition("?")[0], self.headers.get("accept", "")
                try:
                    status, content_type, body = admin.answer(path, accept)
                except Exception as error:  # noqa: BLE001 - a probe needs an answer after any error
                    _log.error("can't answer a GET on the admin address: %s", type(error).__name__)
                    status, content_type, body = 500, "text/plain", b"internal error\n"
                self._reply(status, content_type, body)

            def send_error(
                self, code: int, message: str | None = None, explain: str | None = None
            ) -> None:
                """Refuse in plain text, which repeats nothing of the request."""
                del message, explain
                status = _NOT_ALLOWED if code == _NOT_IMPLEMENTED else code
                self._reply(status, "text/plain", b"not served: plain GET only\n")

            def _reply(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                if status == _NOT_ALLOWED:
                    self.send_header("allow", "GET")
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def version_string(self) -> str:
                return "agent-authz"

            def log_message(self, *_: object) -> None:
                """Log nothing, as scrapes are frequent."""

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
