"""Authenticates the calling proxies by their certificates, at every call.

TLS verifies a certificate when a connection is made, and not even then when it resumes a session.
A connection outlives the end of its certificate, and of the trust in its CA. So the result is
remembered with the time until which it holds, and verified anew after that or when the CAs change.
"""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from authz.adapters.tls import ServerTls
from authz.adapters.tls_peer import MAX_INTERMEDIATES
from authz.core.bounded_map import BoundedMap
from authz.core.reason import Denied
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.core.spiffe.svid import checked_svid
from authz.transports.vouching import find_chain

# How often a refused certificate is verified again: in between a call with it costs next to
# nothing, and adds no line to the log.
REFUSED_SECONDS: Final = 10.0
# Proxies, and other holders of the CA's certificates, times rotations under way.
REMEMBERED: Final = 4096
# Of the chains as they were sent, some 4 KB each: a client can add certificates to its chain.
REMEMBERED_BYTES: Final = 32 * 1024 * 1024
_log: Final = logging.getLogger("authz.tls")


@dataclass(frozen=True, slots=True)
class _VerifiedCaller:
    """A certificate's proxy, None for a refused one, from ``since`` to ``until`` (unix seconds)."""

    proxy: str | None
    since: float
    until: float


class CallerAuthenticator:
    """Tells which proxy calls, over mutual TLS. For one thread, which has all calls."""

    def __init__(self, tls: ServerTls, now: Callable[[], float]) -> None:
        """Begin with nothing remembered. ``now`` returns unix seconds."""
        self._tls = tls
        self._now = now
        self._authorities = tls.authorities
        self._standings = _remembered()

    def __call__(self, pems: tuple[bytes, ...]) -> str | None:
        """Return the SPIFFE ID of a proxy that may ask, None for any other peer.

        ``pems`` is what TLS knows of the peer: its certificate, then the chain as it was sent, ()
        for nothing. Never raises for what a client sent.
        """
        if self._authorities is not self._tls.authorities:
            self._authorities = self._tls.authorities
            self._standings = _remembered()
        now = self._now()
        standing = self._standings.get(pems)
        if standing is None or not standing.since <= now < standing.until:
            standing = self._examined(pems, now)
            self._standings.put(pems, standing)
        return standing.proxy

    def seconds_left(self, pems: tuple[bytes, ...]) -> float:
        """Return how long the certificate and its chain are still valid, 0 if they are refused."""
        if self(pems) is None:
            return 0.0
        standing = self._standings.get(pems)
        return 0.0 if standing is None else max(0.0, standing.until - self._now())

    def _examined(self, pems: tuple[bytes, ...], now: float) -> _VerifiedCaller:
        try:
            return self._verified(pems, now)
        except Denied as error:
            fault = error.detail
        except Exception as error:  # noqa: BLE001 - whatever the parser raises, it is refused
            fault = str(error)
        _log.warning("refused a caller: %s", fault)
        return _VerifiedCaller(None, now, now + REFUSED_SECONDS)

    def _verified(self, pems: tuple[bytes, ...], now: float) -> _VerifiedCaller:
        """Verify an SVID, its proxy and its chain. Raises Denied, ValueError, and as x509 does."""
        if not pems:
            raise ValueError("its certificate is unknown; the connection may be gone")
        leaf, *chain = pems
        pem = leaf.decode("ascii")
        proxy = _parse_proxy(checked_svid(pem, now, "its certificate").uris[0])
        if not self._tls.allows(proxy):
            raise ValueError(f"{proxy.text} is not in allowed_callers")
        sent = x509.load_pem_x509_certificates(b"".join(chain)) if chain else []
        verified = find_chain(
            x509.load_pem_x509_certificate(leaf),
            proxy,
            tuple(sent[:MAX_INTERMEDIATES]),
            self._authorities,
            dt.datetime.fromtimestamp(now, dt.UTC),
        )
        since = max(certificate.not_valid_before_utc for certificate in verified).timestamp()
        until = min(certificate.not_valid_after_utc for certificate in verified).timestamp()
        return _VerifiedCaller(proxy.text, since, until)


def _remembered() -> BoundedMap[tuple[bytes, ...], _VerifiedCaller]:
    return BoundedMap(REMEMBERED, REMEMBERED_BYTES, lambda pems, _: sum(map(len, pems)))


def _parse_proxy(uri: str) -> SpiffeId:
    try:
        return SpiffeId.parse(uri)
    except SpiffeIdError as error:
        raise ValueError(f"its SPIFFE ID: {error}") from None
