"""A thread that looks at one thing again and again, and says each time that it has."""

import logging
import threading
from collections.abc import Callable
from typing import Final

SOON_SECONDS: Final = 0.2  # until the next look at what is just being written
_log: Final = logging.getLogger("authz.server")


class PeriodicThread:
    """The thread. It waits for nothing but what it looks at; nobody waits for it."""

    def __init__(
        self, name: str, look: Callable[[], object], seconds: float, beat: Callable[[str], None]
    ) -> None:
        """Call ``look`` each so many seconds, and ``beat`` with the name after each good one.

        Where ``look`` returns True the next one comes SOON_SECONDS later.
        """
        self._name = name
        self._look = look
        self._seconds = seconds
        self._beat = beat
        self._stopping = False
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._beat(self._name)
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def soon(self) -> None:
        """Look at once, or as soon as the look under way has ended."""
        self._wake.set()

    def stop(self) -> None:
        """End after the look under way, which is not waited for."""
        self._stopping = True
        self._wake.set()

    def _run(self) -> None:
        is_pending = False
        while not self._stopping:
            self._wake.wait(SOON_SECONDS if is_pending else self._seconds)
            self._wake.clear()
            try:
                is_pending = self._look() is True
            except Exception:  # noqa: BLE001 - the next look may be better
                _log.exception("can't check %s for changes", self._name)
            else:
                self._beat(self._name)
