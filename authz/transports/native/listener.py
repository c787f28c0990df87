"""A listening socket: accepts connections, up to a limit."""

import errno
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from authz.transports.addresses import UNIX, refuse_taken_socket, resolved, taken
from authz.transports.native.idle_peers import IdlePeers
from authz.transports.native.loop import Loop
from authz.transports.transport import TransportError

# In one turn: a flood of new connections must leave time for those that are open.
ACCEPTS: Final = 4
BACKLOG: Final = 1024  # connections that the system keeps until we take them
_NO_MORE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_log: Final = logging.getLogger("authz.server")


class Listener:
    """A socket that is bound to one of our addresses.

    Attributes:
        address: where it listens, with the port that was chosen for 0.
        is_unix: whether it is a unix socket, which never has TLS.
        count: connections of this address that are there.
        idle: which of them can give way.
    """

    def __init__(
        self,
        address: str,
        loop: Loop,
        max_connections: int,
        on_connection: Callable[["Listener", socket.socket, float], None],
    ) -> None:
        """Bind and listen. Raises TransportError."""
        self.is_unix = address.startswith(UNIX)
        self.count = 0
        self.idle = IdlePeers()
        self._loop = loop
        self._max_connections = max_connections
        self._on_connection = on_connection
        self._path = Path(address.removeprefix(UNIX)) if self.is_unix else None
        self._socket = _bound(address)
        self._inode = self._path.stat().st_ino if self._path else 0
        self._is_resting = False
        if self.is_unix:
            self.address = address
        else:
            port = self._socket.getsockname()[1]
            self.address = f"{address.rpartition(':')[0]}:{port}"

    def begin(self) -> None:
        """Accept connections from now on."""
        self._loop.wait_for(self._socket.fileno(), self)

    def on_ready(self, _events: int, now: float) -> None:
        """Accept the connections that wait, and close those for which there is no place."""
        for _ in range(ACCEPTS):
            try:
                opened, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_MORE:  # rest, or epoll would report it again at once
                    self._rest(error)
                    return
                continue  # the client is gone already
            if self.is_full and not self._make_room():
                opened.close()
                continue
            self._take(opened, now)

    @property
    def is_full(self) -> bool:
        """Whether a newcomer needs the place of another connection."""
        return self.count >= self._max_connections

    def _make_room(self) -> bool:
        """End an idle connection; return whether there was one."""
        if self.idle.free():
            _log.warning("an idle connection on %s was ended for a new one", self.address)
            return True
        _log.warning("%s has no place for a new connection, and none is idle", self.address)
        return False

    def _take(self, opened: socket.socket, now: float) -> None:
        try:
            opened.setblocking(False)
            if not self.is_unix:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._on_connection(self, opened, now)
        except OSError:
            opened.close()

    def on_fault(self) -> None:
        """Go on: only one connection was at fault."""

    def _rest(self, error: OSError) -> None:
        _log.error("can't take connections on %s: %s", self.address, error.strerror)
        self._loop.forget(self._socket.fileno())
        self._is_resting = True

    def sweep(self) -> None:
        """Accept connections again, if there was no place for one."""
        if self._is_resting:
            self._is_resting = False
            self.begin()

    def close(self) -> None:
        """Accept no more connections."""
        self._is_resting = False
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
        if self._path is not None:
            self._remove(self._path)
            self._path = None

    def _remove(self, path: Path) -> None:
        """Remove our socket from its folder, but not one that another server put there since."""
        with suppress(OSError):
            if path.stat().st_ino == self._inode:
                path.unlink()


def _bound(address: str) -> socket.socket:
    if address.startswith(UNIX):
        return _bound_unix(address)
    family, place = resolved(address)
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # [::] stands for every address of the machine
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind(place)
        return _listening(opened)
    except OSError as error:
        opened.close()
        raise taken(address, error) from None


def _bound_unix(address: str) -> socket.socket:
    path = Path(address.removeprefix(UNIX))
    refuse_taken_socket(address)
    opened = socket.socket(socket.AF_UNIX)
    try:
        with suppress(FileNotFoundError):
            if path.is_socket():  # left by a server that is gone
                path.unlink()
        opened.bind(str(path))
        return _listening(opened)
    except OSError as error:
        opened.close()
        raise TransportError(f"can't listen on {address}: {error.strerror}") from None


def _listening(opened: socket.socket) -> socket.socket:
    opened.setblocking(False)
    opened.listen(BACKLOG)
    return opened
