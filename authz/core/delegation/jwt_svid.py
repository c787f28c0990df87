"""JWT-SVIDs: tokens that a trust domain issues to its own workloads.

A bundle's keys are trusted for one trust domain alone: a token that they sign can't name a workload
of another (JWT-SVID section 3.1, SPIFFE Trust Domain and Bundle section 4). SPIRE sets ``iss`` only
if its operator configures it, and the standard gives it no meaning.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from authz.core.delegation.settings import IssuerSettings
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SpiffeId, SpiffeIdError


def by_trust_domain(issuers: Iterable[IssuerSettings]) -> Mapping[str, IssuerSettings]:
    """Return the issuers whose keys are a SPIFFE bundle, by its trust domain."""
    of_bundles = ((issuer.bundle, issuer) for issuer in issuers)
    return {bundle.trust_domain: issuer for bundle, issuer in of_bundles if bundle is not None}


def trust_domain_of(members: Mapping[str, Any]) -> str:
    """Return the trust domain of a token's subject, "" if that is not a SPIFFE ID."""
    subject = members.get("sub")
    try:
        return SpiffeId.parse(subject).trust_domain.name if isinstance(subject, str) else ""
    except SpiffeIdError:
        return ""


def check_workload(members: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Check that a token signed by a bundle's key belongs to a workload of its trust domain.

    Raises Denied(TOKEN_CLAIM).
    """
    bundle = issuer.bundle
    if bundle is not None and trust_domain_of(members) != bundle.trust_domain:
        detail = f"its sub is not a SPIFFE ID of {bundle.trust_domain}, whose bundle has its key"
        raise Denied(Reason.TOKEN_CLAIM, detail)
