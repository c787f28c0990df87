"""The short cut: reads calls in the usual form in one step each, or in two.

Such a call is HEADERS with a complete block, and one DATA that ends the stream. It is the next
stream, the buffer holds all of it, and no limit is near. Then no state is needed for its stream,
and its two frame headers and its block are unpacked at once. Some clients write the HEADERS of many
calls before the DATA of the first: these calls take two steps. Everything else is left to the long
way (RequestReader), which can read every frame and gives the same results.
"""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any, Final, Generic, TypeVar

from authz.transports.http2 import codes, frames
from authz.transports.http2.events import Refused, Request
from authz.transports.http2.heads import HeadReader
from authz.transports.http2.limits import Limits
from authz.transports.http2.requests import RequestReader
from authz.transports.http2.streams import Incoming, Streams

T = TypeVar("T")

_TYPE_BITS: Final = 0xFF
_MAX_BLOCK_BYTES: Final = 1024
_MAX_WORD: Final = _MAX_BLOCK_BYTES << 8 | _TYPE_BITS


@lru_cache(_MAX_BLOCK_BYTES + 1)  # for all connections: some 200 bytes each
def _layout(length: int) -> tuple[Callable[[bytes, int], tuple[Any, ...]], int]:
    """Return a function that unpacks calls with blocks of this length, and the unpacked length."""
    layout = Struct(f">IBI{length}sIBI")
    return layout.unpack_from, layout.size


@lru_cache(_MAX_BLOCK_BYTES + 1)  # likewise
def _head_layout(length: int) -> tuple[Callable[[bytes, int], tuple[Any, ...]], int]:
    """Return the same for HEADERS alone."""
    layout = Struct(f">IBI{length}s")
    return layout.unpack_from, layout.size


class ShortCut(Generic[T]):
    """Reads calls that come in the usual two frames.

    Attributes:
        word: the first word of the last call's HEADERS, which is the same for most calls.
    """

    def __init__(
        self, requests: RequestReader[T], streams: Streams[T], heads: HeadReader[T], limits: Limits
    ) -> None:
        """Keep the long way, and the state that it reads and changes."""
        self.word = codes.HEADERS
        self._requests = requests
        self._streams = streams
        self._under_way = streams.under_way
        self._heads = heads
        self._plain = heads.plain
        self._limits = limits
        self._max_body = min(codes.MIN_FRAME_BYTES, limits.max_body_bytes)
        self._max_held = limits.max_buffered_bytes - self._max_body

    def take(self, data: bytes, at: int, word: int, now: float) -> int:
        """Take the calls that begin at ``at`` with HEADERS of this first word; return their end.

        All state that one call could change for the next is in local names: nothing else runs in
        between.
        """
        requests, streams = self._requests, self._streams
        if word > _MAX_WORD or requests.block is not None or streams.body_bytes > self._max_held:
            return at
        unpack, size = _layout(word >> 8)
        begin, end = at, len(data)
        under_way, plain, add = self._under_way, self._plain, requests.events.append
        room = self._limits.max_streams - len(under_way)
        stream_id = streams.last_id + 2
        last_id = min(streams.accepted_id, streams.last_id + 2 * room)
        max_body = self._max_body
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
            judged = plain.get(block)
            if judged is None:
                judged = self._heads.peek(block)
                if judged is None:
                    break
            add(Request(stream_id, judged, data[body_at:stop], now))
            under_way[stream_id] = None
            requests.used += length
            if requests.used >= requests.credit_at:
                requests.give_credit()
            stream_id += 2
            at = stop
        if at == begin:
            return self._take_heads(data, at, word, now)
        self.word = word
        streams.last_id = stream_id - 2
        return at

    def _take_heads(self, data: bytes, at: int, word: int, now: float) -> int:
        """Take the HEADERS of calls whose DATA follows later; return their end."""
        streams, remembered, plain = self._streams, self._heads.remembered, self._heads.plain
        unpack, size = _head_layout(word >> 8)
        under_way, receiving = streams.under_way, streams.receiving
        stream_id = streams.last_id + 2
        room = self._limits.max_streams - len(under_way)
        last_id = min(streams.accepted_id, streams.last_id + 2 * room)
        last_at = len(data) - size
        while at <= last_at and stream_id <= last_id:
            word_1, flags, id_1, block = unpack(data, at)
            if word_1 != word or flags != codes.END_HEADERS or id_1 != stream_id:
                break
            if block not in plain:
                break
            incoming = Incoming(stream_id, remembered[block], now)
            under_way[stream_id] = receiving[stream_id] = incoming
            stream_id += 2
            at += size
        streams.last_id = stream_id - 2
        return at

    def take_ends(self, data: bytes, at: int) -> int:
        """Take the DATA at ``at`` that are the whole content of their calls; return their end."""
        requests, streams = self._requests, self._streams
        if requests.block is not None or streams.body_bytes > self._max_held:
            return at
        unpack, end = frames.HEADER.unpack_from, len(data)
        under_way, receiving, add = streams.under_way, streams.receiving, requests.events.append
        max_body = self._max_body
        while at + codes.FRAME_HEADER_BYTES <= end:
            word, flags, stream_id = unpack(data, at)
            incoming = receiving.get(stream_id)
            if incoming is None or incoming.size or flags != codes.END_STREAM or word & _TYPE_BITS:
                break
            judged, expected = incoming.head
            length = word >> 8
            body_at = at + codes.FRAME_HEADER_BYTES
            stop = body_at + length
            if stop > end or length > max_body or expected is not None:
                break
            if isinstance(judged, Refused):
                break
            del receiving[stream_id]
            under_way[stream_id] = None
            requests.used += length
            if requests.used >= requests.credit_at:
                requests.give_credit()
            add(Request(stream_id, judged, data[body_at:stop], incoming.since))
            at = stop
        return at
