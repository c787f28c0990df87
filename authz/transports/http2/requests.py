"""Builds requests from HEADERS, CONTINUATION and DATA (RFC 9113 6.1, 6.2, 6.10, 8.1)."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from authz.transports.http2 import codes, frames
from authz.transports.http2.budget import Budgets
from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.events import Abandoned, Ended, Refused, Request, TurnedAway
from authz.transports.http2.faults import ConnectionFault, MalformedError, StreamFault
from authz.transports.http2.heads import HeadReader
from authz.transports.http2.limits import SMALL_DATA_BYTES, Limits
from authz.transports.http2.sender import Sender
from authz.transports.http2.streams import Incoming, Outgoing, State, Streams

T = TypeVar("T")


@dataclass(slots=True)
class _Block:
    """A field block whose end has not arrived (4.3)."""

    stream_id: int
    ends_stream: bool
    depends_on: int
    octets: bytearray
    since: float
    continuations: int = 0


class RequestReader(Generic[T]):
    """Builds requests, within the limits, and hands on the complete ones.

    Attributes:
        events: the events for the owner.
        block: the incomplete field block: only its CONTINUATION may follow (6.10).
        used: the bytes of the connection's window used since credit was last given.
        credit_at: the number of used bytes at which credit is given: half of the window. No client
            can overrun a window that is given back at once, so there is no such error.
    """

    def __init__(
        self,
        streams: Streams[T],
        sender: Sender[T],
        heads: HeadReader[T],
        budgets: Budgets,
        limits: Limits,
    ) -> None:
        """Begin without requests."""
        self.events: list[Request[T] | TurnedAway | Abandoned | Ended] = []
        self.block: _Block | None = None
        self.used = 0
        self.credit_at = limits.connection_window // 2
        self._streams = streams
        self._sender = sender
        self._heads = heads
        self._budgets = budgets
        self._limits = limits

    def give_credit(self) -> None:
        """Give back the connection's window when half of it is used (6.9)."""
        if self.used >= self.credit_at:
            self._sender.write(frames.window_update(0, self.used))
            self.used = 0

    # HEADERS and CONTINUATION (6.2, 6.10).

    def on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Take HEADERS (6.2). Raises ConnectionFault, StreamFault."""
        self._check_headers_state(stream_id)
        payload = frames.unpadded(payload, flags)
        payload, depends_on = frames.without_priority(payload, flags)
        ends = bool(flags & codes.END_STREAM)
        block = _Block(stream_id, ends, depends_on, bytearray(payload), self._budgets.now)
        self._take_block(block, flags)

    def on_continuation(self, flags: int, _stream_id: int, payload: bytes) -> None:
        """Take CONTINUATION (6.10). Raises ConnectionFault, StreamFault."""
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
        """Read a field block if it is complete.

        It is decoded even if its stream is refused (4.3).
        """
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
        if stream_id > streams.accepted_id:  # 6.8: it arrived after our GOAWAY
            self._skip(octets)
            return
        if len(streams.under_way) >= self._limits.max_streams:  # 5.1.2
            self._heads.skip(octets)
            raise StreamFault(stream_id, ErrorCode.REFUSED_STREAM, "too many streams")
        incoming = Incoming(stream_id, self._heads.read(octets), self._budgets.now)
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
        self._budgets.spend(self._budgets.idle_frames)
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

    def on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Take DATA (6.1). Raises ConnectionFault, StreamFault."""
        ends_stream = bool(flags & codes.END_STREAM)
        state = self._streams.state(stream_id)
        if len(payload) < SMALL_DATA_BYTES and not (ends_stream and state is State.RECEIVING):
            self._budgets.spend(self._budgets.small_data)
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
        judged = incoming.head.judged
        refused = judged if isinstance(judged, Refused) else None
        kept = b"" if refused else data
        if self._is_too_large(incoming, len(kept)):
            too_large = Refused(self._limits.too_large)
            self._refuse(incoming, refused or too_large, is_whole=ends)
            return
        self._streams.hold(incoming, kept)
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
        """Hand on a complete request, or refuse it."""
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
