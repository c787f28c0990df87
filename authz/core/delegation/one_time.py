"""Tokens of issuers with ``one_time``: each is for one request alone.

That a token has the claims that this needs is part of the checks of claims: ``jti`` names it, and
its ``iat`` says since when it can have been used.
"""

from hashlib import sha256
from typing import Final

from authz.core.delegation.claims import OwnClaims
from authz.core.delegation.settings import MAX_CLOCK_SKEW_SECONDS, IssuerSettings
from authz.core.single_use import SingleUse, UseKind

_NONE: Final[tuple[SingleUse, ...]] = ()


def token_uses(issuer: IssuerSettings, own: OwnClaims) -> tuple[SingleUse, ...]:
    """Return the use of a verified token that is for one request, none for another token.

    It is named by its issuer and ``jti`` (RFC 7519 section 4.1.7: unique for the issuer).
    """
    if not issuer.one_time:
        return _NONE
    name = issuer.issuer
    mark = sha256(f"{len(name)} {name} {own.token_id}".encode()).digest()
    # A reload may widen the skew, and other replicas may have another: a mark must outlast that.
    until = own.expires_at + MAX_CLOCK_SKEW_SECONDS
    return (SingleUse(mark, own.issued_at - issuer.clock_skew, until, UseKind.TOKEN),)
