"""The receiving half: the effect of each frame in each state of its stream (RFC 9113 5, 6)."""

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from authz.transports.http2 import codes, frames
from authz.transports.http2.budget import Budgets
from authz.transports.http2.codes import ErrorCode
from authz.transports.http2.events import Abandoned
from authz.transports.http2.faults import ConnectionFault, StreamFault
from authz.transports.http2.requests import RequestReader
from authz.transports.http2.sender import Sender
from authz.transports.http2.settings import SETTING_BYTES, read_settings
from authz.transports.http2.streams import State, Streams

T = TypeVar("T")

_Handler: TypeAlias = Callable[[int, int, bytes], None]  # flags, stream, payload

GOING_PING: Final = b"draining"  # its acknowledgement shows that the client has read our GOAWAY
_SETTINGS_A_TOKEN: Final = 16
_PRIORITY_BYTES: Final = 5
_GOAWAY_BYTES: Final = 8


class _Rule(NamedTuple):
    """The rules for all frames of a type (6.1 to 6.10)."""

    is_of_stream: bool | None  # None: on a stream or on the connection
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


class Receiver(Generic[T]):
    """Takes frames one by one, and applies them.

    Attributes:
        has_settings: whether the client's first frame, which is SETTINGS (3.4), has arrived.
        is_acknowledged: whether the client acknowledged our SETTINGS.
        is_going_acknowledged: whether the client acknowledged the PING behind our first GOAWAY.
    """

    def __init__(
        self,
        requests: RequestReader[T],
        streams: Streams[T],
        sender: Sender[T],
        budgets: Budgets,
    ) -> None:
        """Begin after the preface."""
        self.has_settings = False
        self.is_acknowledged = False
        self.is_going_acknowledged = False
        self._requests = requests
        self._streams = streams
        self._sender = sender
        self._budgets = budgets
        self._handlers: dict[int, _Handler] = {
            codes.DATA: requests.on_data,
            codes.HEADERS: requests.on_headers,
            codes.PRIORITY: self._on_priority,
            codes.RST_STREAM: self._on_rst_stream,
            codes.SETTINGS: self._on_settings,
            codes.PUSH_PROMISE: self._on_push_promise,
            codes.PING: self._on_ping,
            codes.GOAWAY: self._on_goaway,
            codes.WINDOW_UPDATE: self._on_window_update,
            codes.CONTINUATION: requests.on_continuation,
        }

    def take(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        """Apply a frame. Raises ConnectionFault; errors of streams reset them."""
        self._budgets.now = now
        if not self.has_settings:
            if kind != codes.SETTINGS or flags & codes.ACK:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no SETTINGS after the preface")
            self.has_settings = True
        self._check_order(kind, stream_id)
        handler = self._handlers.get(kind)
        if handler is None:  # 5.5
            self._budgets.spend(self._budgets.idle_frames)
            return
        self._check_layout(kind, stream_id, len(payload))
        try:
            handler(flags, stream_id, payload)
        except StreamFault as fault:
            self._fail_stream(fault)

    # Rules for all frames.

    def _check_order(self, kind: int, stream_id: int) -> None:
        block = self._requests.block
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
        self._budgets.spend(self._budgets.provoked_resets)
        stream_id = fault.stream_id
        if stream_id not in self._streams.under_way:
            self._sender.write(frames.rst_stream(stream_id, fault.code))
            self._streams.remember(stream_id)
        elif self._sender.reset(stream_id, fault.code):
            self._requests.events.append(Abandoned(stream_id))

    # The other frames of streams.

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        """Check a PRIORITY, and ignore it (5.3.2).

        A stream that is not open can't be reset (5.1).
        """
        self._budgets.spend(self._budgets.idle_frames)
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
            self._budgets.spend(self._budgets.idle_frames)
            return
        self._budgets.spend(self._budgets.resets)
        if self._streams.close(stream_id):
            self._requests.events.append(Abandoned(stream_id))

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self._budgets.spend(self._budgets.window_updates)
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
        tokens = 1 + len(payload) // (SETTING_BYTES * _SETTINGS_A_TOKEN)
        self._budgets.spend(self._budgets.settings_frames, tokens)
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
        self._budgets.spend(self._budgets.pings)
        if not flags & codes.ACK:
            self._sender.acknowledge(frames.ping(payload, codes.ACK))
        elif payload == GOING_PING:
            self.is_going_acknowledged = True

    def _on_goaway(self, _flags: int, _stream_id: int, payload: bytes) -> None:
        """Ignore a GOAWAY: it is about streams that we would open, and we open none (6.8)."""
        self._budgets.spend(self._budgets.idle_frames)
        if len(payload) < _GOAWAY_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY too short")
