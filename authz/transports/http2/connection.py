"""The server's end of an HTTP/2 connection: bytes in, events out; answers in, bytes out."""

from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

from authz.transports.http2 import codes, frames
from authz.transports.http2.budget import Budgets
from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.events import (
    Abandoned,
    Cause,
    Ended,
    Field,
    Refused,
    Request,
    TurnedAway,
)
from authz.transports.http2.faults import ConnectionFault
from authz.transports.http2.heads import HeadReader
from authz.transports.http2.limits import Limits
from authz.transports.http2.receiver import GOING_PING, Receiver
from authz.transports.http2.requests import RequestReader
from authz.transports.http2.sender import Sender
from authz.transports.http2.settings import server_preface
from authz.transports.http2.short_cut import ShortCut
from authz.transports.http2.streams import Streams

T = TypeVar("T")

Event: TypeAlias = Request[T] | TurnedAway | Abandoned | Ended

_TYPE_BITS: Final = 0xFF


class ServerConnection(Generic[T]):
    """One connection; its owner calls it for everything that it does.

    Attributes:
        fault: the client's error that ended the connection, if one did.
        is_ending: whether further streams are refused.
    """

    def __init__(
        self,
        judge: Callable[[tuple[Field, ...]], T | Refused],
        limits: Limits,
        now: float,
        *,
        takes_short_cuts: bool = True,
    ) -> None:
        """Begin with our SETTINGS to write.

        ``judge`` returns the meaning of a request by its header section, or refuses it. It is
        called once for each distinct section, and never raises; None is not a value of T. ``now``
        is in seconds, of any clock that never goes back. Without short cuts, each frame is read
        separately, as tests do to show that the results are the same.
        """
        self.fault: ConnectionFault | None = None
        self.is_ending = False
        self._limits = limits
        self._streams: Streams[T] = Streams(limits)
        self._sender: Sender[T] = Sender(self._streams, limits)
        self._heads = heads = HeadReader(judge, limits)
        budgets = Budgets(self._streams, limits, now)
        self._requests = RequestReader(self._streams, self._sender, heads, budgets, limits)
        self._receiver = Receiver(self._requests, self._streams, self._sender, budgets)
        self._short_cut: ShortCut[T] | None = None
        if takes_short_cuts:
            self._short_cut = ShortCut(self._requests, self._streams, heads, limits)
        self._rest = b""
        self._is_begun = False
        self._is_closed = False
        self._is_going = False
        self._opened_at = now
        self._rest_since = now  # the earliest time at which the incomplete frame began to arrive
        self._sender.write(server_preface(limits))

    def receive(self, data: bytes, now: float) -> list[Event[T]]:
        """Take bytes that arrived at ``now``; return the resulting events. Never raises."""
        if self._is_closed:
            return self._events()
        if self._rest:
            data = self._rest + data
        else:
            self._rest_since = now
        try:
            at = self._read(data, now) if self._is_begun else self._begin(data, now)
            self._rest = data[at:]
            if at:
                self._rest_since = now
        except ConnectionFault as fault:
            self._fail(fault)
        return self._events()

    def take_output(self) -> bytes:
        """Return the bytes that may be written now, b"" for none.

        More may be available after these are written: call again until nothing is returned.
        """
        return self._sender.take()

    def respond(self, stream_id: int, head: bytes, body: bytes, trailers: bytes) -> None:
        """Answer a request: HPACK blocks of header and trailer section, and the content between.

        Blocks must not use the dynamic table. Bytes beyond the client's windows are kept, and sent
        later, in order. An answer to a stream that is gone is ignored.
        """
        self._sender.respond(stream_id, head, body, trailers)

    def refuse(self, stream_id: int, refused: Refused) -> None:
        """Answer a request as ``judge`` could have."""
        self._sender.refuse(stream_id, refused.block, refused.body)

    def begin(self, stream_id: int, head: bytes) -> None:
        """Begin an answer in parts, with its header section."""
        self._sender.begin(stream_id, head)

    def send(self, stream_id: int, data: bytes, *, replaces: bool = False) -> None:
        """Add a part to an answer. ``replaces`` drops the parts of which nothing is written yet.

        So a client that does not read costs one part, and later reads the latest part.
        """
        self._sender.send(stream_id, data, replaces=replaces)

    def finish(self, stream_id: int, trailers: bytes) -> None:
        """End an answer in parts, with its trailer section."""
        self._sender.finish(stream_id, trailers)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End an open stream without an answer (6.4)."""
        if stream_id in self._streams.under_way:
            self._sender.reset(stream_id, code)

    def expire(self, now: float) -> list[Event[T]]:
        """End streams and waits beyond their time limits at ``now``.

        To be called twice a second.
        """
        if not self._is_closed:
            self._expire_opening(now)
        if not self._is_closed:
            self._expire_receiving(now)
            self._expire_frames(now)
        if not self._is_closed and not self._sender.expire(now):
            self._sender.ended.append(Ended(Cause.UNREAD))
            self._fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "output not taken"))
        return self._events()

    def hang_up(self) -> list[Event[T]]:
        """Note that the client is gone; return the calls that are thereby abandoned."""
        self._close()
        return self._events()

    def judge_anew(self) -> None:
        """Forget the results of ``judge``, because they would now be different."""
        self._heads.forget()

    def go_away(self) -> None:
        """Ask the client to open no more streams; open streams finish (6.8).

        Streams that it opened before it knew are accepted, until it acknowledges the PING that
        follows, or ``finish_going`` is called.
        """
        if not self._is_going and not self._is_closed:
            self._is_going = True
            self._sender.write(frames.goaway(codes.MAX_STREAM_ID, ErrorCode.NO_ERROR))
            self._sender.write(frames.ping(GOING_PING))

    def finish_going(self) -> None:
        """Accept no further streams. To be called a second after ``go_away``."""
        streams = self._streams
        if self._is_going and not self.is_ending:
            self.is_ending = True
            streams.accepted_id = max(0, streams.last_id)
            self._sender.write(frames.goaway(streams.accepted_id, ErrorCode.NO_ERROR))

    def is_awaited(self, stream_id: int) -> bool:
        """Whether a request that was handed on has no answer yet."""
        return stream_id in self._streams.under_way

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will be read: then write ``take_output()`` and hang up."""
        return self._is_closed or (self.is_ending and not self._streams.under_way)

    @property
    def is_idle(self) -> bool:
        """Whether no stream is open and nothing is left to write."""
        return not self._streams.under_way and not self._sender.out

    @property
    def opened(self) -> int:
        """The number of streams that the client has opened."""
        return self._streams.opened

    @property
    def receiving(self) -> int:
        """The number of requests that are incomplete."""
        return len(self._streams.receiving)

    @property
    def answering(self) -> int:
        """The number of requests that were handed on and have no complete answer."""
        streams = self._streams
        return len(streams.under_way) - len(streams.receiving) - len(streams.sending)

    @property
    def sending(self) -> int:
        """The number of answers that wait for the client."""
        return len(self._streams.sending)

    @property
    def unread_bytes(self) -> int:
        """The bytes of answers that wait for the client, and of output not yet taken."""
        return self._streams.pending_bytes + self._sender.out_bytes

    @property
    def buffered_bytes(self) -> int:
        """The bytes held: of frames, of requests, of answers, of output."""
        streams, sender = self._streams, self._sender
        block = self._requests.block
        held = len(self._rest) + (len(block.octets) if block else 0)
        return held + streams.body_bytes + streams.pending_bytes + sender.out_bytes

    # Internal methods.

    def _begin(self, data: bytes, now: float) -> int:
        """Read the preface (3.4), and the bytes that follow it."""
        length = len(codes.PREFACE)
        if data[:length] != codes.PREFACE[: len(data)]:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is HTTP/2, with prior knowledge")
        if len(data) < length:
            return 0
        self._is_begun = True
        return length + self._read(data[length:], now)

    def _read(self, data: bytes, now: float) -> int:
        """Take the frames of a buffer; return the position of the first incomplete frame."""
        at, end = 0, len(data)
        short_cut = self._short_cut if self._receiver.has_settings else None
        if short_cut is not None:  # most of the input is calls with the same layout
            at = short_cut.take(data, at, short_cut.word, now)
        while at + codes.FRAME_HEADER_BYTES <= end:
            word, flags, stream_id = frames.HEADER.unpack_from(data, at)
            if short_cut is not None:
                kind, stop = word & _TYPE_BITS, at
                if kind == codes.HEADERS and flags == codes.END_HEADERS:
                    stop = short_cut.take(data, at, word, now)
                elif kind == codes.DATA and flags == codes.END_STREAM:
                    stop = short_cut.take_ends(data, at)
                if stop != at:
                    at = stop
                    continue
            if word >> 8 > codes.MIN_FRAME_BYTES:  # 4.2; we do not change SETTINGS_MAX_FRAME_SIZE
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame too large")
            begin = at + codes.FRAME_HEADER_BYTES
            stop = begin + (word >> 8)
            if stop > end:
                break
            self._take(word & _TYPE_BITS, flags, stream_id, data[begin:stop], now)
            at = stop
        return at

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Take one frame."""
        self._receiver.take(kind, flags, stream_id & frames.STREAM_BITS, payload, now)
        if self._receiver.is_going_acknowledged:
            self.finish_going()

    def _expire_opening(self, now: float) -> None:
        if self._receiver.is_acknowledged or now - self._opened_at < self._limits.preface_seconds:
            return
        code = (
            ErrorCode.SETTINGS_TIMEOUT if self._receiver.has_settings else ErrorCode.PROTOCOL_ERROR
        )
        self._sender.ended.append(Ended(Cause.HALF_OPEN))
        self._fail(ConnectionFault(code, "preface or SETTINGS did not come in time"))

    def _expire_receiving(self, now: float) -> None:
        begun_before = now - self._limits.receive_seconds
        for incoming in list(self._streams.receiving.values()):
            if incoming.since > begun_before:
                break
            self._sender.reset(incoming.stream_id, ErrorCode.CANCEL)
            self._sender.ended.append(Ended(Cause.HALF_OPEN))

    def _expire_frames(self, now: float) -> None:
        """End a connection whose frame, or field block, stays incomplete."""
        block = self._requests.block
        since = block.since if block else self._rest_since if self._rest else now
        if self._is_begun and now - since >= self._limits.receive_seconds:
            self._sender.ended.append(Ended(Cause.HALF_OPEN))
            self._fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "frame did not come in time"))

    def _fail(self, fault: ConnectionFault) -> None:
        """End the connection for an error of the client (5.4.1)."""
        self.fault = fault
        last_id = max(0, min(self._streams.last_id, self._streams.accepted_id))
        self._sender.write(frames.goaway(last_id, fault.code, fault.words))
        self._close()

    def _close(self) -> None:
        self._is_closed = self.is_ending = True
        self._rest = b""
        self._requests.block = None
        for stream_id in list(self._streams.under_way):
            if self._streams.close(stream_id):
                self._requests.events.append(Abandoned(stream_id))

    def _events(self) -> list[Event[T]]:
        """Return the events since the last call."""
        events = self._requests.events
        self._requests.events = []
        if self._sender.ended:
            events += self._sender.ended
            self._sender.ended.clear()
        return events
