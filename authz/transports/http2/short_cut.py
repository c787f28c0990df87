"""The short cut: calls that come as most do, read in one step each. It does what Receiver would.

Such a call is HEADERS with a block that is known, and one DATA that ends the stream; it is the next
stream, the buffer holds it whole, and no limit is near. Then nothing need be held for its stream,
and its two frame headers and its block are unpacked at once. Whatever is different in any way is
left to the long way, which every frame can go.
"""

from struct import Struct
from typing import Final, Generic, TypeVar

from authz.transports.http2 import codes
from authz.transports.http2.events import Request
from authz.transports.http2.limits import Limits
from authz.transports.http2.receiver import Receiver
from authz.transports.http2.streams import Streams

T = TypeVar("T")

_TYPE_BITS: Final = 0xFF
_BLOCK_AT: Final = codes.FRAME_HEADER_BYTES


class ShortCut(Generic[T]):
    """Reads calls whose field block is known."""

    def __init__(
        self, receiver: Receiver[T], streams: Streams[T], plain: dict[bytes, T], limits: Limits
    ) -> None:
        """Take the long way, what it changes, and the blocks that are known (``HeadReader``)."""
        self._receiver = receiver
        self._streams = streams
        self._plain = plain
        self._limits = limits
        self._max_body = min(codes.MIN_FRAME_BYTES, limits.max_body_bytes)
        # By the first word of HEADERS, which has the block's length: at most as many as
        # max_remembered_bytes, since they are learned from known blocks.
        self._layouts: dict[int, Struct] = {}

    def take(self, data: bytes, at: int, word: int, now: float) -> int:
        """Take the calls that begin at ``at`` with HEADERS of this first word; return their end.

        All that one call could change for the next is in local names: nothing else runs between.
        """
        layout = self._layouts.get(word) or self._learn(data, at, word)
        receiver, streams = self._receiver, self._streams
        if layout is None or receiver.block is not None:
            return at
        unpack, size, end = layout.unpack_from, layout.size, len(data)
        under_way, known, add = streams.under_way, self._plain.get, receiver.events.append
        room = self._limits.max_streams - len(under_way)
        stream_id = streams.last_id + 2
        last_id = min(streams.accepted_id, streams.last_id + 2 * room)
        max_body = min(self._max_body, self._limits.max_buffered_bytes - streams.body_bytes)
        while at + size <= end and stream_id <= last_id:
            word_1, flags_1, id_1, block, word_2, flags_2, id_2 = unpack(data, at)
            length = word_2 >> 8
            body_at = at + size
            stop = body_at + length
            if (
                word_1 != word
                or flags_1 != codes.END_HEADERS
                or id_1 != stream_id
                or id_2 != stream_id
                or flags_2 != codes.END_STREAM
                or word_2 & _TYPE_BITS  # no DATA
                or length > max_body
                or stop > end
            ):
                break
            judged = known(block)
            if judged is None:
                break
            add(Request(stream_id, judged, data[body_at:stop], now))
            under_way[stream_id] = None
            receiver.used += length
            if receiver.used >= receiver.credit_at:
                receiver.give_credit()
            stream_id += 2
            at = stop
        streams.last_id = stream_id - 2
        return at

    def _learn(self, data: bytes, at: int, word: int) -> Struct | None:
        """Return the layout of a call with a block of this length, if the block is known."""
        length = word >> 8
        if data[at + _BLOCK_AT : at + _BLOCK_AT + length] not in self._plain:
            return None
        layout = self._layouts[word] = Struct(f">IBI{length}sIBI")
        return layout
