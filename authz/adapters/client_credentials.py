"""What the server shows of itself as a client: a bearer token and a certificate, from files.

Both are read anew each time: who mounts them replaces them every few minutes or hours.
"""

import re
import ssl
from pathlib import Path
from typing import Final

from authz.adapters.files import open_plain, read_between
from authz.adapters.http_fetch import FetchError
from authz.core.settings import ClientCertificateSettings

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
    """Show a certificate on the context's connections, as its files are now. Raises FetchError."""
    for path in (settings.certificate, settings.private_key):
        _check_readable(path)
    try:
        # A key with a passphrase would make OpenSSL ask for it at the terminal.
        context.load_cert_chain(settings.certificate, settings.private_key, password=lambda: "")
    except ssl.SSLError as error:
        is_pair = error.reason != "KEY_VALUES_MISMATCH"
        why = "not PEM, or encrypted" if is_pair else "the private key is of another certificate"
        raise FetchError(f"tls: {why}") from None
    except OSError as error:
        raise FetchError(f"tls: {error.strerror}") from None


def check_certificate(settings: ClientCertificateSettings) -> None:
    """Require that certificate and key can be read and fit. Raises FetchError."""
    show_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), settings)


def _check_readable(path: str) -> None:
    """Require a plain file, as OpenSSL would wait for a pipe. Raises FetchError."""
    try:
        open_plain(path).close()
    except OSError as error:
        raise FetchError(f"tls: {Path(path)} can't be read: {error.strerror}") from None
