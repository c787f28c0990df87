"""The queries of the dashboard and of the rules ask for what a server has."""

import re
from pathlib import Path
from typing import Final

import pytest

from authz.adapters.audit.records.line import CacheUse
from authz.adapters.budgets import SpendResult
from authz.adapters.exchange.client import ExchangeResult
from authz.adapters.metrics.families import FAMILIES
from authz.adapters.metrics.family import BUCKETS_SECONDS, Family
from authz.adapters.signals.status import SignalResult
from authz.adapters.store.calls import CallResult
from authz.core.decision import Effect
from authz.core.reason import Reason
from authz.server.log_writer import LogStatus
from support.prometheus import OBSERVABILITY, panels, rules

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "howto" / "monitor.md").read_text()
SUFFIXES: Final = ("_total", "_bucket", "_sum", "_count", "")
# Of each label that a query compares, the values that samples have.
VALUES: Final[dict[str, set[str]]] = {
    "decision": set(Effect),
    "reason": {reason.code for reason in Reason},
    "cache": set(CacheUse),
    "le": {repr(bound) for bound in BUCKETS_SECONDS},
    "state": {"usable", "refused"},
    "result": {
        "taken",
        "success",
        "failure",
        *SignalResult,
        *SpendResult,
        *CallResult,
        *ExchangeResult,
    },
    "status": {"5.."},
    "part": {"main", "revocations", "config", "pool"},
    "source": {"file", "store"},
    "cause": set(LogStatus.__annotations__),
}
# Labels that Prometheus adds to what it scrapes, and le of each histogram.
ADDED: Final = {"namespace", "job", "instance", "le"}
QUERIES: Final = [
    *(target["expr"] for panel in panels() for target in panel["targets"]),
    *(rule["expr"] for kind in ("alert", "record") for rule in rules(kind)),
]


def family(sample: str) -> Family:
    """The family of a sample's name."""
    names = {sample.removesuffix(end) for end in SUFFIXES}
    (name,) = names & FAMILIES.keys()
    return FAMILIES[name]


def expanded(query: str) -> str:
    """A query with each recorded name replaced by what it stands for."""
    for rule in rules("record"):
        query = query.replace(rule["record"], f"({rule['expr']})")
    return query


@pytest.mark.parametrize("query", QUERIES)
def test_a_query(query: str) -> None:
    """Its metrics exist, with the labels that it compares and groups by, and their values."""
    query = expanded(query)
    samples = re.findall(r"\b(authz_\w+)(?:\{([^}]*)\})?", query)
    assert samples or "ALERTS" in query
    for name, compared in samples:
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', compared):
            if label not in ADDED or label == "le":
                assert label in {*family(name).labels, "le"}
                assert VALUES[label].issuperset(values.split("|"))
    known = ADDED.union(*(family(name).labels for name, _ in samples))
    for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        assert known.issuperset(grouped.split(", "))


@pytest.mark.parametrize("query", [query for query in QUERIES if "keys_unavailable|" in query])
def test_failures_are_those_with_503(query: str) -> None:
    """A query about the service's own failures asks for each reason that is answered with 503."""
    failures = {reason.code for reason in Reason if reason.http_status == 503}

    for reasons in re.findall(r'reason=~"([^"]*)"', query):
        assert set(reasons.split("|")) == failures


def test_no_metric_is_forgotten() -> None:
    """Each metric is shown by the dashboard: a new one needs a panel."""
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])

    assert [
        name for name in FAMILIES if not re.search(rf"\b{name}({'|'.join(SUFFIXES)})\b", shown)
    ] == [
        "authz_keys_last_success_timestamp_seconds"  # authz_keys_age_seconds tells the same
    ]


def test_the_page_names_the_files() -> None:
    """Each file of the folder is in the page's table, and it has the commands of promtool."""
    table = "".join(line for line in PAGE.splitlines() if line.startswith("|"))
    for path in OBSERVABILITY.iterdir():
        name = re.sub(r"-rules.*\.test", "-rules*.test", path.name)
        assert f"`{name}" in table
    assert "promtool test rules" in PAGE
