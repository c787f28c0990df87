"""An HTTP server of few threads for few clients: bounded in connections, bytes and time.

It is the standard library's, with a thread for each connection and one request on each. What the
library leaves open is closed here: a slow client loses its connection, and silent ones make room.
"""

import logging
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from socketserver import TCPServer
from typing import Any, Final

# A probe has some hundred; parsing megabytes would slow down others.
MAX_HEADER_BYTES: Final = 16 * 1024
NOT_ALLOWED: Final = 405
_NOT_IMPLEMENTED: Final = 501  # the standard library's answer to an unsupported method
_POLL_SECONDS: Final = 0.1
_log: Final = logging.getLogger("authz.http")


class ListenError(RuntimeError):
    """Signals that the server can't listen; the message says where, for what, and why."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """The limits of a server.

    Attributes:
        name: what its address is for, in log lines.
        request_seconds: how long a connection may take in all, with its TLS handshake.
        connections: the most at once.
        accepted_a_second: the most new ones in a second; others wait in the system's queue.
    """

    name: str
    request_seconds: float
    connections: int
    accepted_a_second: float = float("inf")


class RequestHead:
    """The lines of a request's headers, at most MAX_HEADER_BYTES in all."""

    def __init__(self, file: BufferedIOBase) -> None:
        """Take the file of a connection."""
        self._file = file
        self._left = MAX_HEADER_BYTES

    def readline(self, size: int) -> bytes:
        """Read a line of the file. Raises LineTooLong, to which the library answers 431."""
        line: bytes = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("header")
        return line

    def read(self, size: int) -> bytes:
        """Read bytes of the body, fewer only at its end."""
        data: bytes = self._file.read(size)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class BoundedHttpServer(ThreadingHTTPServer):
    """An HTTP server within its limits.

    A client that trickles bytes gets no more time. If there are too many connections, the oldest
    idle one is closed: so silent connections do not keep a request from being answered.
    """

    daemon_threads = True

    def __init__(
        self,
        family: socket.AddressFamily,
        address: str | tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        limits: ServerLimits,
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """Bind and listen. Raises OSError, OverflowError.

        ``context`` returns the TLS context of a new connection; None for plain HTTP.
        """
        self.address_family = family
        # With the library's 5, a burst waits seconds for a retry.
        self.request_queue_size = limits.connections
        self._limits = limits
        self._context = context
        self._next_at = 0.0  # monotonic seconds: when a further connection may be accepted
        self._ends: dict[socket.socket, float] = {}  # oldest first; all threads change it
        self._answering: set[socket.socket] = set()
        super().__init__(address, handler)  # type: ignore[arg-type] # a path will do

    def server_bind(self) -> None:
        """Bind, without HTTPServer's look-up of our own name: DNS may be slow."""
        TCPServer.server_bind(self)
        self.server_name = "agent-authz"
        if self.address_family != socket.AF_UNIX:
            self.server_port = self.server_address[1]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its thread makes the TLS handshake. Raises OSError."""
        self._keep_pace()
        connection, address = super().get_request()
        if self._context is None:
            return connection, address
        wrap = self._context().wrap_socket
        return wrap(connection, server_side=True, do_handshake_on_connect=False), address

    def _keep_pace(self) -> None:
        """Wait until a further connection may be accepted: handshakes take processor time."""
        now = time.monotonic()
        if self._next_at > now:
            time.sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + 1 / self._limits.accepted_a_second

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """Serve a connection, unless too many are being answered."""
        if len(self._ends) >= self._limits.connections and not self._make_room():
            self.shutdown_request(request)
            return
        self._ends[request] = time.monotonic() + self._limits.request_seconds
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as inherited
        """Answer, in the connection's thread, after the TLS handshake if there is one."""
        if isinstance(request, ssl.SSLSocket):
            request.settimeout(self._limits.request_seconds)
            request.do_handshake()
        super().finish_request(request, client_address)

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

    def stop(self) -> None:
        """Stop listening. Requests under way end by their time."""
        self.shutdown()
        self.server_close()

    def address_of(self, listen: str) -> str:
        """Return the address that it was asked to listen on, with the port that it has."""
        host, _, _ = listen.rpartition(":")
        return listen if host == "unix" else f"{host}:{self.server_port}"

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
            name = self._limits.name
            _log.error("a connection to the %s address failed: %s", name, type(error).__name__)


class QuietHandler(BaseHTTPRequestHandler):
    """Reads the head of a request within its limit; tells nobody of the request or the library."""

    server: BoundedHttpServer

    def parse_request(self) -> bool:
        """Parse the request line and the headers."""
        self.rfile = RequestHead(self.rfile)  # type: ignore[assignment] # all that is used
        return super().parse_request()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse, and repeat nothing of the request."""
        del message, explain
        self.refuse(NOT_ALLOWED if code == _NOT_IMPLEMENTED else code)

    def refuse(self, status: int) -> None:
        """Answer a request that is not served: NOT_ALLOWED for another method."""
        raise NotImplementedError

    def version_string(self) -> str:
        """Return the server's name, without its version."""
        return "agent-authz"

    def log_message(self, *_: object) -> None:
        """Log nothing, as scrapes are frequent, and what comes from clients is not for the log."""


def listen(
    address: str,
    handler: type[BaseHTTPRequestHandler],
    limits: ServerLimits,
    context: Callable[[], ssl.SSLContext] | None = None,
) -> BoundedHttpServer:
    """Listen on host:port or unix:/path, and answer from a thread on. Raises ListenError.

    ``context`` is as in ``BoundedHttpServer``.
    """
    fault = f"can't listen on {address} for {limits.name}"
    host, _, port = address.rpartition(":")
    try:
        if host == "unix":
            server = BoundedHttpServer(socket.AF_UNIX, port, handler, limits, context)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            place = host.strip("[]"), int(port)
            server = BoundedHttpServer(family, place, handler, limits, context)
    except (OSError, OverflowError) as error:
        raise ListenError(f"{fault}: {error}") from None
    thread = threading.Thread(
        target=server.serve_forever, args=(_POLL_SECONDS,), name=limits.name, daemon=True
    )
    try:
        thread.start()
    except RuntimeError as error:  # the system has no more threads
        server.server_close()
        raise ListenError(f"{fault}: {error}") from None
    return server


def _end(request: socket.socket) -> None:
    """Wake the thread that reads from a connection, which then closes it."""
    with suppress(OSError):  # it has just ended by itself
        # The plain socket's method: the reading thread uses the TLS layer.
        socket.socket.shutdown(request, socket.SHUT_RDWR)


def _has_said_more(request: socket.socket) -> bool:
    """Tell whether unread bytes wait, such as a probe's that a busy machine has not read yet."""
    waiting = select.poll()
    with suppress(ValueError):  # it has just been closed
        waiting.register(request, select.POLLIN)
    return bool(waiting.poll(0))
