"""Adds up the metrics of several workers to those of one server.

Counters must never fall, so the last known counters of a worker that has ended are kept.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, Exemplar, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from authz.adapters.metrics import FAMILIES, MAX_NAMED_AGENTS, OTHER_AGENTS, FamilyKind

RESTARTS: Final = "authz_worker_restarts"
KILLS: Final = "authz_worker_kills"
# Gauges of which each worker has its own share. The others are the same in each worker, or the
# worst value matters: the oldest keys, an open breaker, the certificate that expires first.
_SHARES: Final = frozenset(
    {
        "authz_cache_entries",
        "authz_checks",
        "authz_audit_queue_length",
        "authz_audit_spool_bytes",
    }
)
_LEAST: Final = ("_timestamp_seconds", "_up")
_AGENTS: Final = "authz_agent_refusals"
Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, str, Labels], float]  # by family, sample name and labels
Exemplars = dict[tuple[str, str, Labels], Exemplar]  # likewise, of the samples that have one


def parse_samples(text: str) -> Samples:
    """Parse a worker's /metrics; leave out families that are not ours."""
    return {
        (family.name, sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name in FAMILIES
    }


def parse_exemplars(text: str) -> tuple[Samples, Exemplars]:
    """Parse a worker's /metrics in the form of OpenMetrics, as ``parse_samples``."""
    samples: Samples = {}
    exemplars: Exemplars = {}
    for family in parse_openmetrics(text):  # type: ignore[no-untyped-call] # as the library has it
        for sample in family.samples if family.name in FAMILIES else ():
            key = family.name, sample.name, tuple(sorted(sample.labels.items()))
            samples[key] = sample.value
            if sample.exemplar is not None:
                exemplars[key] = sample.exemplar
    return samples, exemplars


def newest(all_exemplars: Iterable[Exemplars]) -> Exemplars:
    """Merge the exemplars of workers to the latest of each bucket."""
    found: Exemplars = {}
    for exemplars in all_exemplars:
        for key, exemplar in exemplars.items():
            if key not in found or _time_of(exemplar) > _time_of(found[key]):
                found[key] = exemplar
    return found


def _time_of(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0)


def _is_counted(family: str) -> bool:
    return FAMILIES[family].kind is not FamilyKind.GAUGE


def merged(all_samples: Iterable[Samples]) -> Samples:
    """Merge the samples of workers to a value for each."""
    values: dict[tuple[str, str, Labels], list[float]] = defaultdict(list)
    for samples in all_samples:
        for key, value in samples.items():
            values[key].append(value)
    return {key: _rule(key[0])(found) for key, found in values.items()}


def bounded(samples: Samples) -> Samples:
    """Count agents by name only up to the limit of a worker, the rest as others.

    Otherwise each restart could add that many names.
    """
    named = [key for key in samples if key[0] == _AGENTS][MAX_NAMED_AGENTS:]
    kept = {key: value for key, value in samples.items() if key not in set(named)}
    for family, sample, labels in named:
        others = (family, sample, tuple((name, OTHER_AGENTS) for name, _ in labels))
        kept[others] = kept.get(others, 0.0) + samples[family, sample, labels]
    return kept


def _rule(family: str) -> Callable[[list[float]], float]:
    if _is_counted(family) or family in _SHARES:
        return sum
    return min if family.endswith(_LEAST) else max


class MergedMetrics(Collector):
    """Collects from the workers when it is scraped."""

    def __init__(
        self,
        poll: Callable[[], list[Samples]],
        exemplars: Callable[[], list[Exemplars]] = list,
    ) -> None:
        """Begin with empty counters; ``poll`` asks the workers for their samples.

        ``exemplars`` returns those that came with the samples.
        """
        self._poll = poll
        self._exemplars = exemplars
        self._lock = threading.Lock()
        self._departed: Samples = {}
        self._own = {RESTARTS: 0, KILLS: 0}

    def departed(self, samples: Samples, *, is_killed: bool = False) -> None:
        """Keep the counters of a worker that has ended, and count its restart."""
        counted = {key: value for key, value in samples.items() if _is_counted(key[0])}
        with self._lock:
            self._departed = bounded(merged([self._departed, counted]))
            self._own[RESTARTS] += 1
            self._own[KILLS] += is_killed

    def collect(self) -> Iterator[Metric]:
        """Yield every family, in Prometheus' form."""
        live = self._poll()
        with self._lock:
            samples = merged([self._departed, *live])
            own = dict(self._own)
        exemplars = newest(self._exemplars())
        families: dict[str, Metric] = {}
        for key, value in samples.items():
            family, name, labels = key
            if family not in own:  # only the supervisor counts these
                metric = families.setdefault(family, _family(family))
                metric.add_sample(name, dict(labels), value, exemplar=exemplars.get(key))
        yield from families.values()
        for family, count in own.items():
            yield CounterMetricFamily(family, FAMILIES[family].text, value=count)


def _family(name: str) -> Metric:
    family = FAMILIES[name]
    return Metric(name, family.text, family.kind)
