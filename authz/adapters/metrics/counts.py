"""Counts decisions and calls in plain Python numbers, turned into Prometheus' form by a scrape.

A labelled counter of the client library costs 1.8 us an increment; here it is a list slot. Each
thread has its own counters of decisions, since ``+= 1`` is not atomic, and a scrape adds them up.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import product
from typing import Final

from prometheus_client.core import Exemplar, Metric

from authz.adapters.assertions.assertions import AssertionResult
from authz.adapters.audit.records.line import CacheUse
from authz.adapters.exchange import ExchangeResult
from authz.adapters.introspection import IntrospectionResult
from authz.adapters.locked_counter import LockedCounter
from authz.adapters.metrics.family import BUCKETS_SECONDS
from authz.adapters.metrics.samples import Sample, counter, histogram
from authz.adapters.pdp.client import PdpResult
from authz.adapters.status_lists import StatusListResult
from authz.core.decision import Effect, Shadow, ShadowBy
from authz.core.reason import Reason

_ALLOW: Final = 0
_DENY: Final = {reason: at for at, reason in enumerate(Reason, start=1)}
_SHADOWS: Final = tuple(product(ShadowBy, Effect))
MAX_NAMED_AGENTS: Final = 100  # series that agents may make: their names are those of proven SVIDs
OTHER_AGENTS: Final = "(others)"  # no SPIFFE ID, which begins with spiffe://


class CallEnd(StrEnum):
    """The causes for which the transport ends a call.

    An incomplete message, or an unread answer.
    """

    HALF_OPEN = "half_open"
    UNREAD = "unread"


class _Shard:
    """The numbers of one thread."""

    __slots__ = ("buckets", "decisions", "refused", "shadows", "sums")

    def __init__(self) -> None:
        self.decisions = [0] * (len(_DENY) + 1)
        self.buckets = [[0] * (len(BUCKETS_SECONDS) + 1) for _ in CacheUse]
        self.sums = [0.0, 0.0]
        self.shadows: Counter[tuple[str, ...]] = Counter()
        self.refused: dict[str, int] = {}


class _Calls:
    """The numbers of an issuer's endpoint, with the results that its calls may have."""

    __slots__ = ("buckets", "results", "seconds")

    def __init__(self, results: Iterable[str]) -> None:
        self.results = dict.fromkeys(results, 0)
        self.buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self.seconds = 0.0

    def count(self, result: str, seconds: float | None) -> None:
        """Count a question, and the seconds of its call, None without a call."""
        self.results[result] += 1
        if seconds is not None:
            self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
            self.seconds += seconds


