"""Turns the status of each part of a process into families of metrics."""

from collections.abc import Iterator, Sequence
from itertools import product

from prometheus_client.core import Metric

from authz import __version__
from authz.adapters.audit.log import AuditStatus
from authz.adapters.budgets import SpenderStatus, SpendResult
from authz.adapters.exchange import ExchangesStatus
from authz.adapters.introspection import IntrospectionStatus
from authz.adapters.keys.store import SourceStatus
from authz.adapters.metrics import counter, gauge
from authz.adapters.revocation_file.telling import RevocationStatus
from authz.adapters.signals.status import SignalStatus
from authz.adapters.signing.signer import SigningStatus
from authz.adapters.single_use import SingleUseStatus, UseResult
from authz.adapters.status_lists import StatusListStatus
from authz.adapters.store.store import StoreStatus
from authz.adapters.tls import TlsStatus
from authz.adapters.tracing.status import TraceStatus
from authz.core.single_use import UseKind
from authz.edge.snapshot import SnapshotStatus
from authz.server.liveness import LivenessStatus
from authz.server.log_writer import LogStatus
from authz.server.reload import ReloadStatus


def snapshot_families(status: SnapshotStatus) -> Iterator[Metric]:
    """Yield the families of the snapshot in force."""
    point = status.decision_point
    yield gauge("authz_policy_info", ((status.policy_version,), 1))
    yield gauge("authz_shadow", ((), status.is_shadow))
    yield gauge("authz_cache_entries", ((), status.cache.entries))
    yield gauge("authz_pdp_breaker_open", ((), point is not None and point.is_cut_off))


def key_families(sources: Sequence[SourceStatus]) -> Iterator[Metric]:
    """Yield the families of issuers' and transmitters' keys."""
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


def introspection_families(endpoints: Sequence[IntrospectionStatus]) -> Iterator[Metric]:
    """Yield the families of introspection endpoints."""
    yield gauge(
        "authz_introspection_breaker_open",
        *(((endpoint.issuer,), endpoint.is_cut_off) for endpoint in endpoints),
    )


def exchange_families(status: ExchangesStatus) -> Iterator[Metric]:
    """Yield the families of token endpoints where tokens are exchanged."""
    yield gauge(
        "authz_exchange_breaker_open",
        *(((endpoint.issuer,), endpoint.is_cut_off) for endpoint in status.endpoints),
    )
    yield gauge("authz_exchange_memory_bytes", ((), status.kept_bytes))


def single_use_families(status: SingleUseStatus) -> Iterator[Metric]:
    """Yield the families of what may be used once."""
    every = product(UseKind, UseResult)
    yield counter("authz_single_uses", *((each, status.counts.get(each, 0)) for each in every))


def status_list_families(issuers: Sequence[StatusListStatus]) -> Iterator[Metric]:
    """Yield the families of status lists."""
    yield gauge("authz_status_lists", *(((of.issuer,), of.lists) for of in issuers))
    yield gauge(
        "authz_status_list_oldest_timestamp_seconds",
        *(((of.issuer,), of.oldest) for of in issuers if of.oldest is not None),
    )


def revocation_families(sources: Sequence[RevocationStatus]) -> Iterator[Metric]:
    """Yield the families of the sources of revocations."""
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


def budget_family(status: SpenderStatus) -> Metric:
    """Return every result of each rule that has spent, so that a first failure is an increase."""
    counts = status.counts
    labels = product(sorted({rule for rule, _ in counts}), SpendResult)
    return counter("authz_budgets", *((each, counts.get(each, 0)) for each in labels))


def store_families(status: StoreStatus) -> Iterator[Metric]:
    """Yield the families of the store, without samples if this process has its own."""
    shared = [status] if status.is_shared else []
    yield gauge("authz_store_up", *(((), not each.is_away) for each in shared))
    yield counter("authz_store_calls", *(call for each in shared for call in each.calls.items()))
    answered = [each.answered_at for each in shared if each.answered_at]
    yield gauge("authz_store_answered_timestamp_seconds", *(((), at) for at in answered))


def audit_families(status: AuditStatus) -> Iterator[Metric]:
    """Yield the families of the audit log and its sinks."""
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


def trace_families(status: TraceStatus | None) -> Iterator[Metric]:
    """Yield the families of traces."""
    status = status or TraceStatus()
    yield counter(
        "authz_trace_spans",
        (("exported",), status.exported),
        (("rejected",), status.rejected),
        (("dropped",), status.dropped),
    )
    yield gauge("authz_trace_export_failing", ((), status.is_failing))


def tls_families(status: TlsStatus | None) -> Iterator[Metric]:
    """Yield the families of the server's certificate."""
    name = "authz_tls_certificate_expiry_timestamp_seconds"
    if status is None:
        yield counter("authz_tls_reloads")
        yield gauge(name)
    else:
        yield _of_changes("authz_tls_reloads", status)
        yield gauge(name, ((), status.not_after))


def signing_families(status: SigningStatus | None) -> Iterator[Metric]:
    """Yield the families of the keys that sign our own tokens, None if nothing is signed."""
    found = [] if status is None else [status]
    yield gauge(
        "authz_signing_keys",
        *(((str(use),), count) for s in found for use, count in s.published.items()),
    )
    yield gauge(
        "authz_signing_key_next_timestamp_seconds",
        *(((), s.next_at) for s in found if s.next_at is not None),
    )
    yield counter(
        "authz_signing_key_reloads",
        *((("taken",), s.taken) for s in found),
        *((("refused",), s.refused) for s in found),
    )
    yield gauge("authz_signing_key_refused", *(((), s.is_failing) for s in found))


def signal_families(status: SignalStatus) -> Iterator[Metric]:
    """Yield the families of signals."""
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


def reload_families(status: ReloadStatus) -> Iterator[Metric]:
    """Yield the families of the config's reloads."""
    yield _of_changes("authz_config_reloads", status)
    yield gauge("authz_config_last_reload_timestamp_seconds", ((), status.taken_at))
    yield gauge("authz_config_refused", ((), status.is_refused))


def _of_changes(name: str, status: TlsStatus | ReloadStatus) -> Metric:
    return counter(name, (("taken",), status.taken), (("refused",), status.refused))


def process_families(liveness: LivenessStatus, log: LogStatus | None) -> Iterator[Metric]:
    """Yield the families of the process itself."""
    idle = liveness.idle_seconds.items()
    yield gauge("authz_idle_seconds", *(((part,), seconds) for part, seconds in idle))
    lost = {} if log is None else {"full": log.full, "repeated": log.repeated, "failed": log.failed}
    yield counter("authz_log_lost", *(((cause,), count) for cause, count in lost.items()))
    yield counter("authz_worker_restarts", ((), 0))  # counted by a supervisor, if there is one
    yield counter("authz_worker_kills", ((), 0))  # likewise
    yield gauge("authz_build_info", ((__version__,), 1))
