"""The receiving half: what each frame does, in whatever state its stream is (RFC 9113 5, 6)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from authz.transports.http2 import codes, frames
from authz.transports.http2.budget import Budget
from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.events import Abandoned, Ended, Refused, Request, TurnedAway
from authz.transports.http2.faults import ConnectionFault, MalformedError, StreamFault
from authz.transports.http2.heads import HeadReader
from authz.transports.http2.limits import SMALL_DATA_BYTES, Limits
from authz.transports.http2.sender import Sender
from authz.transports.http2.settings import SETTING_BYTES, read_settings
from authz.transports.http2.streams import Incoming, Outgoing, State, Streams

T = TypeVar("T")

_Handler: TypeAlias = Callable[[int, int, bytes], None]  # flags, stream, payload

GOING_PING: Final = b"draining"  # its acknowledgement shows that the client has read our GOAWAY
_SETTINGS_A_TOKEN: Final = 16
_PRIORITY_BYTES: Final = 5
_GOAWAY_BYTES: Final = 8


class _Rule(NamedTuple):
    """What every frame of a type must be (6.1 to 6.10)."""

    is_of_stream: bool | None  # None: of a stream or of the connection
    length: int | None = None


_RULES: Final = {
    codes.DATA: _Rule(is_of_stream=True),
    codes.HEADERS: _Rule(is_of_stream=True),
    codes.PRIORITY: _Rule(is_of_stream=True),  # a wrong length is an error of the stream (6.3)
    codes.RST_STREAM: _Rule(is_of_stream=True, length=4),
    codes.SETTINGS: _Rule(is_of_stream=False),
    codes.PING: _Rule(is_of_stream=False, length=8),
    codes.GOAWAY: _Rule(is_of_stream=False),
    codes.WINDOW_UPDATE: _Rule(is_of_stream=None, length=4),
    codes.CONTINUATION: _Rule(is_of_stream=True),
    codes.PUSH_PROMISE: _Rule(is_of_stream=True),
}


@dataclass(slots=True)
class _Block:
    """A field block whose end has not come (4.3)."""

    stream_id: int
    ends_stream: bool
    depends_on: int
    octets: bytearray
    since: float
    continuations: int = 0


class Receiver(Generic[T]):
    """Takes frames, one by one, and says what they amount to.

    Attributes:
        events: what is to be told to the owner.
        block: the field block under way: no frame but its CONTINUATION may come (6.10).
        used: what is used of the connection's window since credit was last given.
        credit_at: how much that is when it is given: half of the window. No client can overrun a
            window that is given back at once, so there is no such error.
        has_settings: whether the client's first frame came, which is SETTINGS (3.4).
        is_acknowledged: whether the client acknowledged our SETTINGS.
        is_going_acknowledged: whether the client acknowledged the PING behind our first GOAWAY.
    """

    def __init__(
        self,
        streams: Streams[T],
        sender: Sender[T],
        heads: HeadReader[T],
        limits: Limits,
        now: float,
    ) -> None:
        """Begin after the preface."""
        self.events: list[Request[T] | TurnedAway | Abandoned | Ended] = []
        self.block: _Block | None = None
        self.used = 0
        self.credit_at = limits.connection_window // 2
        self.has_settings = False
        self.is_acknowledged = False
        self.is_going_acknowledged = False
        self._streams = streams
        self._sender = sender
        self._heads = heads
        self._limits = limits
        self._now = now
        self._resets = Budget(limits.resets, "resets", now)
        self._provoked = Budget(limits.provoked_resets, "stream errors", now)
        self._settings = Budget(limits.settings_frames, "settings", now)
        self._pings = Budget(limits.pings, "pings", now)
        self._updates = Budget(limits.window_updates, "window updates", now)
        self._idle = Budget(limits.idle_frames, "frames without effect", now)
        self._small = Budget(limits.small_data, "small frames", now)
        self._handlers: dict[int, _Handler] = {
            codes.DATA: self._on_data,
            codes.HEADERS: self._on_headers,
            codes.PRIORITY: self._on_priority,
            codes.RST_STREAM: self._on_rst_stream,
            codes.SETTINGS: self._on_settings,
            codes.PUSH_PROMISE: self._on_push_promise,
            codes.PING: self._on_ping,
            codes.GOAWAY: self._on_goaway,
            codes.WINDOW_UPDATE: self._on_window_update,
            codes.CONTINUATION: self._on_continuation,
        }

    def take(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Do what a frame says. Raises ConnectionFault; errors of streams reset them."""
        self._now = now
        if not self.has_settings:
            if kind != codes.SETTINGS or flags & codes.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")
            self.has_settings = True
        self._check_order(kind, stream_id)
        handler = self._handlers.get(kind)
        if handler is None:  # 5.5
            self._spend(self._idle)
            return
        self._check_layout(kind, stream_id, len(payload))
        try:
            handler(flags, stream_id, payload)
        except StreamFault as fault:
            self._fail_stream(fault)

    def give_credit(self) -> None:
        """Give back the connection's window once half of it is used (6.9)."""
        if self.used >= self.credit_at:
            self._sender.write(frames.window_update(0, self.used))
            self.used = 0

    # Rules for all frames.

    def _spend(self, budget: Budget, tokens: int = 1) -> None:
        budget.spend(self._now, self._streams.opened, tokens)

    def _check_order(self, kind: int, stream_id: int) -> None:
        block = self.block
        is_continuation = kind == codes.CONTINUATION
        if block is None and is_continuation:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        if block is not None and not (is_continuation and stream_id == block.stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "field block interrupted")

    def _check_layout(self, kind: int, stream_id: int, length: int) -> None:
        rule = _RULES[kind]
        if rule.is_of_stream is not None and rule.is_of_stream != bool(stream_id):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "stream 0 or not, wrongly")
        if rule.length is not None and rule.length != length:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "wrong length of a frame")

    def _fail_stream(self, fault: StreamFault) -> None:
        self._spend(self._provoked)
        stream_id = fault.stream_id
        if stream_id not in self._streams.under_way:
            self._sender.write(frames.rst_stream(stream_id, fault.code))
            self._streams.remember(stream_id)
        elif self._sender.reset(stream_id, fault.code):
            self.events.append(Abandoned(stream_id))

    # HEADERS and CONTINUATION (6.2, 6.10).

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._check_headers_state(stream_id)
        payload = frames.unpadded(payload, flags)
        payload, depends_on = frames.without_priority(payload, flags)
        ends = bool(flags & codes.END_STREAM)
        block = _Block(stream_id, ends, depends_on, bytearray(payload), self._now)
        self._take_block(block, flags)

    def _on_continuation(self, flags: int, _stream_id: int, payload: bytes) -> None:
        block = self.block
        assert block is not None  # noqa: S101 - _check_order saw it
        block.continuations += 1
        block.octets += payload
        is_long = len(block.octets) > self._limits.max_block_bytes
        if is_long or block.continuations > self._limits.max_continuations:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "field block too large")
        self._take_block(block, flags)

    def _check_headers_state(self, stream_id: int) -> None:
        state = self._streams.state(stream_id)
        if not stream_id % 2 or state is State.SKIPPED:  # 5.1.1
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "stream that clients can't open")
        if state is State.CLOSED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a closed stream")

    def _take_block(self, block: _Block, flags: int) -> None:
        """Read a field block if it is whole. It is decoded whatever becomes of its stream (4.3)."""
        if not flags & codes.END_HEADERS:
            self.block = block
            return
        self.block = None
        octets, stream_id = bytes(block.octets), block.stream_id
        state = self._streams.state(stream_id)
        try:
            if state is State.IDLE:
                self._open(block, octets)
            elif state is State.RECEIVING:
                self._take_trailers(block, octets)
            else:
                self._skip(octets)
                self._check_ended(state, stream_id)
                self._note_end(stream_id, ends=block.ends_stream)
        except MalformedError:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "malformed") from None

    def _open(self, block: _Block, octets: bytes) -> None:
        """Begin a request (8.1)."""
        stream_id, streams = block.stream_id, self._streams
        streams.use(stream_id)
        if stream_id > streams.accepted_id:  # 6.8: it came after our GOAWAY
            self._skip(octets)
            return
        if len(streams.under_way) >= self._limits.max_streams:  # 5.1.2
            self._heads.skip(octets)
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        incoming = Incoming(stream_id, self._heads.read(octets), self._now)
        self._check_dependency(block)
        streams.receive(incoming)
        judged = incoming.head.judged
        if block.ends_stream:
            self._end(incoming)
        elif isinstance(judged, Refused) and judged.is_early:
            self._refuse(incoming, judged, is_whole=False)

    def _take_trailers(self, block: _Block, octets: bytes) -> None:
        """End a request (8.1)."""
        self._heads.read_trailers(octets)
        self._check_dependency(block)
        if not block.ends_stream:
            raise MalformedError
        self._end(self._streams.receiving[block.stream_id])

    def _skip(self, octets: bytes) -> None:
        self._spend(self._idle)
        self._heads.skip(octets)

    def _check_dependency(self, block: _Block) -> None:
        if block.depends_on == block.stream_id:  # RFC 7540 5.3.1
            raise MalformedError

    def _check_ended(self, state: State, stream_id: int) -> None:
        if state is State.WHOLE:  # 5.1, half-closed (remote)
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "the request has ended")

    def _note_end(self, stream_id: int, *, ends: bool) -> None:
        """Note the end of a request that was answered before."""
        outgoing = self._streams.under_way.get(stream_id)
        if ends and isinstance(outgoing, Outgoing):
            outgoing.is_whole = True

    # DATA (6.1).

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        ends_stream = bool(flags & codes.END_STREAM)
        state = self._streams.state(stream_id)
        if len(payload) < SMALL_DATA_BYTES and not (ends_stream and state is State.RECEIVING):
            self._spend(self._small)
        if state in {State.IDLE, State.SKIPPED}:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA on an idle stream")
        if state is State.CLOSED:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA on a closed stream")
        data = frames.unpadded(payload, flags)
        self.used += len(payload)
        self.give_credit()
        self._check_ended(state, stream_id)
        if state is State.RECEIVING:
            self._add(self._streams.receiving[stream_id], data, len(payload), ends=ends_stream)
        else:
            self._note_end(stream_id, ends=ends_stream)

    def _add(self, incoming: Incoming[T], data: bytes, used: int, *, ends: bool) -> None:
        """Take a part of a request's content, of which ``used`` bytes of window were used."""
        incoming.size += len(data)
        length = incoming.head.content_length
        if length is not None and incoming.size > length:  # 8.1.1
            raise StreamFault(incoming.stream_id, ErrorCode.PROTOCOL_ERROR, "content-length")
        if self._is_too_large(incoming, len(data)):
            self._refuse(incoming, Refused(self._limits.too_large), is_whole=ends)
            return
        is_refused = isinstance(incoming.head.judged, Refused)
        self._streams.hold(incoming, b"" if is_refused else data)
        if ends:
            self._end(incoming)
        else:
            self._give_stream_credit(incoming, used)

    def _is_too_large(self, incoming: Incoming[T], more: int) -> bool:
        is_too_large = incoming.size > self._limits.max_body_bytes
        return is_too_large or self._streams.body_bytes + more > self._limits.max_buffered_bytes

    def _give_stream_credit(self, incoming: Incoming[T], used: int) -> None:
        incoming.uncredited += used
        if incoming.uncredited * 2 >= self._limits.stream_window:
            self._sender.write(frames.window_update(incoming.stream_id, incoming.uncredited))
            incoming.uncredited = 0

    def _end(self, incoming: Incoming[T]) -> None:
        """Hand on a request that is whole, or refuse it."""
        length, judged = incoming.head.content_length, incoming.head.judged
        if length is not None and incoming.size != length:  # 8.1.1
            raise StreamFault(incoming.stream_id, ErrorCode.PROTOCOL_ERROR, "content-length")
        if isinstance(judged, Refused):
            self._refuse(incoming, judged, is_whole=True)
            return
        body = self._streams.deliver(incoming.stream_id)
        self.events.append(Request(incoming.stream_id, judged, body, incoming.since))

    def _refuse(self, incoming: Incoming[T], refused: Refused, *, is_whole: bool) -> None:
        if is_whole:
            self._streams.deliver(incoming.stream_id)
        self._sender.refuse(incoming.stream_id, refused.block, refused.body)
        self.events.append(TurnedAway(refused))

    # The other frames of streams.

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Check a PRIORITY, and ignore it (5.3.2). A stream not under way can't be reset (5.1)."""
        self._spend(self._idle)
        if len(payload) != _PRIORITY_BYTES:
            code, words = ErrorCode.FRAME_SIZE_ERROR, "wrong length of PRIORITY"
        elif frames.read_word(payload) & frames.STREAM_BITS == stream_id:
            code, words = ErrorCode.PROTOCOL_ERROR, "stream that depends on itself"
        else:
            return
        if stream_id not in self._streams.under_way:
            raise ConnectionFault(code, words)
        raise StreamFault(stream_id, code, words)

    def _on_rst_stream(self, _flags: int, stream_id: int, _payload: bytes) -> None:
        if self._streams.state(stream_id) is State.IDLE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if stream_id not in self._streams.under_way:
            self._spend(self._idle)
            return
        self._spend(self._resets)
        if self._streams.close(stream_id):
            self.events.append(Abandoned(stream_id))

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self._spend(self._updates)
        increment = frames.read_word(payload) & frames.STREAM_BITS
        if not stream_id:
            if not increment:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._sender.widen(increment)
        elif self._streams.state(stream_id) is State.IDLE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        elif stream_id in self._streams.under_way:
            if not increment:
                raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._sender.widen_stream(stream_id, increment)

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "clients can't push")  # 8.4

    # The frames of the connection.

    def _on_settings(self, flags: int, _stream_id: int, payload: bytes) -> None:
        self._spend(self._settings, 1 + len(payload) // (SETTING_BYTES * _SETTINGS_A_TOKEN))
        if flags & codes.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS ACK with settings")
            self.is_acknowledged = True
            return
        if len(payload) % SETTING_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "wrong length of SETTINGS")
        for setting, value in read_settings(payload).items():
            self._sender.apply(setting, value)
        self._sender.acknowledge(frames.SETTINGS_ACK)

    def _on_ping(self, flags: int, _stream_id: int, payload: bytes) -> None:
        self._spend(self._pings)
        if not flags & codes.ACK:
            self._sender.acknowledge(frames.ping(payload, codes.ACK))
        elif payload == GOING_PING:
            self.is_going_acknowledged = True

    def _on_goaway(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        """Take note of nothing: it is about streams that we would open, and we open none (6.8)."""
        self._spend(self._idle)
        if len(payload) < _GOAWAY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY too short")
