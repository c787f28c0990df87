"""The part of the report about rights of the config that no record used."""

from collections.abc import Iterator

from authz.core.policy.holder_settings import PrincipalSettings
from authz.review.audit_report.config_use import ConfigUse
from authz.review.audit_report.markup import paragraph, table


def unused(use: ConfigUse) -> Iterator[str]:
    """Yield what was not used, as HTML."""
    yield paragraph(
        "Rights of the config that no record used. A right that was not used in this period may be "
        "needed in another; authz suggest proposes a narrower policy."
    )
    grants = [(name, len(use.config.grants[name])) for name in use.unused_grants()]
    yield from _or_none("grant", table("Grants", ("Grant", "Rules"), grants))
    rules = [(name,) for name in use.unused_rules()]
    yield from _or_none("rule", table("Rules of grants that were used", ("Rule",), rules))
    agents = table(
        "Agents without an allowed record", ("Agent", "Refused", "Grants"), agents_of(use)
    )
    yield from _or_none("agent", agents)
    principals = table(
        "Principals without a record", ("Entry", "Principals", "Grants"), principals_of(use)
    )
    yield from _or_none("entry of principals", principals)


def agents_of(use: ConfigUse) -> list[tuple[str, int, str]]:
    """Return the agents that were allowed nothing: ID, refused records, and grants."""
    return [
        (agent.id, use.agents[at], ", ".join(agent.grants))
        for at, agent in enumerate(use.config.agents)
        if not use.allowed_agents[at] and not agent.suspended
    ]


def principals_of(use: ConfigUse) -> list[tuple[str, str, str]]:
    """Return the entries of principals that fit no record: place, match, and grants."""
    return [
        (f"principals[{at}]", _match_text(entry), ", ".join(entry.grants))
        for at, entry in enumerate(use.config.principals)
        if not use.principals[at] and not entry.suspended
    ]


def _match_text(entry: PrincipalSettings) -> str:
    given = entry.match.model_dump(mode="json", exclude_defaults=True)
    told = [f"{name} {', '.join(v) if isinstance(v, list) else v}" for name, v in given.items()]
    return "; ".join(filter(None, (*told, entry.description)))


def _or_none(kind: str, lines: Iterator[str]) -> Iterator[str]:
    """Yield a table, or that it has no rows."""
    yield from list(lines) or [paragraph(f"Every {kind} was used.")]
