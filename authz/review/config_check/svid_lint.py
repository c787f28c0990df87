"""Warns about doubtful settings for agents that act by their SVID alone, or by a JWT-SVID."""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from authz.config import Config, Place
from authz.core.decision import Effect
from authz.core.patterns import ANY, path_pattern
from authz.core.policy import RuleSettings
from authz.core.routes import RouteSettings
from authz.core.spiffe import SCHEME

Warnings = Iterator[tuple[Place, str]]
_OF_JWT_SVIDS: Final = frozenset({"application/jwt", "application/jose"})  # JWT-SVID section 2.3
_NAMED: Final = 3  # agents named in a warning: enough to see which are concerned


def svid_warnings(config: Config) -> Warnings:
    """Yield each doubtful place, and the warning."""
    yield from _routes(config)
    yield from _entries(config)
    yield from _bundles(config)


def _routes(config: Config) -> Warnings:
    """Find routes that accept an SVID alone by default, with the agents that may act there."""
    for at, route in enumerate(config.routes):
        if not route.takes_svid_alone:
            continue
        if route.bootstrap:
            yield ("routes", at, "bootstrap"), "no call here needs a token: it has no effect"
        if "token" in route.model_fields_set:
            continue
        listed = list(islice(_able(config, route), _NAMED + 1))
        if listed:
            more = " and others" if len(listed) > _NAMED else ""
            message = (
                "without a token these agents may act here by their SVID alone, by rules without"
                f" scopes: {', '.join(listed[:_NAMED])}{more}; write token: optional if that is"
                " meant, or token: required"
            )
            yield ("routes", at), message


def _entries(config: Config) -> Warnings:
    """Find entries for agents by their SVID alone without denies or suspension.

    They have no effect.
    """
    issuers = {issuer.issuer for issuer in config.issuers}
    for at, entry in enumerate(config.principals):
        issuer = entry.match.issuer
        if issuer in issuers or not issuer.startswith(SCHEME) or entry.suspended:
            continue
        rules = (rule for name in entry.grants for rule in config.grants[name])
        if all(rule.effect is Effect.ALLOW for rule in rules):
            message = (
                "an agent by its SVID alone has its own grants: of this entry only denies and"
                " suspended would count"
            )
            yield ("principals", at), message


def _bundles(config: Config) -> Warnings:
    """Find SPIFFE bundles none of whose JWT-SVIDs can be accepted."""
    for at, issuer in enumerate(config.issuers):
        bundle = issuer.bundle
        if bundle is None:
            continue
        if not issuer.media_types & _OF_JWT_SVIDS:
            message = "it accepts no JWT-SVID, whose typ is JWT: set kind: spire"
            yield ("issuers", at, "keys", "spiffe_bundle"), message
        if bundle.trust_domain not in config.trust_domains:
            message = "not one of trust_domains, so that none of its workloads can call"
            yield ("issuers", at, "keys", "spiffe_bundle", "trust_domain"), message


def _able(config: Config, route: RouteSettings) -> Iterator[str]:
    """Yield the agents with a rule that needs no token there, and the rule."""
    by_grant = {name: _first_rule(config, name, route) for name in config.grants}
    for agent in config.agents:
        rules = (by_grant[name] for name in agent.grants)
        first = next(filter(None, rules), "")
        if first and not agent.suspended:
            yield f"{agent.id} by {first}"


def _first_rule(config: Config, grant: str, route: RouteSettings) -> str:
    """Return the name of the grant's first allow that needs no token on a route, or ""."""
    for number, rule in enumerate(config.grants[grant]):
        is_allow = rule.effect is Effect.ALLOW and not rule.shadow
        if is_allow and not rule.needs_token and _is_there(rule, route):
            return f"{grant}/{rule.name or number}"
    return ""


def _is_there(rule: RuleSettings, route: RouteSettings) -> bool:
    """Tell whether a rule is about anything on a route."""
    is_host = ANY in (*rule.hosts, *route.hosts) or not set(rule.hosts).isdisjoint(route.hosts)
    if rule.protocol is not route.protocol.of_messages or not is_host:
        return False
    patterns = [path_pattern(path) for path in route.paths]
    paths = (path_pattern(path) for path in rule.paths)
    return any(path.intersection(pattern) is not None for path in paths for pattern in patterns)
