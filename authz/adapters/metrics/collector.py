"""What is counted, in plain Python numbers; turned into Prometheus' form when it is scraped.

A labelled counter of the client library costs 1.8 us an increment; here it is a list slot. Each
thread counts for itself, since ``+= 1`` is not atomic, and a scrape adds the threads up.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from authz.adapters.audit import CacheUse
from authz.adapters.files import Reload
from authz.adapters.keys import SourceStatus
from authz.adapters.metrics.families import BUCKETS_SECONDS, Sample, counter, gauge, histogram
from authz.adapters.pdp import PdpResult
from authz.adapters.revocation_file import RevocationList
from authz.core.decision import Effect, Shadow, ShadowBy
from authz.core.reason import Reason

_ALLOW: Final = 0
_DENY: Final = {reason: at for at, reason in enumerate(Reason, start=1)}
_SHADOWS: Final = tuple(product(ShadowBy, Effect))


class CallEnd(StrEnum):
    """Why the transport ends a call: its message did not come, or its answer was not read."""

    HALF_OPEN = "half_open"
    UNREAD = "unread"


class AuditCounts(Protocol):
    """What the audit log tells of itself."""

    dropped: int
    errors: int
    is_failing: bool

    def __len__(self) -> int:
        """Records that wait."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values come from that others own; asked at each scrape."""

    cache_entries: Callable[[], int]
    key_status: Callable[[], Sequence[SourceStatus]]
    audit: AuditCounts
    policy_version: Callable[[], str]
    version: str
    revocations: RevocationList
    tls_reloads: Callable[[], Mapping[str, int]] = dict
    certificate_ends: Callable[[], float | None] = lambda: None
    is_shadow: Callable[[], bool] = lambda: False
    pdp_is_cut_off: Callable[[], bool] = lambda: False
    wait_for_threads: Callable[[], int] = lambda: 0
    wait_for_others: Callable[[], int] = lambda: 0
    revocations_looked_at: Callable[[], float] = time.time
    idle_seconds: Callable[[], Mapping[str, float]] = dict
    log_lost: Callable[[], Mapping[str, int]] = dict


class _Shard:
    """One thread's numbers."""

    __slots__ = ("buckets", "decisions", "shadows", "sums")

    def __init__(self) -> None:
        self.decisions = [0] * (len(_DENY) + 1)
        self.buckets = [[0] * (len(BUCKETS_SECONDS) + 1) for _ in CacheUse]
        self.sums = [0.0, 0.0]
        self.shadows: Counter[tuple[str, ...]] = Counter()