class Metrics:
    """The counters of decisions, of callers' calls, and of questions to other servers."""

    def __init__(self) -> None:
        """Begin with all counters at zero."""
        self._local = threading.local()
        self._shards: list[_Shard] = []
        self._naming = threading.Lock()
        self._named: set[str] = set()
        self._callers_refused = 0
        self._calls_ended = dict.fromkeys(CallEnd, 0)
        self._assertions = LockedCounter(AssertionResult)
        self._pdp_results = dict.fromkeys(PdpResult, 0)
        self._pdp_buckets = [0] * (len(BUCKETS_SECONDS) + 1)
        self._pdp_seconds = 0.0
        self._introspections: dict[str, _Calls] = {}
        self._exchanges: dict[str, _Calls] = {}
        self._status_lists: dict[str, dict[StatusListResult, int]] = {}
        # The last of each bucket, by use of the cache: a slot is set in one step.
        self._exemplars: list[list[Exemplar | None]] = [
            [None] * (len(BUCKETS_SECONDS) + 1) for _ in CacheUse
        ]

    def observe(self, reason: Reason | None, seconds: float, is_hit: bool) -> None:  # noqa: FBT001 - hot path
        """Count a decision by its reason (None for an allow), time, and use of the cache."""
        try:
            shard: _Shard = self._local.shard
        except AttributeError:
            shard = self._local.shard = _Shard()
            self._shards.append(shard)
        shard.decisions[_ALLOW if reason is None else _DENY[reason]] += 1
        shard.buckets[is_hit][bisect_left(BUCKETS_SECONDS, seconds)] += 1
        shard.sums[is_hit] += seconds

    def exemplify(self, is_hit: bool, seconds: float, trace_id: str, at: float) -> None:  # noqa: FBT001 - as observe
        """Keep a decision's trace as the exemplar of its time; ``at`` is unix seconds."""
        bucket = bisect_left(BUCKETS_SECONDS, seconds)
        self._exemplars[is_hit][bucket] = Exemplar({"trace_id": trace_id}, seconds, at)

    def shadowed(self, shadow: Shadow) -> None:
        """Count another policy's decision on the check that this thread has just observed."""
        shard: _Shard = self._local.shard
        shard.shadows[(shadow.by, shadow.decision)] += 1

    def agent_refused(self, agent: str) -> None:
        """Count a refusal of an agent, after ``observe`` of the same check in the same thread.

        The first MAX_NAMED_AGENTS agents are counted by name and all others together, so that
        agents can't fill the memory of Prometheus with series.
        """
        refused: dict[str, int] = self._local.shard.refused
        if agent in refused:
            refused[agent] += 1
            return
        name = agent if self._may_be_named(agent) else OTHER_AGENTS
        refused[name] = refused.get(name, 0) + 1

    def _may_be_named(self, agent: str) -> bool:
        with self._naming:
            if agent not in self._named and len(self._named) < MAX_NAMED_AGENTS:
                self._named.add(agent)
            return agent in self._named

    def caller_refused(self) -> None:
        """Count a call that was refused because its caller may not call.

        Two at once may count as one.
        """
        self._callers_refused += 1

    def call_ended(self, cause: CallEnd) -> None:
        """Count a call that we ended. Two at once may count as one."""
        self._calls_ended[cause] += 1

    def assertion_made(self, result: AssertionResult) -> None:
        """Count an assertion that was signed, or failed: not one that was remembered."""
        self._assertions.add(result)

    def pdp_asked(self, result: PdpResult, seconds: float | None) -> None:
        """Count a question to the decision point, and the seconds of its call, None without a call.

        The caller holds a lock, so that no count is lost: compared with a call's milliseconds its
        cost is negligible.
        """
        self._pdp_results[result] += 1
        if seconds is not None:
            self._pdp_buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
            self._pdp_seconds += seconds

    def introspected(self, issuer: str, result: IntrospectionResult, seconds: float | None) -> None:
        """Count a question to an issuer's introspection endpoint, as ``pdp_asked``."""
        self._introspections.setdefault(issuer, _Calls(IntrospectionResult)).count(result, seconds)

    def exchanged(self, issuer: str, result: ExchangeResult, seconds: float | None) -> None:
        """Count a question to an issuer's token endpoint, as ``pdp_asked``."""
        self._exchanges.setdefault(issuer, _Calls(ExchangeResult)).count(result, seconds)

    def status_list_fetched(self, issuer: str, result: StatusListResult) -> None:
        """Count a fetch of a status list of an issuer, as ``pdp_asked``."""
        if issuer not in self._status_lists:
            self._status_lists[issuer] = dict.fromkeys(StatusListResult, 0)
        self._status_lists[issuer][result] += 1

    def families(self) -> Iterator[Metric]:
        """Yield the metric families of these counters, in Prometheus' form."""
        yield self._decisions()
        shadows = [shard.shadows for shard in list(self._shards)]
        yield counter(
            "authz_shadow_decisions",
            *((labels, sum(counted[labels] for counted in shadows)) for labels in _SHADOWS),
        )
        made = self._assertions.counts().items()
        yield counter("authz_assertions", *(((result,), count) for result, count in made))
        yield self._refusals()
        yield self._durations()
        results = self._pdp_results.items()
        yield counter("authz_pdp_calls", *(((result,), count) for result, count in results))
        yield histogram("authz_pdp_duration_seconds", ((), self._pdp_buckets, self._pdp_seconds))
        yield from _asked(
            "authz_introspection_calls",
            "authz_introspection_duration_seconds",
            self._introspections,
        )
        yield from _asked("authz_exchanges", "authz_exchange_duration_seconds", self._exchanges)
        yield counter(
            "authz_status_list_fetches",
            *(
                ((issuer, result), count)
                for issuer, counted in list(self._status_lists.items())
                for result, count in counted.items()
            ),
        )
        yield counter("authz_callers_refused", ((), self._callers_refused))
        yield counter("authz_calls_ended", *(((key,), n) for key, n in self._calls_ended.items()))

    def _refusals(self) -> Metric:
        total: Counter[str] = Counter()
        for shard in list(self._shards):
            total.update(shard.refused.copy())  # a copy in one step: its thread goes on counting
        return counter("authz_agent_refusals", *(((agent,), n) for agent, n in total.items()))

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
                    self._exemplars[at],
                )
                for at, label in enumerate(CacheUse)
            ),
        )


def _asked(calls: str, durations: str, counted: Mapping[str, _Calls]) -> Iterator[Metric]:
    """Yield the families of issuers' endpoints: their calls, and the durations of these."""
    issuers = list(counted.items())
    yield counter(
        calls,
        *(
            ((issuer, result), count)
            for issuer, of_issuer in issuers
            for result, count in of_issuer.results.items()
        ),
    )
    yield histogram(
        durations,
        *(((issuer,), of_issuer.buckets, of_issuer.seconds) for issuer, of_issuer in issuers),
    )
