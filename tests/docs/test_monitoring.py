"""The queries and alerts of the docs ask for what a server has."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from authz.adapters.audit.line import CacheUse
from authz.adapters.metrics.families import FAMILIES, Family
from authz.core.decision import Effect
from authz.core.reason import Reason

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "howto" / "monitor.md").read_text()
RULES: Final = ROOT / "deploy" / "kustomize" / "components" / "monitoring" / "prometheus-rule.yaml"
SUFFIXES: Final = ("_total", "_bucket", "_sum", "_count", "")
# Of each label that a query compares, the values that samples have.
VALUES: Final[dict[str, set[str]]] = {
    "decision": set(Effect),
    "reason": {reason.code for reason in Reason},
    "cache": set(CacheUse),
}


def alerts() -> list[dict[str, Any]]:
    """The alerts that the page names, in their one home."""
    (group,) = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    return list(group["rules"])


QUERIES: Final = [
    *re.findall(r"^\|[^|]*\| `(.*)` \|$", PAGE, re.MULTILINE),
    *(alert["expr"] for alert in alerts()),
]


def family(sample: str) -> Family:
    """The family of a sample's name."""
    names = [sample.removesuffix(end) for end in SUFFIXES if sample.endswith(end)]
    return next(FAMILIES[name] for name in names if name in FAMILIES)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query(query: str) -> None:
    """Its metrics exist, with the labels that it compares and groups by, and their values."""
    samples = re.findall(r"\b(authz_\w+)(?:\{([^}]*)\})?", query)
    assert samples
    for name, compared in samples:
        for label, value in re.findall(r'(\w+)="([^"]*)"', compared):
            assert label in family(name).labels
            assert value in VALUES[label]
    known = {"le", *(label for name, _ in samples for label in family(name).labels)}
    for grouped in re.findall(r"\bby \(([^)]*)\)", query):
        assert known.issuperset(grouped.split(", "))


def test_the_page_has_both() -> None:
    """There are queries for a dashboard, and it names the file of alerts, each of its own name."""
    assert str(RULES.relative_to(ROOT)) in PAGE
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names)) > 5
    assert len(QUERIES) > len(names) + 5
