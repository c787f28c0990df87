"""What an operator says about how a kind of proxy presents the calling agent."""

from typing import Final, Self

from pydantic import Field, model_validator

from authz.core.choice import Choice, Need
from authz.core.settings import MisfitError, Settings
from authz.core.spiffe import SpiffePatternText, TrustDomainText

AGENTGATEWAY: Final = "agentgateway.source"  # as in the CEL metadata of our agentgateway example
MAX_HOPS: Final = 8


class Source(Choice):
    """Where a proxy says who calls."""

    PRINCIPAL = "principal"
    CERTIFICATE = "certificate"
    XFCC = "xfcc"
    METADATA = "metadata"


class ProfileSettings(Settings):
    """How a kind of proxy presents the caller."""

    identity: Source = Source.PRINCIPAL
    """principal: source.principal. certificate: source.certificate alone. xfcc: the header
    x-forwarded-client-cert of trusted_proxies. metadata: the namespace that agentgateway fills.
    """
    certificate: Need = Need.OPTIONAL
    """Whether a request without the caller's certificate is refused."""
    trust_domains: tuple[TrustDomainText, ...] | None = None
    """Trust domains whose agents come this way; all of the config's when left out."""
    callers: tuple[SpiffePatternText, ...] = ()
    """SPIFFE IDs (* for a segment) of the proxies that use this profile, by their certificate on
    our own port; a proxy that is not one of them may not. Anyone may when left out.
    """
    trusted_proxies: tuple[SpiffePatternText, ...] = ()
    """For xfcc: SPIFFE IDs (* for a segment) of the proxies that may have written the header."""
    hops: int = Field(default=1, ge=1, le=MAX_HOPS)
    """For xfcc: proxies that wrote an element, the agent's own one first. Another number is
    refused: someone else wrote too.
    """
    namespace: str = Field(default=AGENTGATEWAY, min_length=1, max_length=128)
    """For metadata: the metadata_context namespace with spiffe_id and, if sent, certificate."""
    mcp_metadata: str | None = Field(default=None, min_length=1, max_length=128)
    """The metadata_context namespace in which Envoy's MCP filter says what the message is, as
    envoy.filters.http.mcp: taken where the proxy sends no body. Only where that filter is set to
    refuse what it can't parse, and nothing before it writes that namespace.
    """

    @model_validator(mode="after")
    def _xfcc_needs_writers(self) -> Self:
        if self.identity is Source.XFCC and not self.trusted_proxies:
            raise MisfitError("say in trusted_proxies which may write the header", "identity")
        if self.identity is not Source.XFCC and (self.trusted_proxies or self.hops != 1):
            key = "trusted_proxies" if self.trusted_proxies else "hops"
            raise MisfitError("trusted_proxies and hops go with identity: xfcc", key)
        if self.identity is not Source.METADATA and self.namespace != AGENTGATEWAY:
            raise MisfitError("namespace goes with identity: metadata", "namespace")
        return self
