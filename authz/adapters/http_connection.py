"""Connects to an HTTP server at a checked address, and cuts what takes too long.

The environment's proxies are not used, and the name is looked up once for a connection, so that it
can't lead elsewhere afterwards.
"""

import encodings.idna  # noqa: F401 - else loaded at the first request, from files; perhaps too many
import http.client
import ipaddress
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from authz.adapters.fetched import FetchError

MAX_ADDRESSES: Final = 4  # tried in turn: two families, two each; each gets a part of the time
HTTP_FAULTS: Final = (
    FetchError,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
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


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server to connect to.

    Attributes:
        parts: its URL, http or https; the caller has checked it.
        context: verifies the server, for https.
        allow_any_address: accepts link-local, metadata and multicast addresses as well.
    """

    parts: SplitResult
    context: ssl.SSLContext | None = None
    allow_any_address: bool = False


def connected(server: HttpServer, deadline: float) -> HTTPConnection:
    """Connect, by ``deadline`` (monotonic seconds). Raises HTTP_FAULTS.

    Only the look-up of the name is additional, and takes as long as the system's resolver does.
    """
    parts = server.parts
    addresses = checked_addresses(
        parts.hostname or "", _port(parts), allow_any=server.allow_any_address
    )
    return _connected(server, addresses, deadline)


def told_fault(error: Exception, deadline: float) -> FetchError:
    """Return one of HTTP_FAULTS in words that quote nothing of what came."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = (
            ": name the CA that made it in ca_file" if error.verify_code in _OF_UNKNOWN_CA else ""
        )
        return FetchError(f"its certificate is invalid: {error.verify_message}{cure}")
    if time.monotonic() >= deadline or isinstance(error, TimeoutError):
        return FetchError("Timeout: it took too long")
    return FetchError(_words(error))


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


def checked_addresses(host: str, port: int, *, allow_any: bool = False) -> list[str]:
    """Look up a name's first addresses. Raises FetchError when any is of a refused kind."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"can't look up the name: {_words(error)}") from None
    addresses = [str(address[0]) for *_, address in found]
    if not allow_any and any(is_refused_address(text) for text in addresses):
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


def _connected(server: HttpServer, addresses: list[str], deadline: float) -> HTTPConnection:
    """Connect to the first address that accepts. Raises the error of the last attempt."""
    last: Exception = FetchError("the name has no address")
    for at, address in enumerate(addresses):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        # The TCP and the TLS handshake may take a timeout each.
        seconds = remaining / (len(addresses) - at) / 2
        connection = _connection(server, address, seconds)
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


def _connection(server: HttpServer, address: str, timeout_seconds: float) -> HTTPConnection:
    parts, context = server.parts, server.context
    if context is None:
        return HTTPConnection(address, _port(parts), timeout=timeout_seconds)
    return HTTPSConnection(
        address,
        _port(parts),
        timeout=timeout_seconds,
        ssl_context=context,
        server_hostname=parts.hostname,
        assert_hostname=None if context.check_hostname else False,
    )


@contextmanager
def cut_at(deadline: float, connection: HTTPConnection) -> Iterator[None]:
    """Cut the connection at the deadline, whatever its state.

    A socket's timeout is for one read; a sender of a byte a second would never reach it.
    """
    remaining = max(0.001, deadline - time.monotonic())  # 0 would mean: never wait
    sock = connection.sock
    connection.timeout = remaining  # it sets the socket's to its own, which was for connecting
    sock.settimeout(remaining)
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
