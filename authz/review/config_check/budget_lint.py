"""Warns about budgets that several processes count apart."""

from collections.abc import Iterator

from authz.config import Config, Place
from authz.core.choice import WhenAway


def budget_warnings(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield each budget that is not counted as it probably should be, and the warning."""
    if config.store is not None:
        return
    workers = config.server.workers
    for name, rules in config.grants.items():
        for at, rule in enumerate(rules):
            place = ("grants", name, at, "budget")
            if rule.budget is None:
                continue
            if workers > 1:
                message = (
                    f"each of the {workers} workers counts for itself, so that {workers} times the"
                    " limit may pass: add a store"
                )
                yield place, message
            if rule.budget.when_away is WhenAway.LOCAL:
                yield (*place, "when_away"), "without a store there is none to be away"
