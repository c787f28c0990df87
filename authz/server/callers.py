"""Which proxies may ask: their certificate, by the clock, at every call.

TLS verifies a certificate when a connection is made, and not even then when it resumes a session.
A connection lives on when the certificate has ended or its CA is trusted no more. So what was
verified is held with how long it holds, and verified anew when that is over or the CAs change.
"""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from authz.adapters.tls import ServerTls
from authz.core.bounded_map import BoundedMap
from authz.core.reason import Denied
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.core.spiffe.svid import checked_svid
from authz.server.grpcio import AuthContext
from authz.server.vouching import find_chain

# A certificate that is refused is looked at again so often: a call with it costs next to nothing
# in between, and the log has a line of it no more often.
REFUSED_SECONDS: Final = 10.0
REMEMBERED: Final = 4096  # proxies, and whoever else the CA knows, times rotations under way
# Of the chains as they were sent, some 4 KB each: what is beside them there is up to a client.
REMEMBERED_BYTES: Final = 32 * 1024 * 1024
MAX_INTERMEDIATES: Final = 8  # certificates of one chain; meshes have one or two
_UNIX: Final = "unix:"
_LEAF: Final = b"x509_pem_cert"  # gRPC's names
_CHAIN: Final = b"x509_pem_cert_chain"
_NOT_TLS: Final = ""
_log: Final = logging.getLogger("authz.tls")


@dataclass(frozen=True, slots=True)
class _VerifiedCaller:
    """What a certificate is worth, from ``since`` to ``until`` (unix seconds): None for nothing."""

    proxy: str | None
    since: float
    until: float


class CallerAuthenticator:
    """Who may ask over mutual TLS. For one thread at a time: grpcio's, which has every call."""

    def __init__(self, tls: ServerTls, now: Callable[[], float]) -> None:
        """Take our TLS, and the clock, in unix seconds."""
        self._tls = tls
        self._now = now
        self._authorities = tls.authorities
        self._standings = _remembered()

    def __call__(self, peer: str, auth_context: Callable[[], AuthContext]) -> str | None:
        """Return the SPIFFE ID of a proxy that may ask, None for any other peer.

        Unix sockets have "": the file system says who may use them.
        """
        if peer.startswith(_UNIX):
            return _NOT_TLS
        if self._authorities is not self._tls.authorities:
            self._authorities = self._tls.authorities
            self._standings = _remembered()
        context = auth_context()
        key = (*context.get(_LEAF, ()), b"", *context.get(_CHAIN, ()))
        now = self._now()
        standing = self._standings.get(key)
        if standing is None or not standing.since <= now < standing.until:
            standing = self._examined(key, now)
            self._standings.put(key, standing)
        return standing.proxy

    def _examined(self, pems: tuple[bytes, ...], now: float) -> _VerifiedCaller:
        try:
            return self._verified(pems, now)
        except Denied as error:
            fault = error.detail
        except Exception as error:  # noqa: BLE001 - whatever the parser raises, it is no caller
            fault = str(error)
        _log.warning("refused a caller: %s", fault)
        return _VerifiedCaller(None, now, now + REFUSED_SECONDS)

    def _verified(self, pems: tuple[bytes, ...], now: float) -> _VerifiedCaller:
        """Hold a certificate against all there is. Raises Denied, ValueError, and as x509 does."""
        if len(pems) < 2:  # noqa: PLR2004 - the certificate, and what parts it from the chain
            raise ValueError("its certificate is unknown; the connection may be gone")
        leaf, _, *chain = pems
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
        since = max(one.not_valid_before_utc for one in verified).timestamp()
        until = min(one.not_valid_after_utc for one in verified).timestamp()
        return _VerifiedCaller(proxy.text, since, until)


def _remembered() -> BoundedMap[tuple[bytes, ...], _VerifiedCaller]:
    return BoundedMap(REMEMBERED, REMEMBERED_BYTES, lambda pems, _: sum(map(len, pems)))


def _parse_proxy(uri: str) -> SpiffeId:
    try:
        return SpiffeId.parse(uri)
    except SpiffeIdError as error:
        raise ValueError(f"its SPIFFE ID: {error}") from None
