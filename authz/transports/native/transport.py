"""Serves checks from one loop: sockets, connections, and the end of both."""

import random
import socket
import ssl
import sys
import time
from typing import Final

from authz.adapters.tls import ServerTls
from authz.adapters.tls_contexts import TlsContexts
from authz.transports.addresses import connections_of_each, require_usable
from authz.transports.callers import CallerAuthenticator
from authz.transports.health import HEALTH, Health
from authz.transports.native.backlog import Backlog
from authz.transports.native.calls import Service
from authz.transports.native.channel import Channel
from authz.transports.native.gate import ANYONE, Gate
from authz.transports.native.health import health_methods
from authz.transports.native.listener import Listener
from authz.transports.native.loop import Loop, attempt
from authz.transports.native.peer import Peer
from authz.transports.native.tls import ALPN, TlsPipe
from authz.transports.native.tls_channel import TlsChannel
from authz.transports.native.turns import Turns
from authz.transports.native.watches import Watches
from authz.transports.transport import TransportError, TransportParts

# Beyond the grace of a stop: for the last answers to go out.
STOP_MARGIN_SECONDS: Final = 2.0
STOP_LOOK_SECONDS: Final = 0.01
# TLS handshakes under way, which take 100 KB each for clients that are not known yet. A further one
# ends the oldest, since an honest handshake takes milliseconds.
MAX_HANDSHAKES: Final = 256
# How soon the loop gets the interpreter back while the pool's threads work, after each read and
# write. With Python's own 5 ms, two clients that keep the pool busy with long messages delay others
# by 500 ms at worst; with this value by 70 ms.
SWITCH_SECONDS: Final = 0.0005
# So that a proxy's connections do not all end at once.
AGE_SPREAD: Final = 0.1
# Of all connections together, checked in each sweep: twenty that are at their own limit.
MAX_BUFFERED_BYTES: Final = 320 * 1024 * 1024


class NativeTransport:
    """The server.

    Attributes:
        addresses: those that it listens on, with the ports that were chosen for 0.
    """

    def __init__(self, parts: TransportParts) -> None:
        """Prepare the server. Raises TransportError for a certificate that TLS can't use."""
        settings = parts.settings
        self.addresses: list[str] = []
        self._settings = settings
        self._health = Health(tuple(parts.methods), parts.is_wanted)
        self._watches = Watches(self._health)
        self._loop = Loop(self._work, self._sweep)
        self._backlog = Backlog(parts.pool, settings.max_concurrent, self._loop.ask)
        self._turns = Turns()
        named = {**parts.methods, HEALTH: health_methods(self._health)}
        methods = {
            f"/{service}/{name}".encode(): method
            for service, methods in named.items()
            for name, method in methods.items()
        }
        self._service = Service(
            self._loop,
            methods,
            self._backlog,
            self._turns,
            self._watches,
            parts.metrics,
        )
        self._listeners: list[Listener] = []
        self._switch_seconds = SWITCH_SECONDS
        self._peers: dict[Peer, Listener] = {}
        self._newest: dict[Peer, None] = {}  # that began with a handshake, the oldest first
        self._gate = None if parts.tls is None else CallerAuthenticator(parts.tls, parts.clock.wall)
        self._contexts = None if parts.tls is None else contexts_of(parts.tls)

    def check_addresses(self) -> None:
        """Raise TransportError if ``start``, which may come much later, could not listen."""
        require_usable(self._settings.listen)

    def start(self) -> None:
        """Listen on every address. Raises TransportError."""
        of_each = connections_of_each(len(self._settings.listen))
        for address in self._settings.listen:
            listener = Listener(address, self._loop, of_each, self._connected)
            self._listeners.append(listener)
            self.addresses.append(listener.address)
        for listener in self._listeners:
            listener.begin()
        self._switch_seconds = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._loop.start()

    def progress(self) -> int:
        """Return a number that grows while the loop makes progress."""
        return self._loop.turns

    def set_serving(self, *, serving: bool) -> None:
        """Set whether health checks say that new checks are wanted here. Waits for nothing."""
        self._health.is_serving = serving
        self._loop.ask(self._watches.tell_changes)

    def stop(self, grace_seconds: float) -> None:
        """Take no new checks; wait for those under way, not much longer than the grace."""
        if self._loop.is_running:
            self._loop.ask(self._begin_stop)
            ends = time.monotonic() + grace_seconds
            while self._peers and time.monotonic() < ends:
                time.sleep(STOP_LOOK_SECONDS)
            self._loop.ask(self._close_peers)
            self._loop.end(STOP_MARGIN_SECONDS)
            sys.setswitchinterval(self._switch_seconds)
        for listener in self._listeners:  # those of a start that failed
            listener.close()

    # In the loop's thread.

    def _begin_stop(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._watches.dismiss_all()
        now = time.monotonic()
        for peer in list(self._peers):
            attempt(peer.on_fault, peer.leave, now)

    def _close_peers(self) -> None:
        for peer in list(self._peers):
            peer.close()

    def _connected(self, listener: Listener, opened: socket.socket, now: float) -> None:
        """Take a new connection, or close it. Raises OSError."""
        channel = Channel(opened, self._loop, now)
        gate: Gate = ANYONE
        if self._contexts is not None and self._gate is not None and not listener.is_unix:
            pipe, gate = TlsPipe(self._contexts.current()), self._gate
            channel = TlsChannel(opened, self._loop, pipe, now)
            self._make_room_for_a_handshake()
        spread = random.uniform(1 - AGE_SPREAD, 1 + AGE_SPREAD)  # noqa: S311 - not a secret
        max_age = self._settings.max_connection_age * spread
        peer = Peer(self._service, channel, gate, self._gone, begun=now, max_age=max_age)
        self._loop.wait_for(channel.descriptor, peer)
        self._peers[peer] = listener
        listener.count += 1
        if channel.is_handshaking:
            self._newest[peer] = None
        attempt(peer.on_fault, peer.begin)

    def _make_room_for_a_handshake(self) -> None:
        if len(self._newest) >= MAX_HANDSHAKES:
            oldest = next(iter(self._newest))
            del self._newest[oldest]
            if oldest.is_handshaking:
                oldest.close()

    def _gone(self, peer: Peer) -> None:
        self._peers.pop(peer).count -= 1
        self._newest.pop(peer, None)

    def _work(self) -> bool:
        backlog, is_behind = self._backlog, self._turns.work()
        return (backlog.has_some and backlog.work(is_behind=is_behind)) or is_behind

    def _sweep(self, now: float) -> None:
        for listener in self._listeners:
            listener.sweep()
        for peer in list(self._peers):
            attempt(peer.on_fault, peer.sweep, now)
        for listener in self._listeners:
            here = [peer for peer, at in self._peers.items() if at is listener]
            listener.idle.look(here if listener.is_full else (), now)
        self._watches.tell_changes()
        self._end_hoarders()

    def _end_hoarders(self) -> None:
        """End the connections that hold most, while all together hold too much."""
        held = {peer: peer.buffered_bytes for peer in self._peers}
        excess = sum(held.values()) - MAX_BUFFERED_BYTES
        for peer in sorted(held, key=held.__getitem__, reverse=True):
            if excess <= 0:
                return
            excess -= held[peer]
            peer.close()


def contexts_of(tls: ServerTls) -> TlsContexts:
    """Make the contexts of handshakes. Raises TransportError if TLS can't use the certificate."""
    try:
        return TlsContexts(tls, ALPN)
    except (OSError, ssl.SSLError) as error:
        raise TransportError(f"TLS can't use the certificate: {error}") from None
