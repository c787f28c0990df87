"""The calls of a connection: answered at once, decided soon, or watched.

The caller is identified anew with each read. Answers are written by the
connection's owner, for all that it read together.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from authz.adapters.metrics import CallEnd, Metrics
from authz.edge.methods import Method, answer
from authz.transports.grpc.answers import HEAD, OK, status_answer, status_trailers
from authz.transports.grpc.calls import Call, read_call
from authz.transports.grpc.messages import PREFIX_BYTES, fault_of, frame
from authz.transports.http2 import (
    Abandoned,
    Cause,
    Ended,
    Event,
    Field,
    Limits,
    Refused,
    Request,
    ServerConnection,
    TurnedAway,
)
from authz.transports.native.backlog import MAX_HELD_BYTES, Backlog, Job
from authz.transports.native.gate import Gate
from authz.transports.native.health import HealthMethod, Watch
from authz.transports.native.loop import Loop, log_fault
from authz.transports.native.turns import SLICE_SECONDS, Turns
from authz.transports.native.watches import Watches
from authz.transports.status import StatusCode, StatusError

# Reading a longer message would hold up others: the most expensive one of this size takes 2 ms, of
# 64 KiB 11 ms. A check without a body has 2 to 8 KiB.
MAX_READ_HERE_BYTES: Final = 16 * 1024
# So many are answered without reading the clock.
FEW_EVENTS: Final = 2
NOT_ALLOWED: Final = status_answer(
    StatusCode.PERMISSION_DENIED, "the caller is not allowed", is_early=True
)
TOO_MANY: Final = status_answer(StatusCode.RESOURCE_EXHAUSTED, "too many calls at once")
FAULT: Final = status_answer(StatusCode.INTERNAL, "internal error")
LIMITS: Final = Limits(
    too_large=status_answer(StatusCode.RESOURCE_EXHAUSTED, "the message is too large").block,
    fields_too_large=status_answer(
        StatusCode.RESOURCE_EXHAUSTED, "the header fields are too large"
    ).block,
)
_STOPPING: Final = status_trailers(StatusCode.UNAVAILABLE, "the server is stopping")
_ENDS: Final = {Cause.HALF_OPEN: CallEnd.HALF_OPEN, Cause.UNREAD: CallEnd.UNREAD}
Served = Call["Method | Watch"]


class Owner(Protocol):
    """The owner of the connection's socket."""

    def flush(self) -> None:
        """Write the output, as far as the client takes it."""

    def on_fault(self) -> None:
        """Close the connection after an internal error. Never raises."""

    def on_outdated(self) -> None:
        """Take no further calls: the caller was allowed here, and is not any more."""


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that all connections share.

    Attributes:
        loop: calls them.
        methods: what is answered, by path.
        backlog: what is to be decided.
        turns: for the connections that have much to answer.
        watches: the Watches of health.
        metrics: where calls that are refused or ended are counted.
    """

    loop: Loop
    methods: Mapping[bytes, "Method | Watch"]
    backlog: Backlog
    turns: Turns
    watches: Watches
    metrics: Metrics


class Calls:
    """The calls of one connection.

    Attributes:
        connection: HTTP/2's part of it.
        flush, on_fault: its owner's, as the backlog asks for them.
    """

    def __init__(self, service: Service, owner: Owner, gate: Gate, begun: float) -> None:
        """Begin without any, at ``begun``, monotonic seconds."""
        self._service = service
        self._gate = gate
        self.flush = owner.flush
        self.on_fault = owner.on_fault
        self._on_outdated = owner.on_outdated
        self._proxy: str | None = ""
        self._was_allowed = False
        self._jobs: dict[int, Job] = {}
        self._watching: set[int] = set()
        self._left: deque[Request[Served]] = deque()
        self._decides_until = 0.0
        self.connection: ServerConnection[Served] = ServerConnection(self._judge, LIMITS, begun)

    @property
    def has_more(self) -> bool:
        """Whether calls wait for their turn."""
        return bool(self._left)

    @property
    def held_bytes(self) -> int:
        """The bytes of calls that wait for their turn."""
        return sum(len(request.body) for request in self._left)

    @property
    def is_allowed(self) -> bool:
        """Whether the caller may ask, when it was last looked at."""
        return self._proxy is not None

    def identify(self, certificates: tuple[bytes, ...]) -> None:
        """Identify the caller anew: its certificate may have expired, or its CA been removed."""
        proxy = self._gate(certificates)
        if proxy != self._proxy:
            self._proxy = proxy
            self.connection.judge_anew()
            if proxy is not None:
                self._was_allowed = True
            elif self._was_allowed:
                self._service.metrics.caller_refused()
                self._on_outdated()

    def _judge(self, fields: tuple[Field, ...]) -> Served | Refused:
        if self._proxy is None:
            return NOT_ALLOWED
        return read_call(fields, self._service.methods)

    def take(self, events: list[Event[Served]], now: float) -> None:
        """Take the connection's events; answer new calls at once if they are few."""
        # Once, and not in each slice: remembered answers must not wait behind new decisions.
        self._decides_until = now + SLICE_SECONDS
        for event in events:
            if type(event) is not Request:
                self._note(event)
            elif len(events) <= FEW_EVENTS and not self._left:
                self._answer_awaited(event)
            else:
                self._left.append(event)
        if self._left:
            self._service.turns.add(self)

    def go_on(self) -> bool:
        """Answer waiting calls for a slice of time; return whether more wait."""
        self.answer_for_a_slice()
        self.flush()
        return bool(self._left)

    def answer_for_a_slice(self) -> None:
        """Answer waiting calls, for SLICE_SECONDS at most."""
        left, clock = self._left, time.monotonic
        end = clock() + SLICE_SECONDS
        while left:
            self._answer_awaited(left.popleft())
            if clock() >= end:
                return

    def _answer_awaited(self, request: Request[Served]) -> None:
        """Answer a call, unless its client gave it up in the same read."""
        if self.connection.is_awaited(request.stream_id):
            self._answer(request)

    def _answer(self, request: Request[Served]) -> None:
        """Answer a call if its answer is remembered; else have it decided."""
        body, call, stream_id = request.body, request.judged, request.stream_id
        length = len(body) - PREFIX_BYTES
        fault = None
        # The common case of fault_of(): a flag of 0, and the length of what is there.
        if length < 0 or body[:PREFIX_BYTES] != length.to_bytes(PREFIX_BYTES, "big"):
            fault = fault_of(body)
        if fault is not None:
            self.connection.refuse(stream_id, fault)
            return
        method = call.method
        if self._proxy is None:  # it was allowed when its headers came
            self.connection.refuse(stream_id, NOT_ALLOWED)
            self._service.metrics.caller_refused()
            return
        if isinstance(method, Watch):
            self._watch(stream_id, body[PREFIX_BYTES:])
            return
        if length > MAX_READ_HERE_BYTES and not isinstance(method, HealthMethod):
            self._read_elsewhere(request, method)
            return
        try:
            message = self._begun(method, request)
        except StatusError as error:
            self.connection.refuse(stream_id, status_answer(error.code, error.message))
            return
        except Exception as error:  # noqa: BLE001 - a fault is an error of the call, never an answer
            log_fault(error)
            self.finish(stream_id, None)
            return
        if message is not None:
            self.connection.respond(stream_id, HEAD, frame(message), OK)

    def _begun(self, method: Method, request: Request[Served]) -> bytes | None:
        """Return the answer to a call, None if it comes later. Raises StatusError."""
        begun = method.begin(request.body[PREFIX_BYTES:], self._proxy or "")
        if isinstance(begun, bytes):
            return begun
        job, backlog = self._job(request), self._service.backlog
        if job is None:
            return None
        if not backlog.has_time(self._decides_until):
            if not backlog.is_too_long(job):
                backlog.add(job, begun)
                return None
            job.give_up()
        message = backlog.decide_now(job, begun)
        if message is not None:
            del self._jobs[request.stream_id]
        return message

    def _job(self, request: Request[Served]) -> Job | None:
        """Return a new job for a call, or refuse it if too many are under way."""
        if self._service.backlog.is_full_for(len(self._jobs)):
            self.connection.refuse(request.stream_id, TOO_MANY)
            return None
        timeout = request.judged.timeout
        deadline = None if timeout is None else request.since + timeout
        job = self._jobs[request.stream_id] = Job(self, request.stream_id, deadline)
        return job

    def _read_elsewhere(self, request: Request[Served], method: Method) -> None:
        """Have a long message read and answered by a thread of the pool."""
        if self._service.backlog.held_bytes >= MAX_HELD_BYTES:
            self.connection.refuse(request.stream_id, TOO_MANY)
            return
        job = self._job(request)
        if job is None:
            return
        message, proxy = request.body[PREFIX_BYTES:], self._proxy or ""
        self._service.backlog.hand_over(
            job, lambda job: answer(method, message, job.time_remaining, proxy), len(message)
        )

    def _note(self, event: Event[Served]) -> None:
        """Take an event other than a request."""
        if isinstance(event, Abandoned):
            job = self._jobs.pop(event.stream_id, None)
            if job is not None:
                job.is_abandoned = True
            self._forget_watch(event.stream_id)
        elif isinstance(event, Ended):
            self._service.metrics.call_ended(_ENDS[event.cause])
        elif isinstance(event, TurnedAway) and event.refused is NOT_ALLOWED:
            # Not a deny: such callers must not learn decisions.
            self._service.metrics.caller_refused()

    def finish(self, stream_id: int, message: bytes | None) -> None:
        """Take a decided call's answer, None for an internal error."""
        self._jobs.pop(stream_id, None)
        if message is None:
            self.connection.refuse(stream_id, FAULT)
        else:
            self.connection.respond(stream_id, HEAD, frame(message), OK)

    def _watch(self, stream_id: int, data: bytes) -> None:
        """Begin a Watch. Its status is only queued: writing here could end the connection."""
        self.connection.begin(stream_id, HEAD)
        try:
            status = self._service.watches.add(self, stream_id, data)
        except StatusError as error:
            self.connection.finish(stream_id, status_trailers(error.code, error.message))
            return
        self._watching.add(stream_id)
        self.connection.send(stream_id, frame(status))

    def tell(self, stream_id: int, message: bytes) -> None:
        """Send a Watch's status, in place of an earlier one that was not sent yet."""
        self.connection.send(stream_id, frame(message), replaces=True)
        self.flush()

    def dismiss(self, stream_id: int) -> None:
        """End a Watch, because we stop."""
        self._watching.discard(stream_id)
        self.connection.finish(stream_id, _STOPPING)
        self.flush()

    def _forget_watch(self, stream_id: int) -> None:
        if stream_id in self._watching:
            self._watching.remove(stream_id)
            self._service.watches.remove(self, stream_id)

    def hang_up(self) -> None:
        """Note that the client no longer waits for an answer."""
        self._service.turns.remove(self)
        for event in self.connection.hang_up():
            self._note(event)
        self._left.clear()
        for stream_id in list(self._watching):
            self._forget_watch(stream_id)
