"""The states of streams (RFC 9113 5.1), and the data held for open streams."""

from collections import deque
from enum import Enum, auto
from typing import Final, Generic, TypeAlias, TypeVar

from authz.transports.http2 import codes
from authz.transports.http2.heads import Head
from authz.transports.http2.limits import Limits

T = TypeVar("T")

_MAX_SKIPPED: Final = 64  # ranges; beyond it, only the words of an error differ


class State(Enum):
    """The state of a stream for a frame on it. The client opens odd streams, and we open none."""

    IDLE = auto()  # not used yet
    RECEIVING = auto()  # open: the request has not ended
    WHOLE = auto()  # half-closed (remote): the request has ended, the response has not
    IGNORED = auto()  # ended by us: frames that were on their way are no fault
    SKIPPED = auto()  # closed without use, by a later stream (5.1.1)
    CLOSED = auto()


class Incoming(Generic[T]):
    """An incomplete request.

    Attributes:
        stream_id: its stream.
        head: the facts of its header section.
        since: when it began.
        body: the content received so far. One buffer: a list of small pieces would cost many times
            as much.
        uncredited: bytes of its window that were used and not given back.
        size: bytes of its content, including those that were not kept.
    """

    __slots__ = ("body", "head", "since", "size", "stream_id", "uncredited")

    def __init__(self, stream_id: int, head: Head[T], since: float) -> None:
        """Begin without content."""
        self.stream_id = stream_id
        self.head = head
        self.since = since
        self.body = bytearray()
        self.uncredited = 0
        self.size = 0


Piece: TypeAlias = tuple[int, bytes, int]  # type (HEADERS or DATA), payload, flags


class Outgoing:
    """A response that has begun or waits to begin.

    Attributes:
        stream_id: its stream.
        pieces: the pieces that are not yet written.
        offset: how much of the first piece is written.
        pending: the number of bytes that are not yet written.
        has_ended: whether nothing will be added.
        is_whole: whether the request has ended.
        is_delivered: whether the owner knows of it.
        since: when it was first seen waiting; None if it was not.
    """

    __slots__ = (
        "has_ended",
        "is_delivered",
        "is_whole",
        "offset",
        "pending",
        "pieces",
        "since",
        "stream_id",
    )

    def __init__(self, stream_id: int, *, is_whole: bool, is_delivered: bool) -> None:
        """Begin with nothing to write."""
        self.stream_id = stream_id
        self.pieces: deque[Piece] = deque()
        self.offset = 0
        self.pending = 0
        self.has_ended = False
        self.is_whole = is_whole
        self.is_delivered = is_delivered
        self.since: float | None = None


