"""The sending half: responses, as the client's windows allow (RFC 9113 5.2, 6.9)."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct
from typing import Final, Generic, TypeAlias, TypeVar

from authz.transports.http2 import codes, frames
from authz.transports.http2.codes import ErrorCode, Setting
from authz.transports.http2.events import Abandoned, Cause, Ended
from authz.transports.http2.faults import ConnectionFault, StreamFault
from authz.transports.http2.hpack import NO_TABLE
from authz.transports.http2.limits import Limits
from authz.transports.http2.streams import Outgoing, Piece, Streams

T = TypeVar("T")

_Shape: TypeAlias = tuple[Callable[..., bytes], int, int, int, int]  # pack, length, first words
_ENDS: Final = codes.END_HEADERS | codes.END_STREAM
_MAX_SHAPES: Final = 1024  # for all connections: their answers have some tens of different lengths


@lru_cache(_MAX_SHAPES)
def _shape(head: int, body: int, trailers: int) -> _Shape | None:
    """Return the layout of a response in three frames; None if it needs more, or fewer."""
    if not body or max(head, body, trailers) > codes.MIN_FRAME_BYTES:
        return None
    layout = Struct(f">IBI{head}sIBI{body}sIBI{trailers}s")
    first, second, third = (
        length << 8 | kind
        for length, kind in ((head, codes.HEADERS), (body, codes.DATA), (trailers, codes.HEADERS))
    )
    return layout.pack, layout.size, first, second, third


# Represents a stream that is gone: nothing can be added to it.
_GONE: Final = Outgoing(0, is_whole=True, is_delivered=False)
_GONE.has_ended = True


class Sender(Generic[T]):
    """The output that waits, and the part of it that the client allows.

    Attributes:
        out: the bytes that may be written now, in order.
        ended: the events to add to the owner's next events.
    """

    def __init__(self, streams: Streams[T], limits: Limits) -> None:
        """Begin with the client's windows as the protocol has them before its SETTINGS (6.5.2)."""
        self.out: list[bytes] = []
        self.ended: list[Abandoned | Ended] = []
        self._streams = streams
        self._limits = limits
        self._max_output = limits.max_output_bytes
        self._out_bytes = 0
        self._control_bytes = 0
        self._window = codes.DEFAULT_WINDOW
        self._initial_window = codes.DEFAULT_WINDOW
        self._max_frame = codes.MIN_FRAME_BYTES
        self._block_prefix = b""
        self._untaken_since: float | None = None
        self._at_once = codes.MIN_FRAME_BYTES  # the largest content that is written in one step

    # The owner's calls.

    def respond(self, stream_id: int, head: bytes, body: bytes, trailers: bytes) -> None:
        """Write a complete response, or as much as the windows allow; the rest is written later."""
        streams = self._streams
        size = len(body)
        shape = _shape(len(head), size, len(trailers))
        # A response that can be written completely is packed in one step. It must write the same as
        # _queue: nothing waits before it, it fits into its windows, and it needs no second frame.
        if (
            shape is not None
            and size <= self._at_once
            and size <= self._window
            and not streams.ready
            and stream_id not in streams.credit
            and streams.under_way.get(stream_id, _GONE) is None
            and self._out_bytes + shape[1] <= self._max_output
        ):
            pack, length, first, second, third = shape
            del streams.under_way[stream_id]
            self._window -= size
            self._out_bytes += length
            self.out.append(
                pack(
                    first, codes.END_HEADERS, stream_id, head,
                    second, 0, stream_id, body,
                    third, _ENDS, stream_id, trailers,
                )
            )  # fmt: skip
            return
        self._queue(stream_id, (
            (codes.HEADERS, head, 0),
            (codes.DATA, body, 0),
            (codes.HEADERS, trailers, codes.END_STREAM),
        ))  # fmt: skip

    def refuse(self, stream_id: int, block: bytes, body: bytes = b"") -> None:
        """Write a response of a header section, and content if it has any."""
        if not body:
            self._queue(stream_id, ((codes.HEADERS, block, codes.END_STREAM),))
        else:
            whole = (codes.HEADERS, block, 0), (codes.DATA, body, codes.END_STREAM)
            self._queue(stream_id, whole)

    def begin(self, stream_id: int, head: bytes) -> None:
        """Write the header section of a response in parts."""
        self._queue(stream_id, ((codes.HEADERS, head, 0),))

    def send(self, stream_id: int, data: bytes, *, replaces: bool) -> None:
        """Write a part; ``replaces`` drops earlier parts of which nothing is written."""
        outgoing = self._streams.under_way.get(stream_id)
        if replaces and isinstance(outgoing, Outgoing) and not outgoing.has_ended:
            self._drop_unwritten(outgoing)
        self._queue(stream_id, ((codes.DATA, data, 0),))

    def finish(self, stream_id: int, trailers: bytes) -> None:
        """Write the end of a response."""
        self._queue(stream_id, ((codes.HEADERS, trailers, codes.END_STREAM),))

    def reset(self, stream_id: int, code: ErrorCode) -> bool:
        """End a stream; return whether the owner had not yet answered it completely."""
        self.write(frames.rst_stream(stream_id, code))
        return self._streams.close(stream_id, by_us=True)

    def take(self) -> bytes:
        """Return all that may be written now."""
        if self._streams.ready:
            self._pump()
        if not self.out:
            return b""
        taken = b"".join(self.out)
        self.out.clear()
        self._out_bytes = self._control_bytes = 0
        self._untaken_since = None
        return taken

    # The receiving half's calls.

    def write(self, octets: bytes) -> None:
        """Write frames that no window limits."""
        self.out.append(octets)
        self._out_bytes += len(octets)

    def acknowledge(self, octets: bytes) -> None:
        """Write an acknowledgement. Raises ConnectionFault for a client that does not read them."""
        self.write(octets)
        self._control_bytes += len(octets)
        if self._control_bytes > self._limits.max_control_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many unread frames")

    def widen(self, increment: int) -> None:
        """Take credit for the connection (6.9.1). Raises ConnectionFault."""
        if self._window + increment > codes.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
        self._window += increment

    def widen_stream(self, stream_id: int, increment: int) -> None:
        """Take credit for an open stream (6.9.1). Raises StreamFault."""
        credit = self._streams.credit.get(stream_id, 0) + increment
        if self._initial_window + credit > codes.MAX_WINDOW:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "window too large")
        self._streams.credit[stream_id] = credit
        if stream_id in self._streams.sending:
            self._streams.ready[stream_id] = self._streams.sending[stream_id]

    def apply(self, setting: int, value: int) -> None:
        """Take a setting of the client (6.5.3). Raises ConnectionFault."""
        if setting == Setting.INITIAL_WINDOW_SIZE:
            self._initial_window = value
            if value + max(self._streams.credit.values(), default=0) > codes.MAX_WINDOW:  # 6.9.2
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "window too large")
            self._streams.ready.update(self._streams.sending)
        elif setting == Setting.MAX_FRAME_SIZE:
            self._max_frame = value
        elif setting == Setting.HEADER_TABLE_SIZE and value < codes.DEFAULT_TABLE_BYTES:
            # RFC 7541 4.2: the first block afterwards says that our table is smaller. Ours is never
            # used, so one update to 0 is enough for good.
            self._block_prefix = self._block_prefix or NO_TABLE
        self._limit_at_once()

    def expire(self, now: float) -> bool:
        """Reset streams whose answer waits too long; return whether the owner takes output."""
        begun_before = now - self._limits.send_seconds
        for outgoing in list(self._streams.sending.values()):
            if outgoing.since is None:
                outgoing.since = now
            elif outgoing.since <= begun_before:
                self.give_up(outgoing)
        if self.out and self._untaken_since is None:
            self._untaken_since = now
        return self._untaken_since is None or self._untaken_since > begun_before

    def give_up(self, outgoing: Outgoing) -> None:
        """Reset a stream whose client does not read the answer."""
        if self.reset(outgoing.stream_id, ErrorCode.CANCEL):
            self.ended.append(Abandoned(outgoing.stream_id))
        self.ended.append(Ended(Cause.UNREAD))

    @property
    def out_bytes(self) -> int:
        """The bytes that may be written now, and that the owner has not taken."""
        return self._out_bytes

    # Internal methods.

    def _queue(self, stream_id: int, pieces: Iterable[Piece]) -> None:
        outgoing = self._outgoing(stream_id)
        if outgoing.has_ended:
            return
        for piece in pieces:
            if piece[1] or piece[2]:  # no empty DATA
                self._streams.queue(outgoing, piece)
            outgoing.has_ended = bool(piece[2] & codes.END_STREAM)
        self._pump()  # those before it are first
        if stream_id in self._streams.under_way:  # else it was written with them
            self._write(outgoing)
        self._bound_pending()

    def _outgoing(self, stream_id: int) -> Outgoing:
        """Return the response of a stream; begin it if necessary."""
        stream = self._streams.under_way.get(stream_id, _GONE)
        if isinstance(stream, Outgoing):
            return stream
        is_delivered = stream is None
        outgoing = Outgoing(stream_id, is_whole=is_delivered, is_delivered=is_delivered)
        self._streams.answer(outgoing)
        return outgoing

    def _pump(self) -> None:
        """Write the parts of ready responses that may be written now, the first response first.

        Each step writes something, or finds a stream whose own window is used up, which then is not
        ready any more. So no number of blocked streams makes a WINDOW_UPDATE expensive.
        """
        ready = self._streams.ready
        while ready and self._write(next(iter(ready.values()))):
            pass

    def _write(self, outgoing: Outgoing) -> bool:
        """Write the part of a response that may be written; return whether others can be tried."""
        stream_id, streams = outgoing.stream_id, self._streams
        while outgoing.pieces and self._out_bytes < self._limits.max_output_bytes:
            kind, payload, flags = outgoing.pieces[0]
            if kind == codes.HEADERS:
                self._write_block(outgoing, payload, flags)
            elif not self._write_data(outgoing, payload, flags):
                break
        is_full = self._window <= 0 or self._out_bytes >= self._limits.max_output_bytes
        if outgoing.pieces:
            streams.wait(outgoing, is_ready=is_full)
            return not is_full
        streams.drained(stream_id)
        outgoing.since = None
        if outgoing.has_ended:
            self._end(outgoing)
        return True

    def _write_block(self, outgoing: Outgoing, block: bytes, flags: int) -> None:
        octets = self._block_prefix + block
        self._block_prefix = b""
        self._limit_at_once()
        self.write(frames.field_block(outgoing.stream_id, octets, flags, self._max_frame))
        self._streams.written(outgoing, len(block))
        outgoing.pieces.popleft()

    def _write_data(self, outgoing: Outgoing, payload: bytes, flags: int) -> bool:
        """Write a frame of DATA; return whether the windows allowed it."""
        stream_id, begin = outgoing.stream_id, outgoing.offset
        credit = self._streams.credit.get(stream_id, 0)
        allowed = min(self._window, self._initial_window + credit, self._max_frame)
        octets = payload[begin : begin + allowed] if allowed > 0 else b""
        if not octets:
            return False
        is_last = begin + len(octets) == len(payload)
        self.write(frames.frame(codes.DATA, flags if is_last else 0, stream_id, octets))
        self._window -= len(octets)
        self._streams.credit[stream_id] = credit - len(octets)
        self._streams.written(outgoing, len(octets))
        outgoing.offset = 0 if is_last else begin + len(octets)
        if is_last:
            outgoing.pieces.popleft()
        return True

    def _end(self, outgoing: Outgoing) -> None:
        """Close a stream whose response is written; ask for no more of its request (8.1)."""
        if not outgoing.is_whole:
            self.write(frames.rst_stream(outgoing.stream_id, ErrorCode.NO_ERROR))
        self._streams.close(outgoing.stream_id, by_us=not outgoing.is_whole)

    def _drop_unwritten(self, outgoing: Outgoing) -> None:
        for index in reversed(range(len(outgoing.pieces))):
            kind, payload, _ = outgoing.pieces[index]
            if kind == codes.DATA and not (index == 0 and outgoing.offset):
                self._streams.written(outgoing, len(payload))
                del outgoing.pieces[index]

    def _bound_pending(self) -> None:
        sending = self._streams.sending
        while self._streams.pending_bytes > self._limits.max_pending_bytes and sending:
            self.give_up(next(iter(sending.values())))

    def _limit_at_once(self) -> None:
        at_once = min(self._initial_window, self._max_frame)
        self._at_once = -1 if self._block_prefix else at_once
