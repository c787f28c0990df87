"""TLS without I/O, on Python's ``ssl``: bytes in, bytes out, and the peer's certificates."""

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from authz.adapters.tls import ServerTls, TlsMaterial
from authz.transports.callers import MAX_INTERMEDIATES

ALPN: Final = "h2"  # RFC 9113 3.2; without it some proxies speak HTTP/1.1 to us, or nothing
PLAIN_BYTES: Final = 64 * 1024  # for one read; a record holds 16 KiB


# From a client until its handshake is done. Its certificate and MAX_INTERMEDIATES of 2 KB fit.
# OpenSSL itself would take 100 KB, and half a millisecond for each certificate.
MAX_HANDSHAKE_BYTES: Final = 24 * 1024
# OpenSSL's names for a first record that is not TLS: a proxy without TLS towards us.
_PLAIN: Final = frozenset({"wrong version number", "http request"})
_log: Final = logging.getLogger("authz.tls")


class TlsPipeError(Exception):
    """Signals that a connection can't go on; the message says why, for the log."""


class TlsContexts:
    """The context of handshakes, made anew when our certificate or the CAs change."""

    def __init__(self, tls: ServerTls) -> None:
        """Make the first context. Raises TransportError's causes: OSError, ssl.SSLError."""
        self._tls = tls
        self._material = tls.material
        self._context = _context_of(self._material)

    def current(self) -> ssl.SSLContext:
        """Return the context for a new connection. Never raises."""
        material = self._tls.material
        if material is not self._material:
            self._renew(material)
        return self._context

    def _renew(self, material: TlsMaterial) -> None:
        """Use changed material; while TLS can't, the last stays in use, and each connection tries.

        Who calls is looked at by the changed CAs all the same.
        """
        try:
            self._context = _context_of(material)
        except OSError as error:  # those of ssl among them
            _log.error("TLS can't use the new certificate; the last one stays in use: %s", error)
        else:
            self._material = material


def _context_of(material: TlsMaterial) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # A ticket brings no chain to verify anew, and proxies connect once in a long while. TLS 1.2
    # also has sessions that the server keeps: with their chains, so that these are verified anew.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED
    # Each of the CAs is trusted by itself, be it a root or not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # As they were parsed: a bundle may have comments in any language.
    authorities = (one.public_bytes(Encoding.DER) for one in material.authorities)
    context.load_verify_locations(cadata=b"".join(authorities))
    with _as_file(material.certificate + b"\n" + material.private_key) as path:
        context.load_cert_chain(path)
    return context


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give bytes a path, which ``ssl`` wants for a key: in memory where the system can."""
    try:
        descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    except (AttributeError, OSError):
        with tempfile.NamedTemporaryFile() as file:  # for its owner alone
            file.write(content)
            file.flush()
            yield file.name
        return
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


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
        self.peer = _peer(self._tls)
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


def _peer(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the peer's certificate and its chain in PEM."""
    leaf = tls.getpeercert(binary_form=True)
    if leaf is None:
        return ()
    pems = [ssl.DER_cert_to_PEM_cert(der).encode("ascii") for der in (leaf, *_sent(tls))]
    return tuple(pems)


def _sent(tls: ssl.SSLObject) -> list[bytes]:
    """Return the certificates that the peer sent after its own, in DER.

    No more of them than count: to convert a hundred takes tens of milliseconds.
    ``get_unverified_chain`` is public since Python 3.13, and there before.
    """
    sent = slice(1, 1 + MAX_INTERMEDIATES)
    get_chain = getattr(tls, "get_unverified_chain", None)
    if get_chain is not None:
        return list(get_chain())[sent]
    chain = tls._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined] # noqa: SLF001 - see above
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain[sent]]
