"""The client's end of a ``ServerConnection``: frames by hand, and what came back, read by others.

Blocks are read by the hpack library and frames by hyperframe: nothing of ours judges our output.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any, TypeAlias

from hpack import Decoder
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame

from authz.transports.http2 import (
    Abandoned,
    Ended,
    ErrorCode,
    Limits,
    Refused,
    Request,
    ServerConnection,
    TurnedAway,
)
from authz.transports.http2.hpack import Field, encode

Event: TypeAlias = Request[bytes] | TurnedAway | Abandoned | Ended

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = range(5)
PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(5, 10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20

POST: Sequence[Field] = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/check"),
    (b":authority", b"authz"),
    (b"te", b"trailers"),
)
BLOCK = encode(POST)
REFUSED_PATH = b"/refused"
EARLY_PATH = b"/refused-early"
HEAD = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
TRAILERS = encode([(b"grpc-status", b"0")])
REFUSAL = encode([(b":status", b"404")])
TOO_LARGE = encode([(b":status", b"200"), (b"grpc-status", b"8")])
FIELDS_TOO_LARGE = encode([(b":status", b"431")])
LIMITS = Limits(too_large=TOO_LARGE, fields_too_large=FIELDS_TOO_LARGE)


def judged(fields: Iterable[Field]) -> bytes | Refused:
    """Judge a request by its path, which stands for it; refuse two of them."""
    path = dict(fields)[b":path"]
    if path in {REFUSED_PATH, EARLY_PATH}:
        return Refused(REFUSAL, b"not here", is_early=path == EARLY_PATH)
    return path


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Write a frame, right or wrong."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream_id.to_bytes(4, "big") + payload


def fields(*more: Field, path: bytes = b"/check") -> bytes:
    """Write the field block of a request."""
    return encode([*((n, path if n == b":path" else v) for n, v in POST), *more])


def call(stream_id: int, body: bytes = b"body", block: bytes = BLOCK) -> bytes:
    """Write a whole call in two frames."""
    opened = frame(HEADERS, END_HEADERS, stream_id, block)
    return opened + frame(DATA, END_STREAM, stream_id, body)


def opened(stream_id: int, block: bytes = BLOCK) -> bytes:
    """Write the headers of a call whose content follows."""
    return frame(HEADERS, END_HEADERS, stream_id, block)


def window_update(stream_id: int, increment: int) -> bytes:
    """Write a WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def rst_stream(stream_id: int, code: int = 8) -> bytes:
    """Write a RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def settings(*values: tuple[int, int]) -> bytes:
    """Write a SETTINGS."""
    payload = b"".join(n.to_bytes(2, "big") + v.to_bytes(4, "big") for n, v in values)
    return frame(SETTINGS, 0, 0, payload)


def read_frames(output: bytes) -> list[Any]:
    """Read frames of the server, as hyperframe's. Fails where they are not whole."""
    read: list[Any] = []
    at = 0
    while at < len(output):
        one, length = Frame.parse_frame_header(memoryview(output[at : at + 9]))
        payload = output[at + 9 : at + 9 + length]
        assert len(payload) == length, "the last frame is cut"
        one.parse_body(memoryview(payload))
        read.append(one)
        at += 9 + length
    return read


@dataclass
class Client:
    """A client that sends what it is told to, to a server connection of its own.

    Attributes:
        server: the other end.
        now: the time of what is sent next.
        events: what the server made of it all.
        frames: what the server wrote.
    """

    server: ServerConnection[bytes]
    now: float = 0.0
    events: list[Event] = field(default_factory=list)
    frames: list[Any] = field(default_factory=list)

    def send(self, *octets: bytes) -> list[Event]:
        """Send bytes in one read, take what is written, and return the new events."""
        events = self.server.receive(b"".join(octets), self.now)
        self.events += events
        self.take()
        return events

    def take(self) -> list[Any]:
        """Take what the server writes, and return it."""
        written: list[Any] = []
        while output := self.server.take_output():
            written += read_frames(output)
        self.frames += written
        return written

    def expire(self, now: float) -> list[Event]:
        """Let time pass."""
        self.now = now
        events = self.server.expire(now)
        self.events += events
        self.take()
        return events

    def of(self, stream_id: int) -> list[Any]:
        """Return the frames of a stream."""
        return [one for one in self.frames if one.stream_id == stream_id]

    def reset_code(self, stream_id: int) -> ErrorCode | None:
        """Return the code with which the server reset a stream."""
        codes = [f.error_code for f in self.of(stream_id) if isinstance(f, RstStreamFrame)]
        assert len(codes) <= 1, "a stream is reset once"
        return ErrorCode(codes[0]) if codes else None

    def goaways(self) -> list[tuple[ErrorCode, int]]:
        """Return the codes and last streams of the server's GOAWAYs."""
        gone = [f for f in self.frames if isinstance(f, GoAwayFrame)]
        return [(ErrorCode(f.error_code), f.last_stream_id) for f in gone]

    def fault(self) -> ErrorCode | None:
        """Return the code with which the server ended the connection."""
        if self.server.fault is None:
            return None
        assert self.server.is_closed
        assert self.goaways()[-1][0] == self.server.fault.code
        return self.server.fault.code

    def respond(self, stream_id: int, body: bytes = b"answer") -> None:
        """Let the owner answer."""
        self.server.respond(stream_id, HEAD, body, TRAILERS)
        self.take()

    def data(self, stream_id: int) -> bytes:
        """Return the content that came on a stream."""
        return b"".join(f.data for f in self.of(stream_id) if f.type == DATA)

    def sections(self, stream_id: int) -> list[dict[str, str]]:
        """Return the header and trailer sections of a stream."""
        blocks = [f.data for f in self.of(stream_id) if f.type in {HEADERS, CONTINUATION}]
        sections: list[Any] = [Decoder().decode(block) for block in blocks]
        return [dict(section) for section in sections]


def connected(limits: Limits = LIMITS, *, takes_short_cuts: bool = True, **other: Any) -> Client:
    """Open a connection, with some limits changed: both ends know the other's SETTINGS."""
    limits = changed(limits, **other)
    client = Client(ServerConnection(judged, limits, 0.0, takes_short_cuts=takes_short_cuts))
    client.send(PREFACE, settings(), frame(SETTINGS, ACK, 0))
    client.frames.clear()
    return client
