"""What the upstream gets for the client's token: nothing, the token itself, or one made for it.

``Upstream`` says what the edge has to obtain before an allow is answered; ``UpstreamCredential`` is
what it obtained. Both are compared by identity, so that caches can use them in their keys.
"""

from math import inf
from typing import Final

import msgspec

from authz.core.choice import Choice


class UpstreamToken(Choice):
    """What the upstream of a route gets: nothing, the client's token, or one made for it."""

    STRIP = "strip"
    FORWARD = "forward"
    ASSERT = "assert"
    EXCHANGE = "exchange"


# What is made for the upstream, rather than taken from the client.
CREDENTIALS: Final = (UpstreamToken.ASSERT, UpstreamToken.EXCHANGE)


class ProxyToken(Choice):
    """What a proxy's profile says of the client's token: it is a matter of routes to replace it."""

    STRIP = "strip"
    FORWARD = "forward"


class Upstream(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the upstream gets, compiled from its route.

    Attributes:
        gets: what it gets.
        route: the name of the route, "" if no route says what the upstream gets.
        audience: for whom the credential is: ``aud`` of an assertion, ``audience`` of an exchange
            (RFC 8693 section 2.1), "" to send none.
        scopes: the most that the credential may hold of the decision's scopes; None for all.
        issuer: the issuer at which the token is exchanged.
        resource: ``resource`` of an exchange, "" to send none.
    """

    gets: UpstreamToken
    route: str = ""
    audience: str = ""
    scopes: frozenset[str] | None = None
    issuer: str = ""
    resource: str = ""

    @property
    def needs_credential(self) -> bool:
        """Tell whether an allow must obtain a credential before it is answered."""
        return self.gets in CREDENTIALS

    def narrowed(self, scopes: frozenset[str]) -> frozenset[str]:
        """Return those of the decision's scopes that the credential may hold."""
        return scopes if self.scopes is None else scopes & self.scopes


STRIPPED: Final = Upstream(UpstreamToken.STRIP)
FORWARDED: Final = Upstream(UpstreamToken.FORWARD)


class UpstreamCredential(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A credential that was made for the upstream.

    Attributes:
        header: the lower-case name of the header that carries it.
        value: the header's value, a secret.
        good_until: unix seconds until which it may be sent: some time before its own end, so that
            it is good when it arrives.
        credential_id: names it in records, and is no secret: ``txn`` of an assertion, or a digest
            of the token.
        gets: how it was made, ASSERT or EXCHANGE.
        audience: for whom it is.
        issued_at, expires_at: of an assertion, unix seconds.
    """

    header: str
    value: str
    good_until: float
    credential_id: str
    gets: UpstreamToken
    audience: str = ""
    issued_at: float = 0.0
    expires_at: float = inf

    def __repr__(self) -> str:
        """Return a text without the secret."""
        return f"UpstreamCredential({self.gets.value}, {self.credential_id})"
