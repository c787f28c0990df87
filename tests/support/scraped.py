"""Reads the families of a scrape, and those of the table, in one form that can be compared."""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from authz.adapters.metrics import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable

Families = dict[str, tuple[str, set[str], str]]  # type, labels and help by name


def scraped(registry: CollectorRegistry, *, is_open: bool) -> Families:
    """Return the families of a scrape, in OpenMetrics' format or in Prometheus' own."""
    generate: Callable[..., bytes] = generate_openmetrics if is_open else generate_latest
    text = generate(registry).decode()
    return {
        family.name: (
            family.type,
            {name for sample in family.samples for name in sample.labels} - {"le"},
            family.documentation,
        )
        for family in (parse_openmetrics if is_open else parse_prometheus)(text)
    }


def tabled(*, of_token_service: bool) -> Families:
    """Return the table's families: those that the token service alone has, or all others."""
    return {
        name: (kind, set(labels), text)
        for name, (kind, labels, text) in FAMILIES.items()
        if name.startswith("authz_sts_") == of_token_service
    }
