"""Collects a process's metrics at each scrape: its counts, and the status of its parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from authz.adapters.audit.log import AuditStatus
from authz.adapters.budgets import SpenderStatus
from authz.adapters.exchange import ExchangesStatus
from authz.adapters.introspection import IntrospectionStatus
from authz.adapters.keys.store import SourceStatus
from authz.adapters.metrics import Metrics, gauge
from authz.adapters.revocation_file.telling import RevocationStatus
from authz.adapters.signals.signals import Signals
from authz.adapters.signals.status import NOTHING_HEARD, SignalStatus
from authz.adapters.signing.signer import SigningStatus
from authz.adapters.single_use import SingleUseStatus
from authz.adapters.status_lists import StatusListStatus
from authz.adapters.store.store import StoreStatus
from authz.adapters.tls import TlsStatus
from authz.adapters.tracing.status import TraceStatus
from authz.edge.bulkhead import BulkheadStatus
from authz.edge.check_pool import PoolStatus
from authz.edge.snapshot import SnapshotStatus
from authz.server.json_log import ProcessLog
from authz.server.liveness import Liveness, LivenessStatus
from authz.server.log_writer import LogStatus
from authz.server.reload import ConfigReload, ReloadStatus
from authz.server.status_families import (
    audit_families,
    budget_family,
    exchange_families,
    introspection_families,
    key_families,
    process_families,
    reload_families,
    revocation_families,
    signal_families,
    signing_families,
    single_use_families,
    snapshot_families,
    status_list_families,
    store_families,
    tls_families,
    trace_families,
)
from authz.wiring.parts import Parts

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
    exchanges: Part[ExchangesStatus]
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
    signing: Part[SigningStatus | None]
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
        yield from snapshot_families(parts.service.status())
        signals = parts.signals
        senders_keys = () if signals is None else signals.key_sources()
        yield from key_families([*parts.keys.status(), *senders_keys])
        yield from introspection_families(parts.introspections.status())
        yield from exchange_families(parts.exchanges.status())
        yield from single_use_families(parts.single_uses.status())
        yield from status_list_families(parts.status_lists.status())
        yield from revocation_families(parts.revocations.status())
        yield from store_families(parts.store.status())
        yield budget_family(parts.spender.status())
        yield from audit_families(parts.audit.status())
        yield from trace_families(None if parts.tracer is None else parts.tracer.status())
        yield from tls_families(None if parts.tls is None else parts.tls.status())
        yield from signal_families(
            NOTHING_HEARD if parts.signals is None else parts.signals.status()
        )
        yield from signing_families(parts.signing.status())
        yield from reload_families(parts.reload.status())
        yield from process_families(parts.liveness.status(), parts.log.status())
        yield gauge(
            "authz_checks",
            (("thread",), parts.pool.status().queued),
            (("others",), parts.bulkhead.status().waiting),
        )


def build_metrics(
    parts: Parts, reload: ConfigReload, liveness: Liveness, signals: Signals | None = None
) -> ProcessMetrics:
    """Build the metrics of the parts, and of the objects that watch them."""
    reporting = ReportingParts(
        service=parts.service,
        keys=parts.keys,
        introspections=parts.introspections,
        exchanges=parts.exchanges,
        single_uses=parts.shared.single_uses,
        status_lists=parts.status_lists,
        revocations=parts.shared.revocations,
        store=parts.shared.store,
        spender=parts.shared.spender,
        audit=parts.audit,
        tracer=parts.tracer,
        tls=parts.tls,
        pool=parts.pool,
        bulkhead=parts.bulkhead,
        signals=signals,
        signing=parts.assertion_keys,
        reload=reload,
        liveness=liveness,
        log=ProcessLog(),
    )
    return ProcessMetrics(parts.metrics, reporting)
