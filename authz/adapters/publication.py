"""Publishes an issuer's public keys and metadata on an address of its own (RFC 7517, RFC 8414).

Whoever verifies our tokens fetches them now and then, so the library's server is enough, within
limits. It is asked by GET or HEAD alone, reads no body, and tells nobody anything that is secret.
"""

import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import ClassVar, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from authz.adapters.http_server import (
    NOT_ALLOWED,
    BoundedHttpServer,
    QuietHandler,
    ServerLimits,
    listen,
)
from authz.adapters.listener_certificate import ListenerCertificate
from authz.adapters.signing.timeline import MAX_AGE_SECONDS

REQUEST_SECONDS: Final = 10.0  # with TLS
CONNECTIONS: Final = 32  # at once, with a thread each
# A TLS handshake takes a millisecond or two of a core that decides too.
ACCEPTED_A_SECOND: Final = 50.0
JWKS: Final = "/jwks.json"
METADATA: Final = "/.well-known/oauth-authorization-server"  # RFC 8414 section 3
_LIMITS: Final = ServerLimits("keys", REQUEST_SECONDS, CONNECTIONS, ACCEPTED_A_SECOND)
_log: Final = logging.getLogger("authz.publication")


class Document(NamedTuple):
    """What a path is answered with: its media type, and a function that returns it as it is now."""

    content_type: str
    content: Callable[[], bytes]


def documents(issuer: str, keys: Callable[[], bytes]) -> Mapping[str, Document]:
    """Return the documents of an issuer by path; ``keys`` returns its JWK Set.

    The metadata of an issuer with a path are where RFC 8414 section 3.1 has clients look.
    """
    base = issuer.rstrip("/")
    path = urlsplit(base).path
    key_set = Document("application/jwk-set+json", keys)  # RFC 7517 section 8.5.2
    about = msgspec.json.encode({"issuer": issuer, "jwks_uri": base + JWKS})
    metadata = Document("application/json", lambda: about)
    return {JWKS: key_set, path + JWKS: key_set, METADATA + path: metadata}


class Publication:
    """The HTTP server of an issuer's documents."""

    def __init__(
        self,
        address: str,
        documents: Mapping[str, Document],
        certificate: ListenerCertificate | None,
    ) -> None:
        """Take host:port, the documents by path, and the certificate; ``start`` listens."""
        self.address = address
        self.documents = documents
        self._certificate = certificate
        self._server: BoundedHttpServer | None = None

    def start(self) -> None:
        """Listen. Raises ListenError."""
        context = None if self._certificate is None else self._certificate.context
        handler = type("Handler", (_Handler,), {"publication": self})
        server = self._server = listen(self.address, handler, _LIMITS, context)
        self.address = server.address_of(self.address)
        _log.info("publishing keys", extra={"listen": self.address})

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.stop()
            self._server = None


class _Handler(QuietHandler):
    """Answers a request; a subclass has the publication."""

    publication: ClassVar[Publication]
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        self.server.answering(self.connection)
        document = self.publication.documents.get(self.path.partition("?")[0])
        if document is None:
            self.refuse(404)
            return
        try:
            content = document.content()
        except Exception as error:  # noqa: BLE001 - others try again
            _log.error("can't publish: %s", type(error).__name__)
            self.refuse(500)
            return
        self._publish(document.content_type, content)

    def do_HEAD(self) -> None:  # noqa: N802 - likewise
        self.do_GET()

    def _publish(self, content_type: str, content: bytes) -> None:
        """Answer with a document, which may be kept for as long as a new key waits at least."""
        tag = f'"{sha256(content).hexdigest()[:32]}"'
        kept = (("cache-control", f"public, max-age={MAX_AGE_SECONDS}"), ("etag", tag))
        if self.headers.get("if-none-match") == tag:  # RFC 9110 section 13.1.2
            self._reply(304, b"", *kept)
            return
        self._reply(200, content, ("content-type", content_type), *kept)

    def refuse(self, status: int) -> None:
        """Answer a request that is not served."""
        allowed = (("allow", "GET, HEAD"),) if status == NOT_ALLOWED else ()
        self._reply(status, b"", *allowed)

    def _reply(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
