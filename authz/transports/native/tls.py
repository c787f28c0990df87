"""TLS without I/O, on Python's ``ssl``: bytes in, bytes out, and the peer's certificates."""

import ssl
from contextlib import suppress
from typing import Final

from authz.adapters.tls_peer import peer_certificates

ALPN: Final = "h2"  # RFC 9113 3.2; without it some proxies speak HTTP/1.1 to us, or nothing
PLAIN_BYTES: Final = 64 * 1024  # for one read; a record holds 16 KiB


# From a client until its handshake is done. Its certificate and MAX_INTERMEDIATES of 2 KB fit.
# OpenSSL itself would take 100 KB, and half a millisecond for each certificate.
MAX_HANDSHAKE_BYTES: Final = 24 * 1024
# OpenSSL's names for a first record that is not TLS: a proxy without TLS towards us.
_PLAIN: Final = frozenset({"wrong version number", "http request"})


class TlsPipeError(Exception):
    """Signals that a connection can't go on; the message says why, for the log."""


class TlsPipe:
    """Our end of a TLS connection.

    Attributes:
        is_open: whether the handshake is done.
        peer: the peer's certificate and the chain that it sent, in PEM, once it is open.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Begin; the client speaks first."""
        self.is_open = False
        self.peer: tuple[bytes, ...] = ()
        self._came_bytes = 0
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    def receive(self, data: bytes) -> bytes:
        """Take the peer's bytes; return their plaintext, b"" for none yet. Raises TlsPipeError.

        At the client's end of the connection it raises EOFError.
        """
        self._in.write(data)
        if not self.is_open and not self._shakes_hands():
            self._came_bytes += len(data)
            if self._came_bytes > MAX_HANDSHAKE_BYTES:
                raise TlsPipeError("its handshake, or its chain of certificates, is too long")
            return b""
        plain: list[bytes] = []
        try:
            while part := self._tls.read(PLAIN_BYTES):
                plain.append(part)
        except ssl.SSLWantReadError:
            return b"".join(plain)
        except ssl.SSLZeroReturnError:
            pass
        except ssl.SSLError as error:
            raise TlsPipeError(_words(error)) from None
        if plain:
            return b"".join(plain)
        raise EOFError

    def _shakes_hands(self) -> bool:
        """Go on with the handshake; return whether it is done. Raises TlsPipeError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsPipeError(_words(error)) from None
        if self._tls.selected_alpn_protocol() != ALPN:
            raise TlsPipeError(f"it does not speak HTTP/2: ALPN {ALPN} is demanded")
        self.peer = peer_certificates(self._tls)
        self.is_open = True
        return True

    def encrypt(self, plain: bytes) -> bytes:
        """Return the records to send: of the handshake, and of ``plain``. Raises TlsPipeError."""
        try:
            if plain:
                self._tls.write(plain)
        except ssl.SSLError as error:
            raise TlsPipeError(_words(error)) from None
        return self._out.read()

    def end(self) -> bytes:
        """Return the alert that nothing more will come (RFC 8446 6.1), b"" before the handshake."""
        with suppress(ssl.SSLError):  # it would wait for the client's alert
            self._tls.unwrap()
        return self._out.read()


def _words(error: ssl.SSLError) -> str:
    """Return OpenSSL's name of an error, which holds nothing that the client sent."""
    words = (error.reason or type(error).__name__).replace("_", " ").lower()
    return f"it does not speak TLS: {words}" if words in _PLAIN else words
