"""Makes an HTTP request for a small JSON document, bounded in size and time, to a checked address.

The other side can't redirect us: redirects are not followed, the environment's proxies are not
used, nothing is decompressed, and the name is looked up once, so that it can't lead elsewhere
later.
"""

import re
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.connection import HTTPConnection

from authz.adapters.fetched import FetchError
from authz.adapters.http_connection import (
    HTTP_FAULTS,
    HttpServer,
    connected,
    cut_at,
    told_fault,
)
from authz.core.urls import is_plaintext

_CHUNK_BYTES: Final = 16 * 1024
_HTTP_OK: Final = 200
_HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "identity",  # nothing to decompress, so no zip bomb
    "user-agent": "agent-authz",
    "connection": "close",
}
JSON_TYPE: Final = re.compile(r"application/([a-z0-9.-]{1,64}\+)?json")


class StatusError(FetchError):
    """Signals that the answer's status is not 200."""

    def __init__(self, status: int, hint: str = "") -> None:
        """Take the status, which the message names, and the remedy for the operator."""
        super().__init__(f"status {status}: {hint}" if hint else f"status {status}")
        self.status = status


class TooLargeError(FetchError):
    """Signals that the document is too large: the server is reachable, and answers."""


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """A request, and the conditions on its answer.

    Attributes:
        url: http or https; the caller has checked it.
        max_bytes: the limit of the answer's body.
        headers: further headers, by lower-case name.
        body: the body to post; None for a GET.
        context: verifies the server, for https; None for the system's CAs.
        check_certificate: checks the server's certificate (DER) further; raises FetchError.
        allow_any_address: accepts link-local, metadata and multicast addresses as well.
        content_type: the accepted types of the answer, in lower case; an answer without a type
            passes.
        type_name: of these types, in messages.
        refusals: statuses besides 200 whose documents are wanted too.
    """

    url: str
    max_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a secret
    body: bytes | None = field(default=None, repr=False)  # likewise
    context: ssl.SSLContext | None = None
    check_certificate: Callable[[bytes], None] | None = None
    allow_any_address: bool = False
    content_type: re.Pattern[str] = JSON_TYPE
    type_name: str = "JSON"
    refusals: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class DocumentResponse:
    """The document, the headers that came with it, and its status: 200, or one of ``refusals``."""

    body: bytes = field(repr=False)  # may hold a token
    headers: Mapping[str, str] = field(repr=False)
    status: int = _HTTP_OK


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts a PEM file's CAs, or the system's. Raises FetchError."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:  # whose text is OpenSSL's
        why = "no PEM certificates, such as the CA's between BEGIN and END lines"
        raise FetchError(f"ca_file: {why}") from None
    except OSError as error:
        raise FetchError(f"ca_file: {error.strerror}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def fetch_document(ask: DocumentRequest, deadline: float) -> DocumentResponse:
    """Fetch a document. Raises FetchError.

    Ends at ``deadline`` (monotonic seconds), however slowly the other side sends. Only the look-up
    of the name is additional, and takes as long as the system's resolver does.
    """
    server = HttpServer(urlsplit(ask.url), _context(ask), ask.allow_any_address)
    try:
        with closing(connected(server, deadline)) as connection:
            _check_certificate(connection, ask)
            return _exchanged(connection, server.parts, ask, deadline)
    except HTTP_FAULTS as error:
        raise told_fault(error, deadline) from None


def _context(ask: DocumentRequest) -> ssl.SSLContext | None:
    if is_plaintext(ask.url):
        return None
    return ask.context or tls_context(None)


def _check_certificate(connection: HTTPConnection, ask: DocumentRequest) -> None:
    if ask.check_certificate is not None:
        sock = connection.sock
        der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
        ask.check_certificate(der or b"")


def _exchanged(
    connection: HTTPConnection, parts: SplitResult, ask: DocumentRequest, deadline: float
) -> DocumentResponse:
    with cut_at(deadline, connection):
        connection.request(
            "GET" if ask.body is None else "POST",
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            body=ask.body,
            headers={**_HEADERS, **ask.headers, "host": parts.netloc},
            preload_content=False,
            decode_content=False,
        )
        with closing(connection.getresponse()) as response:
            _check_head(response, ask)
            body = _body(response, ask.max_bytes)
            answer = DocumentResponse(body, response.headers, response.status)
    if time.monotonic() >= deadline:  # a body that was cut off looks like a body without a length
        raise TimeoutError
    return answer


def _check_head(response: urllib3.BaseHTTPResponse, ask: DocumentRequest) -> None:
    if response.status != _HTTP_OK and response.status not in ask.refusals:
        raise StatusError(response.status)
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchError("it has a content-encoding that was not asked for")
    kind = media_type_of(response.headers)
    if kind and not ask.content_type.fullmatch(kind):
        if response.status != _HTTP_OK:  # a page of some proxy, perhaps
            raise StatusError(response.status)
        raise FetchError(f"its content-type is not {ask.type_name}")


def media_type_of(headers: Mapping[str, str]) -> str:
    """Return the content-type without its parameters, in lower case; "" if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _body(response: urllib3.BaseHTTPResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise TooLargeError(f"it is larger than {max_bytes} bytes")
    return bytes(body)
