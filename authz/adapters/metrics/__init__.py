"""What is counted, and how it is told to Prometheus."""

from authz.adapters.metrics.collector import CallEnd, Metrics, Sources
from authz.adapters.metrics.families import BUCKETS_SECONDS, FAMILIES, FamilyKind

__all__ = ["BUCKETS_SECONDS", "FAMILIES", "CallEnd", "FamilyKind", "Metrics", "Sources"]
