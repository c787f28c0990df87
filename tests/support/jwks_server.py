"""An HTTP server on loopback that answers as a test scripts it, well or badly."""

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from lab.ca import Svid
from lab.issuer import SigningKey, make_key

Behaviour = Callable[[BaseHTTPRequestHandler], None]


def key_set(*keys: SigningKey) -> bytes:
    """Return a JWK Set of these keys."""
    return json.dumps({"keys": [key.jwk() for key in keys]}).encode()


def ec_key(key_id: str) -> SigningKey:
    """Make a new P-256 key."""
    return SigningKey(key_id, "ES256", make_key("ES256"))


def answer(
    body: bytes = b"",
    status: int = 200,
    content_type: str | None = "application/jwk-set+json",
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer at once."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if content_type is not None:
            handler.send_header("content-type", content_type)
        handler.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def raw(*parts: bytes, pause_seconds: float = 0.0) -> Behaviour:
    """Send these bytes, whatever they are, with pauses between, then close."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        pause = threading.Event()
        for part in parts:
            handler.wfile.write(part)
            pause.wait(pause_seconds)

    return behave


def held(until: threading.Event, then: Behaviour) -> Behaviour:
    """Answer no sooner than the event, which the test must set."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        until.wait(60)
        then(handler)

    return behave


def demanding(token: str, then: Behaviour) -> Behaviour:
    """Answer a request that has the bearer token; refuse any other (RFC 6750 section 3)."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        is_right = handler.headers.get_all("authorization") == [f"Bearer {token}"]
        (then if is_right else answer(b"{}", 401))(handler)

    return behave


class ScriptedServer:
    """A server whose paths behave as ``paths`` says; it counts requests and keeps their texts."""

    def __init__(
        self,
        behaviour: Behaviour | None = None,
        tls: Svid | None = None,
        client_ca: Path | None = None,
    ) -> None:
        """Serve ``behaviour`` at /jwks, over TLS when given a certificate.

        With ``client_ca`` it demands a certificate of these CAs of its clients.
        """
        self.paths: dict[str, Behaviour] = {}
        if behaviour is not None:
            self.paths["/jwks"] = behaviour
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[bytes] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                head = {name.lower(): value for name, value in self.headers.items()}
                outer.requests.append((self.path, head))
                behave = outer.paths.get(self.path, answer(b"{}", 404))
                try:
                    behave(self)
                except OSError:  # the fetcher has left
                    self.close_connection = True

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers["content-length"]))
                outer.bodies.append(self.body)
                self.do_GET()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_port
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.use(tls)
            if client_ca is not None:
                self._tls.load_verify_locations(client_ca)
                self._tls.verify_mode = ssl.CERT_REQUIRED
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        scheme, host = ("https", "localhost") if tls is not None else ("http", "127.0.0.1")
        self.base = f"{scheme}://{host}:{self.port}"
        self.url = f"{self.base}/jwks"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    @property
    def fetches(self) -> int:
        """The count of requests so far."""
        return len(self.requests)

    def serve(self, behaviour: Behaviour) -> None:
        """Behave like this at /jwks from now on."""
        self.paths["/jwks"] = behaviour

    def use(self, tls: Svid) -> None:
        """Show another certificate from the next connection on."""
        self._tls.load_cert_chain(tls.certificate_path, tls.key_path)

    def close(self) -> None:
        """Stop serving. A second time does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
