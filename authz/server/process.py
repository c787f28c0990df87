"""Runs a serving process: starts and watches its parts, loads new configs, drains and closes."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from authz import __version__
from authz.adapters.admin import AdminServer
from authz.adapters.audit.identity import WorkerIdentity
from authz.config import Config
from authz.edge.methods import methods_of
from authz.server.fixed import FixedParts
from authz.server.giving_way import yielding_gil
from authz.server.liveness import MAIN, POOL, TRANSPORT, Liveness
from authz.server.presented import presented_by
from authz.server.process_metrics import build_metrics
from authz.server.readiness import readiness_of
from authz.server.reload import ConfigReload, ConfigSource
from authz.server.watches import build_watches
from authz.transports.opening import open_transport
from authz.transports.transport import TransportParts
from authz.wiring.parts import Parts, open_parts
from authz.wiring.publishing import KeyPublication
from authz.wiring.signals import open_signals

TICK_SECONDS: Final = 0.2
FIRST_TICKS_SECONDS: Final = 0.02  # until we listen: a local issuer's keys arrive quickly
# How long a stop may take after the drain: the transport 2 s, the audit log's last records 5 s, the
# last spans 1 s, the log's last lines 2 s.
CLOSE_SECONDS: Final = 10.0
WAITING_TOLD_SECONDS: Final = 30.0  # how often the log says that keys are missing
FIXED: Final = FixedParts(
    (
        *("server", "admin", "audit", "traces", "store"),
        *("replay", "revocations", "signals", "key_cache"),
    ),
    (("assertions", "listen"), ("assertions", "tls")),
)
_log: Final = logging.getLogger("authz.server")


class ServerProcess:
    """A server, of which a process has one.

    The main thread watches readiness and the listening sockets, and the threads of
    ``build_watches`` the files and the store. None of them answers checks.
    """

    def __init__(
        self, parts: Parts, config: Config, source: ConfigSource, worker: int = 0, admin: str = ""
    ) -> None:
        """Build the objects that serve and watch the parts of ``config``; nothing runs yet.

        ``source`` holds the files of the config, and is watched from the start on. ``worker`` is
        our number among several, ``admin`` the address for its supervisor's questions, "" for the
        config's address. Raises TransportError, BuildError.
        """
        self._parts = parts
        self._config = config
        self._worker = worker
        self._stopping = threading.Event()
        self._is_listening = False
        self._finished = 0  # the number of checks when we last looked
        self._turned: int | None = None  # the transport's progress at that time
        self._liveness = Liveness()
        self._begun_at = time.time()
        carrying = TransportParts(
            config.server.of_worker(worker),
            methods_of(parts.service),
            parts.tls,
            parts.metrics,
            parts.pool,
            is_wanted=self._is_wanted,
            clock=parts.clock,
        )
        self._transport = open_transport(carrying)
        self._reload = ConfigReload(source, self._take)
        # Of several workers the first receives signals, and publishes keys; its supervisor starts
        # it again.
        self._signals = (
            open_signals(config, parts.keys, parts.shared.store) if worker == 0 else None
        )
        self._publication = KeyPublication(config, parts.assertion_keys, is_here=worker == 0)
        metrics = build_metrics(parts, self._reload, self._liveness, self._signals)
        self._admin = AdminServer(
            admin or config.admin.listen,
            metrics.registry,
            self.readiness,
            self._liveness.stuck,
            self.presented,
        )
        self._watches = build_watches(parts, self._reload, self._liveness)

    def start(self) -> None:
        """Start every part except the listening sockets, which wait for keys.

        Raises TransportError, RevocationError, AuditError, KeyStoreError, ListenError.
        """
        if self._config.server.pin:
            _pin(self._worker)
        self._transport.check_addresses()
        self._parts.start()
        self._admin.start()
        if self._signals is not None:
            self._signals.start()
        self._publication.start()
        self._beat()
        for watch in self._watches:
            watch.start()
        _warn_of_shadow(self._config)
        _log.info("started", extra={"version": __version__, "admin": self._admin.address})

    def serve(self) -> None:
        """Serve until told to stop, then drain. Raises TransportError."""
        self.stay()
        self.drain()

    def stay(self) -> None:
        """Listen when there are keys, and note progress, until told to stop.

        Raises TransportError.
        """
        told_at = time.monotonic()
        while not self._stopping.wait(TICK_SECONDS if self._is_listening else FIRST_TICKS_SECONDS):
            self._beat()
            if self._is_listening:
                continue
            if self._parts.keys.ready() and self._parts.shared.revocations.is_ready:
                self._listen()
            elif time.monotonic() - told_at >= WAITING_TOLD_SECONDS:
                told_at = time.monotonic()
                self._tell_what_is_missing()

    def _beat(self) -> None:
        """Note progress of the main thread, of the transport, and of the pool.

        The pool makes progress if it has finished checks or is idle.
        """
        self._liveness.beat(MAIN)
        pool = self._parts.pool.status()
        if pool.finished != self._finished or not pool.queued:
            self._finished = pool.finished
            self._liveness.beat(POOL)
        turned = self._transport.progress()
        if turned != self._turned and self._is_listening:
            self._turned = turned
            self._liveness.beat(TRANSPORT)

    def _tell_what_is_missing(self) -> None:
        if not self._parts.keys.ready():
            _log.warning("not listening yet: keys are missing; /readyz says whose")
        if not self._parts.shared.revocations.is_ready:
            _log.warning("not listening yet: the store does not say what is revoked")

    def _listen(self) -> None:
        """Open the sockets, for good: a later issuer without keys does not close them."""
        self._transport.start()
        self._transport.set_serving(serving=True)
        self._is_listening = True
        _log.info(
            "serving",
            extra={
                "version": __version__,
                "listen": ",".join(self._transport.addresses),
                "policy_version": self._parts.service.status().policy_version,
            },
        )

    def _is_wanted(self) -> bool:
        """Tell whether new checks are wanted here, for gRPC health. Waits for no part."""
        return not self._stopping.is_set() and not self._liveness.stuck()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether new checks are wanted here, and the results that /readyz shows."""
        state = {"is_listening": self._is_listening, "is_stopping": self._stopping.is_set()}
        return readiness_of(self._parts, self._liveness, **state)

    def presented(self) -> dict[str, Any]:
        """Return what proxies presented since the start, for /presented."""
        service = self._parts.service
        version = service.status().policy_version
        return presented_by(version, self._begun_at, service.presentations.kept())

    @property
    def stop_seconds(self) -> float:
        """The longest time that a stop takes."""
        return self._config.server.drain + CLOSE_SECONDS

    def stop(self) -> None:
        """Have ``serve`` drain and return. For any thread."""
        self._stopping.set()

    def reload(self) -> None:
        """Schedule a reload of the config, and reopen the audit file (SIGHUP)."""
        self._reload.want()
        for watch in self._watches:
            watch.soon()
        self._parts.audit.reopen()

    def _take(self, config: Config, candidate: Config | None) -> str:
        """Put a new config into force, and return its policy's version.

        Raises BuildError, KeyStoreError: then the old config stays in force.
        """
        with self._publication.taking(config):
            version = self._parts.reconfigure(config, candidate)
        FIXED.warn_of_changes(self._config, config)
        self._config = config
        _warn_of_shadow(config)
        return version

    def drain(self) -> None:
        """Wait until proxies notice the stop and checks end, within the configured time."""
        _log.info("stopping")
        if not self._is_listening:
            return
        settings = self._config.server
        self._transport.set_serving(serving=False)
        self._serve_on(settings.notice_seconds)
        self._transport.stop(settings.drain - settings.notice_seconds)

    def _serve_on(self, seconds: float) -> None:
        """Let the other threads serve for this time. Note progress, as this thread is not stuck."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(TICK_SECONDS, left))
            self._beat()

    def close(self) -> None:
        """Stop serving and watching the parts; ``open_parts`` closes the parts themselves."""
        for watch in self._watches:
            watch.stop()
        if self._signals is not None:
            self._signals.close()
        self._publication.close()
        self._transport.stop(0)
        self._admin.close()


@contextmanager
def open_server(
    config: Config, source: ConfigSource, worker: int = 0, admin: str = "", run: str = ""
) -> Iterator[ServerProcess]:
    """Open a server and its parts, and close them. Nothing runs before ``start``.

    ``run`` is the same for all workers of a start, "" for a server of one process. Raises
    ConfigError for an invalid candidate, BuildError, TlsError, TransportError.
    """
    with ExitStack() as opened:
        with yielding_gil():
            candidate, identity = source.read_candidate(config), _identity(config, worker, run)
            parts = opened.enter_context(open_parts(config, candidate, identity=identity))
        server = ServerProcess(parts, config, source, worker, admin)
        yield opened.enter_context(closing(server))


def _identity(config: Config, worker: int, run: str) -> WorkerIdentity:
    if run:
        return WorkerIdentity(worker, config.server.workers, run)
    return WorkerIdentity()


def _pin(worker: int) -> None:
    """Keep the process's threads on one core; threads that they start inherit it."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in threading.enumerate():
        os.sched_setaffinity(thread.native_id or 0, {cores[worker % len(cores)]})


def _warn_of_shadow(config: Config) -> None:
    if config.shadow:
        _log.warning(
            "shadow: true is set: requests that the rules refuse are recorded, and allowed"
        )
