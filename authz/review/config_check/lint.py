"""Warns about settings that are valid but probably not meant."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from authz.config import Config, Place
from authz.core.decision import Effect
from authz.core.hosts import common_patterns, cover_all
from authz.core.patterns import ANY, path_pattern
from authz.core.policy import RuleSettings
from authz.core.policy.call_settings import KEYS
from authz.core.policy.holder_settings import Absence
from authz.core.routes import RouteProtocol, RouteSettings
from authz.core.spiffe import SpiffePattern
from authz.review.config_check.address_lint import address_warnings
from authz.review.config_check.budget_lint import budget_warnings
from authz.review.config_check.consent_lint import consent_warnings
from authz.review.config_check.exchange_lint import exchange_warnings
from authz.review.config_check.header_lint import header_warnings
from authz.review.config_check.issuer_lint import issuer_warnings
from authz.review.config_check.once_lint import once_warnings
from authz.review.config_check.placeholder_lint import placeholder_warnings
from authz.review.config_check.proxy_lint import proxy_warnings
from authz.review.config_check.scale import scale_warnings
from authz.review.config_check.signing_lint import signing_warnings
from authz.review.config_check.store_lint import store_warnings
from authz.review.config_check.sts_lint import sts_warnings
from authz.review.config_check.svid_lint import svid_warnings

Warnings = Iterator[tuple[Place, str]]


def config_warnings(config: Config, now: datetime) -> Warnings:
    """Yield each doubtful place of a valid config, and the warning."""
    yield from _shadow(config)
    yield from address_warnings(config)
    yield from proxy_warnings(config)
    yield from header_warnings(config)
    yield from placeholder_warnings(config)
    yield from once_warnings(config)
    yield from _unknown_introspectors(config)
    yield from exchange_warnings(config)
    yield from issuer_warnings(config)
    yield from _hidden_routes(config)
    yield from _unknown_agents(config)
    yield from _unheld_grants(config)
    yield from _dead_rules(config, now)
    yield from _open_beside_messages(config)
    yield from _absent_for_nothing(config)
    yield from budget_warnings(config)
    yield from svid_warnings(config)
    yield from scale_warnings(config)
    yield from store_warnings(config)
    yield from signing_warnings(config, now)
    yield from sts_warnings(config)
    yield from consent_warnings(config)
    yield from _unclosed_logs(config)


def _shadow(config: Config) -> Warnings:
    if config.shadow:
        message = (
            "every request that the rules refuse is allowed, and only recorded: leave it out to"
            " enforce the rules"
        )
        yield ("shadow",), message


def _unclosed_logs(config: Config) -> Warnings:
    """Find a chain of which no file is kept, so that a crash leaves it without an end."""
    audit = config.audit
    if audit.chain is not None and all(place.kind != "file" for place in audit.places):
        message = (
            "after a crash only a file can be given the end of its log: add a sink with a path, or"
            " authz audit verify will miss the end"
        )
        yield ("audit", "chain"), message


def _unknown_introspectors(config: Config) -> Warnings:
    """Find endpoints that answer anybody, so that attackers can try tokens (RFC 7662 2.1, 4)."""
    for at, issuer in enumerate(config.issuers):
        if issuer.introspection is not None and not issuer.introspection.has_credential:
            message = (
                "the endpoint must know who asks: set client_id, and client_secret_file,"
                " private_key_jwt or tls; one that answers everybody can be used to try tokens"
            )
            yield ("issuers", at, "introspection"), message


def _hidden_routes(config: Config) -> Warnings:
    """Find routes hidden by an earlier route; proxies name those without hosts and paths."""
    for at, route in enumerate(config.routes):
        if route.model_fields_set.isdisjoint({"hosts", "paths"}):
            continue
        first = next((earlier for earlier in config.routes[:at] if _covers(earlier, route)), None)
        if first is not None:
            message = (
                f"{first.name} comes first and matches whatever it matches; name it in the proxy"
            )
            yield ("routes", at), message


def _covers(outer: RouteSettings, inner: RouteSettings) -> bool:
    if not cover_all(outer.hosts, inner.hosts):
        return False
    outers = [path_pattern(path) for path in outer.paths]
    inners = [path_pattern(path) for path in inner.paths]
    return all(any(wide.covers(narrow) for wide in outers) for narrow in inners)


def _unknown_agents(config: Config) -> Warnings:
    known = [SpiffePattern.parse(agent.id) for agent in config.agents]
    for at, principal in enumerate(config.principals):
        for number, text in enumerate(principal.agents or ()):
            pattern = SpiffePattern.parse(text)
            if not any(map(pattern.overlaps, known)):
                message = "no entry of agents matches it, and unknown agents may do nothing"
                yield ("principals", at, "agents", number), message


def _unheld_grants(config: Config) -> Warnings:
    holders = (*config.agents, *config.principals)
    held = {name for holder in holders for name in holder.grants}
    for name in config.grants:
        if name not in held:
            yield ("grants", name), "no agent and no principal holds this grant"


def _dead_rules(config: Config, now: datetime) -> Warnings:
    """Find rules that never match, or never again."""
    protocols = {route.protocol.of_messages for route in config.routes}
    for name, rules in config.grants.items():
        for at, rule in enumerate(rules):
            place = ("grants", name, at)
            if rule.protocol and rule.protocol not in protocols:
                message = f"no route has protocol: {rule.protocol}, so the rule never matches"
                yield (*place, KEYS[rule.protocol]), message
            ends = [window.not_after for window in rule.during or ()]
            if ends and all(end is not None and end <= now for end in ends):
                yield (*place, "during"), "all of its times are past: the rule never matches again"


def _open_beside_messages(config: Config) -> Warnings:
    """Find plain allows of complete subtrees in which messages are read at some paths only.

    A server may accept the same messages at another path (CVE-2026-33032), where they are not read.
    """
    for name, rules in config.grants.items():
        for at, rule in enumerate(rules):
            if rule.effect is Effect.DENY or rule.protocol or not {ANY, "POST"} & set(rule.methods):
                continue
            for number, path in enumerate(rule.paths):
                route = next(
                    (route for route in config.routes if _is_beside(rule, path, route)), None
                )
                if route is None or not _reads_messages(config, route, rule.hosts):
                    continue
                message = (
                    f"it allows plain requests beside the route {route.name}, so also unread"
                    f" {route.protocol} messages at any path outside that route: name the paths"
                )
                yield ("grants", name, at, "paths", number), message


def _is_beside(rule: RuleSettings, path: str, route: RouteSettings) -> bool:
    """Tell whether a plain rule's path covers paths of a message route, and other paths too."""
    if route.protocol is RouteProtocol.HTTP or not common_patterns(rule.hosts, route.hosts):
        return False
    wide, listed = path_pattern(path), [path_pattern(text) for text in route.paths]
    is_around = any(wide.covers(pattern) for pattern in listed)
    return is_around and not any(pattern.covers(wide) for pattern in listed)


def _reads_messages(config: Config, route: RouteSettings, hosts: Sequence[str]) -> bool:
    """Tell whether messages should be read on these hosts: the route or a rule names them."""
    if ANY not in route.hosts:
        return True
    protocol = route.protocol.of_messages
    rules = (rule for rules in config.grants.values() for rule in rules)
    return any(rule.protocol == protocol and common_patterns(rule.hosts, hosts) for rule in rules)


def _absent_for_nothing(config: Config) -> Warnings:
    for at, entry in enumerate(config.principals):
        rules = (rule for name in entry.grants for rule in config.grants[name])
        takes = entry.suspended or any(rule.effect is Effect.DENY for rule in rules)
        if entry.if_absent is Absence.DENY and not takes:
            message = (
                "the entry is not suspended and holds no deny, so if_absent: deny has no effect"
            )
            yield ("principals", at, "if_absent"), message
