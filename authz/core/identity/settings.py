"""The settings of profiles: how a kind of proxy presents the calling agent."""

from typing import Final, Self

from pydantic import Field, model_validator

from authz.core.choice import Choice, Need
from authz.core.settings import MisfitError, Settings
from authz.core.spiffe import SpiffePatternText, TrustDomainText
from authz.core.upstream_token import ProxyToken

DEFAULT: Final = "default"  # the profile that applies if nothing names another
AGENTGATEWAY: Final = "agentgateway.source"  # as in the CEL metadata of the agentgateway example
MAX_HOPS: Final = 8
MAX_REQUEST_BYTES: Final = 2**32 - 1  # as Envoy's own setting takes it


class Source(Choice):
    """The place where a proxy names the caller."""

    PRINCIPAL = "principal"
    CERTIFICATE = "certificate"
    XFCC = "xfcc"
    METADATA = "metadata"


class ProfileSettings(Settings):
    """How a kind of proxy presents the caller."""

    identity: Source = Source.PRINCIPAL
    """Where the caller's SPIFFE ID comes from. principal: source.principal. certificate:
    source.certificate alone. xfcc: the header x-forwarded-client-cert, written by trusted_proxies.
    metadata: the namespace that agentgateway fills.
    """
    certificate: Need = Need.OPTIONAL
    """required: refuse a request without the caller's certificate."""
    trust_domains: tuple[TrustDomainText, ...] | None = None
    """Trust domains whose agents may come through this profile; left out, all of trust_domains."""
    callers: tuple[SpiffePatternText, ...] = ()
    """SPIFFE IDs (* for a segment) of the proxies that may use this profile, by their certificate
    on server.listen; other proxies may not use it. Left out, any proxy may use it.
    """
    trusted_proxies: tuple[SpiffePatternText, ...] = ()
    """For xfcc: SPIFFE IDs (* for a segment) of the proxies that may have written the header."""
    hops: int = Field(default=1, ge=1, le=MAX_HOPS)
    """For xfcc: the number of proxies that write an element into the header, beginning with the
    agent's own. Any other number of elements is refused, because another party wrote an element
    too.
    """
    direct: bool = False
    """For xfcc: agents also connect to this proxy directly. If source.principal is one of
    trusted_proxies, the header counts. Otherwise source.principal is the agent itself, and the
    header is not read, because the agent may have written it. So it is if source.principal is the
    ID of the proxy that asks, the By of the last element. A request without source.principal is
    refused.
    """
    namespace: str = Field(default=AGENTGATEWAY, min_length=1, max_length=128)
    """For metadata: the metadata_context namespace that holds spiffe_id and, if sent, certificate.
    """
    mcp_metadata: str | None = Field(default=None, min_length=1, max_length=128)
    """The metadata_context namespace in which Envoy's MCP filter describes the message, such as
    envoy.filters.http.mcp; used where the proxy sends no body. Set it only if that filter refuses
    messages that it can't parse, and nothing before it writes that namespace.
    """
    max_request_bytes: int | None = Field(default=None, ge=1, le=MAX_REQUEST_BYTES)
    """The proxy's limit of bodies in bytes, as in Envoy's max_request_bytes, for a proxy that can't
    send it in the context extension authz_max_request_bytes, which counts where it is sent. A body
    that fills the limit may be cut and is refused; a shorter one needs no content-length. A number
    above the proxy's own limit lets cut bodies pass for whole ones.
    """
    upstream_token: ProxyToken | None = None
    """What requests through this profile's proxies bring the upstream. strip: no token, and no DPoP
    proof. forward: the client's token, for a proxy behind this one that checks the request too.
    Left out, upstream_token of the route decides, and else token.forward.
    """

    @model_validator(mode="after")
    def _xfcc_needs_writers(self) -> Self:
        if self.identity is Source.XFCC and not self.trusted_proxies:
            raise MisfitError(
                "trusted_proxies must list the proxies that may write the header", "identity"
            )
        of_xfcc = {
            "trusted_proxies": bool(self.trusted_proxies),
            "hops": self.hops != 1,
            "direct": self.direct,
        }
        key = next((name for name, is_set in of_xfcc.items() if is_set), None)
        if self.identity is not Source.XFCC and key is not None:
            raise MisfitError("trusted_proxies, hops and direct are only for identity: xfcc", key)
        if self.identity is not Source.METADATA and self.namespace != AGENTGATEWAY:
            raise MisfitError("namespace is only for identity: metadata", "namespace")
        return self
