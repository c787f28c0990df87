"""A place where a server of the store is, and the socket that is opened to it."""

import errno
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

import msgspec

from authz.adapters.client_credentials import CertificateContext
from authz.adapters.http_connection import checked_addresses
from authz.adapters.http_fetch import tls_context
from authz.adapters.store.settings import StoreTlsSettings
from authz.adapters.store.store import StoreAwayError

Context = Callable[[], ssl.SSLContext]
NO_TLS: Final = "its TLS handshake did not end in time: does it serve TLS at this port?"
# A dead peer is found in half a minute, even by a connection that nobody uses.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Place(msgspec.Struct, frozen=True):
    """A host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        """Return it as people write it."""
        return self.path or f"{self.host}:{self.port}"


def parse_place(host_port: str) -> Place:
    """Return the place of a checked host:port of the config."""
    host, _, port = host_port.rpartition(":")
    return Place(host.removeprefix("[").removesuffix("]"), int(port))


class BoundedSocket:
    """A socket whose reads and writes end at a deadline, and that reads so many bytes at most.

    A timeout alone is for one read; a sender of a byte a second would never reach it.

    Attributes:
        deadline: monotonic seconds.
        readable_bytes: how many may still be read.
    """

    def __init__(self, sock: socket.socket, deadline: float, readable_bytes: int) -> None:
        """Take a connected socket."""
        self._socket = sock
        self.deadline = deadline
        self.readable_bytes = readable_bytes

    def recv(self, size: int) -> bytes:
        """Read some bytes. Raises TimeoutError, OSError, StoreAwayError."""
        self._limit()
        data = self._socket.recv(size)
        self._count(len(data))
        return data

    def recv_into(self, buffer: bytearray) -> int:
        """Read some bytes, as ``recv``."""
        self._limit()
        size = self._socket.recv_into(buffer)
        self._count(size)
        return size

    def sendall(self, data: bytes) -> None:
        """Write all bytes. Raises TimeoutError, OSError."""
        self._limit()
        self._socket.sendall(data)

    def settimeout(self, _seconds: float | None) -> None:
        """Do nothing: the deadline counts."""

    def fileno(self) -> int:
        """Return its number, for a poll."""
        return self._socket.fileno()

    def shutdown(self, how: int) -> None:
        """Shut it down. Raises OSError."""
        self._socket.shutdown(how)

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _limit(self) -> None:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)

    def _count(self, size: int) -> None:
        self.readable_bytes -= size
        if self.readable_bytes < 0:
            raise StoreAwayError("its answer is too long")


def opened(place: Place, context: ssl.SSLContext | None, deadline: float) -> socket.socket:
    """Connect by the deadline (monotonic seconds). Raises FetchError, OSError.

    Only the look-up of the name is additional, and takes as long as the system's resolver does.
    """
    if place.path:
        return _connected(socket.AF_UNIX, place.path, deadline)
    addresses = checked_addresses(place.host, place.port)
    last: OSError = TimeoutError()
    for at, address in enumerate(addresses):
        # The TCP and the TLS handshake may take a part each.
        part = (deadline - time.monotonic()) / (len(addresses) - at) / 2
        try:
            return _secured(_over_tcp(address, place.port, part), place, context, deadline)
        except OSError as error:
            last = error
    raise last


def _over_tcp(address: str, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = _connected(family, (address, port), time.monotonic() + seconds)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # not every system has these
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


def _connected(
    family: socket.AddressFamily, address: str | tuple[str, int], deadline: float
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(0.001, deadline - time.monotonic()))  # 0 would mean: never wait
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _secured(
    sock: socket.socket, place: Place, context: ssl.SSLContext | None, deadline: float
) -> socket.socket:
    if context is None:
        return sock
    try:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        return context.wrap_socket(sock, server_hostname=place.host)
    except BaseException as error:
        sock.close()
        if isinstance(error, TimeoutError):  # a server without TLS waits for the end of a line
            raise TimeoutError(errno.ETIMEDOUT, NO_TLS) from None
        raise


def tls_contexts(settings: StoreTlsSettings) -> Context:
    """Return what makes the context of a connection: files as they are then. Raises FetchError."""
    if settings.client is not None:
        return CertificateContext(settings.client, settings.ca_file).get
    if settings.ca_file is not None:
        return lambda: tls_context(settings.ca_file)
    made: list[ssl.SSLContext] = []  # the system's CAs take 80 ms to load

    def of_system() -> ssl.SSLContext:
        if not made:
            made.append(tls_context(None))
        return made[0]

    return of_system
