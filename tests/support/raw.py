"""A client of a listening transport that writes bytes by hand, and reads what comes until the end.

It reads only when it is told to, and acknowledges nothing by itself.
"""

import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Self

from hyperframe.frame import DataFrame, GoAwayFrame, PingFrame, RstStreamFrame

from authz.transports.http2.hpack import encode
from support.frames import CHECK, SECONDS, connected, framed
from support.http2 import ACK, END_HEADERS, HEADERS, PREFACE, SETTINGS, call, frame, settings

SEND_BYTES = 16_384  # at once
_FIELDS = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"authz"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)


def block_of(path: str = CHECK) -> bytes:
    """Write the field block of a call."""
    return encode([(b":path", path.encode()), *_FIELDS])


class Raw(AbstractContextManager["Raw"]):
    """One connection.

    Attributes:
        socket: the socket, of any kind.
        frames: what came whole, as hyperframe's.
        has_ended: whether the server hung up in good order.
    """

    def __init__(self, opened: "socket.socket | str", *, begins: bool = True) -> None:
        """Connect to an address, or take a socket; say what clients say first."""
        self.socket = connected(opened) if isinstance(opened, str) else opened
        self.frames: list[Any] = []
        self.has_ended = False
        self._rest = b""
        if begins:
            self.send(PREFACE, settings(), frame(SETTINGS, ACK, 0))

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up without a word."""
        self.socket.close()

    def send(self, *octets: bytes) -> None:
        """Write bytes."""
        self.socket.sendall(b"".join(octets))

    def call(self, stream_id: int, message: bytes, path: str = CHECK) -> None:
        """Make a whole call."""
        self.send(call(stream_id, framed(message), block_of(path)))

    def open(self, stream_id: int, path: str = CHECK) -> None:
        """Begin a call whose message follows."""
        self.send(frame(HEADERS, END_HEADERS, stream_id, block_of(path)))

    def press(self, octets: bytes, until: Callable[[], bool]) -> bytes:
        """Write bytes as fast as they are taken until a condition holds; return the rest."""
        end = time.monotonic() + SECONDS
        while not until():
            assert octets, "everything was taken"
            assert time.monotonic() < end, "it did not come"
            _, can_write, _ = select.select((), (self.socket,), (), 0.01)
            if can_write:
                sent = self.socket.send(octets[:SEND_BYTES], socket.MSG_DONTWAIT)
                octets = octets[sent:]
        return octets

    def read(self) -> bool:
        """Read once; return whether more may come. Raises OSError."""
        data = self.socket.recv(1 << 16)
        if not data:
            self.has_ended = True
            return False
        self._rest += data
        while len(self._rest) >= 9:
            one, length = GoAwayFrame.parse_frame_header(memoryview(self._rest[:9]))
            if len(self._rest) < 9 + length:
                break
            one.parse_body(memoryview(self._rest[9 : 9 + length]))
            self.frames.append(one)
            self._rest = self._rest[9 + length :]
        return True

    def read_to_end(self) -> None:
        """Read until the server hangs up. Raises OSError."""
        self.socket.settimeout(SECONDS)
        while self.read():
            pass

    def answer(self, stream_id: int) -> bytes:
        """Wait for a call's end, and return the message of its answer, b"" for none."""
        end = time.monotonic() + SECONDS
        while not any("END_STREAM" in one.flags for one in self.of(stream_id)):
            assert time.monotonic() < end, "the server did not answer"
            assert not any(isinstance(one, RstStreamFrame) for one in self.of(stream_id))
            assert self.read(), "the server hung up"
        sent = [one.data for one in self.of(stream_id) if isinstance(one, DataFrame)]
        return b"".join(sent)[5:]

    def of(self, stream_id: int) -> list[Any]:
        """Return the frames of a stream."""
        return [one for one in self.frames if one.stream_id == stream_id]

    def goaways(self) -> list[GoAwayFrame]:
        """Return the server's GOAWAYs."""
        return [one for one in self.frames if isinstance(one, GoAwayFrame)]

    def pings(self) -> list[PingFrame]:
        """Return the server's PINGs, acknowledgements left out."""
        return [one for one in self.frames if isinstance(one, PingFrame) and not one.flags]
