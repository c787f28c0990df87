"""One GET of a small JSON document, bounded in size and in time, to an address that was checked.

Nothing the other side sends steers us: no redirect is followed, no proxy of the environment is
used, nothing is unpacked, and the name is looked up once, so that it can't lead elsewhere later.
"""

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from authz.keys.jwk import MAX_DOCUMENT_BYTES
from authz.keys.settings import KeySettings
from authz.reason import Denied
from authz.svid import checked_svid

MAX_ADDRESSES: Final = 4  # tried in turn: two families, two each; each gets a part of the time
_CHUNK_BYTES: Final = 16 * 1024
_HTTP_OK: Final = 200
_HEADERS: Final = {
    "accept": "application/jwk-set+json, application/json",
    "accept-encoding": "identity",  # nothing to unpack, so no bomb
    "user-agent": "agent-authz",
    "connection": "close",
}
_JSON_TYPE: Final = re.compile(r"application/([a-z0-9.-]{1,64}\+)?json")
_MAX_AGE: Final = re.compile(r"max-age=\"?([0-9]{1,10})\"?")
# Where clouds answer with credentials, beside the link-local range: AWS and Google over IPv6,
# Alibaba, Oracle.
_METADATA_ADDRESSES: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192")
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last bits
_IPV4_MASK: Final = 2**32 - 1


class FetchError(Exception):
    """The document can't be had; the message says why, in words without any of its content."""


class StatusError(FetchError):
    """The answer's status is another than 200."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document, and for how many seconds its sender calls it fresh (RFC 9111), if it does."""

    body: bytes
    max_age_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """Who the other side has to be by SPIFFE, instead of by a name that the web's CAs know.

    Attributes:
        spiffe_id: the one URI name of its certificate.
        authorities: PEM of its trust domain's CA certificates.
    """

    spiffe_id: str
    authorities: str


def read_file(path: Path) -> bytes:
    """A document from a file. Raises FetchError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FetchError(f"{path}: larger than {MAX_DOCUMENT_BYTES} bytes")
    return data


def get(url: str, settings: KeySettings, deadline: float, peer: Peer | None = None) -> Fetched:
    """GET the URL's document. Raises FetchError.

    Ends at ``deadline`` (monotonic seconds), however slowly the other side sends. Only the look-up
    of the name comes on top, for as long as the system's resolver takes.
    """
    parts = urlsplit(url)
    addresses = _checked_addresses(parts, settings)
    try:
        with closing(_connected(parts, addresses, settings, peer, deadline)) as connection:
            _check_peer(connection, peer)
            return _exchange(connection, parts, deadline)
    except FetchError:
        raise
    except ssl.SSLCertVerificationError as error:
        raise FetchError(f"its certificate is not good: {error.verify_message}") from None
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
        if time.monotonic() >= deadline or isinstance(error, TimeoutError):
            raise FetchError("Timeout: took too long") from None
        raise FetchError(_words(error)) from None


def _words(error: Exception) -> str:
    # Other texts of these exceptions may quote what was received.
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _checked_addresses(parts: SplitResult, settings: KeySettings) -> list[str]:
    """The name's first addresses. Raises FetchError when any leads to where no issuer is."""
    try:
        found = socket.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"the name can't be looked up: {_words(error)}") from None
    addresses = [str(address[0]) for *_, address in found]
    if not settings.allow_any_address and any(is_refused_address(text) for text in addresses):
        raise FetchError("the name leads to a link-local, metadata or multicast address")
    return addresses[:MAX_ADDRESSES]


