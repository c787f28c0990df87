"""Starts, asks, checks and ends a worker process, for its supervisor."""

import http.client
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from authz.server.worker_metrics import Samples, parse_samples

ASK_SECONDS: Final = 1.0  # how long a worker may take to answer
LOOK_SECONDS: Final = 1.0  # how often it is asked: the maximum age of a dead worker's last numbers
STARTING_LOOK_SECONDS: Final = 0.05
# A worker without a healthy answer for so long is killed. Its own limits for its parts are shorter.
HUNG_SECONDS: Final = 8.0
# A start takes as long as reading the config: half a minute for 100,000 rules on a free core. So a
# start may take long while it uses processor time; a start that only waits is stuck.
STALLED_SECONDS: Final = 10.0
START_SECONDS: Final = 600.0
SHORT_LIFE_SECONDS: Final = 5.0  # a worker that ends sooner restarts after a growing pause
LONGEST_PAUSE_SECONDS: Final = 5.0
MAX_DOUBLINGS: Final = 16  # more would change nothing, and 2.0**1024 overflows
# The most that the time between two checks counts: twice the duration of a check. If a container is
# paused, or a laptop sleeps, its workers stand still too, and do not hang.
MAX_PAUSE_SECONDS: Final = 4.0
KILL_SECONDS: Final = 2.0  # a killed process ends at once, unless it hangs in the kernel
_READY: Final = 200
_log: Final = logging.getLogger("authz.server")


