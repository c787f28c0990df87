"""What sinks on the network share: the error of a receiver, TLS towards it, and refused lines."""

import errno
import logging
import ssl
import time
from typing import Final

from authz.adapters.client_credentials import CertificateContext
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import tls_context
from authz.adapters.receiver_settings import ReceiverTlsSettings

TELL_SECONDS: Final = 60.0  # between two log lines about refused lines: there may be many
_log: Final = logging.getLogger("authz.audit")


class ReceiverError(OSError):
    """Signals that a receiver did not take lines, which wait; the message quotes nothing of it.

    Attributes:
        retry_after_seconds: how long the receiver asks to be left alone, 0 if it names no time.
    """

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        """Set ``strerror`` to the message, as messages about an OSError take the reason there."""
        super().__init__(errno.EIO, message)
        self.retry_after_seconds = retry_after_seconds


class ReceiverTls:
    """The context of connections to a receiver; renewed files count for the next connection."""

    def __init__(self, settings: ReceiverTlsSettings) -> None:
        """Take the files; nothing is read yet."""
        self._ca_file = settings.ca_file
        client = settings.client
        self._shown = CertificateContext(client, settings.ca_file) if client is not None else None

    def context(self) -> ssl.SSLContext:
        """Return a context that verifies the receiver's name and chain. Raises ReceiverError."""
        try:
            return tls_context(self._ca_file) if self._shown is None else self._shown.get()
        except FetchError as error:
            raise ReceiverError(str(error)) from None


class Refused:
    """The lines that a receiver will never take: counted, and told without what they hold.

    Attributes:
        count: lines, since the start.
    """

    def __init__(self, sink: str) -> None:
        """Take the sink's name, for the log."""
        self.count = 0
        self._sink = sink
        self._told = 0
        self._told_at = float("-inf")  # monotonic seconds

    def add(self, lines: int, why: str) -> None:
        """Count lines, and tell it at once, or with the next ones if it was told just now."""
        self.count += lines
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            fresh = self.count - self._told
            _log.error("the sink %s refused %d audit records for good: %s", self._sink, fresh, why)
            self._told, self._told_at = self.count, now
