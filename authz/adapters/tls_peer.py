"""Reads the certificates that the other side of a TLS connection sent."""

import ssl
from typing import Final

MAX_INTERMEDIATES: Final = 8  # certificates of one chain; meshes have one or two


def peer_certificates(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the peer's certificate and its chain in PEM, () without a certificate."""
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
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain[sent]]
