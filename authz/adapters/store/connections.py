"""The connections to the store: a thread makes and checks them, and callers take and give back.

A caller never looks up a name or makes a connection: both may take longer than it may wait. When
none can be made, it is told so at once.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from authz.adapters.store.connection import Connection, UnfitError, in_seconds
from authz.adapters.store.locating import Locator
from authz.adapters.store.place import Place
from authz.adapters.store.store import MAX_CALLS, StoreAwayError, StoreBusyError, StoreError

CONNECT_SECONDS: Final = 2.0  # with TLS, from afar, on a busy machine
CHECK_SECONDS: Final = 5.0  # between looks at the server's policy, and for the primary server
_FIRST_PAUSE_SECONDS: Final = 0.05  # after a failure; doubled after each
_MAX_PAUSE_SECONDS: Final = 1.0
_log: Final = logging.getLogger("authz.store")


class Connections:
    """At most MAX_CALLS connections to a primary server, all to the same memory."""

    def __init__(self, locator: Locator, greet: Callable[[Connection, float], None]) -> None:
        """Make none yet; ``greet`` has the first words on each, and may raise StoreAwayError."""
        self._locator = locator
        self._greet = greet
        lock = threading.RLock()
        self._change = threading.Condition(lock)  # what the thread waits for: something to do
        self._freed = threading.Condition(lock)  # what callers wait for
        self._idle: deque[Connection] = deque()  # the last one used is at the right
        self._taken: set[Connection] = set()
        self._waiting = 0
        self._fault: StoreAwayError | None = None
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self._retry_at = self._check_at = self._served_at = 0.0
        self._round = 0  # grows when those that there are may not be used any more
        self._is_closed = False
        self._thread = threading.Thread(target=self._keep, name="store", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    @property
    def fault(self) -> StoreAwayError | None:
        """Return why there is no connection, None if there may be some."""
        return None if self._idle or self._taken else self._fault

    def take(self, deadline: float) -> Connection:
        """Take a connection for a question.

        Raises StoreAwayError, and StoreBusyError if others have all of them until the deadline.
        """
        with self._change:
            self._waiting += 1
            if not self._idle:
                self._change.notify()
            try:
                return self._next(deadline)
            finally:
                self._waiting -= 1
                if self._idle and self._waiting:  # the caller that was told may have given up
                    self._freed.notify()

    def _next(self, deadline: float) -> Connection:
        begun = time.monotonic()
        while not self._is_closed:
            if self._idle:
                connection = self._idle.pop()
                if connection.is_quiet():
                    self._taken.add(connection)
                    return connection
                connection.close()
                self._drop_all()  # the server has ended it: so it has the others
            elif self.fault is not None:
                raise StoreAwayError(str(self._fault))
            elif not self._freed.wait(max(0.0, deadline - time.monotonic())):
                raise self._not_in_time(begun)
        raise StoreAwayError("it was closed")

    def _not_in_time(self, begun: float) -> StoreError:
        if self._taken or self._served_at >= begun:  # it has served others meanwhile
            return StoreBusyError("no connection was free in time")
        return StoreAwayError("no connection was made in time")

    def give_back(self, connection: Connection) -> None:
        """Give a connection back after its answers were read, or closed."""
        with self._change:
            is_current = connection in self._taken
            self._taken.discard(connection)
            if is_current and not connection.is_closed and not self._is_closed:
                self._idle.append(connection)
                self._served_at = time.monotonic()
                self._freed.notify()
            else:
                connection.close()
                self._change.notify()

    def reset(self) -> None:
        """Close all connections: their server is not the one to ask any more."""
        with self._change:
            self._drop_all()

    def _drop_all(self) -> None:
        self._round += 1
        self._taken.clear()  # those are closed when they are given back
        while self._idle:
            self._idle.pop().close()
        self._change.notify()

    def close(self) -> None:
        """End the connections, and have the thread end: it may be making another one."""
        with self._change:
            self._is_closed = True
            self._drop_all()
            self._freed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, for so long at most."""
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _keep(self) -> None:
        while not self._is_closed:
            try:
                if self._has_to_connect():
                    self._connect()
                elif time.monotonic() >= self._check_at:
                    self._check()
            except Exception:  # noqa: BLE001 - the thread must stay
                _log.exception("a fault of ours while connecting to the store")
                self._failed(StoreAwayError("a fault of ours: see the log"))

    def _has_to_connect(self) -> bool:
        """Wait until a connection is needed, or a check is due; tell which."""
        with self._change:
            now = time.monotonic()
            if self._needs_more() and now >= self._retry_at:
                return True
            due = self._retry_at if self._needs_more() else self._check_at
            self._change.wait(min(max(0.001, due - now), CHECK_SECONDS))
            return self._needs_more() and time.monotonic() >= self._retry_at

    def _needs_more(self) -> bool:
        held = len(self._idle) + len(self._taken)
        return held < MAX_CALLS and (held == 0 or self._waiting > len(self._idle))

    def _connect(self) -> None:
        begun = self._round
        try:
            deadline = in_seconds(CONNECT_SECONDS)
            place = self._locator.locate(deadline)
            connection = self._greeted(self._locator.connect(place, deadline), deadline)
        except StoreAwayError as error:
            self._failed(error)
            return
        with self._change:
            if begun != self._round or self._is_closed:
                connection.close()
                return
            self._connected(connection, place)

    def _greeted(self, connection: Connection, deadline: float) -> Connection:
        try:
            self._greet(connection, deadline)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connected(self, connection: Connection, place: Place) -> None:
        if self._fault is not None or self._check_at == 0:
            facts = connection.facts
            _log.info("connected to the store: %s %s at %s", facts.engine, facts.version, place)
        if any(held.facts != connection.facts for held in (*self._idle, *self._taken)):
            self._drop_all()  # a failover, or a restart
        self._fault, self._pause_seconds, self._retry_at = None, _FIRST_PAUSE_SECONDS, 0.0
        self._check_at = in_seconds(CHECK_SECONDS)
        self._idle.append(connection)
        self._freed.notify()

    def _failed(self, error: StoreAwayError) -> None:
        with self._change:
            if self._fault is None or str(self._fault) != str(error):
                _log.error("the store can't be used: %s", error)
            self._fault = error
            self._retry_at = in_seconds(self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, _MAX_PAUSE_SECONDS)
            self._freed.notify_all()

    def _check(self) -> None:
        """See whether the connections are still to the server to ask, by a new one.

        The Sentinels may have chosen another server, or its policy was changed. A check without an
        answer changes nothing: calls find out themselves whether those that there are still serve.
        """
        self._check_at = in_seconds(CHECK_SECONDS)
        begun, deadline = self._round, in_seconds(CONNECT_SECONDS)
        try:
            place = self._locator.locate(deadline)
            if any(held.place != place for held in self._held()):
                self.reset()
            fresh = self._locator.connect(place, deadline)
        except UnfitError as error:
            self.reset()
            self._failed(error)
        except StoreAwayError as error:
            _log.debug("a check of the store had no answer: %s", error)
        else:
            self._checked(fresh, begun)

    def _checked(self, fresh: Connection, begun: int) -> None:
        with self._change:
            is_other = any(held.facts != fresh.facts for held in (*self._idle, *self._taken))
            if begun == self._round and is_other:
                _log.warning("the store restarted, or another server is the primary one")
                self._drop_all()
            self._fault, self._pause_seconds = None, _FIRST_PAUSE_SECONDS
        fresh.close()

    def _held(self) -> tuple[Connection, ...]:
        with self._change:
            return (*self._idle, *self._taken)