def is_refused_address(text: str) -> bool:
    """Whether an IP address is of a kind where no issuer is: link-local, metadata, multicast."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in _NAT64:
            ip = ipaddress.IPv4Address(int(ip) & _IPV4_MASK)
    special = ip.is_link_local or ip.is_multicast or ip.is_unspecified
    return special or ip in _METADATA_ADDRESSES


def _connected(
    parts: SplitResult,
    addresses: list[str],
    settings: KeySettings,
    peer: Peer | None,
    deadline: float,
) -> HTTPConnection:
    """A connection to the first address that takes one. Raises the last one's error."""
    last: Exception = FetchError("the name has no address")
    for at, address in enumerate(addresses):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        # The TCP and the TLS handshake may take a timeout each.
        seconds = remaining / (len(addresses) - at) / 2
        connection = _connection(parts, address, settings, peer, seconds)
        try:
            connection.connect()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            connection.close()
            last = _cause(error)
        else:
            return connection
    raise last


def _cause(error: Exception) -> Exception:
    """What the system said, from under urllib3's wrapping."""
    return error.__cause__ if isinstance(error.__cause__, OSError) else error


def _connection(
    parts: SplitResult,
    address: str,
    settings: KeySettings,
    peer: Peer | None,
    timeout_seconds: float,
) -> HTTPConnection:
    if parts.scheme == "http":
        return HTTPConnection(address, _port(parts), timeout=timeout_seconds)
    return HTTPSConnection(
        address,
        _port(parts),
        timeout=timeout_seconds,
        ssl_context=_context(settings.ca_file) if peer is None else _spiffe_context(peer),
        server_hostname=parts.hostname,
        assert_hostname=None if peer is None else False,
    )


def _context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise FetchError(f"ca_file: {error.strerror or 'no PEM certificates'}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _spiffe_context(peer: Peer) -> ssl.SSLContext:
    """Trust in one trust domain's authorities and no others; the name is checked afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    try:
        context.load_verify_locations(cadata=peer.authorities)
    except (ssl.SSLError, ValueError):
        raise FetchError("the trust domain has no X.509 authority to trust") from None
    return context


def _check_peer(connection: HTTPConnection, peer: Peer | None) -> None:
    """Hold the certificate against the SPIFFE ID (X509-SVID section 5.2, Federation 5.2.2)."""
    if peer is None:
        return
    sock = connection.sock
    der = sock.getpeercert(binary_form=True) if isinstance(sock, ssl.SSLSocket) else None
    try:
        svid = checked_svid(ssl.DER_cert_to_PEM_cert(der or b""), time.time(), "its certificate")
    except Denied as denied:
        raise FetchError(denied.detail) from None
    if svid.uris != (peer.spiffe_id,):
        raise FetchError("its certificate is of another SPIFFE ID")


def _exchange(connection: HTTPConnection, parts: SplitResult, deadline: float) -> Fetched:
    with _cut_at(deadline, connection):
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(
            "GET",
            target,
            headers={**_HEADERS, "host": parts.netloc},
            preload_content=False,
            decode_content=False,
        )
        with closing(connection.getresponse()) as response:
            _check_head(response)
            body = _body(response)
            max_age_seconds = _max_age(response.headers.get("cache-control", ""))
    if time.monotonic() >= deadline:  # what was cut off looks like a body without a length
        raise TimeoutError
    return Fetched(body, max_age_seconds)


@contextmanager
def _cut_at(deadline: float, connection: HTTPConnection) -> Iterator[None]:
    """End whatever the connection does at the deadline.

    A socket's timeout is for one read; a sender of a byte a second would never meet it.
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
        # Of the plain socket: the TLS layer is in use by the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already


def _check_head(response: urllib3.BaseHTTPResponse) -> None:
    if response.status != _HTTP_OK:
        raise StatusError(f"status {response.status}")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise FetchError("a content-encoding that was not asked for")
    given = response.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if kind and not _JSON_TYPE.fullmatch(kind):
        raise FetchError("its content-type is not JSON: application/jwk-set+json is needed")


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise FetchError(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _max_age(cache_control: str) -> float | None:
    for directive in cache_control.lower().split(","):
        if match := _MAX_AGE.fullmatch(directive.strip()):
            return float(match[1])
    return None
