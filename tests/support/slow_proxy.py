"""A TCP proxy on loopback whose answers can be late, missing, or others than they were."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Final

_CHUNK: Final = 65_536


class SlowProxy(AbstractContextManager["SlowProxy"]):
    """A proxy before ``port`` of loopback. All settings hold for the next bytes of an answer.

    Attributes:
        port: its own, of 127.0.0.1; it stays.
        address: host:port.
        delay_seconds: before each piece of an answer goes on.
        change: what becomes of each piece of an answer.
        passed: the bytes of questions that went on.
        refused: the connections that were refused.
    """

    def __init__(self, port: int) -> None:
        """Listen."""
        self._upstream = port
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._is_refusing = self._is_closed = False
        self.delay_seconds = 0.0
        self.change: Callable[[bytes], bytes] = bytes
        self.passed = self.refused = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> None:
        """Let no answer through, of connections that are made meanwhile too, until ``resume``."""
        self._goes_on.clear()

    def refuse_new(self) -> None:
        """Accept no more connections that can be used, until ``resume``; those that are stay."""
        self._is_refusing = True

    def refuse(self) -> None:
        """Cut all connections, and accept none that can be used, until ``resume``."""
        self._is_refusing = True
        self.cut()

    def resume(self) -> None:
        """Let answers and connections through again."""
        self._is_refusing = False
        self._goes_on.set()

    def cut(self) -> None:
        """Cut the connections that there are."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            _end(sock)

    def connections(self) -> int:
        """Return the number of connections that are open."""
        with self._lock:
            return len(self._sockets) // 2

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                self.refused += 1
                _end(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                _end(client)
                continue
            with self._lock:
                self._sockets += [client, server]
            for ways in ((client, server, self._asked), (server, client, self._answered)):
                threading.Thread(target=self._pass_on, args=ways, daemon=True).start()

    def _asked(self, data: bytes) -> bytes:
        self.passed += len(data)
        return data

    def _answered(self, data: bytes) -> bytes:
        time.sleep(self.delay_seconds)
        self._goes_on.wait()
        return self.change(data)

    def _pass_on(
        self, source: socket.socket, target: socket.socket, way: Callable[[bytes], bytes]
    ) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(way(data))
        with self._lock:
            for sock in (source, target):
                if sock in self._sockets:
                    self._sockets.remove(sock)
        _end(source)
        _end(target)

    def __exit__(self, *_: object) -> None:
        """End."""
        self._is_closed = True
        self._goes_on.set()
        _end(self._listener)
        self.cut()


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
