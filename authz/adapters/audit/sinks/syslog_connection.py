"""A connection to a syslog receiver: TCP, or TLS with the receiver's name checked (RFC 5425)."""

import errno
import fcntl
import select
import socket
import ssl
import struct
import sys
import termios
import time
from contextlib import suppress
from typing import Final

from authz.adapters.fetched import FetchError
from authz.adapters.http_connection import checked_addresses
from authz.adapters.receivers.receiver import ReceiverError

CLOSE_SECONDS: Final = 2.0  # how long a close waits until the receiver has read all
PROBATION_SECONDS: Final = 1.0  # how long a new connection is watched for its end
# The most that may be on its way, so that what is kept in doubt has a bound; a flush is smaller.
_SEND_BUFFER_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_READ_BYTES: Final = 4096
_WOULD_WAIT: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SyslogConnection:
    """A connection that is written to, by one thread; the receiver only ends it."""

    def __init__(
        self, address: str, context: ssl.SSLContext | None, timeout_seconds: float
    ) -> None:
        """Connect to host:port; without a context there is no TLS. Raises OSError."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        try:
            self._socket = _connected(host, int(port), context, timeout_seconds)
        except ssl.SSLCertVerificationError as error:
            # OpenSSL's words for the fault; its other texts may quote the certificate.
            raise ReceiverError(f"its certificate is invalid: {error.verify_message}") from None
        except ssl.SSLError as error:
            raise ReceiverError(f"TLS failed: {error.reason or type(error).__name__}") from None
        except FetchError as error:
            raise ReceiverError(str(error)) from None
        except TimeoutError:
            raise ReceiverError("Timeout: it took too long") from None
        if context is not None:
            self._await_verdict()

    def _await_verdict(self) -> None:
        """Require that the receiver takes our certificate, or takes us without. Raises OSError.

        In TLS 1.3 our handshake ends before the receiver has looked at it (RFC 8446 section 4.4).
        Then it sends session tickets or an alert; one that sends neither costs the whole time.
        """
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.version() == "TLSv1.3":
            select.select([self._socket], [], [], PROBATION_SECONDS)
            if self.has_ended():
                self.abort()
                raise ReceiverError("it broke off TLS: it may ask for a certificate of its CA")

    def send(self, frames: tuple[bytes, ...], timeout_seconds: float) -> None:
        """Give the frames to the kernel. Raises OSError: some may have arrived, the last in part.

        The time is for all of them, however slowly the receiver reads.
        """
        deadline = time.monotonic() + timeout_seconds
        data = memoryview(b"".join(frames))
        while data:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = data[self._socket.send(data[:_CHUNK_BYTES]) :]
        if self.has_ended():  # the kernel may take what nobody will read
            raise OSError(errno.ECONNRESET, "the receiver closed the connection")

    def has_ended(self) -> bool:
        """Tell whether the receiver has ended the connection, as far as this machine knows."""
        try:
            self._socket.setblocking(False)
            while self._socket.recv(_READ_BYTES):  # a receiver has nothing to say (RFC 5425)
                pass
        except _WOULD_WAIT:
            return False
        except OSError:
            return True
        return True

    def unacknowledged_bytes(self) -> int:
        """Return how many bytes the receiver's machine has not acknowledged; 0 if unknown."""
        try:
            count = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int(struct.unpack("i", count)[0])

    def close(self) -> bool:
        """End the connection in order; tell whether the receiver did so too, having read all.

        Closing at once could make the kernel reset the connection, and the receiver lose what it
        has not read.
        """
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            self._say_end()
            while (remaining := deadline - time.monotonic()) > 0:
                self._socket.settimeout(remaining)
                if not self._socket.recv(_READ_BYTES):
                    return True
        except ssl.SSLZeroReturnError:
            return True
        except OSError:
            return False
        finally:
            self.abort()
        return False

    def _say_end(self) -> None:
        """Send close_notify (RFC 5425 section 4.4), and the end of TCP's stream."""
        if isinstance(self._socket, ssl.SSLSocket):
            self._socket.setblocking(False)
            with suppress(*_WOULD_WAIT):  # it would wait for the receiver's, once ours is sent
                self._socket.unwrap()
        self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Close the connection at once."""
        self._socket.close()


def _connected(
    host: str, port: int, context: ssl.SSLContext | None, timeout_seconds: float
) -> socket.socket:
    """Connect, and finish the TLS handshake: each takes the timeout at most.

    Raises OSError, FetchError.
    """
    plain = _connected_first(checked_addresses(host, port), port, timeout_seconds)
    try:
        plain.settimeout(timeout_seconds)
        _set_options(plain, timeout_seconds)
        if context is None:
            return plain
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _connected_first(addresses: list[str], port: int, timeout_seconds: float) -> socket.socket:
    """Connect to the first address that accepts. Raises the error of the last attempt."""
    last: OSError = ConnectionRefusedError()
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout_seconds / len(addresses))
        except OSError as error:
            last = error
    raise last


def _set_options(plain: socket.socket, timeout_seconds: float) -> None:
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a record waits for no other
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":  # a receiver that vanished is found out within the timeout
        milliseconds = int(timeout_seconds * 1000)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
