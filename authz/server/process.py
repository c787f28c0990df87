"""One serving process: the running parts, and what happens to them over time."""

import logging
import os
import threading
import time
from typing import Any, Final

from authz import __version__
from authz.adapters.admin import AdminServer
from authz.adapters.audit import AuditLog
from authz.adapters.keys import KeyFolder, KeyStore
from authz.adapters.metrics import Metrics, Sources
from authz.adapters.replay_store import MemoryReplayStore
from authz.adapters.tls import ServerTls
from authz.config import Config, ConfigFiles
from authz.edge.bulkhead import Bulkhead
from authz.edge.methods import methods_of
from authz.edge.service import Service, ServiceParts
from authz.edge.snapshot import Snapshot
from authz.server.giving_way import giving_way
from authz.server.json_log import lost_lines
from authz.server.liveness import CONFIG, MAIN, POOL, REVOCATIONS, Liveness
from authz.server.looking import Looking
from authz.server.pool import CheckPool
from authz.server.reload import ConfigReload
from authz.server.transport import Transport
from authz.wiring import key_sources, revocations_of, snapshot_of

TICK_SECONDS: Final = 0.2
REVOCATIONS_SECONDS: Final = 0.2  # how often they are looked at: how late one may count
CONFIG_SECONDS: Final = 1.0  # likewise the config's files
FIRST_TICKS_SECONDS: Final = 0.02  # until we listen: keys on this machine are here in a moment
# Longest time that a stopping server goes on serving so that proxies notice that it is going:
# Envoy's health check in the shipped config asks once a second.
NOTICE_SECONDS: Final = 2.5
# What a stop may take after the drain: the transport has 2 s, the audit log's last records 5 s, the
# log's last lines 2 s.
CLOSE_SECONDS: Final = 10.0
WAITING_TOLD_SECONDS: Final = 30.0  # how often it is said that we can't listen for want of keys
_log: Final = logging.getLogger("authz.server")


