"""When a decision point that fails is not asked: after failures in a row, but for a probe at times.

States: closed (all may ask), open (none until a moment), probing (one asks, none else until its
end). The time is an argument; who uses it from several threads holds a lock.
"""

from math import inf


class CircuitOpenError(Exception):
    """It is not to be asked now."""


class CircuitBreaker:
    """Opens after ``failures`` in a row, for ``pause_seconds``."""

    def __init__(self, failures: int, pause_seconds: float) -> None:
        """Begin closed."""
        self._limit = failures
        self._pause_seconds = pause_seconds
        self._failures_in_a_row = 0
        self._probe_at: float | None = None  # None: closed; infinite: a probe is under way

    @property
    def is_open(self) -> bool:
        """Whether calls are held back; also while a probe is under way."""
        return self._probe_at is not None

    def admit(self, monotonic: float) -> None:
        """Let a call begin, whose end must be told. Raises CutOffError."""
        if self._probe_at is None:
            return
        if monotonic < self._probe_at:
            raise CircuitOpenError
        self._probe_at = inf  # this call is the probe

    def answered(self) -> None:
        """A call brought an answer: it is there."""
        self._failures_in_a_row = 0
        self._probe_at = None

    def failed(self, monotonic: float) -> None:
        """A call brought none."""
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._limit:
            self._probe_at = monotonic + self._pause_seconds
