"""The identity source ``xfcc``: the header ``x-forwarded-client-cert`` of trusted proxies."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from authz.core.base64url import base64url
from authz.core.identity import xfcc
from authz.core.identity.evidence import ClaimedIdentity, Evidence, IdentitySource
from authz.core.reason import Denied, Reason
from authz.core.request import XFCC, Request
from authz.core.spiffe import SpiffeId, SpiffeIdError, SpiffePattern

_PATTERNS: Final = 1024  # of all recently loaded configs


@dataclass(frozen=True, slots=True)
class XfccSource(IdentitySource):
    """The first element of ``x-forwarded-client-cert``, if the profile trusts its writers.

    In a profile for direct connections too, it counts only on the connection of another trusted
    proxy; any other connection is the agent's own, which may have written the header.
    """

    headers: ClassVar[frozenset[str]] = frozenset({XFCC})

    def claimed(self, evidence: Evidence) -> ClaimedIdentity:
        """Return the agent that the first proxy saw.

        Raises Denied(AGENT_MISSING | AGENT_INVALID | IDENTITY_CONFLICT).
        """
        request = evidence.request
        is_direct = self.profile.direct
        if is_direct and not self._is_of_proxy(request):
            return _peer_itself(request)
        elements = _elements(request)
        # The proxy that asks is the last writer. A connection of its own ID is of the workload that
        # it stands before, or of a replica: no proxy between, and so nobody to trust for the rest.
        if is_direct and request.principal in elements[-1].by:
            return _peer_itself(request)
        self._check_elements(elements)
        of_agent = elements[0]
        (name,) = of_agent.uris
        is_peer = request.principal == name
        if request.principal and not is_peer:
            self._check_peer(evidence)
        self._check_writers(request, elements)
        return ClaimedIdentity(
            name,
            XFCC,
            of_agent.certificate or (request.certificate if is_peer else ""),
            base64url(bytes.fromhex(of_agent.hash)),
        )

    def _is_of_proxy(self, request: Request) -> bool:
        """Tell whether the connection is a trusted proxy's. Raises Denied(AGENT_MISSING).

        Without a principal, as over plain text, anybody may have written the header.
        """
        if not request.principal:
            raise Denied(Reason.AGENT_MISSING, "the proxy sent no source.principal")
        return self._is_trusted(request.principal)

    def _check_elements(self, elements: tuple[xfcc.XfccElement, ...]) -> None:
        """Check that there is one element for each hop, with exactly one URI name each.

        Raises Denied(AGENT_INVALID).
        """
        if len(elements) != self.profile.hops:
            raise Denied(Reason.AGENT_INVALID, f"{XFCC} has {len(elements)} elements")
        if any(len(element.uris) != 1 for element in elements):
            raise Denied(Reason.AGENT_INVALID, f"{XFCC} must name exactly one URI")

    def _check_peer(self, evidence: Evidence) -> None:
        """Check that the connection belongs to a trusted proxy, if it is not the agent's.

        Raises Denied(IDENTITY_CONFLICT | AGENT_INVALID).
        """
        request = evidence.request
        peer = request.principal
        if not self._is_trusted(peer):
            raise Denied(Reason.IDENTITY_CONFLICT, "source.principal is not a trusted proxy")
        if not request.certificate:
            return
        if evidence.svid(request.certificate, "source.certificate").uris != (peer,):
            raise Denied(Reason.IDENTITY_CONFLICT, "source.certificate has another SPIFFE ID")

    def _check_writers(self, request: Request, elements: tuple[xfcc.XfccElement, ...]) -> None:
        """Check that every proxy that wrote is trusted, and that at least one is named.

        Each element names its writer (By), and each but the agent's the proxy before (URI). A proxy
        that saw no client certificate itself, such as Istio's waypoint, is known by its own
        certificate on this server's port. Raises Denied(AGENT_INVALID).
        """
        names = [name for element in elements for name in element.by]
        names.extend(name for element in elements[1:] for name in element.uris)
        if request.proxy and not request.principal:
            names.append(request.proxy)
        if not all(map(self._is_trusted, names)):
            detail = f"{XFCC} was written by an untrusted proxy"
            raise Denied(Reason.AGENT_INVALID, detail)
        if not names and not request.principal:
            raise Denied(Reason.AGENT_INVALID, f"no element names the proxy that wrote {XFCC}")

    def _is_trusted(self, name: str) -> bool:
        try:
            spiffe_id = SpiffeId.parse(name)
        except SpiffeIdError:
            return False
        return any(_pattern(text).matches(spiffe_id) for text in self.profile.trusted_proxies)


def _peer_itself(request: Request) -> ClaimedIdentity:
    """Return the identity of whoever connects."""
    return ClaimedIdentity(request.principal, "source.principal", request.certificate)


def _elements(request: Request) -> tuple[xfcc.XfccElement, ...]:
    """Return the header's elements, at least one. Raises Denied(AGENT_MISSING | AGENT_INVALID)."""
    text = request.header(XFCC)
    if not text:
        raise Denied(Reason.AGENT_MISSING, f"no {XFCC} header")
    try:
        return xfcc.parse(text)
    except xfcc.XfccError as error:
        raise Denied(Reason.AGENT_INVALID, f"{XFCC}: {error}") from None


@lru_cache(_PATTERNS)
def _pattern(text: str) -> SpiffePattern:
    return SpiffePattern.parse(text)
