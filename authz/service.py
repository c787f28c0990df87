"""The edge: the Check RPC, bytes in and bytes out. Here the pipeline meets the world.

It runs the one line (read, decide, write), then leaves one audit record and one count. Nothing
flows back. Whatever goes wrong in the line is a deny; there is no other way out of here.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Protocol, Self

from google.protobuf.message import DecodeError
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from authz._pb import ext_authz_pb2 as pb
from authz.audit import AuditLog, AuditOperation, Line, encode_operation
from authz.authorizer import Authorizer
from authz.bounded import Generation
from authz.cache import CacheSettings, DecisionCache, Entry
from authz.decision import Allow, Decision, Deny
from authz.envoy import Reader, Reading, attempt_of
from authz.metrics import Metrics
from authz.reason import DPOP_SCHEME, Denied, Reason
from authz.rendering import Renderer
from authz.replay import ReplayStore, ReplayStoreFullError
from authz.request import Call, Operation, Request
from authz.routes import ROUTE
from authz.settings import Duration, Settings
from authz.tls import TlsSettings
from authz.waiting import TooManyWaitError, Waits

# Left of the caller's deadline for the answer's way back when we wait for others.
ANSWER_MARGIN_SECONDS: Final = 0.05
# What deciding takes at most, way back included: a 503 in time is better than no answer.
DECISION_SECONDS: Final = 0.005
# Longest wait for a key that may just have been published, whatever the caller would allow.
MAX_KEY_WAIT_SECONDS: Final = 2.0
_NOTHING: Final = encode_operation(AuditOperation("", "", "", ""))
_UNREADABLE: Final = Reading(Request("", "", ""))  # a check of which nothing is known
_ID_BYTES: Final = 16
_DRAWN_AT_ONCE: Final = 256
_log: Final = logging.getLogger("authz.service")


def _listed(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_WORKER: Final = "{worker}"
_ADDRESS: Final = r"^(unix:/.+|.+:([0-9]|\{worker\}){1,5})$"
_ONE: Final = {"type": "string", "pattern": _ADDRESS}
Addresses = Annotated[
    tuple[Annotated[str, Field(pattern=_ADDRESS)], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]


class ServerSettings(Settings):
    """Where proxies ask, and how much at once."""

    listen: Addresses = Field(min_length=1)
    """Addresses of the gRPC service, one or several: unix:/path or host:port. {worker} in one
    stands for a worker's number, from 0.
    """
    workers: int = Field(default=1, ge=1, le=64)
    """Processes, each with addresses of its own: one endpoint for the proxy each."""
    tls: TlsSettings | None = None
    """Mutual TLS with the proxies that ask, on host:port addresses."""
    pin: bool = False
    """Keep each process on one core. Its threads run one at a time anyhow, and pass work to each
    other at half the cost; but a core that others keep busy is slow. Linux only.
    """
    threads: int = Field(default=4, ge=2, le=256)
    """Threads that work on checks; others may wait besides. More bring no speed and cost CPU."""
    max_concurrent: int = Field(default=1024, ge=1, le=100_000)
    """Checks under way or waiting at once; more are refused at once, and never allowed."""
    max_queued: int = Field(default=256, ge=1, le=100_000)
    """Checks that may wait for a thread before nothing new is decided: the ones over that are
    answered if their decision is remembered, and overloaded if not.
    """
    max_waiting: int = Field(default=512, ge=2, le=10_000)
    """Checks that may wait for an issuer's new key, or for the decision point, at once; half of
    them of one agent.
    """
    drain: Duration = Field(default=10.0, ge=0.0, le=300.0)
    """How long a stop waits for proxies to go elsewhere and for checks to end."""

    @model_validator(mode="after")
    def _an_address_for_each_worker(self) -> Self:
        if self.workers > 1 and not all(_WORKER in address for address in self.listen):
            raise ValueError(
                "with several workers each address of listen needs {worker}, "
                "as in unix:/run/authz/authz-{worker}.sock"
            )
        return self

    def of_worker(self, number: int) -> Self:
        """These settings with the addresses of one worker."""
        listen = tuple(address.replace(_WORKER, str(number)) for address in self.listen)
        return self.model_copy(update={"listen": listen})


class KeyRefresher(Generation, Protocol):
    """What the edge asks of the key store."""

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch for an unknown key, once for all who ask; True when the set changed."""


class DecisionPoint(Protocol):
    """Whoever has to allow as well."""

    @property
    def is_cut_off(self) -> bool:
        """Whether it is not asked, because it failed."""

    def confirm(
        self, allow: Allow, operation: Operation, decision_id: str, *, now: float, seconds: float
    ) -> Allow:
        """The allow, perhaps for less long; waits so many seconds at most. Raises Denied."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the settings, compiled: swapped as a whole, never changed."""

    authorizer: Authorizer
    reader: Reader
    renderer: Renderer
    cache_settings: CacheSettings
    policy_version: str
    recorded_headers: frozenset[str] = frozenset()
    decision_point: DecisionPoint | None = None
    cache: DecisionCache = field(init=False)

    def __post_init__(self) -> None:
        """Begin with an empty cache: decisions of another version are not ours."""
        object.__setattr__(self, "cache", DecisionCache(self.cache_settings))


