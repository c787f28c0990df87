"""Calls from their headers to the end of their answer: a thread only while they are decided.

grpcio's own server has a thread of the pool wait for a call's message: as many clients as there
are threads, which send headers and nothing more, stop every answer. Here a call passes through
three stages, and has a thread in one of them:

1. *receiving*: its headers are here, and its client may ask; its message is not here;
2. *working*: its message is whole; it waits for a thread, or has one;
3. *sending*: it is answered, and its client has not taken the answer.

Clients decide how long the first and the last take. So these are bounded in time and in number, and
the oldest gives way: an honest call is through in milliseconds, and one that is kept open on
purpose is always older. Nothing is counted for each client: one that may ask can have as many
connections as it likes, and one that may not gets no further than its headers.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, Final

import grpc

from authz.adapters.metrics import CallEnd, Metrics
from authz.edge.check_pool import CheckPool
from authz.server.grpcio import AuthContext, UnaryRpc

# A proxy writes headers and message at once, and has given up on a check long before this.
RECEIVE_SECONDS: Final = 5.0
# Beyond the deadline of any proxy that still waits for an answer.
SEND_SECONDS: Final = 10.0
# An answer holds a few KiB; an honest client takes it before it has asked for a few more.
MAX_SENDING: Final = 4096
SWEEP_SECONDS: Final = 0.5
_log: Final = logging.getLogger("authz.server")
Received = tuple[bytes, str]
"""A call's message, and the SPIFFE ID of the proxy that sent it, "" for none."""
Gate = Callable[[str, Callable[[], AuthContext]], str | None]
"""Says who may ask, for every call, in grpcio's thread: it must not wait.

It takes the other end of the connection, and what gives TLS's words of it; returns the SPIFFE ID of
the calling proxy, "" where callers have none, and None to refuse.
"""


def no_such_method(*_: object) -> bytes:
    """Stand for a method that is not there: ``RpcExecutor`` refuses it by its headers, unrun."""
    raise AssertionError


class _StagedRpc(UnaryRpc):
    """A call in one of the stages.

    Attributes:
        proxy: who asks, as the gate said.
        since: when it came into its stage (monotonic seconds).
        is_finished: whether it has ended.
    """

    __slots__ = ("is_finished", "proxy", "since")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        super().__init__(function, args)
        self.proxy = ""
        self.since = 0.0
        self.is_finished = False


class _Stage:
    """The calls that wait for their clients in one way, oldest first."""

    def __init__(self, limit: int, seconds: float, on_end: Callable[[], None]) -> None:
        """Take how many at most, for how long, and what to call for each that is ended."""
        self._calls: OrderedDict[_StagedRpc, None] = (
            OrderedDict()
        )  # each step on it is atomic: no lock
        self._limit = limit
        self._seconds = seconds
        self._on_end = on_end

    def add(self, call: _StagedRpc) -> None:
        """Take a call; where there are too many, end the oldest."""
        call.since = time.monotonic()
        self._calls[call] = None
        if len(self._calls) > self._limit:
            with suppress(KeyError):  # another thread ended the last one
                self._end(self._calls.popitem(last=False)[0])

    def remove(self, call: _StagedRpc) -> None:
        """Forget a call, which may be gone already."""
        self._calls.pop(call, None)

    def end_old(self, now: float) -> None:
        """End what has been here for too long."""
        try:
            calls = list(self._calls)
        except RuntimeError:  # another thread changed it meanwhile: the next time, then
            return
        for call in calls:
            if now - call.since < self._seconds:
                return
            self.remove(call)
            self._end(call)

    def _end(self, call: _StagedRpc) -> None:
        call.cancel()
        self._on_end()


class RpcExecutor(Executor):
    """Takes grpcio's calls, as if it were a pool of threads."""

    def __init__(self, pool: CheckPool, gate: Gate, metrics: Metrics, max_concurrent: int) -> None:
        """Take the threads, who may ask, and how many calls may be in the working stage."""
        self._pool = pool
        self._gate = gate
        self._metrics = metrics
        self._max_concurrent = max_concurrent
        # As many messages are waited for as could be worked on.
        self._receiving = _Stage(
            max_concurrent, RECEIVE_SECONDS, lambda: metrics.call_ended(CallEnd.HALF_OPEN)
        )
        self._working: set[_StagedRpc] = set()
        self._sending = _Stage(
            MAX_SENDING, SEND_SECONDS, lambda: metrics.call_ended(CallEnd.UNREAD)
        )
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to end what takes too long."""
        threading.Thread(target=self._sweep, name="calls", daemon=True).start()

    def close(self) -> None:
        """Stop doing so."""
        self._closing.set()

    def _sweep(self) -> None:
        while not self._closing.wait(SWEEP_SECONDS):
            now = time.monotonic()
            self._receiving.end_old(now)
            self._sending.end_old(now)

    def submit(self, function: Callable[..., object], /, *args: object) -> None:  # type: ignore[override]
        """Take a call. grpcio gets no future for it, which it needs for its own limit only.

        It holds the server's lock meanwhile, and the call's.
        """
        call = _StagedRpc(function, args)
        call.on_finish(lambda: self._finish(call))
        self._guarded(self._admit, call)

    def _guarded(self, step: Callable[[_StagedRpc], None], call: _StagedRpc) -> None:
        """Take a step in grpcio's thread, which an exception would end."""
        try:
            step(call)
        except Exception as error:  # noqa: BLE001 - see above
            _log.error("internal error in a call: %s", type(error).__name__)
            call.cancel()

    def _admit(self, call: _StagedRpc) -> None:
        """Receive the message of a call whose client may ask."""
        proxy = self._gate(call.peer, call.auth_context)
        if proxy is None:  # not a deny: it is none of a caller's business what we would say
            self._metrics.caller_refused()
            self._refuse(call, grpc.StatusCode.PERMISSION_DENIED, "the caller is not allowed")
            return
        if call.behavior is no_such_method:
            self._refuse(call, grpc.StatusCode.UNIMPLEMENTED, "no such method")
            return
        call.proxy = proxy
        self._receiving.add(call)
        call.receive(lambda: self._guarded(self._take, call))

    def _take(self, call: _StagedRpc) -> None:
        """Have a call answered whose message is here, or will never be."""
        self._receiving.remove(call)
        if not call.is_active:
            return
        if call.message is None:
            self._refuse(call, grpc.StatusCode.UNIMPLEMENTED, "the call has no message")
        elif len(self._working) >= self._max_concurrent:
            self._refuse(call, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls at once")
        else:
            self._working.add(call)
            self._pool.submit(self._answer, call)

    def _answer(self, call: _StagedRpc) -> None:
        """Decide, in a thread of the pool."""
        try:
            call.answer((call.message, call.proxy))
        finally:
            self._working.discard(call)
            self._send(call)

    def _refuse(self, call: _StagedRpc, code: grpc.StatusCode, details: str) -> None:
        call.refuse(code, details)
        self._send(call)

    def _send(self, call: _StagedRpc) -> None:
        """Note that an answer is on its way. grpcio's thread may see its end at the same time."""
        self._sending.add(call)
        if call.is_finished:
            self._sending.remove(call)

    def _finish(self, call: _StagedRpc) -> None:
        call.is_finished = True
        self._sending.remove(call)
