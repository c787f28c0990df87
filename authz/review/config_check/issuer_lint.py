"""Warns about settings of issuers, and entries for principals, that are probably not meant."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from authz.config import Config, Place
from authz.core.delegation import ActorSettings
from authz.core.delegation.presets import PRESETS
from authz.core.delegation.status_list_settings import ANY_BELOW
from authz.core.issuer_kind import IssuerKind
from authz.core.jose.key_issuer import is_of_many_tenants
from authz.core.patterns import ANY
from authz.core.policy.holder_settings import PrincipalMatch
from authz.core.routes import RouteMode

# Products that write a client's id into act.
_BY_ACT: Final = frozenset({IssuerKind.SPRING, IssuerKind.AIRLOCK})
# Claims that say nothing about the subject: equal in a user's token and in its client's own.
_OF_ANY_TOKEN: Final = frozenset(
    {
        *("iss", "aud", "exp", "iat", "nbf", "jti", "typ", "token_type", "ver", "tid"),
        *("azp", "appid", "client_id", "cid"),
    }
)
_OF_MOST_TOKENS: Final = frozenset({"sub", "scope", "scp"})
Warnings = Iterator[tuple[Place, str]]


def issuer_warnings(config: Config) -> Warnings:
    """Yield each doubtful place about issuers and their tokens, and the warning."""
    yield from _many_tenants(config)
    yield from _nameless_agents(config)
    yield from _clients_as_persons(config)
    yield from _clients_alone(config)
    yield from _patterns_of_audiences(config)
    yield from _without_principals(config)
    yield from _statuses(config)


def _patterns_of_audiences(config: Config) -> Warnings:
    """Find audiences that look like patterns, as those of hosts are."""
    for at, issuer in enumerate(config.issuers):
        for number, audience in enumerate(issuer.audiences):
            if ANY in audience:
                message = "audiences are compared byte for byte: * is not a pattern here"
                yield ("issuers", at, "audiences", number), message


def _statuses(config: Config) -> Warnings:
    """Find issuers whose lists could be checked and are not, and places that are any place."""
    for at, issuer in enumerate(config.issuers):
        lists = issuer.status_list
        if lists is None and "status" in issuer.accept_unchecked:
            message = (
                "a token that its issuer has revoked or suspended by a status list is accepted:"
                " set status_list, whose uris say where the issuer's lists are"
            )
            yield ("issuers", at, "accept_unchecked"), message
        for number, place in enumerate(() if lists is None else lists.uris):
            if place.endswith(ANY_BELOW) and urlsplit(place).path == ANY_BELOW:
                message = (
                    "any path of the server counts as a list of this issuer: name the part of its"
                    " path that all lists have, as in https://as.corp.example/statuslists/*"
                )
                yield ("issuers", at, "status_list", "uris", number), message


def _without_principals(config: Config) -> Warnings:
    """Find issuers whose tokens are all refused, as no entry of principals matches them."""
    named = {principal.match.issuer for principal in config.principals}
    for at, issuer in enumerate(config.issuers):
        if issuer.issuer not in named and not is_of_many_tenants(issuer.issuer):
            message = (
                "no entry of principals has it in match, so that all of its tokens are refused"
            )
            yield ("issuers", at, "issuer"), message


def _many_tenants(config: Config) -> Warnings:
    """Find issuers that no token names."""
    for at, issuer in enumerate(config.issuers):
        if is_of_many_tenants(issuer.issuer):
            message = (
                "it stands for many tenants, and no token has it as iss: name each tenant's issuer"
            )
            yield ("issuers", at, "issuer"), message


def _nameless_agents(config: Config) -> Warnings:
    """Find issuers whose names for agents are not SPIFFE IDs, and are not mapped to SPIFFE IDs."""
    for at, issuer in enumerate(config.issuers):
        actor = issuer.actor
        by_act = issuer.kind in _BY_ACT and not actor.is_mapped
        if issuer.kind in (None, IssuerKind.KEYCLOAK) or not (actor.is_mapped or by_act):
            continue
        if not (actor.map or actor.patterns):
            claim = "act.sub" if by_act else " or ".join(actor.claim)
            message = (
                f"{claim} of {issuer.kind} is no SPIFFE ID, so its tokens name no agent:"
                " say in actor.map or actor.patterns which agent each value stands for"
            )
            yield ("issuers", at, "kind"), message


def _clients_as_persons(config: Config) -> Warnings:
    """Find entries that a client's own token matches like a user's token (RFC 9700 4.15)."""
    for at, issuer in enumerate(config.issuers):
        for name, values in (issuer.person_shown_by or {}).items():
            if name in _OF_ANY_TOKEN or (name in _OF_MOST_TOKENS and ANY in values):
                message = (
                    f"a client's own token has {_article(name)} {name} too:"
                    " only a machine's mark in it refuses it"
                )
                yield ("issuers", at, "person_shown_by", name), message
    guessed = {
        issuer.issuer
        for issuer in config.issuers
        if issuer.actor.is_mapped
        and issuer.person_shown_by is None
        and not (issuer.kind and PRESETS[issuer.kind].tells_users)
    }
    for at, principal in enumerate(config.principals):
        if principal.match.issuer in guessed and _tells_nobody(principal.match):
            message = (
                "it matches any subject of an issuer without act: say in the issuer's"
                " person_shown_by which claims tell a user's token from a client's own"
            )
            yield ("principals", at, "match"), message


def _tells_nobody(match: PrincipalMatch) -> bool:
    """Tell whether the tokens of an issuer's clients meet a match as those of its users do."""
    is_for_any = match.subjects is None and match.groups is None and match.roles is None
    return is_for_any and match.claims.keys() <= _OF_ANY_TOKEN | _OF_MOST_TOKENS


def _article(name: str) -> str:
    return "an" if name[0] in "aeiou" else "a"


def _clients_alone(config: Config) -> Warnings:
    """Find entries for clients that act for themselves, if no route allows that mode."""
    if any(RouteMode.AUTONOMOUS in route.modes for route in config.routes):
        return
    actors = {issuer.issuer: issuer.actor for issuer in config.issuers}
    for at, principal in enumerate(config.principals):
        named = actors.get(principal.match.issuer, ActorSettings())
        for number, subject in enumerate(principal.match.subjects or ()):
            if named.agent_of(subject) is not None:
                message = "a client's own token is autonomous, and no route has that mode"
                yield ("principals", at, "match", "subjects", number), message
