"""Warns of settings about proxies that no calling proxy can meet."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from authz.config import Config, Place
from authz.core.spiffe import SpiffePattern

Warnings = Iterator[tuple[Place, str]]
_ALIKE: Final = 0.9  # a letter or two that are swapped; other names of a company differ more


def proxy_warnings(config: Config) -> Warnings:
    """Yield each doubtful place about proxies, and the warning."""
    yield from _misspelt_domains(config)
    yield from _unknown_callers(config)


def _misspelt_domains(config: Config) -> Warnings:
    """Find callers of a trust domain that is nearly one of the agents', if none is of theirs.

    Proxies may have a trust domain of their own, of any other name.
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
    """Find profiles for proxies that can't call, or whose names nobody can know without TLS."""
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
