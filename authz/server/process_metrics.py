"""Collects a process's metrics at each scrape: its counts, and the status of its parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from authz import __version__
from authz.adapters.audit.log import AuditStatus
from authz.adapters.budgets import SpenderStatus, SpendResult
from authz.adapters.introspection import IntrospectionStatus
from authz.adapters.keys.store import SourceStatus
from authz.adapters.metrics import Metrics, counter, gauge
from authz.adapters.revocation_file.telling import RevocationStatus
from authz.adapters.signals.status import NOTHING_HEARD, SignalStatus
from authz.adapters.single_use import SingleUseStatus, UseResult
from authz.adapters.status_lists import StatusListStatus
from authz.adapters.store.store import StoreStatus
from authz.adapters.tls import TlsStatus
from authz.adapters.tracing.status import TraceStatus
from authz.core.single_use import UseKind
from authz.edge.bulkhead import BulkheadStatus
from authz.edge.check_pool import PoolStatus
from authz.edge.snapshot import SnapshotStatus
from authz.server.liveness import LivenessStatus
from authz.server.log_writer import LogStatus
from authz.server.reload import ReloadStatus

_StatusT_co = TypeVar("_StatusT_co", covariant=True)


class Part(Protocol[_StatusT_co]):
    """A part with a status. Its ``status`` never waits, and any thread may call it."""

    def status(self) -> _StatusT_co:
        """Return the status as it is now, in a value that does not change."""


class SignalsPart(Part[SignalStatus], Protocol):
    """What receives signals, and fetches keys for that."""

    def key_sources(self) -> Sequence[SourceStatus]:
        """Return the state of the transmitters' own keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportingParts:
    """The parts whose status a scrape shows.

    ``tls`` is None without TLS, ``tracer`` without traces, and ``signals`` in a process that
    receives none.
    """

    service: Part[SnapshotStatus]
    keys: Part[Sequence[SourceStatus]]
    introspections: Part[Sequence[IntrospectionStatus]]
    store: Part[StoreStatus]
    single_uses: Part[SingleUseStatus]
    status_lists: Part[Sequence[StatusListStatus]]
    revocations: Part[Sequence[RevocationStatus]]
    spender: Part[SpenderStatus]
    audit: Part[AuditStatus]
    tracer: Part[TraceStatus] | None
    tls: Part[TlsStatus] | None
    pool: Part[PoolStatus]
    bulkhead: Part[BulkheadStatus]
    signals: SignalsPart | None = None
    reload: Part[ReloadStatus]
    liveness: Part[LivenessStatus]
    log: Part[LogStatus | None]


class ProcessMetrics(Collector):
    """The metrics of a process.

    Attributes:
        registry: the registry that answers a scrape.
    """

    def __init__(self, metrics: Metrics, parts: ReportingParts) -> None:
        """Collect these counts and the status of these parts, in a separate registry."""
        self._metrics = metrics
        self._parts = parts
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every family, in Prometheus' form."""
        parts = self._parts
        yield from self._metrics.families()
        yield from _of_snapshot(parts.service.status())
        of_signals = () if parts.signals is None else parts.signals.key_sources()
        yield from _of_keys([*parts.keys.status(), *of_signals])
        yield from _of_introspections(parts.introspections.status())
        yield from _of_uses(parts.single_uses.status())
        yield from _of_status_lists(parts.status_lists.status())
        yield from _of_revocations(parts.revocations.status())
        yield from _of_store(parts.store.status())
        yield _of_budgets(parts.spender.status())
        yield from _of_audit(parts.audit.status())
        yield from _of_traces(None if parts.tracer is None else parts.tracer.status())
        yield from _of_tls(None if parts.tls is None else parts.tls.status())
        yield from _of_signals(NOTHING_HEARD if parts.signals is None else parts.signals.status())
        yield from _of_reload(parts.reload.status())
        yield from _of_process(parts.liveness.status(), parts.log.status())
        yield gauge(
            "authz_checks",
            (("thread",), parts.pool.status().queued),
            (("others",), parts.bulkhead.status().waiting),
        )


def _of_snapshot(status: SnapshotStatus) -> Iterator[Metric]:
    point = status.decision_point
    yield gauge("authz_policy_info", ((status.policy_version,), 1))
    yield gauge("authz_shadow", ((), status.is_shadow))
    yield gauge("authz_cache_entries", ((), status.cache.entries))
    yield gauge("authz_pdp_breaker_open", ((), point is not None and point.is_cut_off))


def _of_keys(sources: Sequence[SourceStatus]) -> Iterator[Metric]:
    yield gauge(
        "authz_keys",
        *(((s.issuer, "usable"), s.keys) for s in sources),
        *(((s.issuer, "refused"), s.refused) for s in sources),
    )
    yield gauge(
        "authz_keys_age_seconds",
        *(((s.issuer,), s.age_seconds) for s in sources if s.age_seconds is not None),
    )
    yield gauge(
        "authz_keys_last_success_timestamp_seconds",
        *(((s.issuer,), s.last_success) for s in sources if s.last_success is not None),
    )
    yield gauge(
        "authz_keys_next_refresh_timestamp_seconds",
        *(((s.issuer,), s.next_refresh) for s in sources if s.next_refresh is not None),
    )
    yield counter(
        "authz_key_fetches",
        *(((s.issuer, "success"), s.successes) for s in sources),
        *(((s.issuer, "failure"), s.failures) for s in sources),
    )


def _of_introspections(endpoints: Sequence[IntrospectionStatus]) -> Iterator[Metric]:
    yield gauge(
        "authz_introspection_breaker_open",
        *(((endpoint.issuer,), endpoint.is_cut_off) for endpoint in endpoints),
    )


