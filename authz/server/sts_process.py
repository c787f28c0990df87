"""Runs the token service: starts and watches its parts, loads new configs, drains and closes."""

import logging
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from authz import __version__
from authz.adapters.admin import AdminServer
from authz.adapters.sts import metadata as paths
from authz.adapters.sts.http import Pages
from authz.adapters.sts.server import StsServer
from authz.adapters.tls_contexts import TlsContexts
from authz.config import Config
from authz.server.fixed import FixedParts
from authz.server.giving_way import yielding_gil
from authz.server.liveness import MAIN, POOL, TRANSPORT, Liveness
from authz.server.readiness import readiness_of
from authz.server.reload import ConfigReload, ConfigSource
from authz.server.sts_metrics import build_sts_metrics
from authz.server.watches import build_watches
from authz.wiring.files import BuildError
from authz.wiring.sts import StsParts, open_sts, sts_settings

TICK_SECONDS: Final = 0.2
FIRST_TICKS_SECONDS: Final = 0.02  # until we listen: a local issuer's keys arrive quickly
CLOSE_SECONDS: Final = 10.0  # how long a stop may take after the drain, as a server's
WAITING_TOLD_SECONDS: Final = 30.0  # how often the log says that keys are missing
ALPN: Final = "http/1.1"
FIXED: Final = FixedParts(
    ("audit", "store", "replay", "revocations", "consents", "key_cache"),
    (
        ("sts", "listen"),
        # Not trust_domains: that the agents of a domain count no more must not wait for a restart.
        ("sts", "tls", "certificate"),
        ("sts", "tls", "private_key"),
        ("sts", "tls", "client_ca"),
        ("sts", "admin"),
    ),
)
_log: Final = logging.getLogger("authz.server")


class StsProcess:
    """A token service, of which a process has one. Its main thread answers no requests.

    Attributes:
        server: the HTTP server.
        configs: reloads changed configs.
        liveness: the progress of the parts.
        metrics: what a scrape shows.
    """

    def __init__(self, parts: StsParts, config: Config, source: ConfigSource) -> None:
        """Build the objects that serve and watch the parts of ``config``; nothing runs yet.

        ``source`` holds the files of the config, and is watched from the start on. Raises
        BuildError.
        """
        self._parts = parts
        self._config = config
        self._stopping = threading.Event()
        self._is_listening = False
        self._finished = 0
        self.liveness = Liveness()
        self.configs = ConfigReload(source, self._take)
        settings = parts.settings
        self._metadata = self._made_metadata()
        pages = Pages(
            paths.token_path(settings),
            {
                paths.metadata_path(settings.issuer): lambda: self._metadata,
                paths.jwks_path(settings.issuer): parts.signer.jwks,
            },
        )
        self.server = StsServer(
            settings.listen,
            _contexts(parts).current,
            pages,
            parts.issuing,
            parts.check,
            parts.pool.submit,
            lambda: self.liveness.beat(TRANSPORT),
        )
        self.metrics = build_sts_metrics(parts, self.server, self.configs, self.liveness)
        self._admin = AdminServer(
            settings.admin.listen, self.metrics.registry, self.readiness, self.liveness.stuck
        )
        self._watches = build_watches(parts, self.configs, self.liveness)

    def _made_metadata(self) -> bytes:
        settings = sts_settings(self._config)
        return paths.metadata(settings, tuple(self._config.token.dpop.algorithms))

    def start(self) -> None:
        """Start every part except the listening socket, which waits for keys.

        Raises RevocationError, AuditError, KeyStoreError, ListenError.
        """
        self._parts.start()
        self._admin.start()
        self._beat()
        for watch in self._watches:
            watch.start()
        _log.info("started", extra={"version": __version__, "admin": self._admin.address})

    def serve(self) -> None:
        """Serve until told to stop, then drain. Raises ListenError."""
        told_at = time.monotonic()
        while not self._stopping.wait(TICK_SECONDS if self._is_listening else FIRST_TICKS_SECONDS):
            self._beat()
            if self._is_listening:
                continue
            if self._parts.keys.ready() and self._parts.shared.revocations.is_ready:
                self._listen()
            elif time.monotonic() - told_at >= WAITING_TOLD_SECONDS:
                told_at = time.monotonic()
                _log.warning("not listening yet: keys or revocations are missing; see /readyz")
        self._drain()

    def _listen(self) -> None:
        """Open the socket, for good: a later issuer without keys does not close it."""
        self.server.start()
        self._is_listening = True
        extra = {
            "version": __version__,
            "listen": self.server.address,
            "policy_version": self._parts.issuing.snapshot.records.policy_version,
        }
        _log.info("issuing tokens", extra=extra)

    def _beat(self) -> None:
        """Note progress of the main thread, and of the pool if it has finished work or is idle."""
        self.liveness.beat(MAIN)
        pool = self._parts.pool.status()
        if pool.finished != self._finished or not pool.queued:
            self._finished = pool.finished
            self.liveness.beat(POOL)

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether requests are wanted here, and the results that /readyz shows."""
        state = {"is_listening": self._is_listening, "is_stopping": self._stopping.is_set()}
        return readiness_of(self._parts, self.liveness, **state)

    @property
    def address(self) -> str:
        """Where the service listens, with the port that was chosen for 0."""
        return self.server.address

    @property
    def admin_address(self) -> str:
        """Where operators ask, likewise."""
        return self._admin.address

    @property
    def stop_seconds(self) -> float:
        """The longest time that a stop takes."""
        return self._config.server.drain + CLOSE_SECONDS

    def stop(self) -> None:
        """Have ``serve`` drain and return. For any thread."""
        self._stopping.set()

    def reload(self) -> None:
        """Schedule a reload of the config, and reopen the audit file (SIGHUP)."""
        self.configs.want()
        for watch in self._watches:
            watch.soon()
        self._parts.audit.reopen()

    def _take(self, config: Config, candidate: Config | None) -> str:
        """Put a new config into force, and return its policy's version.

        Raises BuildError, KeyStoreError: then the old config stays in force.
        """
        del candidate  # of the rules for checks
        settings = sts_settings(config)
        if settings.issuer != self._parts.settings.issuer:
            raise BuildError("sts.issuer can't change while the token service runs: start it anew")
        version = self._parts.reconfigure(config)
        FIXED.warn_of_changes(self._config, config)
        self._config = config
        self._metadata = self._made_metadata()
        return version

    def _drain(self) -> None:
        """Answer the requests that have begun, within the configured time."""
        _log.info("stopping")
        if self._is_listening:
            self.server.stop(self._config.server.drain)

    def close(self) -> None:
        """Stop serving and watching the parts; ``open_sts`` closes the parts themselves."""
        for watch in self._watches:
            watch.stop()
        self.server.stop(0)
        self._admin.close()


def _contexts(parts: StsParts) -> TlsContexts:
    """Make the contexts of handshakes: metadata and keys need no certificate of the client."""
    try:
        return TlsContexts(parts.tls, ALPN, ssl.CERT_OPTIONAL)
    except (OSError, ssl.SSLError) as error:
        raise BuildError(f"sts.tls: TLS can't use the certificate: {error}") from None


@contextmanager
def open_token_service(config: Config, source: ConfigSource) -> Iterator[StsProcess]:
    """Open a token service and its parts, and close them. Nothing runs before ``start``.

    Raises BuildError, TlsError.
    """
    with ExitStack() as opened:
        with yielding_gil():
            parts = opened.enter_context(open_sts(config))
        yield opened.enter_context(closing(StsProcess(parts, config, source)))
