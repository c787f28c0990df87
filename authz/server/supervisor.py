"""Several serving processes as one: started, watched, started again, asked, and stopped together.

Each worker is a whole server with sockets of its own, and reads the config's files by itself. The
supervisor answers no checks; it has the admin address, where the workers' numbers are added up.
"""

import http.client
import json
import logging
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry

from authz import __version__
from authz.admin import AdminServer
from authz.config import Config
from authz.server.merge import MergedMetrics, Samples, parse_samples
from authz.server.signals import signals

WATCH_SECONDS: Final = 0.05
POLL_SECONDS: Final = 1.0  # how old a worker's numbers may be when it is gone without a word
ASK_SECONDS: Final = 1.0
START_SECONDS: Final = 15.0
STOP_MARGIN_SECONDS: Final = 5.0
SHORT_LIFE_SECONDS: Final = 5.0  # one that ends sooner is started again with a growing pause
LONGEST_PAUSE_SECONDS: Final = 5.0
_READY: Final = 200
_log: Final = logging.getLogger("authz.server")


class WorkerStartError(RuntimeError):
    """A worker could not start; its own message stands in the log."""


class Worker:
    """One worker process, and the next one in its place."""

    def __init__(self, number: int, config: Path, folder: Path) -> None:
        """Take its number, the config file, and where its admin socket goes."""
        self.number = number
        self.samples: Samples = {}
        self._config = config
        self._socket = folder / f"worker-{number}.sock"
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._short_lives = 0

    @property
    def pid(self) -> int:
        """Its process, 0 while there is none."""
        return self._child.pid if self._child is not None else 0

    def start(self) -> None:
        """Start it."""
        self._socket.unlink(missing_ok=True)
        level = logging.getLevelName(logging.getLogger().level)
        place = (str(self._config), str(self.number), f"unix:{self._socket}", level)
        self._started_at = time.monotonic()
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "authz.server.worker", *place], stdin=subprocess.PIPE
        )

    def watch(self) -> bool:
        """Start it again if it has ended; True if it had. Waits for nothing."""
        if self._child is None:
            if time.monotonic() >= self._start_at:
                self.start()
            return False
        status = self._child.poll()
        if status is None:
            return False
        self._child = None
        is_short = time.monotonic() - self._started_at < SHORT_LIFE_SECONDS
        self._short_lives = self._short_lives + 1 if is_short else 0
        pause = min(0.1 * 2**self._short_lives, LONGEST_PAUSE_SECONDS)
        pause = pause if self._short_lives > 1 else 0.0
        self._start_at = time.monotonic() + pause
        extra = {"worker": self.number, "status": status, "pause_seconds": pause}
        _log.error("a worker ended and is started again", extra=extra)
        return True

    def has_ended(self) -> bool:
        """Whether it ended by itself."""
        return self._child is not None and self._child.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self._child is not None:
            self._child.send_signal(number)

    def stop(self, end: float) -> None:
        """Wait for its end until ``end`` (monotonic seconds), then make it end."""
        if self._child is None:
            return
        try:
            self._child.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child = None

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask its admin socket: status and body. Raises OSError, http.client.HTTPException."""
        connection = _Connection(self._socket)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether it is ready, and its own words."""
        with suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self.get("/readyz")
            return status == _READY, json.loads(body)["checks"]
        return False, {"running": False}

    def poll(self) -> None:
        """Take its numbers, if it can be asked."""
        with suppress(OSError, http.client.HTTPException):
            status, body = self.get("/metrics")
            if status == _READY:
                self.samples = parse_samples(body.decode())


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ASK_SECONDS)
        self.sock.connect(str(self._path))


class Supervisor:
    """The workers together."""

    def __init__(self, path: Path, config: Config) -> None:
        """Put them together; nothing runs yet."""
        self._drain = config.server.drain
        self._folder = tempfile.TemporaryDirectory(prefix="authz-")  # for us alone: mode 0700
        folder = Path(self._folder.name)
        self._workers = [Worker(n, path, folder) for n in range(config.server.workers)]
        self._stopping = threading.Event()
        self._metrics = MergedMetrics(self._poll)
        registry = CollectorRegistry()
        registry.register(self._metrics)
        self._admin = AdminServer(config.admin.listen, registry, self.readiness)

    def start(self) -> None:
        """Start every worker and the admin address. Raises AdminError, WorkerStartError."""
        self._admin.start()
        for worker in self._workers:
            worker.start()
        end = time.monotonic() + START_SECONDS
        while not all(worker.readiness()[1].get("config") for worker in self._workers):
            if any(worker.has_ended() for worker in self._workers) or time.monotonic() > end:
                raise WorkerStartError("a worker did not start; see its message")
            time.sleep(WATCH_SECONDS)
        extra = {"version": __version__, "admin": self._admin.address}
        _log.info("workers are up", extra={**extra, "workers": len(self._workers)})

    def serve(self) -> None:
        """Watch over the workers until told to stop, then stop them."""
        polled_at = 0.0
        with signals(self):
            while not self._stopping.wait(WATCH_SECONDS):
                for worker in self._workers:
                    if worker.watch():
                        self._metrics.departed(worker.samples)
                        worker.samples = {}
                if time.monotonic() - polled_at >= POLL_SECONDS:
                    polled_at = time.monotonic()
                    self._poll()

    def _poll(self) -> list[Samples]:
        for worker in self._workers:
            worker.poll()
        return [worker.samples for worker in self._workers]

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Ready when every worker is."""
        answers = [worker.readiness() for worker in self._workers]
        checks = {"stopping": self._stopping.is_set(), "workers": [one for _, one in answers]}
        return all(is_ready for is_ready, _ in answers) and not self._stopping.is_set(), checks

    def stop(self) -> None:
        """Begin to stop."""
        self._stopping.set()

    def reload(self) -> None:
        """Let every worker read its files anew."""
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    def close(self) -> None:
        """Stop every worker: it drains, and is made to end when it takes too long."""
        end = time.monotonic() + self._drain + STOP_MARGIN_SECONDS
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        for worker in self._workers:
            worker.stop(end)
        self._admin.close()
        self._folder.cleanup()
