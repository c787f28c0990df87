"""Puts samples into the families of the table, in Prometheus' form."""

from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from authz.adapters.metrics.families import FAMILIES
from authz.adapters.metrics.family import BUCKETS_SECONDS

Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the number."""

Series = (
    tuple[tuple[str, ...], list[int], float]
    | tuple[tuple[str, ...], list[int], float, list[Exemplar | None]]
)
"""Values of the labels, counts by bucket, sum, and perhaps an exemplar for each bucket."""


def counter(name: str, *samples: Sample) -> Metric:
    """Build a counter from a sample for each set of labels."""
    return _family(CounterMetricFamily, name, samples)


def gauge(name: str, *samples: Sample) -> Metric:
    """Build a gauge from a sample for each set of labels."""
    return _family(GaugeMetricFamily, name, samples)


def histogram(name: str, *series: Series) -> Metric:
    """Build a histogram from each series' labels, counts by bucket, sum and exemplars, if any."""
    declared = FAMILIES[name]
    family = HistogramMetricFamily(name, declared.text, labels=declared.labels)
    bounds = [*map(repr, BUCKETS_SECONDS), "+Inf"]
    for values, counts, total, *exemplars in series:
        running = accumulate(counts or [0] * len(bounds))
        kept = exemplars[0] if exemplars else [None] * len(bounds)
        buckets = [
            (bound, count) if exemplar is None else (bound, count, exemplar)
            for bound, count, exemplar in zip(bounds, running, kept, strict=True)
        ]
        family.add_metric(values, buckets, total)
    return family


def _family(
    kind: type[CounterMetricFamily | GaugeMetricFamily], name: str, samples: tuple[Sample, ...]
) -> Metric:
    declared = FAMILIES[name]
    family = kind(name, declared.text, labels=declared.labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