def _of_uses(status: SingleUseStatus) -> Iterator[Metric]:
    every = product(UseKind, UseResult)
    yield counter("authz_single_uses", *((each, status.counts.get(each, 0)) for each in every))


def _of_status_lists(issuers: Sequence[StatusListStatus]) -> Iterator[Metric]:
    yield gauge("authz_status_lists", *(((of.issuer,), of.lists) for of in issuers))
    yield gauge(
        "authz_status_list_oldest_timestamp_seconds",
        *(((of.issuer,), of.oldest) for of in issuers if of.oldest is not None),
    )


def _of_revocations(sources: Sequence[RevocationStatus]) -> Iterator[Metric]:
    yield gauge("authz_revocations", *(((s.source,), s.entries) for s in sources))
    yield counter(
        "authz_revocation_reloads",
        *(((s.source, "taken"), s.taken) for s in sources),
        *(((s.source, "refused"), s.refused) for s in sources),
    )
    yield gauge(
        "authz_revocations_last_look_timestamp_seconds",
        *(((s.source,), s.looked_at) for s in sources),
    )
    yield gauge("authz_revocations_away", *(((s.source,), s.is_away) for s in sources))
    yield counter("authz_revocations_lost", *(((s.source,), s.lost) for s in sources))


def _of_budgets(status: SpenderStatus) -> Metric:
    """Return every result of each rule that has spent, so that a first failure is an increase."""
    counts = status.counts
    labels = product(sorted({rule for rule, _ in counts}), SpendResult)
    return counter("authz_budgets", *((each, counts.get(each, 0)) for each in labels))


def _of_store(status: StoreStatus) -> Iterator[Metric]:
    shared = [status] if status.is_shared else []
    yield gauge("authz_store_up", *(((), not one.is_away) for one in shared))
    yield counter("authz_store_calls", *(call for one in shared for call in one.calls.items()))
    answered = [one.answered_at for one in shared if one.answered_at]
    yield gauge("authz_store_answered_timestamp_seconds", *(((), at) for at in answered))


def _of_audit(status: AuditStatus) -> Iterator[Metric]:
    sinks = status.sinks
    own = ("",)
    yield counter("authz_audit_records", *(((s.name,), s.written) for s in sinks))
    yield counter(
        "authz_audit_dropped", (own, status.dropped), *(((s.name,), s.dropped) for s in sinks)
    )
    yield counter("authz_audit_rejected", *(((s.name,), s.rejected) for s in sinks))
    yield counter(
        "authz_audit_errors", (own, status.unencoded), *(((s.name,), s.errors) for s in sinks)
    )
    yield gauge("authz_audit_failing", *(((s.name,), s.is_failing) for s in sinks))
    yield gauge(
        "authz_audit_queue_length", (own, status.waiting), *(((s.name,), s.queued) for s in sinks)
    )
    yield gauge("authz_audit_spool_bytes", *(((s.name,), s.spooled_bytes) for s in sinks))
    signed, witness = status.checkpoint_at, status.is_witness_failing
    yield gauge(
        "authz_audit_checkpoint_timestamp_seconds", *([] if signed is None else [((), signed)])
    )
    yield gauge("authz_audit_witness_failing", *([] if witness is None else [((), witness)]))


def _of_traces(status: TraceStatus | None) -> Iterator[Metric]:
    status = status or TraceStatus()
    yield counter(
        "authz_trace_spans",
        (("exported",), status.exported),
        (("rejected",), status.rejected),
        (("dropped",), status.dropped),
    )
    yield gauge("authz_trace_export_failing", ((), status.is_failing))


def _of_tls(status: TlsStatus | None) -> Iterator[Metric]:
    name = "authz_tls_certificate_expiry_timestamp_seconds"
    if status is None:
        yield counter("authz_tls_reloads")
        yield gauge(name)
    else:
        yield _of_changes("authz_tls_reloads", status)
        yield gauge(name, ((), status.not_after))


def _of_signals(status: SignalStatus) -> Iterator[Metric]:
    yield counter("authz_signals", *status.signals.items())
    yield counter(
        "authz_signal_polls",
        *(
            ((issuer, "success" if is_answered else "failure"), count)
            for (issuer, is_answered), count in status.polls.items()
        ),
    )
    yield gauge(
        "authz_signals_last_timestamp_seconds",
        *(((issuer,), at) for issuer, at in status.heard_at.items()),
    )


def _of_reload(status: ReloadStatus) -> Iterator[Metric]:
    yield _of_changes("authz_config_reloads", status)
    yield gauge("authz_config_last_reload_timestamp_seconds", ((), status.taken_at))
    yield gauge("authz_config_refused", ((), status.is_refused))


def _of_changes(name: str, status: TlsStatus | ReloadStatus) -> Metric:
    return counter(name, (("taken",), status.taken), (("refused",), status.refused))


def _of_process(liveness: LivenessStatus, log: LogStatus | None) -> Iterator[Metric]:
    idle = liveness.idle_seconds.items()
    yield gauge("authz_idle_seconds", *(((part,), seconds) for part, seconds in idle))
    lost = {} if log is None else {"full": log.full, "repeated": log.repeated, "failed": log.failed}
    yield counter("authz_log_lost", *(((cause,), count) for cause, count in lost.items()))
    yield counter("authz_worker_restarts", ((), 0))  # counted by a supervisor, if there is one
    yield counter("authz_worker_kills", ((), 0))  # likewise
    yield gauge("authz_build_info", ((__version__,), 1))
