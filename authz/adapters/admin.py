"""The HTTP server for operators, by default on loopback: metrics, health, what proxies present."""

import logging
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from socketserver import TCPServer
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

REQUEST_SECONDS: Final = 5.0  # a slow client loses its connection instead of holding our thread
# A probe has some hundred; parsing megabytes would slow down others.
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_CONNECTIONS: Final = 64  # at once, with a thread each: far more than probes and scrapes need
_NOT_IMPLEMENTED: Final = 501  # the standard library's answer to an unsupported method
_NOT_ALLOWED: Final = 405
_POLL_SECONDS: Final = 0.1
_log: Final = logging.getLogger("authz.admin")
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
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Listen. Raises AdminError."""
        host, _, port = self.address.rpartition(":")
        try:
            if host == "unix":
                server = _HttpServer(socket.AF_UNIX, port, self._handler())
            else:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                server = _HttpServer(family, (host.strip("[]"), int(port)), self._handler())
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
            server: _HttpServer

            def parse_request(self) -> bool:
                self.rfile = _Headers(self.rfile)  # type: ignore[assignment] # all that is used
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


class _Headers:
    """The lines of a request's headers, at most MAX_HEADER_BYTES in all."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._left = MAX_HEADER_BYTES

    def readline(self, size: int) -> bytes:
        """Read a line of the file. Raises LineTooLong, to which the library answers 431."""
        line: bytes = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("header")
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _HttpServer(ThreadingHTTPServer):
    """An HTTP server with at most MAX_CONNECTIONS, each for REQUEST_SECONDS in all.

    A client that trickles bytes gets no more time. If there are too many connections, the oldest
    idle one is closed: so silent connections do not keep a probe from being answered.
    """

    daemon_threads = True
    request_queue_size = MAX_CONNECTIONS  # with the library's 5, a burst waits seconds for a retry

    def __init__(
        self,
        family: socket.AddressFamily,
        address: str | tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
    ) -> None:
        self.address_family = family
        self._ends: dict[socket.socket, float] = {}  # oldest first; all threads change it
        self._answering: set[socket.socket] = set()
        super().__init__(address, handler)  # type: ignore[arg-type] # a path will do

    def server_bind(self) -> None:
        """Bind, without HTTPServer's look-up of our own name: DNS may be slow."""
        TCPServer.server_bind(self)
        self.server_name = "agent-authz"
        if self.address_family != socket.AF_UNIX:
            self.server_port = self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """Serve a connection, unless too many are being answered."""
        if len(self._ends) >= MAX_CONNECTIONS and not self._make_room():
            self.shutdown_request(request)
            return
        self._ends[request] = time.monotonic() + REQUEST_SECONDS
        super().process_request(request, client_address)

    def _make_room(self) -> bool:
        """End the oldest connection whose request has not arrived; return whether there was one.

        Silent connections are ended before those that go on sending.
        """
        waiting = [sock for sock in list(self._ends) if sock not in self._answering]
        silent = (sock for sock in waiting if not _has_said_more(sock))
        request = next(silent, next(iter(waiting), None))
        if request is None:
            return False
        self._ends.pop(request, None)
        _end(request)
        return True

    def answering(self, request: socket.socket) -> None:
        """Note that a complete request has arrived: this connection is not idle."""
        self._answering.add(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as inherited
        """Close a connection."""
        self._ends.pop(request, None)
        self._answering.discard(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End the connections whose time has run out; called at each poll."""
        now = time.monotonic()
        for request, end in list(self._ends.items()):
            if now >= end:
                _end(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log an error by its type, without its text; a client that left is not logged."""
        del request, client_address
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _log.error("a connection to the admin address failed: %s", type(error).__name__)


def _end(request: socket.socket) -> None:
    """Wake the thread that reads from a connection, which then closes it."""
    with suppress(OSError):  # it has just ended by itself
        request.shutdown(socket.SHUT_RDWR)


def _has_said_more(request: socket.socket) -> bool:
    """Tell whether unread bytes wait, such as a probe's that a busy machine has not read yet."""
    waiting = select.poll()
    with suppress(ValueError):  # it has just been closed
        waiting.register(request, select.POLLIN)
    return bool(waiting.poll(0))
