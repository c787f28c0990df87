"""Takes calls from their headers to their answer, with a thread only while they are decided.

grpcio's own server has a thread of the pool wait for a call's message: as many clients as there
are threads could stop every answer by sending headers and nothing more. Here a call passes through
three stages, and has a thread only in the second:

1. *receiving*: its headers are here, and its caller is allowed; its message is not here;
2. *working*: its message is whole; it waits for a thread, or has a thread;
3. *sending*: it is answered, and its client has not taken the answer.

Clients decide how long the first and the last take. So these are bounded in time and in number, and
the oldest call gives way: an honest call is through in milliseconds, and a call that is kept open
on purpose is always older. Nothing is counted for each client: an allowed client can have any
number of connections, and any other gets no further than its headers.
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
from authz.transports.grpcio.rpc import AuthContext, UnaryRpc

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
"""Names the calling proxy, for every call, in grpcio's thread: it must not wait.

It takes the peer's address, and a function that returns what TLS knows of it. It returns the SPIFFE
ID of the calling proxy, "" where callers have no ID, and None to refuse.
"""


def no_such_method(*_: object) -> bytes:
    """Stand for an unknown method: ``RpcExecutor`` refuses its calls, and never runs it."""
    raise AssertionError


class _StagedRpc(UnaryRpc):
    """A call in one of the stages.

    Attributes:
        proxy: the calling proxy, as the gate named it.
        since: when the call entered its stage (monotonic seconds).
        is_finished: whether it has ended.
    """

    __slots__ = ("is_finished", "proxy", "since")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        super().__init__(function, args)
        self.proxy = ""
        self.since = 0.0
        self.is_finished = False


class _Stage:
    """The calls in one of the stages that wait for clients, oldest first. For any thread."""

    def __init__(self, limit: int, seconds: float, on_end: Callable[[], None]) -> None:
        """Begin empty.

        Holds ``limit`` calls, each for ``seconds``; ``on_end`` is called for each that it ends.
        """
        # Each step on it is atomic, so that it needs no lock.
        self._calls: OrderedDict[_StagedRpc, None] = OrderedDict()
        self._limit = limit
        self._seconds = seconds
        self._on_end = on_end

    def add(self, call: _StagedRpc) -> None:
        """Add a call; if there are too many, end the oldest."""
        call.since = time.monotonic()
        self._calls[call] = None
        if len(self._calls) > self._limit:
            with suppress(KeyError):  # another thread ended the last one
                self._end(self._calls.popitem(last=False)[0])

    def remove(self, call: _StagedRpc) -> None:
        """Remove a call, which may be gone already."""
        self._calls.pop(call, None)

    def end_old(self, now: float) -> None:
        """End the calls that have been here for too long."""
        try:
            calls = list(self._calls)
        except RuntimeError:  # another thread changed it meanwhile: the next sweep will do
            return
        for call in calls:
            if now - call.since < self._seconds:
                return
            self.remove(call)
            self._end(call)

    def _end(self, call: _StagedRpc) -> None:
        self._on_end()  # first: a client that learns of it may look at the count
        call.cancel()


class RpcExecutor(Executor):
    """Takes grpcio's calls in place of its pool of threads, and answers them with ours."""

    def __init__(self, pool: CheckPool, gate: Gate, metrics: Metrics, max_concurrent: int) -> None:
        """Begin without calls; ``max_concurrent`` bounds the working stage, and the receiving."""
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
        """Begin to end calls that take too long."""
        threading.Thread(target=self._sweep, name="calls", daemon=True).start()

    def close(self) -> None:
        """Stop ending calls; those under way go on."""
        self._closing.set()

    def _sweep(self) -> None:
        while not self._closing.wait(SWEEP_SECONDS):
            now = time.monotonic()
            self._receiving.end_old(now)
            self._sending.end_old(now)

    def submit(self, function: Callable[..., object], /, *args: object) -> None:  # type: ignore[override]
        """Take a call. Returns no future, which grpcio needs only for its own limit.

        grpcio holds the server's lock and the call's meanwhile, so that this must not wait.
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
        """Receive the message of a call whose caller is allowed; refuse any other call."""
        proxy = self._gate(call.peer, call.auth_context)
        if proxy is None:  # not a deny: other callers must not learn decisions
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
        """Hand a call to the pool once its message is here; refuse it if that will never be."""
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
        """Decide and answer, in a thread of the pool."""
        try:
            call.answer((call.message, call.proxy))
        finally:
            self._working.discard(call)
            self._send(call)

    def _refuse(self, call: _StagedRpc, code: grpc.StatusCode, details: str) -> None:
        call.refuse(code, details)
        self._send(call)

    def _send(self, call: _StagedRpc) -> None:
        """Move a call to the sending stage. grpcio's thread may end it at the same time."""
        self._sending.add(call)
        if call.is_finished:
            self._sending.remove(call)

    def _finish(self, call: _StagedRpc) -> None:
        call.is_finished = True
        self._sending.remove(call)
