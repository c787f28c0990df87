"""Counts the lines that a receiver will never take, and tells of them."""

import logging
import time
from typing import Final

TELL_SECONDS: Final = 60.0  # between two log lines about refused lines: there may be many
_log: Final = logging.getLogger("authz.audit")


class Refused:
    """The lines that a receiver will never take: counted, and told without what they hold.

    Attributes:
        count: lines, since the start.
    """

    def __init__(self, sink: str) -> None:
        """Take the sink's name, for the log."""
        self.count = 0
        self._sink = sink
        self._told = 0
        self._told_at = float("-inf")  # monotonic seconds

    def add(self, lines: int, why: str) -> None:
        """Count lines, and tell it at once, or with the next ones if it was told just now."""
        self.count += lines
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            fresh = self.count - self._told
            _log.error("the sink %s refused %d audit records for good: %s", self._sink, fresh, why)
            self._told, self._told_at = self.count, now
