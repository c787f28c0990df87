"""The edge: the Check RPC, bytes in and bytes out. Here the pipeline meets the world.

It runs the one line (read, decide, write), then leaves one audit record and one count. Nothing
flows back. Whatever goes wrong in the line is a deny; there is no other way out of here.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, NamedTuple, Protocol

from google.protobuf.message import DecodeError
from pydantic import BeforeValidator, Field, WithJsonSchema

from authz._pb import ext_authz_pb2 as pb
from authz.audit import AuditLog, AuditRecord, complete, encode_prefix, token_digest
from authz.authorizer import Authorizer
from authz.cache import CacheSettings, DecisionCache, Entry
from authz.decision import Allow, Decision, Deny
from authz.envoy import Answer, Reader, Writer, attempt_of, request_id, trace_id
from authz.metrics import Metrics
from authz.reason import DPOP_SCHEME, Reason
from authz.replay import ReplayStore, ReplayStoreFullError
from authz.request import Request
from authz.settings import Duration, Settings
from authz.tls import TlsSettings

# Left of the caller's deadline for the answer's way back when we wait for a key.
ANSWER_MARGIN_SECONDS: Final = 0.05
# Longest wait for a key that may just have been published, whatever the caller would allow.
MAX_KEY_WAIT_SECONDS: Final = 2.0
NOTHING: Final = Request(method="", host="", path="")  # when there is no request to speak of
_log: Final = logging.getLogger("authz.service")


def _listed(value: Any) -> Any:  # noqa: ANN401 - whatever the YAML holds
    return tuple(value) if isinstance(value, list | tuple) else (value,)


_ADDRESS: Final = r"^(unix:/.+|.+:[0-9]{1,5})$"
_ONE: Final = {"type": "string", "pattern": _ADDRESS}
Addresses = Annotated[
    tuple[Annotated[str, Field(pattern=_ADDRESS)], ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}),
]


class ServerSettings(Settings):
    """Where proxies ask, and how much at once."""

    listen: Addresses = Field(min_length=1)
    """Addresses of the gRPC service, one or several: unix:/path or host:port."""
    tls: TlsSettings | None = None
    """Mutual TLS with the proxies that ask, on host:port addresses."""
    threads: int = Field(default=8, ge=2, le=256)
    """Threads that work on checks; others may wait besides. More bring no speed and cost CPU."""
    max_concurrent: int = Field(default=1024, ge=1, le=100_000)
    """Checks under way or waiting at once; more are refused at once, and never allowed."""
    max_waiting: int = Field(default=512, ge=2, le=10_000)
    """Checks that may wait for an issuer's new key at once; half of them of one agent."""
    drain: Duration = Field(default=10.0, ge=0.0, le=300.0)
    """How long a stop waits for proxies to go elsewhere and for checks to end."""


class KeyRefresher(Protocol):
    """What the edge asks of the key store."""

    generation: int

    def refresh(self, issuer: str, key_id: str, timeout_seconds: float) -> bool:
        """Fetch for an unknown key, once for all who ask; True when the set changed."""


class TooManyWaitError(Exception):
    """So many checks wait for keys that one more may not."""


