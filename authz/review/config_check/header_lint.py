"""Warns about rules that read a client's header under the prefix of the identity headers."""

from collections.abc import Iterator
from typing import Final

from authz.config import Config, Place

Warnings = Iterator[tuple[Place, str]]
_MESSAGE: Final = (
    "{} begins as the identity headers do, but it is the client's own: upstreams never see it, and"
    " rules believe whoever sends it. Choose a name without {}"
)


def header_warnings(config: Config) -> Warnings:
    """Yield each place that reads a header under ``headers.prefix``, and the warning."""
    prefix = config.headers.prefix
    for place, name in _read(config):
        if name.startswith(prefix):
            yield place, _MESSAGE.format(name, prefix)


def _read(config: Config) -> Iterator[tuple[Place, str]]:
    for at, name in enumerate(config.conditions.headers):
        yield ("conditions", "headers", at), name
    for grant, rules in config.grants.items():
        for at, rule in enumerate(rules):
            for name in rule.headers or ():
                yield ("grants", grant, at, "headers", name), name
