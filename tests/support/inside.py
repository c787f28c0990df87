"""Looks inside a transport of either kind: calls that it holds, its times, its loop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import pytest

from authz.transports.grpcio import GrpcioTransport
from authz.transports.http2 import ServerConnection
from authz.transports.native import NativeTransport
from authz.transports.native import calls as native
from support.ports import Port
from support.world import PATIENCE_SECONDS

T = TypeVar("T")


def give_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let clients have another time for their calls than they have otherwise."""
    limits = replace(native.LIMITS, receive_seconds=seconds, send_seconds=seconds)
    monkeypatch.setattr(native, "LIMITS", limits)
    monkeypatch.setattr("authz.transports.native.channel.SEND_SECONDS", seconds)
    monkeypatch.setattr("authz.transports.native.loop.SWEEP_SECONDS", 0.05)
    for name in ("RECEIVE_SECONDS", "SEND_SECONDS"):
        monkeypatch.setattr(f"authz.transports.grpcio.calls.{name}", seconds)
    monkeypatch.setattr("authz.transports.grpcio.calls.SWEEP_SECONDS", 0.05)


def open_calls(port: Port) -> int:
    """Count the calls in any stage."""
    if isinstance(port.transport, GrpcioTransport):
        calls = port.transport._calls
        return len(calls._receiving._calls) + len(calls._working) + len(calls._sending._calls)
    return sum(one.receiving + one.answering + one.sending for one in _connections(port))


def working_calls(port: Port) -> int:
    """Count the calls whose message is whole and which have no answer."""
    if isinstance(port.transport, GrpcioTransport):
        return len(port.transport._calls._working)
    return sum(one.answering for one in _connections(port))


def unread_calls(port: Port) -> int:
    """Count the calls whose answer was not taken."""
    if isinstance(port.transport, GrpcioTransport):
        return len(port.transport._calls._sending._calls)
    return sum(one.sending for one in _connections(port))


def has_ended(port: Port) -> bool:
    """Tell whether a transport that was stopped waits for nothing any more."""
    if isinstance(port.transport, GrpcioTransport):
        server = port.transport._server
        assert server is not None
        return not server.wait_for_termination(0)  # whether it is still waited for
    return not native_of(port)._loop.is_running


def native_of(port: Port) -> NativeTransport:
    """Return the transport of a port that listens natively."""
    assert isinstance(port.transport, NativeTransport)
    return port.transport


def _connections(port: Port) -> list[ServerConnection[native.Served]]:
    transport = native_of(port)
    return in_loop(port, lambda: [peer._connection for peer in transport._peers])


def in_loop(port: Port, function: Callable[[], T]) -> T:
    """Call a function in the loop's thread, between two turns, and return what it returns."""
    found: list[T] = []
    is_done = threading.Event()

    def call() -> None:
        try:
            found.append(function())
        finally:
            is_done.set()

    native_of(port)._loop.ask(call)
    assert is_done.wait(PATIENCE_SECONDS)
    return found[0]


@contextmanager
def stalled(port: Port) -> Iterator[None]:
    """Keep the loop from its next turn: all that is sent meanwhile comes in that one."""
    holds, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        holds.set()
        goes_on.wait(PATIENCE_SECONDS)

    native_of(port)._loop.ask(hold)
    assert holds.wait(PATIENCE_SECONDS)
    try:
        yield
    finally:
        goes_on.set()
