"""The metric families that there are, and their samples in Prometheus' form."""

from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

BUCKETS_SECONDS: Final = (
    25e-6, 50e-6, 100e-6, 250e-6, 500e-6,
    1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0,
)  # fmt: skip
# Name, type, labels, help: the reference page and scrapes are made from this table.
FAMILIES: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "authz_decisions": ("counter", ("decision", "reason"), "Decisions by outcome and reason"),
    "authz_shadow_decisions": (
        "counter",
        ("by", "decision"),
        "Decisions that another policy would have made otherwise, and what it would have said",
    ),
    "authz_shadow": ("gauge", (), "1 while what the rules refuse is allowed: shadow: true"),
    "authz_decision_duration_seconds": (
        "histogram",
        ("cache",),
        "Time from a check's bytes to its answer's, without the transport",
    ),
    "authz_checks": (
        "gauge",
        ("waiting_for",),
        "Checks waiting for a thread, or for others: issuers' keys, or the decision point",
    ),
    "authz_cache_entries": ("gauge", (), "Decisions held in the cache"),
    "authz_keys": ("gauge", ("issuer", "state"), "Keys of an issuer: usable, refused"),
    "authz_keys_age_seconds": ("gauge", ("issuer",), "Time since an issuer's last good fetch"),
    "authz_keys_last_success_timestamp_seconds": (
        "gauge",
        ("issuer",),
        "When an issuer's keys were last fetched",
    ),
    "authz_keys_next_refresh_timestamp_seconds": (
        "gauge",
        ("issuer",),
        "When an issuer's keys are fetched next, unless an unknown key asks for them",
    ),
    "authz_key_fetches": ("counter", ("issuer", "result"), "Fetches of an issuer's keys"),
    "authz_pdp_calls": (
        "counter",
        ("result",),
        "Questions to the decision point by what became of them",
    ),
    "authz_pdp_duration_seconds": ("histogram", (), "Time of calls to the decision point"),
    "authz_pdp_breaker_open": (
        "gauge",
        (),
        "1 while the decision point is not asked because it failed",
    ),
    "authz_audit_dropped": ("counter", (), "Audit records that found the queue full"),
    "authz_audit_errors": (
        "counter",
        (),
        "Attempts to write the audit log that failed, and records that could not be encoded",
    ),
    "authz_audit_failing": (
        "gauge",
        (),
        "1 while the audit log can't be written; records are kept as the queue has room",
    ),
    "authz_audit_queue_length": ("gauge", (), "Audit records that wait to be written"),
    "authz_config_reloads": ("counter", ("result",), "Changed configs, taken or refused"),
    "authz_config_last_reload_timestamp_seconds": (
        "gauge",
        (),
        "When the config in force was taken",
    ),
    "authz_config_refused": (
        "gauge",
        (),
        "1 while the config on disk is invalid, and the last valid one stays in force",
    ),
    "authz_revocations": ("gauge", (), "Revocations in force"),
    "authz_revocation_reloads": ("counter", ("result",), "Changed revocations, taken or refused"),
    "authz_revocations_last_look_timestamp_seconds": (
        "gauge",
        (),
        "When it was last looked whether the revocations have changed",
    ),
    "authz_callers_refused": (
        "counter",
        (),
        "Calls of callers that are not allowed to ask, health checks among them",
    ),
    "authz_calls_ended": (
        "counter",
        ("cause",),
        "Calls that we ended: half_open, whose message did not come; unread, whose answer stayed",
    ),
    "authz_tls_reloads": ("counter", ("result",), "Changed certificates of ours, taken or refused"),
    "authz_tls_certificate_expiry_timestamp_seconds": (
        "gauge",
        (),
        "When our certificate ends",
    ),
    "authz_worker_restarts": ("counter", (), "Workers that ended and were started again"),
    "authz_worker_kills": (
        "counter",
        (),
        "Workers that were killed because they hung, and started again",
    ),
    "authz_idle_seconds": (
        "gauge",
        ("part",),
        "Time since a part of the process last moved: main, revocations, config, pool",
    ),
    "authz_log_lost": (
        "counter",
        ("cause",),
        "Lines of the log that were not written: full queue, repeated too often, failed write",
    ),
    "authz_policy_info": ("gauge", ("version",), "The policy in force"),
    "authz_build_info": ("gauge", ("version",), "The running version"),
}

Sample = tuple[tuple[str, ...], float]
"""Values of the labels, and the number."""


def counter(name: str, *samples: Sample) -> Metric:
    """A counter, of the samples of each set of labels."""
    return _family(CounterMetricFamily, name, samples)


def gauge(name: str, *samples: Sample) -> Metric:
    """A gauge, of the samples of each set of labels."""
    return _family(GaugeMetricFamily, name, samples)


def histogram(name: str, *series: tuple[tuple[str, ...], list[int], float]) -> Metric:
    """A histogram, of labels, counts by bucket and sum of each series."""
    _, labels, text = FAMILIES[name]
    family = HistogramMetricFamily(name, text, labels=labels)
    bounds = [*map(repr, BUCKETS_SECONDS), "+Inf"]
    for values, counts, total in series:
        running = accumulate(counts or [0] * len(bounds))
        family.add_metric(values, list(zip(bounds, running, strict=True)), total)
    return family


def _family(
    kind: type[CounterMetricFamily | GaugeMetricFamily], name: str, samples: tuple[Sample, ...]
) -> Metric:
    _, labels, text = FAMILIES[name]
    family = kind(name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
