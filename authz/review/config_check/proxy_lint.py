"""Warns about settings that no calling proxy can meet."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from authz.config import Config, Place
from authz.core.identity.settings import DEFAULT
from authz.core.spiffe import SpiffePattern

Warnings = Iterator[tuple[Place, str]]
_ALIKE: Final = 0.9  # one or two swapped letters; other names of a company differ more


def proxy_warnings(config: Config) -> Warnings:
    """Yield each doubtful place about proxies, and the warning."""
    yield from _misspelt_domains(config)
    yield from _unknown_callers(config)
    yield from _agents_as_proxies(config)
    yield from _agents_not_heard_directly(config)
    yield from _words_that_no_profile_leaves(config)


def _misspelt_domains(config: Config) -> Warnings:
    """Find callers whose trust domain is nearly one of trust_domains, if no caller is in these.

    Proxies may have a separate trust domain with any other name.
    """
    callers = () if config.server.tls is None else config.server.tls.allowed_callers
    domains = [SpiffePattern.parse(text).trust_domain.name for text in callers]
    if not set(domains).isdisjoint(config.trust_domains):
        return
    for at, domain in enumerate(domains):
        for meant in get_close_matches(domain, config.trust_domains, 1, _ALIKE):
            message = f"{domain} is not one of trust_domains; did you mean {meant}?"
            yield ("server", "tls", "allowed_callers", at), message


def _unknown_callers(config: Config) -> Warnings:
    """Find profiles for proxies that can't call, or whose names are unknown without TLS."""
    tls = config.server.tls
    allowed = () if tls is None else tuple(map(SpiffePattern.parse, tls.allowed_callers))
    for name, profile in config.profiles.items():
        for at, text in enumerate(profile.callers):
            if _is_none_of(SpiffePattern.parse(text), allowed):
                place: Place = ("profiles", name, "callers", at)
                yield place, _why_unknown(is_known=tls is not None)


def _is_none_of(pattern: SpiffePattern, allowed: Sequence[SpiffePattern]) -> bool:
    return not any(map(pattern.overlaps, allowed))


def _why_unknown(*, is_known: bool) -> str:
    if is_known:
        return "server.tls.allowed_callers lets no such proxy ask"
    return "only server.tls shows which proxy calls, so that no proxy can use this profile"


def _agents_as_proxies(config: Config) -> Warnings:
    """Find patterns of proxies that agents match too: such agents could make a proxy's claims.

    A proxy that is listed as an agent by its own ID is meant as both.
    """
    agents = [SpiffePattern.parse(agent.id) for agent in config.agents]
    for place, text in _proxies(config):
        pattern = SpiffePattern.parse(text)
        agent = None if pattern.is_exact else next(filter(pattern.overlaps, agents), None)
        if agent is not None:
            yield place, f"agents such as {agent.text} match it as well: name the proxies alone"


def _agents_not_heard_directly(config: Config) -> Warnings:
    """Find agents that are named as trusted proxies of a profile for direct connections."""
    agents = {agent.id for agent in config.agents}
    for name, profile in config.profiles.items():
        for at, text in enumerate(profile.trusted_proxies if profile.direct else ()):
            if text in agents:
                message = (
                    "it is an agent as well: where it connects directly, the header that it sends"
                    " counts, and can name any agent"
                )
                yield ("profiles", name, "trusted_proxies", at), message


def _words_that_no_profile_leaves(config: Config) -> Warnings:
    """Find settings of the upstream's token without effect, because every profile has its own."""
    said = [profile.upstream_token for profile in config.profiles.values()]
    if DEFAULT not in config.profiles or None in said:
        return
    message = "it has no effect: each profile has its own upstream_token, which comes first"
    for at, route in enumerate(config.routes):
        if route.upstream_token is not None:
            yield ("routes", at, "upstream_token"), message
    if config.token.forward:
        yield ("token", "forward"), message


def _proxies(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield each pattern of trusted proxies, and its place."""
    tls = config.server.tls
    for at, text in enumerate(() if tls is None else tls.allowed_callers):
        yield ("server", "tls", "allowed_callers", at), text
    for name, profile in config.profiles.items():
        for key in ("callers", "trusted_proxies"):
            for at, text in enumerate(getattr(profile, key)):
                yield ("profiles", name, key, at), text
