"""Answers checks: decides each decoded check or takes it from the cache, records and counts it.

This module knows no dialect: readers decode before, and writers encode afterwards. A check leaves
one
audit record and one count. Any exception becomes a deny; the methods that answer never raise.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Any, Final

from google.protobuf.message import DecodeError

from authz.adapters.audit.log import AuditLog
from authz.adapters.audit.records.line import AuditLine
from authz.adapters.budgets import Spender
from authz.adapters.metrics import Metrics
from authz.adapters.single_use import SingleUses
from authz.core.bounded_map import Generation
from authz.core.decision import Progress
from authz.core.needs import IntrospectionNeeded, KeyNeeded, Need, StatusListNeeded
from authz.core.reason import Denied, Reason
from authz.edge.answered import UNREADABLE, Answered, DecodedCheck
from authz.edge.bulkhead import Bulkhead
from authz.edge.cache import CacheEntry
from authz.edge.clock import Clock, Moment, TimeRemaining
from authz.edge.consuming import Consumption
from authz.edge.decider import Decider
from authz.edge.entries import build_entry, build_refusal
from authz.edge.faults import log_fault
from authz.edge.learning import (
    IntrospectionLearner,
    Introspector,
    KeyLearner,
    KeyRefresher,
    Learner,
    Learning,
    StatusListFetcher,
    StatusListLearner,
)
from authz.edge.presentation_store import Presentations
from authz.edge.rendering import RenderedDecision
from authz.edge.snapshot import Snapshot, SnapshotStatus
from authz.edge.tracing import Tracer, trace_check
from authz.edge.waits import Waits

_log: Final = logging.getLogger("authz.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """The parts that a service works with, besides the settings in force.

    Attributes:
        keys: the issuers' keys, which can be fetched again.
        introspections: the issuers' endpoints, which can be asked about opaque tokens.
        status_lists: the issuers' status lists, which can be fetched.
        revocations: the revocations, of which only the generation is read here.
        single_uses: the proofs and tokens that were used.
        spender: spends the budgets of rules.
        audit, metrics: where each answer leaves a record and a count.
        bulkhead: the places to wait on the network.
        is_overloaded: tells whether new decisions must be refused.
        clock: the time.
        tracer: makes spans of checks; None while nobody takes them.
    """

    keys: KeyRefresher
    introspections: Introspector
    status_lists: StatusListFetcher
    revocations: Generation
    single_uses: SingleUses
    spender: Spender
    audit: AuditLog
    metrics: Metrics
    bulkhead: Bulkhead
    is_overloaded: Callable[[], bool] = lambda: False
    clock: Clock = Clock()  # noqa: RUF009 - frozen
    tracer: Tracer | None = None


class CheckService:
    """Answers checks.

    Attributes:
        snapshot: decides the checks; a new snapshot may replace it at any time. The snapshot by
            which a dialect reads a check also decides it.
        clock: the time, by which a dialect says when a check was begun.
        judge: decides a request by a snapshot, without recording or caching it.
        presentations: what proxies presented in checks that had to be decided.
    """

    def __init__(self, snapshot: Snapshot, parts: ServiceParts) -> None:
        """Take the first snapshot, and the parts to work with."""
        self.snapshot = snapshot
        self._keys = parts.keys
        self._audit = parts.audit
        self._metrics = parts.metrics
        self._revocations = parts.revocations
        self._wall, self._monotonic = parts.clock.wall, parts.clock.monotonic
        self.clock = parts.clock
        self._tracer = parts.tracer
        learners: dict[type[Need], Learner[Any]] = {
            KeyNeeded: KeyLearner(parts.keys),
            IntrospectionNeeded: IntrospectionLearner(parts.introspections),
            StatusListNeeded: StatusListLearner(parts.status_lists),
        }
        learning = Learning(learners, parts.bulkhead)
        consumption = Consumption(parts.single_uses, parts.spender, parts.bulkhead, parts.clock)
        self._decider = Decider(
            learning,
            consumption,
            parts.bulkhead,
            parts.is_overloaded,
            parts.clock,
            generation=lambda: parts.keys.generation + parts.revocations.generation,
        )
        self.judge = self._decider.judge
        self.presentations = Presentations()
        # Made beforehand, so that it can't fail when everything else has failed.
        fault = Progress().refuse(Denied(Reason.INTERNAL_ERROR))
        self._last_resort = snapshot.renderer.render(fault)

    def status(self) -> SnapshotStatus:
        """Return the status of the current snapshot."""
        return self.snapshot.status()

    def remembered(
        self, snapshot: Snapshot, check: DecodedCheck, begun: Moment, decision_id: str
    ) -> Answered | None:
        """Answer a check that was read by the snapshot, if its decision is cached.

        The answer is recorded and counted. If the check must first be decided, returns None, and
        nothing is recorded or counted. Never raises, never waits.
        """
        try:
            try:
                now, monotonic = begun
                # Read before the look-up, so that a change during it shows. Both only grow: the sum
                # is the same only if neither has changed.
                generation = self._keys.generation + self._revocations.generation
                entry = snapshot.cache.get(check.request, now, monotonic, generation)
                if entry is None:
                    return None
                is_hit = True
            except Exception as error:  # noqa: BLE001 - the law: whatever it was, it is a deny
                entry, is_hit = _fault(snapshot, check, error), False
            return self._recorded(snapshot, check, entry, begun, decision_id, is_hit)
        except Exception as error:  # noqa: BLE001 - likewise, if not even that can be recorded
            log_fault(error)
            return self.last_resort(decision_id, check)

    def decide(
        self,
        snapshot: Snapshot,
        check: DecodedCheck,
        begun: Moment,
        time_remaining: TimeRemaining,
        decision_id: str,
        *,
        may_wait: bool,
    ) -> Answered | None:
        """Decide a check that was read by the snapshot, record it, count it. Never raises.

        Without ``may_wait``, nothing waits. If a step would have to, the answer is None, and the
        check is neither recorded nor counted. The decision is by the time of this call, which may
        be some time after the check was ``begun``.
        """
        waits = None if self._tracer is None else Waits(self.clock)
        try:
            try:
                found = self._found(
                    snapshot, check, time_remaining, decision_id, may_wait=may_wait, waits=waits
                )
            except Exception as error:  # noqa: BLE001 - the law: whatever it was, it is a deny
                found = _fault(snapshot, check, error), False
            if found is None:
                return None
            return self._recorded(snapshot, check, found[0], begun, decision_id, found[1], waits)
        except Exception as error:  # noqa: BLE001 - likewise, if not even that can be recorded
            log_fault(error)
            return self.last_resort(decision_id, check)

    def _found(
        self,
        snapshot: Snapshot,
        check: DecodedCheck,
        time_remaining: TimeRemaining,
        decision_id: str,
        *,
        may_wait: bool,
        waits: Waits | None,
    ) -> tuple[CacheEntry, bool] | None:
        """Return the decision, and whether it was cached by now; None if it needs a wait."""
        moment = now, monotonic = self._wall(), self._monotonic()
        generation = self._keys.generation + self._revocations.generation  # first, as above
        if may_wait:  # perhaps after a wait for a thread, in which another check was decided
            entry = snapshot.cache.get(check.request, now, monotonic, generation)
            if entry is not None:
                return entry, True
        decision = self._decider.decide(
            snapshot, check, now, time_remaining, decision_id, may_wait=may_wait, waits=waits
        )
        if decision is None:
            return None
        entry = build_entry(snapshot, check.request, decision, moment, generation)
        if entry.fresh_until > monotonic:  # it may be cached
            snapshot.cache.put(check.request, entry)
        return entry, False

    def refuse(
        self, error: Exception, begun: Moment, decision_id: str, check: DecodedCheck = UNREADABLE
    ) -> Answered:
        """Refuse a check for an error in reading it, record it, count it. Never raises."""
        try:
            snapshot = self.snapshot
            reason, detail = _told(error)
            entry = build_refusal(snapshot, check.request.protocol, reason, detail)
            return self._recorded(snapshot, check, entry, begun, decision_id, False)
        except Exception as another:  # noqa: BLE001 - likewise
            log_fault(another)
            return self.last_resort(decision_id, check)

    def last_resort(self, decision_id: str, check: DecodedCheck = UNREADABLE) -> Answered:
        """Return the refusal that was made beforehand, which can't fail. It leaves no record."""
        return Answered(check, self._last_resort, decision_id)

    def _recorded(  # noqa: PLR0917 - hot path: keyword arguments cost more than positional ones
        self,
        snapshot: Snapshot,
        check: DecodedCheck,
        entry: CacheEntry,
        begun: Moment,
        decision_id: str,
        is_hit: bool,  # noqa: FBT001 - likewise
        waits: Waits | None = None,
    ) -> Answered:
        """Record and count the answer; an allow that can't be recorded may become a refusal."""
        now, monotonic = begun
        seconds = self._monotonic() - monotonic
        rendered, audit = entry.rendered, self._audit
        if audit.refuses_allows and rendered.reason is None:
            rendered = _unrecordable(snapshot, check, "the audit log can't be written")
        is_recorded = audit.append(
            AuditLine(
                rendered.audit,
                entry.operation,
                now + seconds,
                check.request_id,
                check.traceparent[3:35],  # the trace id; hot path: no call
                decision_id,
                is_hit,
                seconds,
            )
        )
        if not is_recorded and audit.must_record:
            rendered = _unrecordable(snapshot, check, "the audit log is full")
        self._metrics.observe(rendered.reason, seconds, is_hit)
        if rendered.refused:
            self._metrics.agent_refused(rendered.refused)
        for shadow in rendered.shadows:
            self._metrics.shadowed(shadow)
        tracer = self._tracer
        if tracer is not None and (not is_hit or random() < tracer.share):  # noqa: S311 - a sample
            trace_check(tracer, check, rendered, now, seconds, decision_id, is_hit, waits)
        until = entry.valid_until if rendered.reason is None else 0.0
        return Answered(check, rendered, decision_id, until, is_hit)


def _fault(snapshot: Snapshot, check: DecodedCheck, error: Exception) -> CacheEntry:
    """Return the refusal for an error of ours in deciding, and log it."""
    log_fault(error)
    return build_refusal(snapshot, check.request.protocol, Reason.INTERNAL_ERROR, "see the log")


def _unrecordable(snapshot: Snapshot, check: DecodedCheck, detail: str) -> RenderedDecision:
    return build_refusal(snapshot, check.request.protocol, Reason.OVERLOADED, detail).rendered


def _told(error: Exception) -> tuple[Reason, str]:
    """Return the reason and the detail for an error in reading a check, and log it."""
    if isinstance(error, Denied):
        _log.warning("a call sent a message that is not read: %s", error.detail)
        return error.reason, error.detail
    if isinstance(error, DecodeError):  # of the check's own bytes
        _log.warning("a call sent bytes that are not a message of its method")
        return Reason.CHECK_MALFORMED, "the message can't be decoded"
    log_fault(error)
    return Reason.INTERNAL_ERROR, "see the log"
