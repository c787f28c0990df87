"""The service's counters, and the metric families in which Prometheus reads them."""

from authz.adapters.metrics.counts import MAX_NAMED_AGENTS, OTHER_AGENTS, CallEnd, Metrics
from authz.adapters.metrics.families import FAMILIES
from authz.adapters.metrics.family import BUCKETS_SECONDS, FamilyKind
from authz.adapters.metrics.samples import Sample, counter, gauge

__all__ = [
    "BUCKETS_SECONDS",
    "FAMILIES",
    "MAX_NAMED_AGENTS",
    "OTHER_AGENTS",
    "CallEnd",
    "FamilyKind",
    "Metrics",
    "Sample",
    "counter",
    "gauge",
]
