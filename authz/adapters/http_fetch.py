"""Makes an HTTP request for a small JSON document, bounded in size and time, to a checked address.

The other side can't redirect us: redirects are not followed, the environment's proxies are not
used, nothing is decompressed, and the name is looked up once, so that it can't lead elsewhere
later.
"""

import encodings.idna  # noqa: F401 - else loaded at the first request, from files; perhaps too many
import http.client
import ipaddress
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from authz.adapters.fetched import FetchError

MAX_ADDRESSES: Final = 4  # tried in turn: two families, two each; each gets a part of the time
_CHUNK_BYTES: Final = 16 * 1024
_HTTP_OK: Final = 200
_HEADERS: Final = {
    "accept": "application/json",
    "accept-encoding": "identity",  # nothing to decompress, so no zip bomb
    "user-agent": "agent-authz",
    "connection": "close",
}
JSON_TYPE: Final = re.compile(r"application/([a-z0-9.-]{1,64}\+)?json")
# Where clouds answer with credentials, beside the link-local range: AWS and Google over IPv6,
# Alibaba, Oracle.
_METADATA_ADDRESSES: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192")
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last bits
# X509_verify_cert of OpenSSL: self-signed, also within the chain; issuer not found, also for the
# leaf.
_OF_UNKNOWN_CA: Final = frozenset({18, 19, 20, 21})
_IPV4_MASK: Final = 2**32 - 1
# urllib3 warns about a head that it can't read and quotes the bytes: they may repeat our request.
logging.getLogger("urllib3").setLevel(logging.ERROR)


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
    """

    url: str
    max_bytes: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a secret
    body: bytes | None = field(default=None, repr=False)  # likewise
    context: ssl.SSLContext | None = None
    check_certificate: Callable[[bytes], None] | None = None
    allow_any_address: bool = False
    content_type: re.Pattern[str] = JSON_TYPE


@dataclass(frozen=True, slots=True)
class DocumentResponse:
    """The document, and the headers that came with it."""

    body: bytes
    headers: Mapping[str, str]


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
    parts = urlsplit(ask.url)
    addresses = _checked_addresses(parts, ask)
    try:
        with closing(_connected(parts, addresses, ask, deadline)) as connection:
            _check_certificate(connection, ask)
            return _exchanged(connection, parts, ask, deadline)
    except FetchError:
        raise
    except ssl.SSLCertVerificationError as error:
        cure = (
            ": name the CA that made it in ca_file" if error.verify_code in _OF_UNKNOWN_CA else ""
        )
        raise FetchError(f"its certificate is invalid: {error.verify_message}{cure}") from None
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            raise FetchError("Timeout: it took too long") from None
        raise FetchError(_words(error)) from None


def _words(error: Exception) -> str:
    # Other texts of these exceptions may quote what was received.
    if isinstance(error, ssl.SSLEOFError):
        return "it broke off TLS: it may ask for a certificate"
    if isinstance(error, ssl.SSLError):  # its reason is OpenSSL's name of the fault
        return error.reason or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _checked_addresses(parts: SplitResult, ask: DocumentRequest) -> list[str]:
    """Look up the name's first addresses. Raises FetchError when any is of a refused kind."""
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"can't look up the name: {_words(error)}") from None
    addresses = [str(address[0]) for *_, address in found]
    if not ask.allow_any_address and any(is_refused_address(text) for text in addresses):
        raise FetchError("the name resolves to a link-local, metadata or multicast address")
    return addresses[:MAX_ADDRESSES]


def is_refused_address(text: str) -> bool:
    """Tell whether an address is link-local, metadata, multicast or unspecified.

    Never a server's.
    """
    ip = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & _IPV4_MASK)
    special = ip.is_link_local or ip.is_multicast or ip.is_unspecified
    return special or ip in _METADATA_ADDRESSES


def _connected(
    parts: SplitResult, addresses: list[str], ask: DocumentRequest, deadline: float
) -> HTTPConnection:
    """Connect to the first address that accepts. Raises the error of the last attempt."""
    last: Exception = FetchError("the name has no address")
    for at, address in enumerate(addresses):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        # The TCP and the TLS handshake may take a timeout each.
        seconds = remaining / (len(addresses) - at) / 2
        connection = _connection(parts, address, ask, seconds)
        try:
            connection.connect()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            connection.close()
            last = _cause(error)
        else:
            return connection
    raise last


def _cause(error: Exception) -> Exception:
    """Return the system's error, from under urllib3's wrapping."""
    return error.__cause__ if isinstance(error.__cause__, OSError) else error


def _connection(
    parts: SplitResult, address: str, ask: DocumentRequest, timeout_seconds: float
) -> HTTPConnection:
    if parts.scheme == "http":
        return HTTPConnection(address, _port(parts), timeout=timeout_seconds)
    context = ask.context or tls_context(None)
    return HTTPSConnection(
        address,
        _port(parts),
        timeout=timeout_seconds,
        ssl_context=context,
        server_hostname=parts.hostname,
        assert_hostname=None if context.check_hostname else False,
    )


def _check_certificate(connection: HTTPConnection, ask: DocumentRequest) -> None:
    if ask.check_certificate is not None:
        sock = connection.sock
        der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
        ask.check_certificate(der or b"")


def _exchanged(
    connection: HTTPConnection, parts: SplitResult, ask: DocumentRequest, deadline: float
) -> DocumentResponse:
    with _cut_at(deadline, connection):
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
            answer = DocumentResponse(_body(response, ask.max_bytes), response.headers)
    if time.monotonic() >= deadline:  # a body that was cut off looks like a body without a length
        raise TimeoutError
    return answer


@contextmanager
def _cut_at(deadline: float, connection: HTTPConnection) -> Iterator[None]:
    """Cut the connection at the deadline, whatever its state.

    A socket's timeout is for one read; a sender of a byte a second would never reach it.
    """
    remaining = max(0.0, deadline - time.monotonic())
    sock = connection.sock
    sock.settimeout(remaining or 0.001)  # 0 would mean: never wait
    timer = threading.Timer(remaining, _shut, (sock,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(sock: socket.socket) -> None:
    try:
        # The plain socket's method: the reading thread uses the TLS layer.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # the socket is closed already


def _check_head(response: urllib3.BaseHTTPResponse, ask: DocumentRequest) -> None:
    if response.status != _HTTP_OK:
        raise StatusError(response.status)
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchError("it has a content-encoding that was not asked for")
    kind = media_type_of(response.headers)
    if kind and not ask.content_type.fullmatch(kind):
        raise FetchError("its content-type is not JSON")


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
