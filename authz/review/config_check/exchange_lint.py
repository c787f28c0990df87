"""Warns about exchanges of tokens that trust too much, or that can't happen."""

from collections.abc import Iterator

from authz.config import Config, Place
from authz.core.delegation.exchange_settings import SubjectNeed

_ANYBODY = (
    "the issuer alone decides as whom the upstream sees a call: set subject_claims to claims that"
    " are equal in both tokens, such as [tid, oid]"
)
_UNREAD = (
    "nobody checks whom an opaque token names and for whom it is: let the issuer answer with a JWT"
)
_UNUSED = "no route exchanges tokens there: set upstream_token: exchange and exchange on a route"
_TOKENLESS = (
    "a request without a token has nothing to exchange, and is refused: leave it out, or set"
    " upstream_token to assert"
)


def exchange_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield each doubtful place of issuers' ``exchange``, and of routes that exchange tokens."""
    used = {route.exchange.issuer for route in config.routes if route.exchange is not None}
    for at, issuer in enumerate(config.issuers):
        settings = issuer.exchange
        if settings is None:
            continue
        place: Place = ("issuers", at, "exchange")
        if issuer.issuer not in used:
            yield place, _UNUSED
        if settings.subject is SubjectNeed.ANY:
            yield (*place, "subject"), _ANYBODY
        if settings.accept_opaque:
            yield (*place, "accept_opaque"), _UNREAD
    for at, route in enumerate(config.routes):
        if route.exchange is None:
            continue
        if route.bootstrap:
            yield ("routes", at, "bootstrap"), _TOKENLESS
        if route.takes_svid_alone:
            yield ("routes", at, "modes"), _TOKENLESS
