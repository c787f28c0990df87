"""Runs several serving processes as one server: starts, watches, restarts and stops workers.

Each worker is a complete server with its own sockets, and reads the config's files itself. The
supervisor answers no checks; it has the admin address, where the workers' metrics are added up.
"""

import logging
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry

from authz import __version__
from authz.adapters.admin import AdminServer
from authz.config import Config
from authz.server.liveness import MAIN, Liveness
from authz.server.presented import merged_presented
from authz.server.worker_metrics import Exemplars, MergedMetrics, Samples
from authz.server.workers import Worker

WATCH_SECONDS: Final = 0.05
STOP_MARGIN_SECONDS: Final = 11.0  # a worker ends by itself 10 s after the drain, whatever hangs
OWN_MARGIN_SECONDS: Final = 6.0  # after that: killing a worker takes 2 s at worst
_log: Final = logging.getLogger("authz.server")
_Answer = TypeVar("_Answer")


class WorkerStartError(ChildProcessError):
    """A worker could not start; its own message is in the log."""


def _private_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for our user alone (mode 0700). Raises OSError with what would be right.

    A container with a read-only file system often has no place for it.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="authz-")
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        message = f"server.workers needs a folder for the workers' sockets: {why}"
        raise OSError(f"{message}; make /tmp writable, or name another folder in TMPDIR") from None


class Supervisor:
    """The process that runs the workers and answers for them."""

    def __init__(self, path: Path, config: Config) -> None:
        """Prepare ``server.workers`` workers, which read the config at ``path``; none runs yet."""
        self._drain = config.server.drain
        self._folder = _private_folder()
        folder = Path(self._folder.name)
        run = secrets.token_hex(8)
        is_traced = config.traces is not None
        self._workers = [
            Worker(n, path, folder, run, has_exemplars=is_traced)
            for n in range(config.server.workers)
        ]
        self._stopping = threading.Event()
        self._liveness = Liveness()
        self._metrics = MergedMetrics(self._samples, self._exemplars)
        registry = CollectorRegistry()
        registry.register(self._metrics)
        self._admin = AdminServer(
            config.admin.listen,
            registry,
            self.readiness,
            self._liveness.stuck,
            self.presented,
        )

    def start(self) -> None:
        """Start every worker and the admin address. Raises ListenError, WorkerStartError.

        Waits for the workers as long as they make progress, or until told to stop.
        """
        self._admin.start()
        for worker in self._workers:
            worker.start()
        while not all(worker.is_up for worker in self._workers):
            for worker in self._workers:
                if fault := worker.fault():
                    raise WorkerStartError(f"a worker did not start: {worker.name} {fault}")
            if self._stopping.wait(WATCH_SECONDS):
                return
            self._liveness.beat(MAIN)
        extra = {"version": __version__, "admin": self._admin.address}
        _log.info("all workers are up", extra={**extra, "workers": len(self._workers)})

    def serve(self) -> None:
        """Watch the workers, and restart those with a fault, until told to stop."""
        while not self._stopping.wait(WATCH_SECONDS):
            self._liveness.beat(MAIN)
            for worker in self._workers:
                if fault := worker.fault():
                    self._replace(worker, fault)
                worker.start_if_due()

    def _replace(self, worker: Worker, fault: str) -> None:
        is_killed = not worker.has_ended
        worker.replace()
        self._metrics.departed(worker.take_samples(), is_killed=is_killed)
        _log.error("%s %s; restarting it", worker.name, fault)

    def _ask(self, question: Callable[[Worker], _Answer]) -> list[_Answer]:
        """Ask all workers at once, so that the time-outs of hanging workers do not add up."""
        with ThreadPoolExecutor(len(self._workers)) as pool:
            return list(pool.map(question, self._workers))

    def _samples(self) -> list[Samples]:
        return self._ask(Worker.samples)

    def _exemplars(self) -> list[Exemplars]:
        return [worker.exemplars for worker in self._workers]

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether every worker is ready, and the results that /readyz shows."""
        answers = self._ask(Worker.readiness)
        checks = {"stopping": self._stopping.is_set(), "workers": [told for _, told in answers]}
        return all(is_ready for is_ready, _ in answers) and not self._stopping.is_set(), checks

    def presented(self) -> dict[str, Any]:
        """Return what proxies presented to any worker, for /presented."""
        return merged_presented(self._ask(Worker.presented))

    @property
    def stop_seconds(self) -> float:
        """The longest time that a stop takes."""
        return self._drain + STOP_MARGIN_SECONDS + OWN_MARGIN_SECONDS

    def stop(self) -> None:
        """Make ``start`` or ``serve`` return. For any thread."""
        self._stopping.set()

    def reload(self) -> None:
        """Make every worker reload its config and reopen its files."""
        for worker in self._workers:
            worker.signal(signal.SIGHUP)

    def close(self) -> None:
        """Stop every worker: let it drain, and kill it if it takes too long."""
        end = time.monotonic() + self._drain + STOP_MARGIN_SECONDS
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        for worker in self._workers:  # a worker that hangs is not waited for
            worker.stop(end if not worker.fault() else time.monotonic())
        self._admin.close()
        self._folder.cleanup()
