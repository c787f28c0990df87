"""Establishes the calling agent of a request by the profile of the calling proxy."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from authz.core.choice import Need
from authz.core.decision import Agent
from authz.core.identity.evidence import Evidence
from authz.core.identity.settings import DEFAULT, ProfileSettings
from authz.core.identity.sources import SOURCES
from authz.core.reads import Reads
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.core.routes import PROFILE
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern
from authz.core.spiffe.svid import checked_svid
from authz.core.upstream_token import ProxyToken

_DISTRUSTED: Final = ProfileSettings()  # of a request that identify() refuses for its profile
_NAMES: Final = 4096  # agents in use; each takes some 4 KiB at most


class AgentAuthenticator:
    """Establishes the calling agent of a request.

    Attributes:
        reads: what the sources of all profiles read.
    """

    def __init__(
        self, trust_domains: Iterable[str], profiles: Mapping[str, ProfileSettings]
    ) -> None:
        """Compile the profiles, by name; agents must belong to one of ``trust_domains``."""
        self._trust_domains = frozenset(trust_domains)
        self._profiles = {DEFAULT: ProfileSettings(), **profiles}
        self._callers = {
            name: tuple(SpiffePattern.parse(text) for text in profile.callers)
            for name, profile in self._profiles.items()
        }
        self._sources = {
            name: SOURCES[profile.identity](profile) for name, profile in self._profiles.items()
        }
        self.reads = Reads.union(source.reads for source in self._sources.values())
        self._decides_tokens = any(one.upstream_token for one in self._profiles.values())

    def identify(self, request: Request, now: float) -> Agent:
        """Return the calling agent.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | AGENT_UNTRUSTED_DOMAIN | IDENTITY_CONFLICT).
        """
        name = self.profile_for(request.context_value(PROFILE), request.proxy)
        profile = self._profiles[name]
        claimed = self._sources[name].claimed(Evidence(request, now))
        spiffe_id = _spiffe_id(claimed.name, claimed.origin)
        self._check_trust_domain(spiffe_id, profile)
        if not claimed.certificate:
            if profile.certificate is Need.REQUIRED:
                raise Denied(Reason.AGENT_INVALID, "the proxy sent no certificate of the caller")
            return Agent(spiffe_id, claimed.thumbprint)
        svid = checked_svid(claimed.certificate, now, "the caller's certificate")
        if svid.uris != (spiffe_id.text,):
            raise Denied(Reason.IDENTITY_CONFLICT, "the caller's certificate has another SPIFFE ID")
        if claimed.thumbprint not in ("", svid.thumbprint):
            raise Denied(Reason.IDENTITY_CONFLICT, "the caller's certificate has another hash")
        return Agent(spiffe_id, svid.thumbprint, svid.not_after)

    def profile_of(self, named: str, proxy: str) -> ProfileSettings:
        """Return the profile of a request: by the name that its route gives, and its proxy's ID.

        Never raises. Where ``identify`` refuses the request for its profile, these are the default
        settings, which trust nothing that the proxy says of bodies.
        """
        try:
            return self._profiles[self.profile_for(named, proxy)]
        except Denied:
            return _DISTRUSTED

    def upstream_token(self, request: Request) -> ProxyToken | None:
        """Return what the request's profile says of the token; None if it leaves it to others."""
        if not self._decides_tokens:
            return None
        return self.profile_of(request.context_value(PROFILE), request.proxy).upstream_token

    def profile_for(self, named: str, proxy_id: str) -> str:
        """Return the profile that the route names, else the calling proxy's own, else the default.

        Raises Denied(AGENT_INVALID) if there is no such profile, or the proxy may not use it.
        """
        proxy = _proxy_id(proxy_id)
        name = named or self._profile_of(proxy)
        profile = self._profiles.get(name)
        if profile is None:
            raise Denied(Reason.AGENT_INVALID, "the route names a profile that is not configured")
        if profile.callers and not _is_one_of(proxy, self._callers[name]):
            raise Denied(Reason.AGENT_INVALID, "the calling proxy may not use the profile")
        return name

    def _profile_of(self, proxy: SpiffeId | None) -> str:
        if proxy is None:
            return DEFAULT
        own = (name for name, callers in self._callers.items() if _is_one_of(proxy, callers))
        return next(own, DEFAULT)

    def _check_trust_domain(self, spiffe_id: SpiffeId, profile: ProfileSettings) -> None:
        domain = spiffe_id.trust_domain.name
        if domain not in self._trust_domains:
            raise Denied(
                Reason.AGENT_UNTRUSTED_DOMAIN, "its trust domain is not one of trust_domains"
            )
        if profile.trust_domains is not None and domain not in profile.trust_domains:
            raise Denied(
                Reason.AGENT_UNTRUSTED_DOMAIN,
                "its trust domain is not one of the profile's trust_domains",
            )


# Cached, as a pure function of few different texts.
_parsed: Final = lru_cache(_NAMES)(SpiffeId.parse)


def _spiffe_id(name: str, origin: str) -> SpiffeId:
    """Parse a name as a SPIFFE ID. Raises Denied(AGENT_INVALID)."""
    try:
        return _parsed(name)
    except SpiffeIdError as error:
        raise Denied(Reason.AGENT_INVALID, f"{origin}: {error}") from None


def _proxy_id(text: str) -> SpiffeId | None:
    if not text:  # as always on a unix socket
        return None
    try:
        return SpiffeId.parse(text)
    except SpiffeIdError:
        return None


def _is_one_of(proxy: SpiffeId | None, patterns: tuple[SpiffePattern, ...]) -> bool:
    return proxy is not None and any(pattern.matches(proxy) for pattern in patterns)