class Worker:
    """A worker process, and those that replace it.

    Its own thread asks it, so that a worker that does not answer delays no other worker.

    Attributes:
        is_up: whether it has answered since it was started.
    """

    def __init__(self, number: int, config: Path, folder: Path, run: str) -> None:
        """Begin without a process. ``folder`` is for its admin socket, ``run`` names the start."""
        self.number = number
        self.is_up = False
        self._config = config
        self._run = run
        self._socket = folder / f"worker-{number}.sock"
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # the samples, and the process that they belong to
        self._samples: Samples = {}
        self._started_at = self._start_at = 0.0
        self._unwell, self._stalled = Stopwatch(), Stopwatch()
        self._cpu_ticks = 0
        self._short_lives = 0

    @property
    def name(self) -> str:
        """The worker's name in messages."""
        return f"worker {self.number}"

    def start(self) -> None:
        """Start the process, and at first the thread that asks it. Raises OSError."""
        is_first = not self._started_at
        self._socket.unlink(missing_ok=True)
        level = logging.getLevelName(logging.getLogger().level)
        place = (str(self._config), str(self.number), f"unix:{self._socket}", level, self._run)
        self.is_up = False
        self._started_at = time.monotonic()
        self._stalled.restart()
        self._cpu_ticks = 0
        # A separate process group: Ctrl-C on a terminal is for the supervisor, which stops its
        # workers. A worker that is still loading its modules would end with a traceback.
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "authz.server.worker", *place],
            stdin=subprocess.PIPE,
            process_group=0,
        )
        if is_first:
            threading.Thread(target=self._look, name=self.name, daemon=True).start()

    def _look(self) -> None:
        """Ask the worker again and again, until it is stopped."""
        while not self._stopping.wait(LOOK_SECONDS if self.is_up else STARTING_LOOK_SECONDS):
            try:
                self._look_once()
            except Exception:  # noqa: BLE001 - without this thread the worker would count as unhealthy
                _log.exception("can't read the answer of %s", self.name)

    def _look_once(self) -> None:
        child = self._child
        if self._is_well() and child is self._child:
            self._unwell.restart()
            self.is_up = True
            self.samples()
        else:
            self._unwell.go_on()

    def _is_well(self) -> bool:
        with suppress(OSError, http.client.HTTPException):
            return self._get("/healthz")[0] == _READY
        return False

    def fault(self) -> str:
        """Say why the worker must be replaced, "" if it need not be. Never waits."""
        if self._child is None:
            return ""
        if (status := self._child.poll()) is not None:
            return f"ended with status {status}"
        if self.is_up:
            seconds = self._unwell.seconds
            return f"has been unhealthy for {seconds:.0f} s" if seconds >= HUNG_SECONDS else ""
        return self._fault_of_start()

    def _fault_of_start(self) -> str:
        self._stalled.go_on()
        if (ticks := _cpu_ticks(self.pid)) != self._cpu_ticks:
            self._cpu_ticks = ticks
            self._stalled.restart()
        if self._stalled.seconds > STALLED_SECONDS:
            return f"has made no progress in its start for {STALLED_SECONDS:.0f} s"
        if time.monotonic() - self._started_at > START_SECONDS:
            return f"was not up after {START_SECONDS:.0f} s"
        return ""

    def replace(self) -> None:
        """End the process; ``start_if_due`` starts another, after short lives with a pause."""
        self._end(time.monotonic())
        lived = time.monotonic() - self._started_at
        self._short_lives = self._short_lives + 1 if lived < SHORT_LIFE_SECONDS else 0
        self._pause()

    def _pause(self) -> None:
        doublings = min(self._short_lives, MAX_DOUBLINGS)
        pause = min(0.1 * 2.0**doublings, LONGEST_PAUSE_SECONDS)
        self._start_at = time.monotonic() + (pause if self._short_lives > 1 else 0.0)

    def start_if_due(self) -> None:
        """Start the process if there is none and the pause is over."""
        if self._child is not None or time.monotonic() < self._start_at:
            return
        try:
            self.start()
        # No memory, process or descriptor is left: the other workers continue.
        except OSError as error:
            _log.error("%s can't be started: %s", self.name, error.strerror)
            self._short_lives += 1
            self._pause()

    @property
    def pid(self) -> int:
        """The ID of the process, 0 if none runs."""
        return self._child.pid if self._child is not None else 0

    @property
    def has_ended(self) -> bool:
        """Tell whether the process has ended by itself."""
        return self._child is not None and self._child.poll() is not None

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if there is one. For any thread."""
        if (child := self._child) is not None:
            child.send_signal(number)

    def stop(self, end: float) -> None:
        """Stop the worker for good: wait until ``end`` (monotonic seconds), then kill it."""
        self._stopping.set()
        self._end(end)

    def _end(self, end: float) -> None:
        child = self._child
        if child is None:
            return
        with suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, end - time.monotonic()))
        if child.returncode is None:
            child.kill()
            with suppress(subprocess.TimeoutExpired):
                child.wait(KILL_SECONDS)
        if child.stdin is not None:
            child.stdin.close()
        with self._lock:
            self._child = None

    def _get(self, path: str) -> tuple[int, bytes]:
        """Return status and body from its admin socket. Raises OSError, HTTPException."""
        connection = _Connection(self._socket)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Tell whether the worker is ready, and the results that its /readyz shows."""
        with suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self._get("/readyz")
            return status == _READY, json.loads(body)["checks"]
        return False, {"running": False}

    def presented(self) -> dict[str, Any] | None:
        """Return the worker's /presented, None if it does not answer."""
        with suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self._get("/presented")
            found: dict[str, Any] = json.loads(body)
            return found if status == _READY else None
        return None

    def samples(self) -> Samples:
        """Return the worker's samples: the current ones if it answers, else the last."""
        child = self._child
        with suppress(OSError, http.client.HTTPException):
            status, body = self._get("/metrics")
            found = parse_samples(body.decode()) if status == _READY else self._samples
            with self._lock:  # else the samples of a replaced process would count twice
                if child is self._child:
                    self._samples = found
        return self._samples

    def take_samples(self) -> Samples:
        """Return the last samples of a process that has ended, and forget them."""
        with self._lock:
            samples, self._samples = self._samples, {}
        return samples


class Stopwatch:
    """The seconds since its restart, without those in which the supervisor stood still."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.restart()

    def restart(self) -> None:
        """Begin at zero again."""
        self.seconds = 0.0
        self._looked_at = time.monotonic()

    def go_on(self) -> None:
        """Add the time since the last check, MAX_PAUSE_SECONDS at most."""
        now = time.monotonic()
        self.seconds += min(now - self._looked_at, MAX_PAUSE_SECONDS)
        self._looked_at = now


def _cpu_ticks(pid: int) -> int:
    """Return the processor time that a process has used. Without /proc, return the time instead."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return time.monotonic_ns()
    fields = status.rpartition(")")[2].split()  # proc_pid_stat(5): 14 and 15, the name is 2
    return int(fields[11]) + int(fields[12])


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ASK_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ASK_SECONDS)
        self.sock.connect(str(self._path))
