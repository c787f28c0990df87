"""The edge: the Check RPC, bytes in and bytes out. Here the pipeline meets the world.

It runs the one line (read, decide, write), then leaves one audit record and one count. Nothing
flows back. Whatever goes wrong in the line is a deny; there is no other way out of here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.audit import AuditLog, Line
from authz.adapters.metrics import Metrics
from authz.adapters.replay_store import ReplayStore
from authz.core.bounded_map import Generation
from authz.core.decision import Progress
from authz.core.reason import Denied, Reason
from authz.core.request import Request
from authz.edge.bulkhead import Bulkhead
from authz.edge.clock import Clock
from authz.edge.decider import Decider, KeyRefresher, Remaining
from authz.edge.entries import entry_of, refusal_of
from authz.edge.envoy import Reading
from authz.edge.ids import new_decision_id
from authz.edge.snapshot import Snapshot, SnapshotStatus

_UNREADABLE: Final = Reading(Request("", "", ""))  # a check of which nothing is known
_log: Final = logging.getLogger("authz.service")
# Says more of what was read than the CheckRequest has, or that it is refused.
Amend = Callable[[Reading], Reading]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParts:
    """What a service works with, besides the settings in force.

    Attributes:
        keys: the issuers' keys, which can be fetched anew.
        revocations: what was revoked, of which only the generation is read here.
        replays: the proofs that were used.
        audit, metrics: where each answer leaves a record and a count.
        bulkhead: the places to wait for others.
        is_overloaded: tells that nothing new is to be decided.
        clock: the time.
    """

    keys: KeyRefresher
    revocations: Generation
    replays: ReplayStore
    audit: AuditLog
    metrics: Metrics
    bulkhead: Bulkhead
    is_overloaded: Callable[[], bool] = lambda: False
    clock: Clock = Clock()  # noqa: RUF009 - frozen


class Service:
    """Answers checks.

    Attributes:
        snapshot: what decides now; a new one may take its place at any time.
        judge: what a snapshot says of a request, neither recorded nor remembered.
    """

    def __init__(self, snapshot: Snapshot, parts: ServiceParts) -> None:
        """Take what decides first, and the parts to work with."""
        self.snapshot = snapshot
        self._keys = parts.keys
        self._audit = parts.audit
        self._metrics = parts.metrics
        self._revocations = parts.revocations
        self._now, self._monotonic = parts.clock.wall, parts.clock.monotonic
        self._decider = Decider(
            parts.keys, parts.replays, parts.bulkhead, parts.is_overloaded, parts.clock
        )
        self.judge = self._decider.judge
        # Made beforehand, so that nothing can go wrong with it when everything else has.
        fault = Progress().refuse(Denied(Reason.INTERNAL_ERROR))
        self._last_resort = snapshot.renderer.render(fault).answer

    def status(self) -> SnapshotStatus:
        """Return what decides now, and how it is doing."""
        return self.snapshot.status()

    def check(
        self,
        data: bytes,
        time_remaining: Remaining,
        proxy: str = "",
        *,
        amend: Amend | None = None,
        decision_id: str = "",
    ) -> bytes:
        """Answer a serialised CheckRequest with a serialised CheckResponse. Never raises.

        ``time_remaining`` gives the seconds that the caller still waits, None for no deadline;
        ``proxy`` is the SPIFFE ID of the caller, "" when its connection has none. Who translates
        for another kind of proxy can ``amend`` the reading, and give the ``decision_id``.
        """
        decision_id = decision_id or new_decision_id()
        try:
            return self._answer(data, time_remaining, proxy, decision_id, amend)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to some proxies
            _log_fault(error)
            return self._last_resort.complete(decision_id, 0.0, is_hit=False)

    def _answer(
        self,
        data: bytes,
        time_remaining: Remaining,
        proxy: str,
        decision_id: str,
        amend: Amend | None,
    ) -> bytes:
        """Decide, record, count: what a remembered decision costs is all in here."""
        now, monotonic = self._now(), self._monotonic()
        snapshot = self.snapshot
        reading = _UNREADABLE
        is_hit = False
        try:
            message = pb.CheckRequest.FromString(data)
            reading = snapshot.reader.read(message, proxy)
            if amend is not None:
                reading = amend(reading)
            request = reading.request
            # Before the decision, so that a change in it shows. Both only grow: the sum is the same
            # only if neither has changed.
            generation = self._keys.generation + self._revocations.generation
            entry = snapshot.cache.get(request, now, monotonic, generation)
            if entry is not None:
                is_hit = True
            else:
                decision = self._decider.decide(
                    snapshot, request, message, now, time_remaining, decision_id=decision_id
                )
                entry = entry_of(snapshot, request, decision, (now, monotonic), generation)
                if entry.fresh_until > monotonic:
                    snapshot.cache.put(request, entry)
        except DecodeError:  # of the check's own bytes: others are caught where they are decoded
            _log.warning("a check was no message of the service")
            entry = refusal_of(snapshot, reading, Reason.CHECK_MALFORMED, "it can't be decoded")
        except Exception as error:  # noqa: BLE001 - the law: whatever it was, it is a deny
            _log_fault(error)
            entry = refusal_of(snapshot, reading, Reason.INTERNAL_ERROR, "see the log")
        seconds = self._monotonic() - monotonic
        rendered, operation = entry.rendered, entry.operation
        if self._audit.refuses_allows and rendered.reason is None:
            entry = refusal_of(
                snapshot, reading, Reason.OVERLOADED, "the audit log can't be written"
            )
            rendered = entry.rendered
        is_recorded = self._audit.append(
            Line(
                rendered.audit,
                operation,
                now + seconds,
                reading.request_id,
                reading.trace_id,
                decision_id,
                is_hit,
                seconds,
            )
        )
        if not is_recorded and self._audit.must_record:
            entry = refusal_of(snapshot, reading, Reason.OVERLOADED, "the audit log is full")
            rendered = entry.rendered
        self._metrics.observe(rendered.reason, seconds, is_hit)
        for shadow in rendered.shadows:
            self._metrics.shadowed(shadow)
        if rendered.reason is not None:
            return rendered.answer.complete(decision_id, 0.0, is_hit, reading.ids)
        until, twins = entry.valid_until, reading.twins
        return rendered.answer.complete(decision_id, until, is_hit, reading.ids, twins)


def _log_fault(error: Exception) -> None:
    # The type and the place only: a message could hold a part of what was parsed.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    _log.error("internal error: %s at %s", type(error).__name__, where)
