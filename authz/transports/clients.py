"""Authenticates the token service's clients by their certificates (RFC 8705 section 2, X509-SVID).

TLS has verified the chain when the connection was made. It is verified anew for the first request
of a connection, and whenever the certificate or the trust in its CA may have ended. A CA that names
its own trust domain vouches for that domain alone: with several trust domains, the CA of a partner
must not make agents of ours.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from cryptography import x509

from authz.adapters.sts.connections import KnownClient
from authz.adapters.tls import ServerTls
from authz.core.decision import Agent
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SCHEME, SpiffeId, SpiffeIdError
from authz.core.spiffe.svid import checked_svid
from authz.transports.vouching import Chain, find_chain

_ORIGIN: Final = "the client's certificate"


class ClientAuthenticator:
    """Tells which agent a client's certificate proves. For any thread."""

    def __init__(
        self, tls: ServerTls, domains: Iterable[str], now: Callable[[], float] = time.time
    ) -> None:
        """Trust the CAs of ``tls``, and agents of these trust domains; ``now`` is unix seconds."""
        self._tls = tls
        self._now = now
        self._trust = (tls.authorities, frozenset(domains))

    @property
    def trust(self) -> tuple[Chain, frozenset[str]]:
        """The CAs and trust domains that count now: another object if anything changed."""
        if self._trust[0] is not self._tls.authorities:
            self._trust = (self._tls.authorities, self._trust[1])
        return self._trust

    def reconfigure(self, domains: Iterable[str]) -> None:
        """Trust agents of these trust domains from now on."""
        self._trust = (self._tls.authorities, frozenset(domains))

    def __call__(self, pems: tuple[bytes, ...]) -> KnownClient:
        """Return the agent of a certificate and the chain that was sent with it, in PEM.

        Raises Denied(AGENT_INVALID | AGENT_UNTRUSTED_DOMAIN).
        """
        trust, now = self.trust, self._now()
        authorities, domains = trust
        leaf, *sent = pems
        svid = checked_svid(leaf.decode("ascii"), now, _ORIGIN)
        agent = _parsed(svid.uris[0])
        if agent.trust_domain.name not in domains:
            detail = f"{_ORIGIN}: {agent.trust_domain.name} is not in trust_domains"
            raise Denied(Reason.AGENT_UNTRUSTED_DOMAIN, detail)
        chain = _chain(leaf, sent, agent, authorities, now)
        _check_domains(chain[1:], agent)
        since = max(one.not_valid_before_utc for one in chain).timestamp()
        until = min(one.not_valid_after_utc for one in chain).timestamp()
        return KnownClient(Agent(agent, svid.thumbprint, until), trust, since, until)


def _parsed(uri: str) -> SpiffeId:
    try:
        return SpiffeId.parse(uri)
    except SpiffeIdError as error:
        raise Denied(Reason.AGENT_INVALID, f"{_ORIGIN}: its SPIFFE ID: {error}") from None


def _chain(
    leaf: bytes, sent: list[bytes], agent: SpiffeId, authorities: Chain, now: float
) -> Chain:
    """Return the chain to a CA that is trusted now. Raises Denied(AGENT_INVALID)."""
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    try:
        others = x509.load_pem_x509_certificates(b"".join(sent)) if sent else []
        own = x509.load_pem_x509_certificate(leaf)
        return find_chain(own, agent, tuple(others), authorities, moment)
    except Exception as error:  # noqa: BLE001 - the parser raises several kinds on hostile input
        words = str(error) if type(error) is ValueError else type(error).__name__
        raise Denied(Reason.AGENT_INVALID, f"{_ORIGIN}: {words}") from None


def _check_domains(issuers: Chain, agent: SpiffeId) -> None:
    """Require that CAs that name a trust domain name the agent's. Raises Denied(AGENT_INVALID)."""
    for issuer in issuers:
        for uri in _spiffe_uris(issuer):
            if uri != agent.trust_domain.spiffe_id:
                detail = f"{_ORIGIN}: a CA of another trust domain vouches for it"
                raise Denied(Reason.AGENT_INVALID, detail)


def _spiffe_uris(certificate: x509.Certificate) -> Iterator[str]:
    """Yield the SPIFFE IDs in a CA's certificate, which name its trust domain (X509-SVID 4.1)."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        if uri.lower().startswith(SCHEME):
            yield uri