class KeyWaits:
    """Who waits for a key that may just have been published: so many, half of them of one agent.

    A bound in all for our own sake, and one for each agent, so that one with made-up keys leaves
    room for the others.
    """

    def __init__(self, limit: int, lend: Callable[[], AbstractContextManager[None]]) -> None:
        """Take how many; ``lend`` lets another thread work while one waits."""
        self._limit = limit
        self._limit_of_one = max(1, limit // 2)
        self._lend = lend
        self._lock = threading.Lock()
        self._agents: Counter[str] = Counter()

    @contextmanager
    def waiting(self, agent: str) -> Iterator[None]:
        """Be one of those who wait. Raises TooManyWaitError."""
        with self._lock:
            is_full = self._agents.total() >= self._limit
            if is_full or self._agents[agent] >= self._limit_of_one:
                raise TooManyWaitError
            self._agents[agent] += 1
        try:
            with self._lend():
                yield
        finally:
            with self._lock:
                self._agents[agent] -= 1
                if not self._agents[agent]:
                    del self._agents[agent]


class Remembered(NamedTuple):
    """What is kept of a decision: its answer, its audit record, and how it is counted."""

    answer: Answer
    audit_prefix: bytes
    reason: Reason | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the settings, compiled: swapped as a whole, never changed."""

    authorizer: Authorizer
    reader: Reader
    writer: Writer
    cache_settings: CacheSettings
    policy_version: str
    cache: DecisionCache[Remembered] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with an empty cache: decisions of another version are not ours."""
        object.__setattr__(self, "cache", DecisionCache(self.cache_settings.entries))


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
        waits: "KeyWaits",
    ) -> None:
        """Take what it works with."""
        self.snapshot = snapshot
        self._keys = keys
        self._replays = replays
        self._audit = audit
        self._metrics = metrics
        self._waits = waits
        # Made beforehand, so that nothing can go wrong with it when everything else has.
        fault = Deny(Reason.INTERNAL_ERROR)
        self._last_resort = snapshot.writer.answer(fault, snapshot.policy_version, "miss")

    def check(
        self, data: bytes, time_remaining: Callable[[], float | None], proxy: str = ""
    ) -> bytes:
        """Answer a serialised CheckRequest with a serialised CheckResponse. Never raises.

        ``time_remaining`` gives the seconds that the caller still waits, None for no deadline;
        ``proxy`` is the SPIFFE ID of the caller, "" when its connection has none.
        """
        decision_id = os.urandom(16).hex()
        try:
            answer = self._answer(data, time_remaining, proxy, decision_id)
            return answer.complete(decision_id)
        except Exception as error:  # noqa: BLE001 - an RPC error can be an allow to some proxies
            _log_fault(error)
            return self._last_resort.complete(decision_id)

    def _answer(
        self,
        data: bytes,
        time_remaining: Callable[[], float | None],
        proxy: str,
        decision_id: str,
    ) -> Answer:
        started = time.perf_counter()
        message = pb.CheckRequest()
        snapshot = self.snapshot
        try:
            message.ParseFromString(data)
            remembered, is_hit = self._decide(snapshot, message, time_remaining, proxy)
        except Exception as error:  # noqa: BLE001 - the law: whatever it was, it is a deny
            _log_fault(error)
            remembered, is_hit = _internal_error(snapshot), False
        seconds = time.perf_counter() - started
        is_recorded = self._audit.append(
            complete(
                remembered.audit_prefix,
                time_seconds=time.time(),
                request_id=request_id(message),
                trace_id=trace_id(message),
                decision_id=decision_id,
                cache="hit" if is_hit else "miss",
                duration_us=int(seconds * 1e6),
            )
        )
        if not is_recorded and self._audit.must_record:
            remembered = _refusal(snapshot, NOTHING, Reason.OVERLOADED, "the audit log is full")
        self._metrics.observe(remembered.reason, seconds, is_hit)
        return remembered.answer

    def _decide(
        self,
        snapshot: Snapshot,
        message: pb.CheckRequest,
        time_remaining: Callable[[], float | None],
        proxy: str,
    ) -> tuple[Remembered, bool]:
        request = snapshot.reader.request_from(message, proxy)
        now, monotonic = time.time(), time.monotonic()
        generation = self._keys.generation  # before the decision: a change during it must show
        key = snapshot.cache.key(request)
        remembered = snapshot.cache.get(key, now, monotonic, generation)
        if remembered is not None:
            return remembered, True
        decision = self._with_fresh_keys(snapshot, request, now, time_remaining)
        decision = self._used_once(decision, message)
        ttl = _ttl(decision, snapshot.cache_settings)
        if ttl > 0:
            kept = _remembered(snapshot, request, decision, "hit")
            valid_until = decision.valid_until if isinstance(decision, Allow) else now + ttl
            entry = Entry(kept, valid_until, monotonic + ttl, generation)
            snapshot.cache.put(key, entry)
        return _remembered(snapshot, request, decision, "miss"), False

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
        return snapshot.authorizer.decide(request, time.time()) if is_known else decision

    def _used_once(self, decision: Decision, message: pb.CheckRequest) -> Decision:
        """Deny what came with a proof that was used before (RFC 9449 section 11.1)."""
        if not isinstance(decision, Allow) or decision.delegation.once is None:
            return decision
        try:
            if self._replays.use(decision.delegation.once, attempt_of(message), time.time()):
                return decision
            reason, detail = Reason.DPOP_PROOF, "the proof was used before"
        except ReplayStoreFullError:
            reason, detail = Reason.OVERLOADED, "too many proofs to remember"
        agent, delegation = decision.agent, decision.delegation
        return Deny(reason, detail, scheme=DPOP_SCHEME, agent=agent, delegation=delegation)


def _ttl(decision: Decision, settings: CacheSettings) -> float:
    """Seconds to remember a decision: never one that another try could change at once."""
    if isinstance(decision, Allow):
        return settings.ttl if decision.delegation.once is None else 0.0
    if decision.scheme == DPOP_SCHEME:  # of a proof, which is for one request
        return 0.0
    if decision.reason.is_own_fault or decision.reason is Reason.TOKEN_KEY_UNKNOWN:
        return 0.0
    return settings.deny_ttl


def _remembered(snapshot: Snapshot, request: Request, decision: Decision, cache: str) -> Remembered:
    return Remembered(
        snapshot.writer.answer(decision, snapshot.policy_version, cache),
        encode_prefix(_record(snapshot, request, decision)),
        None if isinstance(decision, Allow) else decision.reason,
    )


def _refusal(snapshot: Snapshot, request: Request, reason: Reason, detail: str) -> Remembered:
    return _remembered(snapshot, request, Deny(reason, detail), "miss")


def _internal_error(snapshot: Snapshot) -> Remembered:
    return _refusal(snapshot, NOTHING, Reason.INTERNAL_ERROR, "see the log")


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


def _record(snapshot: Snapshot, request: Request, decision: Decision) -> AuditRecord:
    agent, delegation = decision.agent, decision.delegation
    grant = decision.grant if isinstance(decision, Allow) else None
    deny = decision if isinstance(decision, Deny) else None
    return AuditRecord(
        decision="deny" if deny else "allow",
        reason=deny.reason.code if deny else "",
        detail=deny.detail if deny else "",
        agent=agent.spiffe_id.text if agent else "",
        principal=delegation.subject if delegation else "",
        issuer=delegation.issuer if delegation else "",
        actors=[{"iss": a.issuer, "sub": a.subject} for a in delegation.actors]
        if delegation
        else [],
        mode=delegation.mode if delegation else "",
        flags=list(decision.flags),
        scopes=sorted(delegation.scopes) if delegation else [],
        method=request.method,
        host=request.host,
        path=request.path,
        rule=grant.agent_rule if grant else "",
        principal_rule=grant.principal_rule if grant else "",
        policy_version=snapshot.policy_version,
        token_id=token_digest(delegation.token_id) if delegation else "",
        proxy=request.proxy,
    )
