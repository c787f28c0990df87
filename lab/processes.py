"""Runs child processes with a log each: starts them, waits until ready, and stops them for sure."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

# Both take one on a machine with nothing else to do.
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
LOG_LINES = 15


class ProcessError(RuntimeError):
    """A part did not start or died; the message names it and ends with its log's last lines."""


class Process:
    """A running part."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start the process; its output goes to the log."""
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C is for us; we stop our parts in order
            )

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._child.pid

    def wait_until(self, ready: Callable[[], bool], seconds: float = READY_SECONDS) -> Self:
        """Wait until the process is ready. Raises ProcessError if it dies or takes too long."""
        end = time.monotonic() + seconds
        while not ready():
            if self._child.poll() is not None:
                raise self.failure(f"ended with status {self._child.returncode}")
            if time.monotonic() > end:
                self.stop()
                raise self.failure(f"was not ready after {seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        return self

    def failure(self, what: str) -> ProcessError:
        """Return an error about this part, with the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return ProcessError("\n".join([f"{self.name} {what}; its log ends:", *lines]))

    def check_alive(self) -> None:
        """Raise ProcessError if the process has ended."""
        if self._child.poll() is not None:
            raise self.failure(f"ended with status {self._child.returncode}")

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._child.send_signal(number)

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for the process's end, and return its status. Raises subprocess.TimeoutExpired."""
        return self._child.wait(seconds)

    def stop(self) -> int:
        """Ask the process to stop, kill it after a while, and return its exit status."""
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._child.kill()
        return self._child.wait()
