"""Sends lines as syslog messages over one connection, with TLS (RFC 5425) or plain (RFC 6587).

Syslog has no acknowledgement. TCP says what the receiver's machine has, and nobody says what the
receiver has read. So a message stays in doubt until TCP has acknowledged it and its connection is
still open at a later flush, or after CONFIRM_SECONDS. When a connection ends that we did not close,
what is in doubt is sent again, first: it is doubled rather than lost. A message that is sent again
has the same sequenceId.
"""

import os
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Final

from authz.adapters.audit.settings import SyslogSinkSettings
from authz.adapters.audit.sinks.syslog_connection import CLOSE_SECONDS, SyslogConnection
from authz.adapters.audit.sinks.syslog_message import Originator, next_sequence_id
from authz.adapters.receivers.receiver import ReceiverError, ReceiverTls

# Something that takes every connection and soon ends it, such as a balancer without a receiver
# behind it, must not make what is in doubt grow.
MAX_IN_DOUBT: Final = 10_000
# A receiver that kept the connection for so long has read what its machine acknowledged. Without
# this, one that ends idle connections would get the last batch again and again.
CONFIRM_SECONDS: Final = 60.0
_END: Final = b"\n"


class SyslogSink:
    """A syslog receiver: a ``Sink``. One thread uses it, except for ``reopen``.

    Attributes:
        rejected: lines that the receiver will never take; always 0, as it can't say so.
    """

    rejected: Final = 0

    def __init__(self, settings: SyslogSinkSettings) -> None:
        """Take the receiver's address and TLS; the first flush connects."""
        self._settings = settings
        self._tls = None if settings.insecure else ReceiverTls(settings.tls)
        self._from = Originator(settings.facility, socket.gethostname(), os.getpid())
        self._sequence_id = 0
        self._waiting: tuple[bytes, ...] = ()  # the frames of the lines taken
        self._doubt: deque[bytes] = deque()  # frames that were sent, and may not have arrived
        self._sent_at = 0.0  # monotonic seconds
        self._connection: SyslogConnection | None = None
        self._reopen = threading.Event()

    @property
    def waiting(self) -> int:
        """Return the number of lines that are not yet sent."""
        return len(self._waiting)

    def reopen(self) -> None:
        """Connect anew before the next write, with certificates as their files are then."""
        self._reopen.set()

    def follow(self) -> None:
        """Connect anew if asked to; send again what may be lost if the connection has ended.

        Raises OSError.
        """
        if self._reopen.is_set():
            self._reopen.clear()
            self._leave()
        if self._is_cut() and self._doubt:
            self._send((), self._settings.timeout)
        elif self._doubt and time.monotonic() - self._sent_at > CONFIRM_SECONDS:
            self._trust()

    def take(self, lines: bytes) -> None:
        """Take complete lines to be sent."""
        self._waiting = tuple(self._framed(line) for line in lines.split(_END) if line)

    def flush(self) -> None:
        """Send the waiting lines. Raises OSError: then all of them wait, and may arrive twice."""
        if not self._waiting:
            return
        if self._is_cut() and len(self._doubt) > MAX_IN_DOUBT:
            self._send((), self._settings.timeout)
            raise ReceiverError("it ends each connection soon after it has taken records")
        self._send(self._waiting, self._settings.timeout)
        self._waiting = ()

    def close(self) -> None:
        """Send what is in doubt if the connection was cut; wait until the receiver has read all."""
        if self._is_cut() and self._doubt:
            with suppress(OSError):
                self._send((), min(self._settings.timeout, CLOSE_SECONDS))
        self._leave()

    def _framed(self, line: bytes) -> bytes:
        self._sequence_id = next_sequence_id(self._sequence_id)
        return self._from.frame(line, self._sequence_id)

    def _is_cut(self) -> bool:
        """Forget a connection that the receiver has ended; tell whether there is none now."""
        if self._connection is not None and self._connection.has_ended():
            self._connection.abort()
            self._connection = None
        return self._connection is None

    def _send(self, frames: tuple[bytes, ...], timeout_seconds: float) -> None:
        """Send frames, on a new connection behind those in doubt. Raises OSError."""
        fresh = self._connection is None
        connection = self._connection or self._connected(timeout_seconds)
        self._connection = connection
        try:
            connection.send((*self._doubt, *frames) if fresh else frames, timeout_seconds)
        except OSError:
            self._connection = None
            connection.abort()
            raise
        self._sent_at = time.monotonic()
        self._doubt.extend(frames)
        if not fresh:
            self._trust(sum(map(len, frames)))

    def _trust(self, fresh_bytes: int = 0) -> None:
        """Forget the first frames in doubt: TCP has acknowledged all but the last bytes.

        Those just sent, ``fresh_bytes`` of them, stay too.
        """
        last = self._connection.unacknowledged_bytes() if self._connection is not None else 0
        size = sum(map(len, self._doubt))
        while self._doubt and size - len(self._doubt[0]) >= max(last, fresh_bytes):
            size -= len(self._doubt.popleft())

    def _connected(self, timeout_seconds: float) -> SyslogConnection:
        context = None if self._tls is None else self._tls.context()
        return SyslogConnection(self._settings.address, context, timeout_seconds)

    def _leave(self) -> None:
        """Close the connection in order: then nothing is in doubt, unless it was cut before."""
        if not self._is_cut() and self._connection is not None:
            if self._connection.close():
                self._doubt.clear()
            self._connection = None
