"""SPIFFE IDs, patterns of IDs, and the ID in a certificate."""

from authz.core.spiffe.pattern import (
    SpiffeIdText,
    SpiffePattern,
    SpiffePatternText,
    TrustDomainText,
    trust_domain_text,
)
from authz.core.spiffe.spiffe_id import SCHEME, SpiffeId, SpiffeIdError, TrustDomain

__all__ = [
    "SCHEME",
    "SpiffeId",
    "SpiffeIdError",
    "SpiffeIdText",
    "SpiffePattern",
    "SpiffePatternText",
    "TrustDomain",
    "TrustDomainText",
    "trust_domain_text",
]
