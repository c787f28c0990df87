"""A load generator in Python, over TLS or where the one in C can't be built: HTTP/2 by hand.

A closed loop keeps so many requests in flight; an open loop sends at random times of a given rate
and counts from when a request was due, so that a server that falls behind shows. Every answer must
hold the expected bytes: a fast refusal is no result.
"""

import random
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.frames import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RESET,
    SETTINGS,
    WINDOW,
    frame,
    literal,
)
from lab.ca import Svid
from lab.client import tls_context

_GRPC_HEADERS: Final = (("te", "trailers"), ("content-type", "application/grpc"))
_WINDOW_BYTES: Final = 2**30
_TIMEOUT_SECONDS: Final = 10.0


class LoadError(RuntimeError):
    """The server did not answer as it should; the message says how."""


@dataclass(frozen=True)
class Summary:
    """How many were answered, in how many seconds, and the latencies in seconds."""

    count: int
    seconds: float
    p50: float
    p99: float
    p999: float


@dataclass
class Result:
    """Latencies in seconds, in the order of the answers, and how long all took."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def percentile(self, part: float) -> float:
        """The latency that this part of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]

    def summary(self) -> Summary:
        """Return what is kept of it."""
        parts = (self.percentile(part) for part in (0.5, 0.99, 0.999))
        return Summary(len(self.latencies), self.seconds, *parts)


class Connection:
    """One HTTP/2 connection that calls one method."""

    def __init__(
        self,
        address: str,
        path: str,
        expected: bytes,
        *,
        tls: tuple[Path, Svid] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Connect to unix:/path or host:port. Every answer must hold ``expected``.

        With ``tls``, the CA to trust and the SVID to show, it is a GET over HTTP/2 with ``headers``
        instead of a call of a gRPC method.
        """
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(address.removeprefix("unix:"))
        else:
            host, _, port = address.rpartition(":")
            self._socket = socket.create_connection((host, int(port)))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_grpc = tls is None
        if tls is not None:
            context = tls_context(*tls)
            context.set_alpn_protocols(["h2"])
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
            named = (("GET", "https", "mcp.corp.example"), headers)
        else:
            named = (("POST", "http", "localhost"), _GRPC_HEADERS)
        (method, scheme, authority), rest = named
        self._headers = b"".join(
            literal(name, value)
            for name, value in (
                (":method", method),
                (":scheme", scheme),
                (":path", path),
                (":authority", authority),
                *rest,
            )
        )
        self._expected = expected
        self._begun: dict[int, float] = {}
        self._good: set[int] = set()
        self._stream = 1
        self._window = 65535
        self._max_frame = 16384
        self._unread = bytearray()
        self._given = 0
        windows = struct.pack(">HI", 4, _WINDOW_BYTES)
        hello = frame(SETTINGS, 0, 0, windows)
        hello += frame(WINDOW, 0, 0, struct.pack(">I", _WINDOW_BYTES))
        self._socket.sendall(PREFACE + hello)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        return len(self._begun)

    def fileno(self) -> int:
        """For select()."""
        return self._socket.fileno()

    def can_send(self, message: bytes) -> bool:
        """Whether the server lets us send that much."""
        return self._window >= len(message) + 5

    def send(self, messages: list[bytes], begun: float) -> None:
        """Send requests; their latency counts from ``begun``."""
        out: list[bytes] = []
        for message in messages:
            if not self._is_grpc:
                self._begun[self._stream] = begun
                out.append(frame(HEADERS, END_HEADERS | END_STREAM, self._stream, self._headers))
                self._stream += 2
                continue
            data = b"\x00" + struct.pack(">I", len(message)) + message
            self._window -= len(data)
            self._begun[self._stream] = begun
            out.append(frame(HEADERS, END_HEADERS, self._stream, self._headers))
            out.append(frame(DATA, END_STREAM, self._stream, data))
            self._stream += 2
        self._socket.sendall(b"".join(out))

    def receive(self, result: Result) -> int:
        """Read what is there; the number of requests that were answered."""
        data = self._socket.recv(1 << 18)
        if not data:
            raise LoadError("the server hung up")
        while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            data += self._socket.recv(1 << 18)
        now = time.perf_counter()
        unread = self._unread
        unread += data
        at, done = 0, 0
        while len(unread) - at >= 9:
            size = int.from_bytes(unread[at : at + 3], "big")
            if len(unread) - at < 9 + size:
                break
            kind, flags = unread[at + 3], unread[at + 4]
            stream = int.from_bytes(unread[at + 5 : at + 9], "big")
            payload = bytes(unread[at + 9 : at + 9 + size])
            at += 9 + size
            done += self._take(kind, flags, stream, payload, now, result)
        del unread[:at]
        return done

    def _take(  # noqa: PLR0917 - the parts of a frame
        self, kind: int, flags: int, stream: int, payload: bytes, now: float, result: Result
    ) -> int:
        if kind == DATA:
            if self._expected in payload:
                self._good.add(stream)
            self._give_back(len(payload))
        if kind in {DATA, HEADERS} and flags & END_STREAM:
            if stream not in self._good:
                raise LoadError(f"not the expected answer: {payload!r}")
            self._good.discard(stream)
            result.latencies.append(now - self._begun.pop(stream))
            return 1
        if kind == WINDOW and stream == 0:
            self._window += struct.unpack(">I", payload)[0]
        elif kind == SETTINGS and not flags & ACK:
            self._socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._socket.sendall(frame(PING, ACK, 0, payload))
        elif kind in {RESET, GOAWAY}:
            raise LoadError(f"the server ended a stream or the connection: {payload!r}")
        return 0

    def _give_back(self, count: int) -> None:
        self._given += count
        if self._given > _WINDOW_BYTES // 2:
            self._socket.sendall(frame(WINDOW, 0, 0, struct.pack(">I", self._given)))
            self._given = 0


def closed_loop(
    connection: Connection, message: Callable[[], bytes], count: int, in_flight: int
) -> Result:
    """So many requests, so many of them at once. Raises LoadError."""
    result = Result()
    begun = time.perf_counter()
    sent = done = 0
    while done < count:
        batch: list[bytes] = []
        while sent < count and sent - done < in_flight:
            batch.append(message())
            sent += 1
        if batch:
            connection.send(batch, time.perf_counter())
        if not select.select([connection], [], [], _TIMEOUT_SECONDS)[0]:
            raise LoadError("no answer in time")
        done += connection.receive(result)
    result.seconds = time.perf_counter() - begun
    return result


def open_loop(
    connection: Connection, message: Callable[[], bytes], count: int, rate: float
) -> Result:
    """So many requests at random times, so many a second. Raises LoadError."""
    result = Result()
    begun = due = time.perf_counter()
    sent = done = 0
    while done < count:
        now = time.perf_counter()
        while sent < count and due <= now:
            connection.send([message()], due)
            sent += 1
            due += random.expovariate(rate)
        pause = max(0.0, due - time.perf_counter()) if sent < count else _TIMEOUT_SECONDS
        if select.select([connection], [], [], pause)[0]:
            done += connection.receive(result)
        elif sent == count:
            raise LoadError("no answer in time")
    result.seconds = time.perf_counter() - begun
    return result