class Server:
    """The running parts.

    Three threads look after them, so that none waits for another: the main one (readiness, the
    listening sockets), one for revocations, which must count at once, and one for the config,
    which takes long to read. None of them answers checks.
    """

    def __init__(
        self, files: ConfigFiles, config: Config, worker: int = 0, admin: str = ""
    ) -> None:
        """Put the parts together; nothing runs yet.

        ``config`` was read from ``files``, which are looked at from now on. ``worker`` is our
        number among several, ``admin`` where its supervisor asks it.
        """
        if config.server.pin:
            _pin(worker)
        self._config = config
        self._stopping = threading.Event()
        self._is_listening = False
        self._liveness = Liveness()
        self._revocations = revocations_of(config)
        self._looked_at = time.time()
        self.keys = KeyStore(key_sources(config), KeyFolder(config.key_cache))
        self._audit = AuditLog(config.audit)
        self.metrics = Metrics(self._sources())
        self._reload = ConfigReload(files, self._compile, self._take, self.metrics)
        with giving_way():
            snapshot = self._reload.compiled(config)
        self._tls = ServerTls(config.server.tls) if config.server.tls else None
        self._pool = CheckPool(config.server.threads)  # threads: only when all else is good
        self._finished = 0
        self._bulkhead = Bulkhead(config.server.max_waiting, self._pool.lend)
        max_queued = config.server.max_queued
        replays = MemoryReplayStore(config.replay)
        self.service = Service(
            snapshot,
            ServiceParts(
                keys=self.keys,
                revocations=self._revocations,
                replays=replays,
                audit=self._audit,
                metrics=self.metrics,
                bulkhead=self._bulkhead,
                is_overloaded=lambda: self._pool.waiting() >= max_queued,
            ),
        )
        listening = config.server.of_worker(worker)
        self._transport = Transport(
            listening,
            methods_of(self.service),
            self._tls,
            self.metrics,
            self._pool,
            is_wanted=self._is_wanted,
        )
        self._admin = AdminServer(
            admin or config.admin.listen,
            self.metrics.registry,
            self.readiness,
            self._liveness.stuck,
        )
        beat = self._liveness.beat
        self._watches = (
            Looking(REVOCATIONS, self._look_at_revocations, REVOCATIONS_SECONDS, beat),
            Looking(CONFIG, self._reload.look, CONFIG_SECONDS, beat),
        )

    def _sources(self) -> Sources:
        """What metrics read when they are scraped: not before all parts are there."""
        return Sources(
            cache_entries=lambda: len(self.service.snapshot.cache),
            key_status=self.keys.status,
            audit=self._audit,
            policy_version=lambda: self.service.snapshot.policy_version,
            revocations=self._revocations,
            tls_reloads=lambda: self._tls.reloads if self._tls else {},
            certificate_ends=lambda: self._tls.not_after if self._tls else None,
            is_shadow=lambda: self._config.shadow,
            pdp_is_cut_off=self._pdp_is_cut_off,
            wait_for_threads=lambda: self._pool.waiting(),  # noqa: PLW0108 - there is none yet
            wait_for_others=lambda: len(self._bulkhead),
            revocations_looked_at=lambda: self._looked_at,
            idle_seconds=self._liveness.idle_seconds,
            log_lost=lost_lines,
            version=__version__,
        )

    def _compile(self, config: Config, candidate: Config | None) -> Snapshot:
        return snapshot_of(config, self.keys, self._revocations, self.metrics.pdp_asked, candidate)

    def _pdp_is_cut_off(self) -> bool:
        point = self.service.snapshot.decision_point
        return point is not None and point.is_cut_off

    def start(self) -> None:
        """Start every part but the listening sockets, which wait for keys.

        Raises TransportError, RevocationError, AdminError, AuditError.
        """
        self._transport.check_addresses()
        self._revocations.settle()
        self._audit.start()
        self.keys.start()
        self._admin.start()
        self._beat()
        for watch in self._watches:
            watch.start()
        _warn_of_shadow(self._config)
        _log.info("started", extra={"version": __version__, "admin": self._admin.address})

    def serve(self) -> None:
        """Stay until told to stop, then drain. Raises TransportError."""
        self.stay()
        self.drain()

    def stay(self) -> None:
        """Listen once there are keys, then look that all goes on, until told to stop.

        Raises TransportError.
        """
        told_at = time.monotonic()
        while not self._stopping.wait(TICK_SECONDS if self._is_listening else FIRST_TICKS_SECONDS):
            self._beat()
            if self._is_listening:
                continue
            if self.keys.ready():
                self._listen()
            elif time.monotonic() - told_at >= WAITING_TOLD_SECONDS:
                told_at = time.monotonic()
                _log.warning("not listening: there are no keys yet; /readyz tells of whom")

    def _beat(self) -> None:
        """Say that we move, and for the pool that it does, or has nothing to do."""
        self._liveness.beat(MAIN)
        finished = self._pool.finished
        if finished != self._finished or not self._pool.waiting():
            self._finished = finished
            self._liveness.beat(POOL)

    def _listen(self) -> None:
        """Open the sockets. Once ready, always: an issuer added while it is down stops nobody."""
        self._transport.start()
        self._transport.set_serving(serving=True)
        self._is_listening = True
        _log.info(
            "serving",
            extra={
                "version": __version__,
                "listen": ",".join(self._transport.addresses),
                "policy_version": self.service.snapshot.policy_version,
            },
        )

    def _look_at_revocations(self) -> None:
        self._revocations.refresh()
        self._looked_at = time.time()

    def _is_wanted(self) -> bool:
        """Whether new checks are wanted here: what gRPC health answers, whatever hangs."""
        return not self._stopping.is_set() and not self._liveness.stuck()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether new checks are wanted here, with the parts of the answer."""
        checks = {
            "config": True,
            "keys": self._is_listening or self.keys.ready(),
            "listening": self._is_listening,
            "stopping": self._stopping.is_set(),
            "stuck": self._liveness.stuck(),
            "sources": self.keys.status(),
        }
        if self._audit.is_failing:
            checks["audit"] = False
        is_ready = self._is_listening and self._is_wanted() and not self._audit.refuses_allows
        return is_ready, checks

    @property
    def stop_seconds(self) -> float:
        """How long a stop takes at most."""
        return self._config.server.drain + CLOSE_SECONDS

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()

    def reload(self) -> None:
        """Have the config's files read, and let go of the audit file."""
        self._reload.want()
        for watch in self._watches:
            watch.soon()
        self._audit.reopen()

    def _take(self, config: Config, snapshot: Snapshot) -> None:
        """Put a new config into force."""
        if _fixed(config) != _fixed(self._config):
            _log.warning(
                "settings of server, admin, audit, replay, revocations and key_cache change at the "
                "next start"
            )
        self._config = config
        self.keys.reconfigure(key_sources(config))
        self.service.snapshot = snapshot
        _warn_of_shadow(config)

    def drain(self) -> None:
        """Let proxies notice, let checks end, within the configured time."""
        _log.info("stopping")
        if not self._is_listening:
            return
        seconds = self._config.server.drain
        notice = min(NOTICE_SECONDS, seconds / 2)
        self._transport.set_serving(serving=False)
        time.sleep(notice)
        self._transport.stop(seconds - notice)

    def close(self) -> None:
        """Stop every part, the audit log last."""
        for watch in self._watches:
            watch.stop()
        self._transport.stop(0)
        if self._tls is not None:
            self._tls.close()
        self._admin.close()
        self.keys.close()
        self._audit.close()


def _pin(worker: int) -> None:
    """Keep the process on one core: the threads that there are, and those that they will make."""
    cores = sorted(os.sched_getaffinity(0))
    for thread in threading.enumerate():
        os.sched_setaffinity(thread.native_id or 0, {cores[worker % len(cores)]})


def _warn_of_shadow(config: Config) -> None:
    if config.shadow:
        _log.warning("shadow: what the rules refuse is recorded, and allowed")


def _fixed(config: Config) -> tuple[object, ...]:
    return (
        *(config.server, config.admin, config.audit, config.replay),
        *(config.revocations, config.key_cache),
    )
