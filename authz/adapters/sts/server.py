"""The token service's address: accepts connections, makes TLS handshakes, and stops in order.

One thread runs an asyncio loop for all connections. aiohttp has no limit on connections, none on a
handshake and none on a slow request, so the accept is ours: each connection has an end, and too
many make room for each other.
"""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from authz.adapters.http_server import ListenError
from authz.adapters.sts.arrivals import Arrivals, source_of
from authz.adapters.sts.connections import Connection, Connections
from authz.adapters.sts.http import (
    ClientCheck,
    Pages,
    QuietProtocol,
    TokenEndpoint,
    TokenRequests,
)
from authz.adapters.sts.in_thread import Submit
from authz.adapters.sts.limits import (
    ACCEPTED_A_SECOND,
    ARRIVALS,
    CONNECTIONS,
    HANDSHAKE_SECONDS,
    HANDSHAKES,
    HANDSHAKES_A_SECOND,
    IDLE_SECONDS,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    REQUEST_SECONDS,
    SHUTDOWN_SECONDS,
)

_SWEEP_SECONDS: Final = 0.25
_STEP_SECONDS: Final = 0.05
_ACCEPT_FAULT_SECONDS: Final = 0.1  # after a fault of accept, such as too few descriptors
_LINGER_SECONDS: Final = 1.0  # how long an answered request's unread body is thrown away
_log: Final = logging.getLogger("authz.sts")


@dataclass(frozen=True, slots=True)
class StsStatus:
    """The state of the server.

    Attributes:
        connections: those that are there, and of these in ``handshakes`` those in a handshake.
        running: token requests under way.
        refused: connections that ended in the handshake, since the start.
        full: connections for which there was no room, since the start.
        statuses: answers by HTTP status, since the start.
    """

    connections: int
    handshakes: int
    running: int
    refused: int
    full: int
    statuses: dict[int, int]