# Says more of what was read than the CheckRequest has, or that it is refused.
Amend = Callable[[Reading], Reading]


class Service:
    """Answers checks."""

    def __init__(
        self,
        snapshot: Snapshot,
        keys: KeyRefresher,
        audit: AuditLog,
        metrics: Metrics,
        replays: ReplayStore,
        *,
        revocations: Generation,
        waits: Waits,
        is_overloaded: Callable[[], bool] = lambda: False,
        clocks: tuple[Callable[[], float], Callable[[], float]] = (time.time, time.monotonic),
    ) -> None:
        """Take what it works with.

        ``is_overloaded`` says that nothing new is to be decided; ``clocks`` give the time in unix
        seconds, and in seconds that only go on.
        """
        self.snapshot = snapshot
        self._keys = keys
        self._replays = replays
        self._audit = audit
        self._metrics = metrics
        self._revocations = revocations
        self._waits = waits
        self._is_overloaded = is_overloaded
        self._now, self._monotonic = clocks
        # Made beforehand, so that nothing can go wrong with it when everything else has.
        self._last_resort = snapshot.renderer.render(Deny(Reason.INTERNAL_ERROR)).answer

    def check(
        self,
        data: bytes,
        time_remaining: Callable[[], float | None],
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
        time_remaining: Callable[[], float | None],
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
                decision = self._decide(
                    snapshot, request, message, now, time_remaining, decision_id=decision_id
                )
                entry = _entry(snapshot, request, decision, (now, monotonic), generation)
                if entry.fresh_until > monotonic:
                    snapshot.cache.put(request, entry)
        except Exception as error:  # noqa: BLE001 - the law: whatever it was, it is a deny
            _log_fault(error)
            entry = _refusal(snapshot, reading, Reason.INTERNAL_ERROR, "see the log")
        seconds = self._monotonic() - monotonic
        rendered = entry.rendered
        is_recorded = self._audit.append(
            Line(
                rendered.audit,
                entry.operation,
                now + seconds,
                reading.request_id,
                reading.trace_id,
                decision_id,
                is_hit,
                seconds,
            )
        )
        if not is_recorded and self._audit.must_record:
            entry = _refusal(snapshot, reading, Reason.OVERLOADED, "the audit log is full")
            rendered = entry.rendered
        self._metrics.observe(rendered.reason, seconds, is_hit)
        for shadow in rendered.shadows:
            self._metrics.shadowed(shadow)
        valid_until = entry.valid_until if rendered.reason is None else 0.0
        return rendered.answer.complete(decision_id, valid_until, is_hit, reading.ids)

    def _decide(
        self,
        snapshot: Snapshot,
        request: Request,
        message: pb.CheckRequest,
        now: float,
        time_remaining: Callable[[], float | None],
        *,
        decision_id: str,
    ) -> Decision:
        busy = self._busy(time_remaining)
        if busy is not None:  # what is remembered is answered all the same
            return busy
        decision = self._with_fresh_keys(snapshot, request, now, time_remaining)
        decision = self._confirmed(snapshot, request, decision, time_remaining, decision_id)
        return self._used_once(decision, message)

    def judge(
        self, snapshot: Snapshot, request: Request, time_remaining: Callable[[], float | None]
    ) -> Decision:
        """What the settings alone say, as of what a list has: neither recorded nor confirmed."""
        return self._busy(time_remaining) or snapshot.authorizer.decide(request, self._now())

    def _busy(self, time_remaining: Callable[[], float | None]) -> Deny | None:
        """The refusal where nothing new is to be decided."""
        if self._is_overloaded():
            return Deny(Reason.OVERLOADED, "too many checks wait")
        remaining = time_remaining()
        if remaining is not None and remaining < DECISION_SECONDS:
            return Deny(Reason.OVERLOADED, "too late to decide before the caller gives up")
        return None

    def _with_fresh_keys(
        self,
        snapshot: Snapshot,
        request: Request,
        now: float,
        time_remaining: Callable[[], float | None],
    ) -> Decision:
        """Decide; and when only a key was missing, fetch and decide once more."""
        decision = snapshot.authorizer.decide(request, now)
        if not isinstance(decision, Deny) or not decision.key_issuer:
            return decision
        remaining = time_remaining()
        wait = MAX_KEY_WAIT_SECONDS if remaining is None else remaining - ANSWER_MARGIN_SECONDS
        wait = max(0.0, min(wait, MAX_KEY_WAIT_SECONDS))
        agent = decision.agent.spiffe_id.text if decision.agent else ""
        try:
            with self._waits.waiting(agent):
                is_known = self._keys.refresh(decision.key_issuer, decision.key_id, wait)
        except TooManyWaitError:
            return Deny(Reason.OVERLOADED, "too many requests wait for keys", agent=decision.agent)
        return snapshot.authorizer.decide(request, self._now()) if is_known else decision

    def _confirmed(
        self,
        snapshot: Snapshot,
        request: Request,
        decision: Decision,
        time_remaining: Callable[[], float | None],
        decision_id: str,
    ) -> Decision:
        """Ask the decision point about an allow, if there is one: both must allow."""
        point = snapshot.decision_point
        if point is None or not isinstance(decision, Allow):
            return decision
        agent, delegation = decision.agent, decision.delegation
        remaining = time_remaining()
        seconds = math.inf if remaining is None else remaining - ANSWER_MARGIN_SECONDS
        deadline = self._monotonic() + seconds
        try:
            with self._waits.waiting(agent.spiffe_id.text):
                for operation in Operation.of(request).each(request):
                    left = deadline - self._monotonic()
                    decision = point.confirm(
                        decision, operation, decision_id, now=self._now(), seconds=left
                    )
                return decision
        except TooManyWaitError:
            reason, detail = Reason.OVERLOADED, "too many requests wait for the decision point"
        except Denied as denied:
            reason, detail = denied.reason, denied.detail
        return Deny(reason, detail, agent=agent, delegation=delegation, flags=decision.flags)

    def _used_once(self, decision: Decision, message: pb.CheckRequest) -> Decision:
        """Deny what came with a proof that was used before (RFC 9449 section 11.1)."""
        if not isinstance(decision, Allow) or decision.delegation.once is None:
            return decision
        try:
            if self._replays.use(decision.delegation.once, attempt_of(message), self._now()):
                return decision
            reason, detail = Reason.DPOP_PROOF, "the proof was used before"
        except ReplayStoreFullError:
            reason, detail = Reason.OVERLOADED, "too many proofs to remember"
        agent, delegation = decision.agent, decision.delegation
        return Deny(reason, detail, scheme=DPOP_SCHEME, agent=agent, delegation=delegation)


def new_decision_id() -> str:
    """128 random bits, as 32 hex characters.

    Drawn many at a time: to ask the system lets go of the interpreter's lock, and with other
    threads at work it takes some 15 us to get it back.
    """
    try:
        return _drawn_ids.pop()
    except IndexError:
        drawn = os.urandom(_ID_BYTES * _DRAWN_AT_ONCE).hex()
        step = 2 * _ID_BYTES
        _drawn_ids.extend([drawn[at : at + step] for at in range(step, len(drawn), step)])
        return drawn[:step]


_drawn_ids: Final[list[str]] = []  # pop() and extend() are atomic: no id is given out twice


def _ttl(decision: Decision, settings: CacheSettings) -> float:
    """Seconds to remember a decision: never one that another try could change at once."""
    if isinstance(decision, Allow):
        return settings.ttl if decision.delegation.once is None else 0.0
    if decision.scheme == DPOP_SCHEME:  # of a proof, which is for one request
        return 0.0
    if decision.reason.is_own_fault or decision.reason is Reason.TOKEN_KEY_UNKNOWN:
        return 0.0
    return settings.deny_ttl


def _entry(
    snapshot: Snapshot,
    request: Request,
    decision: Decision,
    begun: tuple[float, float],
    generation: int,
) -> Entry:
    """The decision made ready, with how long it is good from when it was begun, by both clocks."""
    now, monotonic = begun
    ttl = _ttl(decision, snapshot.cache_settings)
    valid_until = now + ttl
    if isinstance(decision, Allow):
        valid_until = min(valid_until, decision.valid_until)
    operation = AuditOperation(
        request.method,
        request.host,
        request.path,
        request.proxy,
        request.context_value(ROUTE),
        {name: value for name, value in request.headers if name in snapshot.recorded_headers},
        request.protocol,
        tuple([_recorded(call) for call in request.calls]),
    )
    return Entry(
        snapshot.renderer.render(decision, request.protocol),
        encode_operation(operation),
        valid_until,
        monotonic + ttl,
        generation,
    )


def _recorded(call: Call) -> dict[str, object]:
    """A call as audit records have it: without its arguments."""
    named: dict[str, object] = {"method": call.method, "kind": call.kind, "name": call.name}
    if call.kind != "model":
        return named
    return {**named, "tools": call.tools, "streaming": call.is_streaming}


def _refusal(snapshot: Snapshot, reading: Reading, reason: Reason, detail: str) -> Entry:
    """A deny of our own fault, of no request to speak of."""
    rendered = snapshot.renderer.render(Deny(reason, detail), reading.request.protocol)
    return Entry(rendered, _NOTHING, 0.0)


def _log_fault(error: Exception) -> None:
    # The type and the place only: a message could hold a part of what was parsed.
    if isinstance(error, DecodeError):
        _log.warning("a check was not a CheckRequest")
        return
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    _log.error("internal error: %s at %s", type(error).__name__, where)
