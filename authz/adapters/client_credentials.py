"""The server's credentials as a client: a bearer token and a certificate, from files.

Each use reads the files as they are then: mounted files are replaced every few minutes or hours.
"""

import re
import ssl
import threading
from typing import Final

from authz.adapters.fetched import FetchError
from authz.adapters.files import (
    SETTLED_SECONDS,
    FileState,
    open_plain,
    read_between,
    state_of,
)
from authz.adapters.http_fetch import tls_context
from authz.adapters.pem_files import CERTIFICATE, PRIVATE_KEY, kind_of, told
from authz.core.settings import ClientCertificateSettings

MAX_PEM_BYTES: Final = 8 * 1024 * 1024  # of a certificate with its intermediates, or a key
MAX_TOKEN_BYTES: Final = 64 * 1024  # _TOKEN takes a quarter of it
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,16384}=*")  # RFC 6750 section 2.1


def parse_bearer_token(data: bytes) -> str:
    """Return the bearer token in a file's bytes. Raises ValueError, which holds none of them."""
    text = data.decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(text):
        raise ValueError("must hold a bearer token: one word of ASCII characters")
    return text


def read_bearer_token(path: str) -> str:
    """Read a bearer token from a file as it is now. Raises FetchError."""
    try:
        return parse_bearer_token(read_between(path, MAX_TOKEN_BYTES))
    except OSError as error:
        raise FetchError(f"token_file can't be read: {error.strerror}") from None
    except ValueError as error:
        raise FetchError(f"token_file {error}") from None


def show_certificate(context: ssl.SSLContext, settings: ClientCertificateSettings) -> None:
    """Load a certificate, as its files are now, into the context. Raises FetchError."""
    for path in (settings.certificate, settings.private_key):
        _check_readable(path)
    try:
        # A key with a passphrase would make OpenSSL ask for it at the terminal.
        context.load_cert_chain(settings.certificate, settings.private_key, password=lambda: "")
    except ssl.SSLError as error:
        raise FetchError(f"tls: {_fault(error, settings)}") from None
    except OSError as error:
        raise FetchError(f"tls: {error.strerror}") from None


def _fault(error: ssl.SSLError, settings: ClientCertificateSettings) -> str:
    """Say which of the files OpenSSL refused, and why."""
    certificate, key = settings.certificate, settings.private_key
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"private_key: {key} does not belong to the certificate in {certificate}"
    try:
        shown, signing = (read_between(path, MAX_PEM_BYTES) for path in (certificate, key))
    except OSError as changed:
        return f"certificate: {certificate} and {key} can't be read: {changed.strerror}"
    if kind_of(shown) != CERTIFICATE:
        words = told(certificate, shown, CERTIFICATE, ("private_key", signing))
        return f"certificate: {words}"
    return f"private_key: {told(key, signing, PRIVATE_KEY, ('certificate', shown))}"


class CertificateContext:
    """The context of connections that show a certificate, as its files are at each connection.

    It is made again only if the files have changed: with the system's CAs that takes 80 ms of work,
    and a client that sends many tokens causes many connections. Many threads may use it.
    """

    def __init__(self, settings: ClientCertificateSettings, ca_file: str | None) -> None:
        """Take the files of the certificate, and the CAs to trust; nothing is read yet."""
        self._settings = settings
        self._ca_file = ca_file
        # A change makes one new context, instead of one in each thread.
        self._lock = threading.Lock()
        self._made: tuple[tuple[FileState, ...], ssl.SSLContext] | None = None

    def get(self) -> ssl.SSLContext:
        """Return the context. Raises FetchError."""
        with self._lock:
            states = self._states()  # before the files are read, so that a change meanwhile shows
            if self._made is not None and self._made[0] == states:
                return self._made[1]
            context = tls_context(self._ca_file)
            show_certificate(context, self._settings)
            # Two writes in quick succession may leave one state.
            is_settled = all(one.untouched_seconds() > SETTLED_SECONDS for one in states)
            self._made = (states, context) if is_settled else None
            return context

    def _states(self) -> tuple[FileState, ...]:
        return _state(self._settings.certificate), _state(self._settings.private_key)


def _state(path: str) -> FileState:
    try:
        return state_of(path)
    except OSError as error:
        raise FetchError(f"tls: {path} can't be read: {error.strerror}") from None


def check_certificate(settings: ClientCertificateSettings) -> None:
    """Require that certificate and key can be read and fit. Raises FetchError."""
    show_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)


def _check_readable(path: str) -> None:
    """Require a plain file, as OpenSSL would wait for a pipe. Raises FetchError."""
    try:
        open_plain(path).close()
    except OSError as error:
        raise FetchError(f"tls: {path} can't be read: {error.strerror}") from None
