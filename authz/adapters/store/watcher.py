"""Watches for changes of the revocations in a store, by a subscription on its own connection."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from authz.adapters.store.connection import Connection, in_seconds
from authz.adapters.store.connections import CONNECT_SECONDS
from authz.adapters.store.locating import Locator
from authz.adapters.store.store import StoreAwayError

PING_SECONDS: Final = 2.0  # of silence, after which the server is asked for a sign of life
PONG_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.02  # after each message, so that a flood of them is no load
RECONNECT_SECONDS: Final = 0.5
_LOOK_SECONDS: Final = 0.1  # between looks at whether to end
_log: Final = logging.getLogger("authz.store")


class Watcher:
    """A thread that calls all wakes after each message, and whenever some may have been missed."""

    def __init__(self, locator: Locator, channel: str) -> None:
        """Watch nothing yet."""
        self._locator = locator
        self._channel = channel
        self._closing = threading.Event()
        self._lock = threading.Lock()  # of the wakes, and of the thread's start
        self._wakes: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._is_started = False

    def add(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called too."""
        with self._lock:
            self._wakes.append(wake)
        self._run()

    def start(self) -> None:
        """Begin to watch, if anybody wants it."""
        self._is_started = True
        self._run()

    def _run(self) -> None:
        with self._lock:
            if self._is_started and self._wakes and self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="store-watch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Have the thread end, without waiting for it: it may still wait for an answer."""
        self._closing.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, for so long at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self._subscribed()
            except StoreAwayError as error:
                _log.debug("the subscription to revocations ended: %s", error)
            except Exception:  # noqa: BLE001 - the thread must stay
                _log.exception("a fault of ours while watching the store")
            self._wake()
            self._closing.wait(RECONNECT_SECONDS)

    def _subscribed(self) -> None:
        """Subscribe, and wake at each message. Raises StoreAwayError at the end."""
        deadline = in_seconds(CONNECT_SECONDS)
        connection = self._locator.connect(self._locator.locate(deadline), deadline)
        try:
            connection.subscribe(self._channel, deadline)
            self._wake()  # what has changed before was not told
            while not self._closing.is_set():
                if self._heard(connection):
                    self._wake()
                    self._closing.wait(PAUSE_SECONDS)
        finally:
            connection.close()

    def _heard(self, connection: Connection) -> bool:
        """Wait for a message; False after a sign of life alone. Raises StoreAwayError."""
        end = time.monotonic() + PING_SECONDS
        while connection.is_quiet(_LOOK_SECONDS):
            if self._closing.is_set():
                return False
            if time.monotonic() >= end:
                connection.ping(in_seconds(PONG_SECONDS))
                break
        return connection.message(in_seconds(PONG_SECONDS))

    def _wake(self) -> None:
        with self._lock:
            wakes = tuple(self._wakes)
        for wake in wakes:
            wake()
