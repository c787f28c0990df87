"""Defines the error of a receiver on the network, and TLS towards it."""

import errno
import ssl
from typing import Final

from authz.adapters.client_credentials import CertificateContext
from authz.adapters.fetched import FetchError
from authz.adapters.http_fetch import tls_context
from authz.adapters.receiver_settings import ReceiverTlsSettings

MAX_ANSWER_BYTES: Final = 64 * 1024  # an answer says what was refused; more is not read
MAX_RETRY_AFTER_SECONDS: Final = 300.0  # no receiver can silence us for longer


class ReceiverError(OSError):
    """Signals that a receiver did not take what was sent, which may be sent again.

    The message quotes nothing of the answer.

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
