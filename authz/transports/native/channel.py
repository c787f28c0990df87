"""A socket that never blocks: bytes in, bytes out, and timeouts."""

import socket
import time
from contextlib import suppress
from typing import Final

from authz.transports.native.loop import READ, WRITE, Loop

READ_BYTES: Final = 64 * 1024  # in one turn, since the other connections wait meanwhile
# For TLS: a proxy needs milliseconds, and each connection takes a descriptor.
HANDSHAKE_SECONDS: Final = 10.0
# Longer than the deadline of any proxy that still waits for an answer.
SEND_SECONDS: Final = 10.0


class ChannelClosedError(Exception):
    """Signals that a connection is gone.

    Attributes:
        words: why, for the log; "" for a client that hung up.
    """

    def __init__(self, words: str = "") -> None:
        """Take the reason."""
        super().__init__(words)
        self.words = words


class Channel:
    """The socket of a connection without TLS; ``TlsChannel`` is one with it.

    What can't be written is kept.

    Attributes:
        descriptor: the socket's.
        certificates: what TLS knows of the client: its certificate and chain in PEM.
        is_handshaking: whether nothing can be sent yet.
        is_full: whether the client must read before more can be written.
        only_reads: whether it waits for what comes, and for nothing else.
    """

    def __init__(self, opened: socket.socket, loop: Loop, now: float) -> None:
        """Take a socket that does not block."""
        self.descriptor = opened.fileno()
        self.certificates: tuple[bytes, ...] = ()
        self.is_handshaking = False
        self.is_full = False
        self.only_reads = True
        self._socket = opened
        self._loop = loop
        self._unsent = b""
        self._events = READ
        self._waits_since = now

    @property
    def unsent_bytes(self) -> int:
        """The bytes that wait for the client."""
        return len(self._unsent)

    def is_late(self, now: float) -> bool:
        """Whether TLS, or the client's reading, takes too long at ``now``, monotonic seconds."""
        if self.is_full:
            return now - self._waits_since >= SEND_SECONDS
        return self.is_handshaking and now - self._waits_since >= HANDSHAKE_SECONDS

    def receive(self, max_bytes: int = READ_BYTES) -> bytes:
        """Return the bytes that came, b"" for none. Raises ChannelClosedError.

        ``max_bytes`` are read at most, as the network counts.
        """
        try:
            data = self._socket.recv(max_bytes)
        except BlockingIOError:
            return b""
        except OSError:
            raise ChannelClosedError from None
        if not data:
            raise ChannelClosedError
        return data

    def send(self, data: bytes) -> None:
        """Write as much as the client takes, and keep the rest. Raises ChannelClosedError.

        What was kept before has to be written, or be the beginning of ``data``.
        """
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise ChannelClosedError from None
        self.is_full = sent < len(data)
        if self.is_full and (sent or not self._unsent):
            self._waits_since = time.monotonic()
        self._unsent = data[sent:]

    def flush(self) -> None:
        """Write the kept bytes. Raises ChannelClosedError."""
        if self.is_full:
            self.send(self._unsent)

    def wait(self, *, to_read: bool) -> None:
        """Wait until kept bytes can be written and, if ``to_read``, until bytes come."""
        events = READ * to_read | WRITE * self.is_full
        if events != self._events:
            self._events = events
            self.only_reads = events == READ
            self._loop.change(self.descriptor, events)

    def end_output(self) -> None:
        """Tell the client that nothing more will come."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
