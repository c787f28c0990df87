"""A receiver of record batches: a real HTTP(S) server that a test scripts, stops and starts."""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.ca import Svid


@dataclass(frozen=True)
class Received:
    """A request: its body, its headers by lower-case name, and the number of its connection."""

    body: bytes
    headers: Mapping[str, str]
    path: str
    connection: int

    @property
    def lines(self) -> list[str]:
        """The body's lines."""
        return self.body.decode().splitlines()


@dataclass(frozen=True)
class Reply:
    """An answer; ``raw`` is sent as it is, before the connection is closed."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes | None = None

    @property
    def takes(self) -> bool:
        """Whether the batch counts as taken."""
        return 200 <= self.status < 300


CUT = Reply(status=0, raw=b"")  # the connection ends without an answer
Decide = Callable[[Received], Reply]


def always(reply: Reply) -> Decide:
    """Answer each batch with the same reply."""
    return lambda _: reply


class RecordReceiver:
    """The server. ``decide`` answers a batch, ``requests`` has all, ``taken`` those taken."""

    def __init__(self, tls: Svid | None = None, client_ca: Path | None = None) -> None:
        """Serve on a port of its own; with ``client_ca`` it demands a certificate of these CAs."""
        self.decide: Decide = always(Reply())
        self.requests: list[Received] = []
        self.taken: list[Received] = []
        self.connections = 0
        self._tls = None if tls is None else _context(tls, client_ca)
        self._port = 0
        self.start()
        scheme, host = ("https", "localhost") if tls is not None else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self._port}/records?stream=authz"

    def lines(self) -> list[str]:
        """Return the lines of the batches that were taken."""
        return [line for one in self.taken for line in one.lines]

    def show(self, tls: Svid) -> None:
        """Show another certificate from the next connection on."""
        assert self._tls is not None
        self._tls.load_cert_chain(tls.certificate_path, tls.key_path)

    def start(self) -> None:
        """Listen, on the port of before."""
        self._open: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self._port = self._server.server_port
        if self._tls is not None:  # a handshake is the handler's: nobody holds up the others
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.005,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and cut all connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.cut()

    def restart(self) -> None:
        """Stop, and start."""
        self.stop()
        self.start()

    def cut(self) -> None:
        """Cut the connections that are open."""
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                outer._open.add(self.request)
                outer.connections += 1
                self.number = outer.connections
                super().setup()

            def finish(self) -> None:
                with suppress(OSError):
                    super().finish()
                outer._open.discard(self.request)

            def do_POST(self) -> None:
                with suppress(OSError):
                    body = self.rfile.read(int(self.headers["content-length"]))
                    head = {name.lower(): value for name, value in self.headers.items()}
                    outer.answer(self, Received(body, head, self.path, self.number))

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler, received: Received) -> None:
        """Decide about a batch, note it, and answer."""
        self.requests.append(received)
        reply = self.decide(received)
        if reply.takes:
            self.taken.append(received)
        if reply.raw is not None:
            handler.close_connection = True
            handler.wfile.write(reply.raw)
            return
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        if reply.status != 204:  # which has no body (RFC 9110 section 15.3.5)
            handler.send_header("content-length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)


def _context(tls: Svid, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate_path, tls.key_path)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
