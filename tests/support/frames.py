"""A hostile gRPC client: HTTP/2 frame by frame, over a unix socket or TLS."""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from lab.ca import Svid
from lab.client import tls_context

SECONDS = 60.0  # for what comes at once on a quiet machine
CHECK = "/envoy.service.auth.v3.Authorization/Check"
HEALTH = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
RESET = "RESET"
CLOSED = "CLOSED"
_ENDS = (StreamEnded, StreamReset)


def framed(message: bytes, promised: int | None = None) -> bytes:
    """Frame a message as gRPC does, with a length that may be wrong."""
    return b"\0" + struct.pack(">I", len(message) if promised is None else promised) + message


class Hostile:
    """One connection, which does only what it is told to.

    Attributes:
        socket: for what h2 would never send.
        statuses: how calls ended, by stream: gRPC's status, RESET.
        messages: what came for an answer, by stream.
        is_closed: whether the server hung up, or said that it will.
    """

    def __init__(self, opened: socket.socket, window: int = 65_535) -> None:
        """Begin HTTP/2. ``window`` is how much of an answer the server may send."""
        self.socket = opened
        self.socket.settimeout(SECONDS)
        self.statuses: dict[int, str] = {}
        self.messages: dict[int, bytes] = {}
        self.is_closed = False
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.local_settings = Settings(
            initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0}
        )
        self._h2.initiate_connection()
        self.flush()
        self.read_until(lambda: self._h2.remote_settings.max_concurrent_streams < 2**31)

    def __enter__(self) -> Self:
        """Return this connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up without a word."""
        self.socket.close()

    def open(self, path: str = CHECK) -> int:
        """Send the headers of a call, and nothing more; return its stream."""
        stream = self._h2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ]
        self._h2.send_headers(stream, headers)
        return stream

    def send(self, stream: int, data: bytes, *, ends: bool = True) -> None:
        """Send a part of a call's message."""
        self._h2.send_data(stream, data, end_stream=ends)

    def call(self, message: bytes, path: str = CHECK) -> int:
        """Make a whole call, and return its stream."""
        stream = self.prepare(message, path)
        self.flush()
        return stream

    def prepare(self, message: bytes, path: str = CHECK) -> int:
        """Make a whole call that goes out with the next ``flush``, and return its stream."""
        stream = self.open(path)
        self.send(stream, framed(message))
        return stream

    def widen(self, increment: int) -> None:
        """Let the server send so much more in all."""
        self._h2.increment_flow_control_window(increment)
        self.flush()

    def give_up(self, stream: int) -> None:
        """Give a call up, once that is flushed."""
        self._h2.reset_stream(stream)

    def reset(self, stream: int) -> None:
        """Give a call up."""
        self.give_up(stream)
        self.flush()

    def flush(self) -> None:
        """Let what was said go out."""
        self.socket.sendall(self._h2.data_to_send())

    def ends(self, stream: int, seconds: float = SECONDS) -> str:
        """Wait for a call's end, and return gRPC's status, RESET, or CLOSED with the connection."""
        self.read_until(lambda: stream in self.statuses or self.is_closed, seconds)
        return self.statuses.get(stream, CLOSED)

    def read_until(self, condition: Callable[[], bool], seconds: float = SECONDS) -> None:
        """Read until a condition holds. Fails if it does not in time."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            assert left > 0, "the server did not answer"
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                self.is_closed = True
                return
            try:
                for event in self._h2.receive_data(data):
                    self._take(event)
            except ProtocolError:  # h2 takes nothing more after a GOAWAY
                self.is_closed = True
            if not self.is_closed:
                with suppress(OSError):  # the next read tells
                    self.flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            self.messages[event.stream_id] = self.messages.get(event.stream_id, b"") + event.data
        elif isinstance(event, ResponseReceived | TrailersReceived):
            for name, value in event.headers or ():
                if str(name) == "grpc-status":
                    self.statuses[event.stream_id] = str(value)
        elif isinstance(event, StreamReset):
            self.statuses.setdefault(event.stream_id, RESET)
        elif isinstance(event, ConnectionTerminated):
            self.is_closed = True


def half_open(client: Hostile, number: int) -> int:
    """Begin a call whose message does not come, in one of several ways; return its stream."""
    stream = client.open((CHECK, HEALTH)[number % 2])
    parts = (b"", b"\0", framed(b"x" * 100, 1_000_000), framed(b"", 1))
    if part := parts[number % len(parts)]:
        client.send(stream, part, ends=False)
    return stream


def connected(address: str) -> socket.socket:
    """Open a connection to unix:/path or host:port, and send nothing."""
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host, int(port)), SECONDS)
    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(SECONDS)
    opened.connect(address.removeprefix("unix:"))
    return opened


def grpc_context(authority: Path, svid: Svid) -> ssl.SSLContext:
    """Return a TLS context as gRPC's."""
    context = tls_context(authority, svid)
    context.set_alpn_protocols(["h2"])
    return context


def secured(
    address: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """Open a connection over TLS, which may resume a session of the same context."""
    return context.wrap_socket(connected(address), server_hostname="localhost", session=session)
