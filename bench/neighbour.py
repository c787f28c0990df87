"""``python -m bench.neighbour``: what one bad connection costs the others.

A well-behaved proxy asks at a steady rate for what is remembered, while another connection does
what a client should not. It does so at a pace that leaves the client's core mostly idle: what is
measured is the server's patience, and not a contest for cores. Turns with each bad neighbour and
with none are in random order; numbers are medians over the rounds.
"""

import argparse
import itertools
import os
import random
import signal
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.build import build_c
from bench.frames import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    RESET,
    SETTINGS,
    frame,
    literal,
)
from bench.load import Summary
from bench.loads import METHOD, Load, in_c
from bench.measure import cpu_seconds
from bench.messages import Messages
from bench.servers import CHANGES, LOAD_CORE, SERVER_CORE
from lab.ca import Authority, Svid
from lab.client import tls_context
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, GATEWAY, ISSUER, TRAVEL, Server

GOOD: Final = Load(per_second=500)
CALLS: Final = 1500
STEPS: Final = 1000  # of the bad neighbour, a second
HANDSHAKES: Final = 50  # likewise: one costs a client some 1 ms
STREAMS: Final = 90  # of one connection; fewer than any server allows
CANCEL: Final = struct.pack(">I", 8)
WINDOW_SETTING: Final = 4
HEAD: Final = b"".join(
    literal(name, value)
    for name, value in (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", METHOD),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
)


@dataclass(frozen=True)
class Target:
    """Where the server listens, and who may ask there."""

    path: str
    port: int
    authority: Path
    svid: Svid
    message: bytes


def connect(target: Target, window: int = 65_535) -> socket.socket:
    """Begin HTTP/2 over the unix socket; ``window`` is how much of an answer may come."""
    opened = socket.socket(socket.AF_UNIX)
    opened.connect(target.path)
    settings = struct.pack(">HI", WINDOW_SETTING, window)
    opened.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
    opened.setblocking(False)
    return opened


def resets(target: Target) -> Iterator[None]:
    """Open calls, and give each up at once (CVE-2023-44487)."""
    with connect(target) as opened:
        for stream in itertools.count(1, 2):
            send(
                opened, frame(HEADERS, END_HEADERS, stream, HEAD) + frame(RESET, 0, stream, CANCEL)
            )
            drain(opened)
            yield


def pings(target: Target) -> Iterator[None]:
    """Ask for acknowledgements, and read none of them."""
    with connect(target) as opened:
        while True:
            send(opened, frame(PING, 0, 0, b"12345678") * 10)
            yield


def half_open(target: Target) -> Iterator[None]:
    """Open calls, as many as a connection takes, and send no message."""
    with connect(target) as opened:
        for stream in range(1, 2 * STREAMS, 2):
            send(opened, frame(HEADERS, END_HEADERS, stream, HEAD))
            drain(opened)
            yield
        while True:
            drain(opened)
            yield


def slow_reader(target: Target) -> Iterator[None]:
    """Ask for answers, and let them come a byte at a time."""
    body = b"\0" + struct.pack(">I", len(target.message)) + target.message
    with connect(target, window=1) as opened:
        for stream in range(1, 2 * STREAMS, 2):
            whole = frame(HEADERS, END_HEADERS, stream, HEAD) + frame(0, END_STREAM, stream, body)
            send(opened, whole)
            yield
        while True:
            yield


def handshakes(target: Target) -> Iterator[None]:
    """Shake hands over TLS, and hang up."""
    context = tls_context(target.authority, target.svid)
    context.set_alpn_protocols(["h2"])
    while True:
        with (
            socket.create_connection(("127.0.0.1", target.port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            yield


def send(opened: socket.socket, data: bytes) -> None:
    """Send what the server takes; the rest waits for nobody. Raises OSError if it hung up."""
    with suppress(BlockingIOError):
        opened.send(data)


def drain(opened: socket.socket) -> None:
    """Read what is there. Raises OSError if the server hung up."""
    with suppress(BlockingIOError):
        if not opened.recv(1 << 16):
            raise ConnectionResetError


Habit = Callable[[Target], Iterator[None]]
HABITS: Final[dict[str, tuple[Habit, int]]] = {
    "rapid resets": (resets, STEPS),
    "pings, ten at a time": (pings, STEPS),
    "half-open calls": (half_open, STEPS),
    "slow reader": (slow_reader, STEPS),
    "TLS handshakes": (handshakes, HANDSHAKES),
}


@dataclass
class Neighbour:
    """Somebody with a bad habit, in a thread; counts how often the server hung up."""

    target: Target
    habit: Habit
    per_second: int
    hang_ups: int = 0

    def run(self, ended: threading.Event) -> None:
        """Do it until the event is set."""
        while not ended.is_set():
            try:
                for _ in self.habit(self.target):
                    if ended.wait(1 / self.per_second):
                        return
            except (OSError, ssl.SSLError):
                self.hang_ups += 1
                ended.wait(1 / self.per_second)


def turn(target: Target, program: Path, make: Callable[[], bytes], neighbour: Neighbour) -> Summary:
    """Ask beside a neighbour."""
    ended = threading.Event()
    thread = threading.Thread(target=neighbour.run, args=(ended,))
    try:
        return in_c(program)(f"unix:{target.path}", make, CALLS, GOOD, thread.start)
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def nobody(_: Target) -> Iterator[None]:
    """Do nothing."""
    while True:
        yield


@dataclass
class Row:
    """What was measured beside one habit: latencies in microseconds, CPU in seconds."""

    p50: list[float]
    p99: list[float]
    cpu: list[float]
    hang_ups: int = 0


def measure(target: Target, program: Path, messages: Messages, pid: int, rounds: int) -> list[str]:
    """Return the table."""
    habits = {"nobody": (nobody, 1), **HABITS}
    rows = {name: Row([], [], []) for name in habits}
    for _ in range(rounds):
        make = messages.remembered()
        for name in random.sample(list(habits), len(habits)):
            habit, per_second = habits[name]
            neighbour, before = Neighbour(target, habit, per_second), cpu_seconds(pid)
            result, row = turn(target, program, make, neighbour), rows[name]
            row.p50.append(result.p50 * 1e6)
            row.p99.append(result.p99 * 1e6)
            row.cpu.append((cpu_seconds(pid) - before) / result.seconds)
            row.hang_ups += neighbour.hang_ups
            time.sleep(0.2)  # what the neighbour left is the next one's otherwise
    lines = ["| beside | p50 us | p99 us | CPU of the server | hang-ups |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        p50, p99, cpu = (statistics.median(values) for values in (row.p50, row.p99, row.cpu))
        lines.append(f"| {name} | {p50:.0f} | {p99:.0f} | {cpu:.0%} | {row.hang_ups} |")
    return lines


def main() -> None:
    """Measure, and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        authority, issuer = Authority(folder / "pki"), Issuer(ISSUER, AUDIENCE)
        jwks = JwksServer(issuer)
        stack.callback(jwks.close)
        messages = Messages(authority.issue(TRAVEL), issuer)
        proxy, port = authority.issue(GATEWAY, dns=("localhost",)), _free_port()
        program = build_c() / "load"
        os.sched_setaffinity(0, SERVER_CORE)
        server = _start(folder, f"{jwks.url}/jwks", authority, proxy, port)
        stack.callback(server.process.stop)
        server.wait_ready()
        os.sched_setaffinity(0, LOAD_CORE)
        path, pid = str(server.socket), server.process.pid
        target = Target(path, port, authority.path, proxy, messages.one())
        print("\n".join(measure(target, program, messages, pid, options.rounds)))


def _start(folder: Path, jwks: str, authority: Authority, proxy: Svid, port: int) -> Server:
    tls = {
        "certificate": str(proxy.certificate_path),
        "private_key": str(proxy.key_path),
        "client_ca": str(authority.path),
        "allowed_callers": [GATEWAY],
    }
    listen = [f"unix:{folder}/ours-{{worker}}.sock", f"127.0.0.1:{port}"]
    changes = CHANGES.with_(("server", "listen"), listen).with_(("server", "tls"), tls)
    return Server(folder, "ours", jwks, changes=changes)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
