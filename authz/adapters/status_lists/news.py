"""Tells that a list has changed, at a pace: each time, all that was remembered is decided anew.

Lists of one issuer that change all the time must not leave the others without remembered decisions.
"""

import threading
from collections.abc import Callable


class PacedNews:
    """Passes on news at once, and further ones together when the pace allows it. For any thread.

    Attributes:
        is_repeated: whether ``repeat`` is called again and again. If not, nothing is put off.
    """

    def __init__(
        self, outdate: Callable[[], None], monotonic: Callable[[], float], seconds: float
    ) -> None:
        """Take what is called for news, once in so many seconds."""
        self._outdate = outdate
        self._monotonic = monotonic
        self._seconds = seconds
        self._lock = threading.Lock()
        self._told_at = float("-inf")
        self._has_more = False
        self.is_repeated = False

    def tell(self) -> None:
        """Pass on that something has changed, now or at the next ``repeat``."""
        with self._lock:
            now = self._monotonic()
            if self.is_repeated and now - self._told_at < self._seconds:
                self._has_more = True
                return
            self._told_at = now
        self._outdate()

    def repeat(self) -> None:
        """Pass on what was put off."""
        with self._lock:
            if not self._has_more:
                return
            self._has_more = False
            self._told_at = self._monotonic()
        self._outdate()
