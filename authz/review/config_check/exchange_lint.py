"""Warns about exchanges of tokens that trust too much, and credentials that nobody gets."""

from collections.abc import Iterator

from authz.config import Config, Place
from authz.core.delegation.exchange_settings import SubjectNeed
from authz.core.identity import ProfileSettings
from authz.core.identity.settings import DEFAULT
from authz.core.upstream_token import CREDENTIALS

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
_OVERRULED = (
    "every profile has an upstream_token, which comes first: leave it out of the profile of the"
    " proxy in front of this upstream"
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
    yield from _of_routes(config)


def _of_routes(config: Config) -> Iterator[tuple[Place, str]]:
    profiles = {DEFAULT: ProfileSettings(), **config.profiles}.values()
    is_overruled = all(profile.upstream_token is not None for profile in profiles)
    for at, route in enumerate(config.routes):
        if is_overruled and route.upstream_token in CREDENTIALS:
            yield ("routes", at, "upstream_token"), _OVERRULED
        if route.exchange is None:
            continue
        if route.bootstrap:
            yield ("routes", at, "bootstrap"), _TOKENLESS
        if route.takes_svid_alone:
            yield ("routes", at, "modes"), _TOKENLESS
