"""Makes the contexts of TLS handshakes from our certificate, and anew when it or the CAs change."""

import logging
import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from authz.adapters.tls import ServerTls, TlsMaterial

_log: Final = logging.getLogger("authz.tls")


class TlsContexts:
    """The context of handshakes, made anew when our certificate or the CAs change."""

    def __init__(
        self, tls: ServerTls, alpn: str, verify: ssl.VerifyMode = ssl.CERT_REQUIRED
    ) -> None:
        """Make the first context: for the protocol ``alpn``, and ``verify`` of clients.

        Raises OSError, ssl.SSLError.
        """
        self._tls = tls
        self._alpn = alpn
        self._verify = verify
        self._material = tls.material
        self._context = self._context_of(self._material)

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
            self._context = self._context_of(material)
        except OSError as error:  # those of ssl among them
            _log.error("TLS can't use the new certificate; the last one stays in use: %s", error)
        else:
            self._material = material

    def _context_of(self, material: TlsMaterial) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([self._alpn])
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        # A ticket brings no chain to verify anew, and clients connect once in a long while. TLS 1.2
        # also has sessions that the server keeps: with their chains, so that these are verified
        # anew.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.verify_mode = self._verify
        # Each of the CAs is trusted by itself, be it a root or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        # As they were parsed: a bundle may have comments in any language.
        authorities = (authority.public_bytes(Encoding.DER) for authority in material.authorities)
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
