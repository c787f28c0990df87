"""Warns about settings of what may be used once, where it may be used more often, or not at all."""

from collections.abc import Iterator
from typing import Final

from authz.config import Config, Place
from authz.core.delegation.token_settings import NonceNeed
from authz.core.issuer_kind import IssuerKind

# A token for one request is used within minutes of its issue; each is remembered until its end.
LONG_SECONDS: Final = 3600.0
# Products whose access tokens have no jti.
_WITHOUT_ID: Final = frozenset({IssuerKind.ENTRA, IssuerKind.GOOGLE})
_ON_AN_ABSENT_STORE: Final = (
    ("replay", "when_away"),
    ("revocations", "when_away"),
    ("revocations", "away_after"),
)
Warnings = Iterator[tuple[Place, str]]


def once_warnings(config: Config) -> Warnings:
    """Yield each doubtful place about proofs, nonces, tokens and approvals, and the warning."""
    yield from _nonces_of_one_worker(config)
    yield from _nobody_is_away(config)
    yield from _unshared_approvals(config)
    for at, issuer in enumerate(config.issuers):
        if issuer.one_time:
            place: Place = ("issuers", at)
            yield from _unshared_tokens(config, place)
            if issuer.kind in _WITHOUT_ID:
                message = f"tokens of {issuer.kind} have no jti: all are refused"
                yield (*place, "one_time"), message
            if issuer.bundle is not None:
                message = "most JWT-SVIDs have no jti and no iat: each without is refused"
                yield (*place, "one_time"), message
            if issuer.max_lifetime > LONG_SECONDS:
                message = (
                    "each used token is remembered until its end: set max_lifetime to what the"
                    " tokens need, such as 5m"
                )
                yield (*place, "one_time"), message


def _nonces_of_one_worker(config: Config) -> Warnings:
    """Find nonces that each worker makes for itself: other workers refuse these."""
    dpop, workers = config.token.dpop, config.server.workers
    is_own = dpop.nonce_secret is None and config.store is None
    if dpop.nonce is NonceNeed.REQUIRED and is_own and workers > 1:
        message = (
            f"each of the {workers} workers makes nonces that the others refuse: set nonce_secret,"
            " or store"
        )
        yield ("token", "dpop", "nonce"), message


def _nobody_is_away(config: Config) -> Warnings:
    """Find words on an absent store where there is none."""
    if config.store is not None:
        return
    for section, key in _ON_AN_ABSENT_STORE:
        if key in getattr(config, section).model_fields_set:
            yield (section, key), "it has no effect without store"


def _unshared_approvals(config: Config) -> Warnings:
    """Find approvals for one request of which each worker knows only those that it saw itself."""
    workers = config.server.workers
    if config.store is not None or workers == 1:
        return
    for name, rules in config.grants.items():
        for at, rule in enumerate(rules):
            if rule.approval is not None and rule.approval.once:
                message = f"each of the {workers} workers lets an approval pass once: set store"
                yield ("grants", name, at, "approval", "once"), message


def _unshared_tokens(config: Config, place: Place) -> Warnings:
    """Find tokens for one request of which each worker knows only those that it saw itself."""
    workers = config.server.workers
    if config.store is None and workers > 1:
        message = f"each of the {workers} workers lets a token pass once: set store"
        yield (*place, "one_time"), message
