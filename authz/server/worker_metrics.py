"""The numbers of several workers as one server's: what each says, added up.

A worker that is gone takes its numbers with it; counters must never fall, so what it had counted
when it was last asked is kept.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from authz.adapters.metrics import FAMILIES, FamilyKind

RESTARTS: Final = "authz_worker_restarts"
KILLS: Final = "authz_worker_kills"
# Gauges that are each worker's own share; of the others each worker says the same, or the one that
# is worst off matters: the oldest keys, a breaker that is open, the certificate that ends first.
_SHARES: Final = frozenset({"authz_cache_entries", "authz_audit_queue_length", "authz_checks"})
_LEAST: Final = "_timestamp_seconds"
Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, str, Labels], float]  # by family, sample name and labels


def parse_samples(text: str) -> Samples:
    """What one worker's /metrics says."""
    return {
        (family.name, sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name in FAMILIES
    }


def _is_counted(family: str) -> bool:
    return FAMILIES[family].kind is not FamilyKind.GAUGE


def merged(all_samples: Iterable[Samples]) -> Samples:
    """One value for each sample."""
    values: dict[tuple[str, str, Labels], list[float]] = defaultdict(list)
    for samples in all_samples:
        for key, value in samples.items():
            values[key].append(value)
    return {key: _rule(key[0])(found) for key, found in values.items()}


def _rule(family: str) -> Callable[[list[float]], float]:
    if _is_counted(family) or family in _SHARES:
        return sum
    return min if family.endswith(_LEAST) else max


class MergedMetrics(Collector):
    """Collects from the workers when it is scraped."""

    def __init__(self, poll: Callable[[], list[Samples]]) -> None:
        """Take who asks the workers."""
        self._poll = poll
        self._lock = threading.Lock()
        self._departed: Samples = {}
        self._own = {RESTARTS: 0, KILLS: 0}

    def departed(self, samples: Samples, *, is_killed: bool = False) -> None:
        """Keep what a worker that is gone had counted."""
        counted = {key: value for key, value in samples.items() if _is_counted(key[0])}
        with self._lock:
            self._departed = merged([self._departed, counted])
            self._own[RESTARTS] += 1
            self._own[KILLS] += is_killed

    def collect(self) -> Iterator[Metric]:
        """Every family, as Prometheus wants it."""
        live = self._poll()
        with self._lock:
            samples = merged([self._departed, *live])
            own = dict(self._own)
        families: dict[str, Metric] = {}
        for (family, name, labels), value in samples.items():
            if family not in own:  # which are ours to say
                metric = families.setdefault(family, _family(family))
                metric.add_sample(name, dict(labels), value)
        yield from families.values()
        for family, count in own.items():
            yield CounterMetricFamily(family, FAMILIES[family].text, value=count)


def _family(name: str) -> Metric:
    family = FAMILIES[name]
    return Metric(name, family.text, family.kind)
