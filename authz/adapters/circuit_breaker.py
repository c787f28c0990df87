"""A circuit breaker: after failures in a row no calls are made, except for a probe at times.

States: closed (all calls may begin), open (no call until a moment), probing (a single call, no
other until its end). The time is an argument. Callers on several threads hold a lock.
"""

from math import inf


class CircuitOpenError(Exception):
    """Signals that no call may be made now."""


class CircuitBreaker:
    """A breaker that opens after ``failures`` in a row, for ``pause_seconds``."""

    def __init__(self, failures: int, pause_seconds: float) -> None:
        """Begin closed, without failures."""
        self._limit = failures
        self._pause_seconds = pause_seconds
        self._failures_in_a_row = 0
        self._probe_at: float | None = None  # None: closed; infinite: a probe is under way

    @property
    def is_open(self) -> bool:
        """Tell whether calls are held back; also while a probe is under way."""
        return self._probe_at is not None

    def admit(self, monotonic: float) -> None:
        """Let a call begin; its end must be reported. Raises CircuitOpenError."""
        if self._probe_at is None:
            return
        if monotonic < self._probe_at:
            raise CircuitOpenError
        self._probe_at = inf  # this call is the probe

    def answered(self) -> None:
        """Report a call that brought an answer: close the breaker."""
        self._failures_in_a_row = 0
        self._probe_at = None

    def failed(self, monotonic: float) -> None:
        """Report a call that failed: open the breaker after enough failures in a row."""
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._limit:
            self._probe_at = monotonic + self._pause_seconds