class _Protocols(web.Server):
    """Makes aiohttp's connections, and forgets ours with them."""

    def __init__(self, requests: TokenRequests, connections: Connections) -> None:
        super().__init__(requests.answer)
        self._ours = connections

    def of(self, connection: Connection) -> QuietProtocol:
        """Return the protocol of a connection."""
        return QuietProtocol(
            self,
            connection,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            max_field_size=MAX_HEADER_BYTES,
            lingering_time=_LINGER_SECONDS,
        )

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection that has ended."""
        if isinstance(handler, QuietProtocol):
            self._ours.discard(handler.connection)
        super().connection_lost(handler, exc)


class _Pace:
    """Lets something happen so many times a second."""

    def __init__(self, times_a_second: float) -> None:
        self._step = 1 / times_a_second
        self._next_at = 0.0

    async def wait(self) -> None:
        """Wait until it may happen again."""
        now = time.monotonic()
        if self._next_at > now:
            await asyncio.sleep(self._next_at - now)
        self._next_at = max(time.monotonic(), self._next_at) + self._step


class StsServer:
    """The HTTPS server of the token service. ``start`` and ``stop`` are for other threads."""

    def __init__(  # noqa: PLR0917 - each named by its type
        self,
        address: str,
        context: Callable[[], ssl.SSLContext],
        pages: Pages,
        endpoint: TokenEndpoint,
        check: ClientCheck,
        submit: Submit,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """Take host:port, the context of a new connection, and what is served; nothing runs yet.

        ``submit`` has threads that verify and sign call a function.
        ``beat`` is called by the loop's thread several times a second, for health checks.
        """
        self.address = address
        self._context = context
        self._beat = beat
        self._requests = TokenRequests(pages, endpoint, check, submit)
        self._connections = Connections(CONNECTIONS)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sts", daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._arrivals = Arrivals(ARRIVALS)
        self._handshakes = self._refused = self._full = 0
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Listen, and serve from a thread on. Raises ListenError."""
        host, _, port = self.address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (host.strip("[]"), int(port)), family=family, backlog=CONNECTIONS
            )
        except (OSError, OverflowError) as error:
            raise ListenError(f"can't listen on {self.address} for the sts: {error}") from None
        self._socket.setblocking(False)
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._thread.start()

    def status(self) -> StsStatus:
        """Return the state of the server. For any thread."""
        return StsStatus(
            connections=len(self._connections),
            handshakes=self._handshakes,
            running=self._requests.shares.running,
            refused=self._refused,
            full=self._full,
            statuses=dict(self._requests.statuses),
        )

    def stop(self, seconds: float) -> None:
        """Accept nothing more, answer what has begun for so many seconds, and end everything."""
        if self._thread.is_alive():
            future = asyncio.run_coroutine_threadsafe(self._drain(seconds), self._loop)
            with suppress(Exception):  # the loop is ended all the same
                future.result(seconds + 2 * SHUTDOWN_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(SHUTDOWN_SECONDS)
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(_tell)
        self._protocols = self._loop.run_until_complete(self._made())
        self._keep(self._accept())
        self._keep(self._admit())
        self._keep(self._sweep())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _made(self) -> _Protocols:
        """Make the protocols in the loop, as aiohttp wants it."""
        return _Protocols(self._requests, self._connections)

    def _keep(self, work: Any) -> "asyncio.Task[Any]":  # noqa: ANN401 - a coroutine of any kind
        """Run a coroutine as a task that is kept: the loop itself only has weak references."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _accept(self) -> None:
        """Accept connections, which wait for their handshake's turn."""
        assert self._socket is not None  # noqa: S101 - start has opened it
        pace = _Pace(ACCEPTED_A_SECOND)
        while True:
            await pace.wait()
            try:
                accepted, address = await self._loop.sock_accept(self._socket)
            except OSError as error:
                _log.warning("can't accept a connection: %s", error.strerror)
                await asyncio.sleep(_ACCEPT_FAULT_SECONDS)
                continue
            if not self._arrivals.put(source_of(address[0]), accepted):
                self._full += 1

    async def _admit(self) -> None:
        """Begin the handshakes of accepted connections, at a pace that leaves time for others."""
        pace = _Pace(HANDSHAKES_A_SECOND)
        while True:
            await pace.wait()
            accepted = await self._arrivals.take()
            if not self._connections.make_room():
                self._full += 1
                accepted.close()
                continue
            connection = Connection(accepted, time.monotonic() + REQUEST_SECONDS)
            self._connections.add(connection)
            connection.handshake = self._keep(self._shake_hands(connection))
            self._connections.end_old_handshakes(HANDSHAKES)

    async def _shake_hands(self, connection: Connection) -> None:
        self._handshakes += 1
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: self._protocols.of(connection),
                connection.socket,
                ssl=self._context(),
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )
        except OSError:  # TLS' own among them; its text is OpenSSL's, and the client's doing
            self._refused += 1
            self._connections.discard(connection)
        except asyncio.CancelledError:
            self._connections.discard(connection)
            raise
        else:
            connection.transport = transport
        finally:
            self._handshakes -= 1
            connection.handshake = None

    async def _sweep(self) -> None:
        while True:
            self._connections.sweep(time.monotonic())
            self._beat()
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _drain(self, seconds: float) -> None:
        """Stop accepting, let requests under way be answered, and end all connections."""
        for task in tuple(self._tasks):
            task.cancel()
        if self._socket is not None:
            self._socket.close()
        self._arrivals.close()
        end = time.monotonic() + seconds
        while self._is_answering() and time.monotonic() < end:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(_STEP_SECONDS)
        await self._protocols.shutdown(SHUTDOWN_SECONDS)

    def _is_answering(self) -> bool:
        """Tell whether a request is under way; ends connections without one."""
        for connection in self._connections:
            if not connection.is_answering and connection.transport is not None:
                connection.transport.close()
        return any(connection.is_answering for connection in self._connections)


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log a fault of the loop by its type: its text may quote a client."""
    _log.error("a fault in the token service: %s", type(context.get("exception")).__name__)
