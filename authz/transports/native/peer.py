"""A connection: reads from its socket, answers its calls, writes to its socket."""

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

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
from authz.transports.native.channel import READ_BYTES, Channel, ChannelClosedError
from authz.transports.native.health import HealthMethod, Watch
from authz.transports.native.loop import Loop, log_fault
from authz.transports.native.turns import SLICE_SECONDS, Turns
from authz.transports.native.watches import Watches
from authz.transports.status import StatusCode, StatusError

# A message that is longer takes long enough to read that others would notice: the dearest one of
# this size takes 2 ms, and 64 KiB 11 ms. A check without a body has 2 to 8 KiB.
MAX_READ_HERE_BYTES: Final = 16 * 1024
SHORT_READ_BYTES: Final = 8 * 1024  # of a client whose bytes are dear: a millisecond at most
# Of a client's answers, more than the system keeps for it, until it is read no further.
MAX_UNREAD_BYTES: Final = 1024 * 1024
# So many are answered without a look at the clock.
FEW_EVENTS: Final = 2
# A client may still be sending when its connection ends: hung up on, it might not see why, nor its
# last answers.
LINGER_SECONDS: Final = 1.0
# Once the last GOAWAY is out, or a client is asked to leave for its connection's age.
GOING_SECONDS: Final = 1.0
AGE_GRACE_SECONDS: Final = 30.0
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
_log: Final = logging.getLogger("authz.server")
Served = Call["Method | Watch"]
Gate = Callable[[tuple[bytes, ...]], "str | None"]
"""Names the calling proxy by what TLS knows of it; "" where callers have no ID, None to refuse."""


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections have in common.

    Attributes:
        loop: calls them.
        methods: what is answered, by path.
        backlog: what is to be decided.
        turns: for the connections that have much to answer.
        watches: the Watches of health.
        metrics: where calls that are refused or ended are counted.
    """

    loop: Loop
    methods: "Mapping[bytes, Method | Watch]"
    backlog: Backlog
    turns: Turns
    watches: Watches
    metrics: Metrics


class Peer:
    """The other end of a connection, and its calls.

    Attributes:
        is_gone: whether the connection is closed.
    """

    def __init__(
        self,
        service: Service,
        channel: Channel,
        gate: Gate,
        on_gone: "Callable[[Peer], None]",
        *,
        begun: float,
        max_age: float,
    ) -> None:
        """Begin at ``begun``, monotonic seconds; ``on_gone`` is called once, at the end.

        The client is asked to leave when the connection is ``max_age`` seconds old.
        """
        self.is_gone = False
        self._service = service
        self._channel = channel
        self._gate = gate
        self._on_gone = on_gone
        self._proxy: str | None = ""
        self._jobs: dict[int, Job] = {}
        self._watching: set[int] = set()
        self._leaves_at = begun + max_age
        self._going_since: float | None = None
        self._lingers_until: float | None = None
        self._max_read = READ_BYTES
        self._left: deque[Request[Served]] = deque()
        self._slice_ends = 0.0
        self._connection: ServerConnection[Served] = ServerConnection(self._judge, LIMITS, begun)

    def begin(self) -> None:
        """Say what HTTP/2's servers say first; the loop waits for the client already."""
        if not self._channel.is_handshaking:
            self.flush()

    # What the loop says.

    def on_ready(self, _events: int, now: float) -> None:
        """Read once, and answer; write what could not be written before."""
        channel = self._channel
        try:
            if channel.is_full:
                self.flush()
            if self.is_gone or self._is_clogged():
                return
            if channel.is_handshaking:
                self._shake_hands(now)
            elif not self._left:  # else it has its turns, and is read when nothing is left
                self._read(now)
        except ChannelClosedError as error:
            self._lose(error)

    def _shake_hands(self, now: float) -> None:
        """Go on with TLS's handshake, in this turn or another. Raises ChannelClosedError."""
        turns = self._service.turns
        if turns.has_time_to_shake_hands(now):
            begun = time.monotonic()
            self._read(now)
            turns.handshakes_took(time.monotonic() - begun)

    def _read(self, now: float) -> None:
        """Read once, and answer. Raises ChannelClosedError.

        A client that sends what takes long to understand is read in small parts: 64 KiB of header
        blocks that differ each time, or of TLS records of a byte, take 10 ms.
        """
        begun = time.monotonic()
        data = self._channel.receive(self._max_read)
        if self._lingers_until is not None:
            return
        if data:
            self._identify()
            events = self._connection.receive(data, now)
            is_long = time.monotonic() - begun > SLICE_SECONDS
            self._max_read = SHORT_READ_BYTES if is_long else READ_BYTES
            self._take(events, now)
            if self._left:
                self._answer_for_a_slice()
        self.flush()

    def on_fault(self) -> None:
        """Hang up, after a fault of ours."""
        self.close()

    def sweep(self, now: float) -> None:
        """End what has taken too long."""
        if self._channel.is_late(now):
            if self._channel.is_full:
                self._service.metrics.call_ended(CallEnd.UNREAD)
            self.close()
            return
        if self._lingers_until is not None:
            if now >= self._lingers_until:
                self.close()
            return
        self._take(self._connection.expire(now), now)
        if now >= self._leaves_at:
            self.leave(now)
        if self._going_since is not None:
            self._go(now, self._going_since)
        self.flush()

    def leave(self, now: float) -> None:
        """Ask the client to open no more calls here, and hang up once those under way are done."""
        if self._going_since is None:
            self._going_since = now
            self._connection.go_away()
            self.flush()

    def _go(self, now: float, since: float) -> None:
        if now - since >= GOING_SECONDS:
            self._connection.finish_going()
        if now - since >= AGE_GRACE_SECONDS:
            self.close()

    # Calls.

    def _identify(self) -> None:
        """Look anew at who calls: a certificate ends, and a CA is trusted no more, in between."""
        proxy = self._gate(self._channel.certificates)
        if proxy != self._proxy:
            self._proxy = proxy
            self._connection.judge_anew()

    def _judge(self, fields: tuple[Field, ...]) -> Served | Refused:
        if self._proxy is None:
            return NOT_ALLOWED
        return read_call(fields, self._service.methods)

    def _take(self, events: list[Event[Served]], now: float) -> None:
        """Note what became of calls; answer those that came, if they are few."""
        self._slice_ends = now + SLICE_SECONDS
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
        """Answer for a slice of time what was read; return whether there is more."""
        self._answer_for_a_slice()
        self.flush()
        return bool(self._left)

    def _answer_for_a_slice(self) -> None:
        left, clock = self._left, time.monotonic
        end = self._slice_ends = clock() + SLICE_SECONDS
        while left:
            self._answer_awaited(left.popleft())
            if clock() >= end:
                return

    def _answer_awaited(self, request: Request[Served]) -> None:
        """Answer a call, unless its client gave it up in the same read."""
        if self._connection.is_awaited(request.stream_id):
            self._answer(request)

    def _answer(self, request: Request[Served]) -> None:
        """Answer a call if its answer is remembered; else see that it is decided."""
        body, call, stream_id = request.body, request.judged, request.stream_id
        length = len(body) - PREFIX_BYTES
        fault = None
        # The common case of fault_of(): a flag of 0, and the length of what is there.
        if length < 0 or body[:PREFIX_BYTES] != length.to_bytes(PREFIX_BYTES, "big"):
            fault = fault_of(body)
        if fault is not None:
            self._connection.refuse(stream_id, fault)
            return
        method = call.method
        if self._proxy is None:  # it was allowed when its headers came
            self._connection.refuse(stream_id, NOT_ALLOWED)
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
            self._connection.refuse(stream_id, status_answer(error.code, error.message))
            return
        except Exception as error:  # noqa: BLE001 - a fault is an error of the call, never an answer
            log_fault(error)
            self.finish(stream_id, None)
            return
        if message is not None:
            self._connection.respond(stream_id, HEAD, frame(message), OK)

    def _begun(self, method: Method, request: Request[Served]) -> bytes | None:
        """Return the answer to a call, None if it comes later. Raises StatusError."""
        begun = method.begin(request.body[PREFIX_BYTES:], self._proxy or "")
        if isinstance(begun, bytes):
            return begun
        job, backlog = self._job(request), self._service.backlog
        if job is None:
            return None
        if not backlog.has_time(self._slice_ends):
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
            self._connection.refuse(request.stream_id, TOO_MANY)
            return None
        timeout = request.judged.timeout
        deadline = None if timeout is None else request.since + timeout
        job = self._jobs[request.stream_id] = Job(self, request.stream_id, deadline)
        return job

    def _read_elsewhere(self, request: Request[Served], method: Method) -> None:
        """Have a long message read and answered by a thread of the pool."""
        if self._service.backlog.held_bytes >= MAX_HELD_BYTES:
            self._connection.refuse(request.stream_id, TOO_MANY)
            return
        job = self._job(request)
        if job is None:
            return
        message, proxy = request.body[PREFIX_BYTES:], self._proxy or ""
        self._service.backlog.hand_over(
            job, lambda job: answer(method, message, job.time_remaining, proxy), len(message)
        )

    def _note(self, event: Event[Served]) -> None:
        """Note what else became of calls."""
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
        """Take a decided call's answer, None for a fault of ours."""
        self._jobs.pop(stream_id, None)
        if message is None:
            self._connection.refuse(stream_id, FAULT)
        else:
            self._connection.respond(stream_id, HEAD, frame(message), OK)

    # Watches of health.

    def _watch(self, stream_id: int, data: bytes) -> None:
        """Begin a Watch. What it is told is written with all else: to write could end all here."""
        self._connection.begin(stream_id, HEAD)
        try:
            status = self._service.watches.add(self, stream_id, data)
        except StatusError as error:
            self._connection.finish(stream_id, status_trailers(error.code, error.message))
            return
        self._watching.add(stream_id)
        self._connection.send(stream_id, frame(status))

    def tell(self, stream_id: int, message: bytes) -> None:
        """Send a Watch's status, in place of an earlier one that was not sent yet."""
        self._connection.send(stream_id, frame(message), replaces=True)
        self.flush()

    def dismiss(self, stream_id: int) -> None:
        """End a Watch, because we stop."""
        self._watching.discard(stream_id)
        self._connection.finish(stream_id, _STOPPING)
        self.flush()

    def _forget_watch(self, stream_id: int) -> None:
        if stream_id in self._watching:
            self._watching.remove(stream_id)
            self._service.watches.remove(self, stream_id)

    # Writing, and the end.

    @property
    def is_idle(self) -> bool:
        """Whether no call is under way and nothing is to be written."""
        return self._connection.is_idle and not self._channel.is_full

    @property
    def is_handshaking(self) -> bool:
        """Whether it is not known yet who the client is."""
        return self._channel.is_handshaking

    @property
    def buffered_bytes(self) -> int:
        """The bytes held for this client."""
        unanswered = sum(len(request.body) for request in self._left)
        return unanswered + self._connection.buffered_bytes + self._channel.unsent_bytes

    def flush(self) -> None:
        """Write what is there, as far as the client takes it."""
        if self.is_gone:
            return
        channel, connection = self._channel, self._connection
        try:
            if not channel.is_handshaking:
                while not channel.is_full and (output := connection.take_output()):
                    channel.send(output)
            channel.flush()
        except ChannelClosedError as error:
            self._lose(error)
            return
        channel.wait(to_read=not self._is_clogged())
        if connection.is_closed and not channel.is_full and self._lingers_until is None:
            self._linger()

    def _is_clogged(self) -> bool:
        """Whether nothing is read, because the client does not read.

        Some clients write all that they have before they read: up to so much they are read.
        """
        channel = self._channel
        unread = channel.unsent_bytes + self._connection.unread_bytes
        return channel.is_full and unread > MAX_UNREAD_BYTES

    def _linger(self) -> None:
        """Hang up once the client has, or soon."""
        for event in self._connection.hang_up():
            self._note(event)
        fault = self._connection.fault
        if fault is not None:
            _log.warning("ended a connection: %s", fault.words)
        if self.is_handshaking:
            self.close()
            return
        self._lingers_until = time.monotonic() + LINGER_SECONDS
        self._channel.end_output()

    def _lose(self, error: ChannelClosedError) -> None:
        if error.words:
            _log.warning("ended a connection: %s", error.words)
        self.close()

    def close(self) -> None:
        """Hang up at once; calls under way are dropped."""
        if self.is_gone:
            return
        self.is_gone = True
        self._service.turns.remove(self)
        for event in self._connection.hang_up():
            self._note(event)
        self._left.clear()
        for stream_id in list(self._watching):
            self._forget_watch(stream_id)
        self._service.loop.forget(self._channel.descriptor)
        self._channel.close()
        self._on_gone(self)