class Metrics(Collector):
    """The numbers, and the registry that exports them."""

    def __init__(self, sources: Sources) -> None:
        """Begin at zero."""
        self.registry = CollectorRegistry()
        self._sources = sources
        self._local = threading.local()
        self._shards: list[_Shard] = []
        self._reloads = dict.fromkeys(Reload, 0)
        self._callers_refused = 0
        self._calls_ended = dict.fromkeys(CallEnd, 0)
        self._pdp_results = dict.fromkeys(PdpResult, 0)
        self._pdp_buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self._pdp_seconds = 0.0
        self._taken_at = time.time()
        self._is_refused = False
        self.registry.register(self)

    def observe(self, reason: Reason | None, seconds: float, is_hit: bool) -> None:  # noqa: FBT001 - hot path
        """Count a decision: its reason (None for an allow), its time, whether it was cached."""
        try:
            shard: _Shard = self._local.shard
        except AttributeError:
            shard = self._local.shard = _Shard()
            self._shards.append(shard)
        shard.decisions[_ALLOW if reason is None else _DENY[reason]] += 1
        shard.buckets[is_hit][bisect_left(BUCKETS_SECONDS, seconds)] += 1
        shard.sums[is_hit] += seconds

    def shadowed(self, shadow: Shadow) -> None:
        """Count what another policy would have said of a decision that was just observed."""
        shard: _Shard = self._local.shard
        shard.shadows[(shadow.by, shadow.decision)] += 1

    def caller_refused(self) -> None:
        """Count a call of a caller that may not ask. Two at once may count as one."""
        self._callers_refused += 1

    def call_ended(self, cause: CallEnd) -> None:
        """Count a call that we ended. Two at once may count as one."""
        self._calls_ended[cause] += 1

    def pdp_asked(self, result: PdpResult, seconds: float | None) -> None:
        """Count a question to the decision point, and its call's time, if there was one.

        Who asks holds a lock: calls take milliseconds, and that costs nothing there.
        """
        self._pdp_results[result] += 1
        if seconds is not None:
            self._pdp_buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
            self._pdp_seconds += seconds

    def reloaded(self, *, succeeded: bool) -> None:
        """Count a changed config."""
        self._reloads[Reload.TAKEN if succeeded else Reload.REFUSED] += 1
        self._is_refused = not succeeded
        if succeeded:
            self._taken_at = time.time()

    def collect(self) -> Iterator[Metric]:
        """Every family, as Prometheus wants it."""
        yield self._decisions()
        shadows = [shard.shadows for shard in list(self._shards)]
        yield counter(
            "authz_shadow_decisions",
            *((labels, sum(one[labels] for one in shadows)) for labels in _SHADOWS),
        )
        yield gauge("authz_shadow", ((), self._sources.is_shadow()))
        yield self._durations()
        yield from self._keys()
        yield from self._pdp()
        yield gauge(
            "authz_checks",
            (("thread",), self._sources.wait_for_threads()),
            (("others",), self._sources.wait_for_others()),
        )
        audit = self._sources.audit
        yield gauge("authz_cache_entries", ((), self._sources.cache_entries()))
        yield counter("authz_audit_dropped", ((), audit.dropped))
        yield counter("authz_audit_errors", ((), audit.errors))
        yield gauge("authz_audit_failing", ((), audit.is_failing))
        yield gauge("authz_audit_queue_length", ((), len(audit)))
        yield counter("authz_config_reloads", *(((k,), v) for k, v in self._reloads.items()))
        yield counter(
            "authz_tls_reloads", *(((k,), v) for k, v in self._sources.tls_reloads().items())
        )
        ends = self._sources.certificate_ends()
        yield gauge(
            "authz_tls_certificate_expiry_timestamp_seconds",
            *([] if ends is None else [((), ends)]),
        )
        revoked = self._sources.revocations
        yield gauge("authz_revocations", ((), len(revoked.current)))
        results = revoked.reloads.items()
        yield counter("authz_revocation_reloads", *(((key,), value) for key, value in results))
        yield gauge(
            "authz_revocations_last_look_timestamp_seconds",
            ((), self._sources.revocations_looked_at()),
        )
        yield from self._process()
        yield counter("authz_callers_refused", ((), self._callers_refused))
        yield counter("authz_calls_ended", *(((key,), n) for key, n in self._calls_ended.items()))
        yield gauge("authz_config_last_reload_timestamp_seconds", ((), self._taken_at))
        yield gauge("authz_config_refused", ((), self._is_refused))
        yield gauge("authz_policy_info", ((self._sources.policy_version(),), 1))
        yield gauge("authz_build_info", ((self._sources.version,), 1))

    def _process(self) -> Iterator[Metric]:
        idle, lost = self._sources.idle_seconds(), self._sources.log_lost()
        yield gauge("authz_idle_seconds", *(((part,), seconds) for part, seconds in idle.items()))
        yield counter("authz_log_lost", *(((cause,), count) for cause, count in lost.items()))
        yield counter("authz_worker_restarts", ((), 0))  # counted by a supervisor, if there is one
        yield counter("authz_worker_kills", ((), 0))  # likewise

    def _decisions(self) -> Metric:
        totals = [sum(column) for column in zip(*self._columns(), strict=True)]
        samples: list[Sample] = [((Effect.ALLOW, ""), totals[_ALLOW])]
        samples.extend(((Effect.DENY, reason.code), totals[at]) for reason, at in _DENY.items())
        return counter("authz_decisions", *samples)

    def _columns(self) -> list[list[int]]:
        return [shard.decisions for shard in self._shards] or [[0] * (len(_DENY) + 1)]

    def _durations(self) -> Metric:
        shards = list(self._shards)
        return histogram(
            "authz_decision_duration_seconds",
            *(
                (
                    (label,),
                    [sum(column) for column in zip(*(s.buckets[at] for s in shards), strict=True)],
                    sum(shard.sums[at] for shard in shards),
                )
                for at, label in enumerate(CacheUse)
            ),
        )

    def _pdp(self) -> Iterator[Metric]:
        results = self._pdp_results.items()
        yield counter("authz_pdp_calls", *(((result,), count) for result, count in results))
        yield histogram("authz_pdp_duration_seconds", ((), self._pdp_buckets, self._pdp_seconds))
        yield gauge("authz_pdp_breaker_open", ((), self._sources.pdp_is_cut_off()))

    def _keys(self) -> Iterator[Metric]:
        statuses = self._sources.key_status()
        yield gauge(
            "authz_keys",
            *(((s.issuer, "usable"), s.keys) for s in statuses),
            *(((s.issuer, "refused"), s.refused) for s in statuses),
        )
        yield gauge(
            "authz_keys_age_seconds",
            *(((s.issuer,), s.age_seconds) for s in statuses if s.age_seconds is not None),
        )
        yield gauge(
            "authz_keys_last_success_timestamp_seconds",
            *(((s.issuer,), s.last_success) for s in statuses if s.last_success is not None),
        )
        yield gauge(
            "authz_keys_next_refresh_timestamp_seconds",
            *(((s.issuer,), s.next_refresh) for s in statuses if s.next_refresh is not None),
        )
        yield counter(
            "authz_key_fetches",
            *(((s.issuer, "success"), s.successes) for s in statuses),
            *(((s.issuer, "failure"), s.failures) for s in statuses),
        )
