"""Runs a check again and again in a thread of its own, and notes each success."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

SOON_SECONDS: Final = 0.2  # until the next check of files that are being written
# Between calls that somebody asks for: announcements must not take the processor from checks, nor
# make all that is remembered stale for each of them.
PACE_SECONDS: Final = 0.05
_log: Final = logging.getLogger("authz.server")


class PeriodicThread:
    """A thread that calls a function periodically. No other thread waits for it."""

    def __init__(
        self,
        name: str,
        look: Callable[[], object],
        seconds: float,
        beat: Callable[[str], None],
        *,
        is_prompt: bool = False,
    ) -> None:
        """Prepare to call ``look`` every ``seconds``, and ``beat(name)`` after each success.

        If ``look`` returns True, the next call comes SOON_SECONDS later. ``is_prompt`` has it
        called once at the start.
        """
        self._name = name
        self._look = look
        self._seconds = seconds
        self._beat = beat
        self._stopping = False
        self._wake = threading.Event()
        if is_prompt:
            self._wake.set()

    def start(self) -> None:
        """Beat once, and start the thread."""
        self._beat(self._name)
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def soon(self) -> None:
        """Call ``look`` at once, or PACE_SECONDS after the last call that was asked for."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread after the current call, without waiting for it."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        is_pending = False
        while not self._stopping:
            is_asked = self._wake.wait(SOON_SECONDS if is_pending else self._seconds)
            self._wake.clear()
            try:
                is_pending = self._look() is True
            except Exception:  # noqa: BLE001 - the next check may succeed
                _log.exception("can't check %s for changes", self._name)
            else:
                self._beat(self._name)
            if is_asked and not self._stopping:
                time.sleep(PACE_SECONDS)
