"""The service's counters, and the metric families in which Prometheus reads them."""

from authz.adapters.metrics.counts import CallEnd, Metrics
from authz.adapters.metrics.families import (
    BUCKETS_SECONDS,
    FAMILIES,
    FamilyKind,
    Sample,
    counter,
    gauge,
)

__all__ = [
    "BUCKETS_SECONDS",
    "FAMILIES",
    "CallEnd",
    "FamilyKind",
    "Metrics",
    "Sample",
    "counter",
    "gauge",
]
