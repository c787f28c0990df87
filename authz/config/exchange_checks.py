"""Checks the issuers by which routes exchange tokens: each must exist, and exchange tokens.

Works on the data as written, as ``reference_checks`` does, so that all problems come in one list.
"""

from collections.abc import Iterator
from typing import Any

from authz.config.nearest import nearest_or_all
from authz.config.rule_checks import Found


def exchange_problems(data: dict[str, Any]) -> Found:
    """Yield routes that no issuer can serve, and unknown issuers of tokens to exchange."""
    issuers = dict(_named(data))
    if not issuers:
        return
    for at, route in _items(data, "routes"):
        exchange = route.get("exchange")
        name = exchange.get("issuer") if isinstance(exchange, dict) else None
        if not isinstance(name, str):
            continue
        place = ("routes", at, "exchange", "issuer")
        if name not in issuers:
            yield (
                place,
                f"{name!r} is not one of the issuers{nearest_or_all(name, issuers, 'known')}",
            )
        elif issuers[name].get("exchange") is None:
            yield place, f"{name} has no exchange: add its token endpoint there"
    for at, issuer in _items(data, "issuers"):
        exchange = issuer.get("exchange")
        named = exchange.get("subjects_from") if isinstance(exchange, dict) else None
        for number, name in enumerate(named if isinstance(named, tuple) else ()):
            if isinstance(name, str) and name not in issuers:
                message = f"{name!r} is not one of the issuers"
                message += nearest_or_all(name, issuers, "known")
                yield ("issuers", at, "exchange", "subjects_from", number), message


def _named(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for _, issuer in _items(data, "issuers"):
        name = issuer.get("issuer")
        if isinstance(name, str):
            yield name, issuer


def _items(data: dict[str, Any], section: str) -> Iterator[tuple[int, dict[str, Any]]]:
    listed = data.get(section)
    for at, item in enumerate(listed if isinstance(listed, tuple) else ()):
        if isinstance(item, dict):
            yield at, item
