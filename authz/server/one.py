"""One serving process: the running parts, and what happens to them over time."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from authz import __version__
from authz.admin import AdminServer
from authz.audit import AuditLog
from authz.build import BuildError, key_sources, revocations_of, snapshot_of
from authz.config import Config, ConfigError, ConfigFiles, load
from authz.keys import KeyStore
from authz.metrics import Metrics, Sources
from authz.replay import MemoryReplayStore
from authz.server.pool import CheckPool
from authz.server.signals import signals
from authz.server.transport import Transport
from authz.service import Service, Snapshot
from authz.tls import ServerTls
from authz.waiting import Waits

TICK_SECONDS: Final = 0.2
RELOAD_TICKS: Final = 5  # the config's files are looked at once a second
# Longest time that a stopping server goes on serving so that proxies notice that it is going:
# Envoy's health check in the shipped config asks once a second.
NOTICE_SECONDS: Final = 2.5
# How long a check waits for the interpreter while a config is read, which takes seconds for 100,000
# rules. Python's own 5 ms are too long for that: each wait of a check for anything may cost them.
GIVE_WAY_SECONDS: Final = 0.0005
_log: Final = logging.getLogger("authz.server")


class Server:
    """The running parts, and what happens to them over time."""

    def __init__(
        self, files: ConfigFiles, config: Config, worker: int = 0, admin: str = ""
    ) -> None:
        """Put the parts together; nothing runs yet.

        ``config`` was read from ``files``, which are looked at from now on. ``worker`` is our
        number among several, ``admin`` where its supervisor asks it.
        """
        self._files = files
        self._candidate: ConfigFiles | None = None
        if config.server.pin:  # before any thread is made, which inherits it
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[worker % len(cores)]})
        self._config = config
        self._stopping = threading.Event()
        self._reload_wanted = threading.Event()
        self._had_keys = False
        self._revocations = revocations_of(config)
        self.keys = KeyStore(key_sources(config))
        self._audit = AuditLog(config.audit)
        self.metrics = Metrics(
            Sources(
                cache_entries=lambda: len(self.service.snapshot.cache),
                key_status=self.keys.status,
                audit=self._audit,
                policy_version=lambda: self.service.snapshot.policy_version,
                revocations=self._revocations,
                tls_reloads=lambda: self._tls.reloads if self._tls else {},
                certificate_ends=lambda: self._tls.not_after if self._tls else None,
                is_shadow=lambda: self._config.shadow,
                pdp_is_cut_off=self._pdp_is_cut_off,
                wait_for_threads=lambda: pool.waiting(),  # noqa: PLW0108 - it is made below
                wait_for_others=lambda: len(waits),
                version=__version__,
            )
        )
        snapshot = self._snapshot_of(config)
        self._tls = ServerTls(config.server.tls) if config.server.tls else None
        pool = CheckPool(config.server.threads)  # threads: only when all else is good
        waits = Waits(config.server.max_waiting, pool.lend)
        max_queued = config.server.max_queued
        replays = MemoryReplayStore(config.replay)
        self.service = Service(
            snapshot,
            self.keys,
            self._audit,
            self.metrics,
            replays,
            revocations=self._revocations,
            waits=waits,
            is_overloaded=lambda: pool.waiting() >= max_queued,
        )
        listening = config.server.of_worker(worker)
        self._transport = Transport(listening, self.service, self._tls, self.metrics, pool)
        self._admin = AdminServer(
            admin or config.admin.listen, self.metrics.registry, self.readiness
        )

    def _snapshot_of(self, config: Config) -> Snapshot:
        """Compile it, with its candidate, whose files are looked at from now on."""
        path = config.candidate
        self._candidate = None if path is None else ConfigFiles(Path(path))
        candidate = None if self._candidate is None else load(self._candidate)
        keys, revocations = self.keys, self._revocations
        return snapshot_of(config, keys, revocations, self.metrics.pdp_asked, candidate)

    def _changed(self) -> bool:
        candidate = self._candidate
        return self._files.changed() or (candidate is not None and candidate.changed())

    def _pdp_is_cut_off(self) -> bool:
        point = self.service.snapshot.decision_point
        return point is not None and point.is_cut_off

    def start(self) -> None:
        """Start every part, the listening sockets last."""
        self._audit.start()
        self.keys.start()
        self._admin.start()
        self._transport.start()
        _warn_of_shadow(self._config)
        _log.info(
            "serving",
            extra={
                "version": __version__,
                "listen": ",".join(self._transport.addresses),
                "admin": self._admin.address,
                "policy_version": self.service.snapshot.policy_version,
            },
        )

    def serve(self) -> None:
        """Stay until told to stop, then drain; signals tell. Raises nothing."""
        with signals(self):
            self.stay()
        self.drain()

    def stay(self) -> None:
        """Serve, look after readiness and the config's files, until told to stop."""
        ticks = 0
        while not self._stopping.wait(TICK_SECONDS):
            # Once ready, always: an issuer that is added while it is down must not stop the rest.
            self._had_keys = self._had_keys or self.keys.ready()
            self._transport.set_serving(serving=self._had_keys)
            ticks += 1
            self._revocations.refresh()
            if self._reload_wanted.is_set() or ticks % RELOAD_TICKS == 0:
                self._reload()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether new checks are wanted here, with the parts of the answer."""
        keys = self._had_keys or self.keys.ready()
        stopping = self._stopping.is_set()
        checks = {
            "config": True,
            "keys": keys,
            "stopping": stopping,
            "sources": self.keys.status(),
        }
        if self._audit.is_failing:
            checks["audit"] = False
        return keys and not stopping and not self._audit.refuses_allows, checks

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()

    def reload(self) -> None:
        """Read the config's files at the next tick, and let go of the audit file."""
        self._reload_wanted.set()
        self._audit.reopen()

    def _reload(self) -> None:
        """Swap in a changed config; keep the last good one when it is not good."""
        wanted = self._reload_wanted.is_set()
        self._reload_wanted.clear()
        if not wanted and not self._changed():
            return
        try:
            with _giving_way():
                config = load(self._files)
                snapshot = self._snapshot_of(config)
        except (ConfigError, BuildError) as error:
            self._not_taken(str(error).splitlines())
            return
        except Exception as error:  # noqa: BLE001 - a config must not stop a server that runs
            self._not_taken([f"internal error: {type(error).__name__}"])
            return
        if _fixed(config) != _fixed(self._config):
            _log.warning(
                "settings of server, admin, audit, replay and revocations change at the next start"
            )
        self._config = config
        self.keys.reconfigure(key_sources(config))
        self.service.snapshot = snapshot
        self.metrics.reloaded(succeeded=True)
        _warn_of_shadow(config)
        version = self.service.snapshot.policy_version
        _log.info("config taken", extra={"policy_version": version})

    def _not_taken(self, problems: list[str]) -> None:
        self.metrics.reloaded(succeeded=False)
        for line in problems:
            _log.error("config not taken, the last good one stays: %s", line)

    def drain(self) -> None:
        """Let proxies notice, let checks end, within the configured time."""
        seconds = self._config.server.drain
        notice = min(NOTICE_SECONDS, seconds / 2)
        _log.info("stopping")
        self._transport.set_serving(serving=False)
        time.sleep(notice)
        self._transport.stop(seconds - notice)

    def close(self) -> None:
        """Stop every part, the audit log last."""
        self._transport.stop(0)
        if self._tls is not None:
            self._tls.close()
        self._admin.close()
        self.keys.close()
        self._audit.close()


def _warn_of_shadow(config: Config) -> None:
    if config.shadow:
        _log.warning("shadow: what the rules refuse is recorded, and allowed")


def _fixed(config: Config) -> tuple[object, ...]:
    return config.server, config.admin, config.audit, config.replay, config.revocations


@contextmanager
def _giving_way() -> Iterator[None]:
    """Let other threads have the interpreter sooner than they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(GIVE_WAY_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