class Streams(Generic[T]):
    """All streams of a connection.

    Attributes:
        under_way: by id, all that count as concurrent (5.1.2). None is a request that is whole and
            delivered, of whose response nothing was begun: most of them, and nothing need be held.
        receiving: those whose request has not ended, oldest first.
        sending: those whose response waits, oldest first.
        ready: of them, those that wait for the connection: not for their own window.
        credit: by id, what the client's WINDOW_UPDATEs and our DATA added to the initial window of
            a stream under way; it is missing for 0. So a changed SETTINGS_INITIAL_WINDOW_SIZE
            changes all windows at once (6.9.2).
        last_id: the highest id that the client used; -1 for none.
        accepted_id: the highest id that we take: lowered by our GOAWAY (6.8).
        body_bytes: held of requests that have not ended.
        pending_bytes: held of responses that wait.
    """

    def __init__(self, limits: Limits) -> None:
        """Begin without streams."""
        self.under_way: dict[int, Incoming[T] | Outgoing | None] = {}
        self.receiving: dict[int, Incoming[T]] = {}
        self.sending: dict[int, Outgoing] = {}
        self.ready: dict[int, Outgoing] = {}
        self.credit: dict[int, int] = {}
        self.last_id = -1
        self.accepted_id = codes.MAX_STREAM_ID
        self.body_bytes = 0
        self.pending_bytes = 0
        self._max_remembered = limits.max_remembered_resets
        self._ended_by_us: dict[int, None] = {}
        self._forgotten_id = -1
        self._skipped_count = 0
        self._skipped: deque[tuple[int, int]] = deque(maxlen=_MAX_SKIPPED)

    @property
    def opened(self) -> int:
        """How many streams the client opened."""
        return (self.last_id + 1) // 2 - self._skipped_count

    def state(self, stream_id: int) -> State:
        """Return the state of a stream for a frame on it."""
        if stream_id > self.last_id or not stream_id % 2:
            return State.IDLE
        if stream_id in self.under_way:
            return self._state_under_way(stream_id)
        if stream_id <= self._forgotten_id or stream_id in self._ended_by_us:
            return State.IGNORED
        if stream_id > self.accepted_id:
            return State.IGNORED
        if any(low <= stream_id <= high for low, high in self._skipped):
            return State.SKIPPED
        return State.CLOSED

    def _state_under_way(self, stream_id: int) -> State:
        stream = self.under_way[stream_id]
        if isinstance(stream, Incoming):
            return State.RECEIVING
        return State.WHOLE if stream is None or stream.is_whole else State.IGNORED

    def use(self, stream_id: int) -> None:
        """Note that the client opened an idle stream.

        That closes the idle streams below it (5.1.1).
        """
        if stream_id > self.last_id + 2:
            self._skipped.append((self.last_id + 2, stream_id - 2))
            self._skipped_count += (stream_id - self.last_id) // 2 - 1
        self.last_id = stream_id

    def receive(self, incoming: Incoming[T]) -> None:
        """Begin to receive a request."""
        self.under_way[incoming.stream_id] = self.receiving[incoming.stream_id] = incoming

    def deliver(self, stream_id: int) -> bytes:
        """Return the content of a request that has ended, and forget it."""
        incoming = self._received(stream_id)
        self.under_way[stream_id] = None
        return bytes(incoming.body)

    def answer(self, outgoing: Outgoing) -> None:
        """Put a response in the place of its request."""
        if outgoing.stream_id in self.receiving:
            self._received(outgoing.stream_id)
        self.under_way[outgoing.stream_id] = outgoing

    def hold(self, incoming: Incoming[T], data: bytes) -> None:
        """Keep a part of a request's content."""
        incoming.body += data
        self.body_bytes += len(data)

    def queue(self, outgoing: Outgoing, piece: Piece) -> None:
        """Add to the bytes that a response must write."""
        outgoing.pieces.append(piece)
        outgoing.pending += len(piece[1])
        self.pending_bytes += len(piece[1])

    def written(self, outgoing: Outgoing, octets: int) -> None:
        """Note that so many bytes of a response are written, or need not be."""
        outgoing.pending -= octets
        self.pending_bytes -= octets

    def wait(self, outgoing: Outgoing, *, is_ready: bool) -> None:
        """Note that a response waits: for the connection if it is ready, else for its window."""
        self.sending[outgoing.stream_id] = outgoing
        if is_ready:
            self.ready[outgoing.stream_id] = outgoing
        else:
            self.ready.pop(outgoing.stream_id, None)

    def drained(self, stream_id: int) -> None:
        """Note that a response does not wait."""
        self.sending.pop(stream_id, None)
        self.ready.pop(stream_id, None)

    def close(self, stream_id: int, *, by_us: bool = False) -> bool:
        """Forget a stream; return whether the owner had not yet answered it completely."""
        stream = self.under_way[stream_id]
        if isinstance(stream, Incoming):
            self._received(stream_id)
        elif stream is not None:
            self.written(stream, stream.pending)
            self.drained(stream_id)
        del self.under_way[stream_id]
        self.credit.pop(stream_id, None)
        if by_us:
            self.remember(stream_id)
        if stream is None:
            return True
        return isinstance(stream, Outgoing) and stream.is_delivered and not stream.has_ended

    def remember(self, stream_id: int) -> None:
        """Remember that we ended a stream which the client may not have ended."""
        self._ended_by_us[stream_id] = None
        if len(self._ended_by_us) > self._max_remembered:
            oldest = next(iter(self._ended_by_us))
            del self._ended_by_us[oldest]
            self._forgotten_id = max(self._forgotten_id, oldest)

    def _received(self, stream_id: int) -> Incoming[T]:
        incoming = self.receiving.pop(stream_id)
        self.body_bytes -= len(incoming.body)
        return incoming
