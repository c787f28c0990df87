"""Warns about policies in which a decision takes long, as many entries or rules match the same."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Final

from authz.config import Config, Place
from authz.core.policy import RuleSettings
from authz.core.policy.holder_settings import HolderSettings

MANY: Final = 1000  # entries or rules that are tried in turn: about a millisecond
Target = tuple[str, str, str, str]
"""A protocol, a host, a method and a path, as a rule writes them."""


def scale_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield each place of a config that makes decisions slow, and the warning."""
    if len(config.principals) > MANY:
        yield from _undivided_entries(config)
    yield from _rules_of_one_target(config)


def _undivided_entries(config: Config) -> Iterator[tuple[Place, str]]:
    from authz.wiring.policy import build_policy  # noqa: PLC0415 - only large policies are compiled

    entries = build_policy(config).principals.undivided
    if len(entries) > MANY:
        message = (
            f"{len(entries)} entries match the same as this one, so each is tried for a new token:"
            " name subjects, groups or agents that tell them apart, or join them"
        )
        yield ("principals", entries[0].number, "match"), message


def _rules_of_one_target(config: Config) -> Iterator[tuple[Place, str]]:
    """Find holders of many rules about the same operations, which are tried one by one."""
    every = Counter(chain.from_iterable(map(_targets, chain.from_iterable(config.grants.values()))))
    large = {target for target, count in every.items() if count > MANY}  # nearly always none
    if not large:
        return
    of_grants = {
        name: Counter(target for rule in rules for target in _targets(rule) if target in large)
        for name, rules in config.grants.items()
    }
    for place, holder in _holders(config):
        held: Counter[Target] = Counter()
        for name in dict.fromkeys(holder.grants):
            held.update(of_grants[name])
        for (_, host, method, path), count in held.most_common(1):
            if count <= MANY:
                continue
            message = (
                f"it holds {count} rules about {method} {host}{path}, and a decision there tries"
                " each in turn: join them, or give them paths of their own"
            )
            yield (*place, "grants"), message


def _targets(rule: RuleSettings) -> Iterator[Target]:
    for host in rule.hosts:
        for method in rule.methods:
            for path in rule.paths:
                yield rule.protocol, host, method, path


def _holders(config: Config) -> Iterator[tuple[Place, HolderSettings]]:
    for key, holders in (("agents", config.agents), ("principals", config.principals)):
        for at, holder in enumerate(holders):
            yield (key, at), holder
