"""A circuit breaker: after failures in a row, no calls are made except for occasional probes.

States: closed (all calls may begin), open (no call until a certain time), probing (a single call,
no other until its end). Each agent has its own breaker: otherwise an agent whose questions make the
server fail would cut off the others. The time is an argument. Callers on several threads hold a
lock.
"""

from math import inf
from typing import Final

# Agents whose last call failed; beyond this number, the first is forgotten.
MAX_FAILING: Final = 10_000


class CircuitOpenError(Exception):
    """Signals that no call may be made now."""


class CircuitBreaker:
    """A breaker that opens after ``failures`` in a row, for ``pause_seconds``."""

    def __init__(self, failures: int, pause_seconds: float) -> None:
        """Begin closed, without failures."""
        self._limit = failures
        self._pause_seconds = pause_seconds
        self._failures_in_a_row = 0
        self._probe_at: float | None = None  # None: closed; infinite: a probe is running

    @property
    def is_open(self) -> bool:
        """Tell whether calls are held back; also while a probe is running."""
        return self._probe_at is not None

    def admit(self, monotonic: float) -> None:
        """Let a call begin; its end must be reported. Raises CircuitOpenError."""
        if self._probe_at is None:
            return
        if monotonic < self._probe_at:
            raise CircuitOpenError
        self._probe_at = inf  # this call is the probe

    def answered(self) -> None:
        """Report a call that got an answer: close the breaker."""
        self._failures_in_a_row = 0
        self._probe_at = None

    def failed(self, monotonic: float) -> None:
        """Report a call that failed: open the breaker after enough failures in a row."""
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= self._limit:
            self._probe_at = monotonic + self._pause_seconds


class CircuitBreakers:
    """A breaker for each agent, which opens after ``failures`` in a row, for ``pause_seconds``."""

    def __init__(self, failures: int, pause_seconds: float) -> None:
        """Begin closed for all agents."""
        self._settings = failures, pause_seconds
        # Not a FIFOCache: a scrape copies the dict in one step, without the callers' lock.
        self._failing: dict[str, CircuitBreaker] = {}

    @property
    def is_open(self) -> bool:
        """Tell whether calls of any agent are held back."""
        return any(breaker.is_open for breaker in list(self._failing.values()))  # one step of C

    def admit(self, agent: str, monotonic: float) -> None:
        """Let an agent's call begin; its end must be reported. Raises CircuitOpenError."""
        breaker = self._failing.get(agent)
        if breaker is not None:
            breaker.admit(monotonic)

    def answered(self, agent: str) -> None:
        """Report an agent's call that got an answer: close its breaker."""
        self._failing.pop(agent, None)

    def failed(self, agent: str, monotonic: float) -> None:
        """Report an agent's call that failed: open its breaker after enough of them in a row."""
        if agent not in self._failing:
            if len(self._failing) >= MAX_FAILING:
                del self._failing[next(iter(self._failing))]
            self._failing[agent] = CircuitBreaker(*self._settings)
        self._failing[agent].failed(monotonic)
