"""Make the page of all metrics, by the names that samples have in a scrape."""

from typing import Final

from authz.adapters.metrics.families import FAMILIES
from authz.adapters.metrics.family import BUCKETS_SECONDS, FamilyKind
from generating.marks import MADE, anchored

HEAD: Final = """\
The metrics at `/metrics` of the [admin address](config/admin.md), by the names that their samples
have there. Labels come from closed sets, so that a client can't add a series. The exception is
`authz_agent_refusals_total`, which names the first hundred agents of each worker.

| name | type | labels | meaning |
|---|---|---|---|
"""
# What the text format adds to a family's name.
_ENDS: Final = {
    FamilyKind.COUNTER: ("_total",),
    FamilyKind.GAUGE: ("",),
    FamilyKind.HISTOGRAM: ("_bucket", "_sum", "_count"),
}


def sample_names(name: str, kind: FamilyKind) -> list[str]:
    """Return the names of a family's samples, as they are on the wire."""
    return [name + end for end in _ENDS[kind]]


def metrics_page() -> str:
    """Return the page."""
    rows = "".join(_row(name, *family) for name, family in FAMILIES.items())
    buckets = ", ".join(f"{bound:g}" for bound in BUCKETS_SECONDS)
    return f"# Metrics\n\n{MADE}{HEAD}{rows}\nBuckets of the histograms, in seconds: {buckets}.\n"


def _row(name: str, kind: FamilyKind, labels: tuple[str, ...], text: str) -> str:
    names = ", ".join(anchored(sample, sample) for sample in sample_names(name, kind))
    return f"| {names} | {kind} | {', '.join(labels)} | {text} |\n"
