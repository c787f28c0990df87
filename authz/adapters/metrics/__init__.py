"""Counts what happens, and names the families in which Prometheus is told of it."""

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
