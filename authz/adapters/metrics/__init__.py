"""Counts what happens, and names the families in which Prometheus is told of it."""

from authz.adapters.metrics.counts import PDP_RESULTS, Metrics
from authz.adapters.metrics.families import BUCKETS_SECONDS, FAMILIES, Sample, counter, gauge

__all__ = ["BUCKETS_SECONDS", "FAMILIES", "PDP_RESULTS", "Metrics", "Sample", "counter", "gauge"]
