"""What a config says and its operator may not mean: a doubt and no error, as it could be meant."""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from typing import Final

from authz.config import Config, Place
from authz.patterns import ANY, SpiffePattern, path_pattern
from authz.policy.calls import KEYS
from authz.routes import RouteSettings

Doubts = Iterator[tuple[Place, str]]
_LOCAL: Final = "localhost"
_UNIX: Final = "unix:"


def doubts(config: Config, now: datetime) -> Doubts:
    """Places of a good config, and what is doubtful there."""
    yield from _open_addresses(config)
    yield from _clients_as_persons(config)
    yield from _clients_alone(config)
    yield from _hidden_routes(config)
    yield from _unknown_agents(config)
    yield from _unheld_grants(config)
    yield from _dead_rules(config, now)


def _open_addresses(config: Config) -> Doubts:
    for at, address in enumerate(config.server.listen):
        if config.server.tls is None and not _is_local(address):
            message = "whoever reaches it may ask: add server.tls, or listen on unix: or loopback"
            yield ("server", "listen", at), message


def _is_local(address: str) -> bool:
    if address.startswith(_UNIX):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == _LOCAL or ip_address(host).is_loopback
    except ValueError:
        return False


def _clients_as_persons(config: Config) -> Doubts:
    """Entries that a client's own token meets where it passes for a user's (RFC 9700 4.15)."""
    for at, issuer in enumerate(config.issuers):
        if ANY in (issuer.person_shown_by or {}).get("sub", ()):
            message = "each token has one, a client's own too: only what marks that refuses it"
            yield ("issuers", at, "person_shown_by", "sub"), message
    guessed = {
        one.issuer for one in config.issuers if one.actor.is_mapped and one.person_shown_by is None
    }
    for at, principal in enumerate(config.principals):
        match = principal.match
        if match.issuer in guessed and match.model_fields_set == {"issuer"}:
            message = (
                "it is about any subject, of an issuer without act: say in its person_shown_by what"
                " tells a user's token from a client's own"
            )
            yield ("principals", at, "match"), message


def _clients_alone(config: Config) -> Doubts:
    """Entries for clients that act for themselves, which no route lets them."""
    if any("autonomous" in route.modes for route in config.routes):
        return
    clients = {one.issuer: one.actor.map for one in config.issuers}
    for at, principal in enumerate(config.principals):
        for number, subject in enumerate(principal.match.subjects or ()):
            if subject in clients.get(principal.match.issuer, {}):
                message = "a client's own token is autonomous, and no route has that mode"
                yield ("principals", at, "match", "subjects", number), message


def _hidden_routes(config: Config) -> Doubts:
    """Routes whose paths find another first; those that say neither are for proxies to name."""
    for at, route in enumerate(config.routes):
        if route.model_fields_set.isdisjoint({"hosts", "paths"}):
            continue
        first = next((one for one in config.routes[:at] if _covers(one, route)), None)
        if first is not None:
            message = f"{first.name} fits wherever it does, and comes first; name it in the proxy"
            yield ("routes", at), message


def _covers(outer: RouteSettings, inner: RouteSettings) -> bool:
    if ANY not in outer.hosts and not set(inner.hosts) <= set(outer.hosts):
        return False
    patterns = [path_pattern(one) for one in outer.paths]
    return all(any(one.covers(path_pattern(path)) for one in patterns) for path in inner.paths)


def _unknown_agents(config: Config) -> Doubts:
    known = [SpiffePattern.parse(one.id) for one in config.agents]
    for at, principal in enumerate(config.principals):
        for number, text in enumerate(principal.agents or ()):
            pattern = SpiffePattern.parse(text)
            if not any(map(pattern.overlaps, known)):
                message = "no entry of agents is about it, and unknown agents may do nothing"
                yield ("principals", at, "agents", number), message


def _unheld_grants(config: Config) -> Doubts:
    holders = (*config.agents, *config.principals)
    held = {name for one in holders for name in one.grants}
    for name in config.grants:
        if name not in held:
            yield ("grants", name), "no agent and no principal holds this grant"


def _dead_rules(config: Config, now: datetime) -> Doubts:
    """Rules that never fit, or never again."""
    protocols = {route.protocol for route in config.routes}
    for name, rules in config.grants.items():
        for at, rule in enumerate(rules):
            place = ("grants", name, at)
            if rule.protocol and rule.protocol not in protocols:
                message = f"no route has protocol: {rule.protocol}, so that the rule never fits"
                yield (*place, KEYS[rule.protocol]), message
            ends = [window.not_after for window in rule.during or ()]
            if ends and all(end is not None and end <= now for end in ends):
                yield (*place, "during"), "all of its times are past: the rule never fits again"
