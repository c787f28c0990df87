"""Makes calls to a server that we depend on, once for all concurrent checks with the same question.

Each call has its own thread and its own full timeout, however long the checks wait for it. So a
check with a short deadline does not count as a failure of the server, and a slow look-up of its
name delays no check beyond its deadline. The number of running calls is limited, in total and for
one agent, and a circuit breaker stops calls to a failing server. Nothing is kept between calls.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from authz.adapters.circuit_breaker import CircuitBreakers, CircuitOpenError

# The most calls that run at once, in total and for one agent, with one or two threads each. Beyond
# that, the server is too slow for its questions, and more questions would not make it faster.
MAX_CALLS: Final = 256
MAX_CALLS_OF_ONE: Final = MAX_CALLS // 2
# Results of questions without a call, as metrics count them: a call with the same question was
# under way, the breaker was open, too many calls were under way.
SHARED: Final = "shared"
CUT_OFF: Final = "cut_off"
REFUSED: Final = "refused"
# Statuses that refuse a question but show that the server works: one agent's odd requests must not
# open the breaker for the others. A slow request (408) and too many requests (429) do count as
# failures.
ABOUT_THE_QUESTION: Final = frozenset(range(400, 500)) - {408, 429}
T = TypeVar("T")


class NotCalledError(Exception):
    """Signals that no call is made for a question; the message says why, for operators."""


@dataclass(frozen=True, slots=True)
class CallOutcome(Generic[T]):
    """The outcome of a call.

    Attributes:
        value: for the waiting checks.
        result: the metric's label.
        is_failure: whether it counts as a failure of the server.
    """

    value: T
    result: str
    is_failure: bool = False


@dataclass(slots=True, eq=False)
class PendingCall(Generic[T]):
    """A call under way for an agent: ``value`` is its outcome once ``done`` is set."""

    agent: str
    value: T
    done: threading.Event = field(default_factory=threading.Event)


class SharedCalls(Generic[T]):
    """The running calls to one server."""

    def __init__(
        self,
        name: str,
        log: logging.Logger,
        breakers: CircuitBreakers,
        count: Callable[[str, float | None], None],
        failed: Callable[[str], CallOutcome[T]],
    ) -> None:
        """Begin without calls; ``name`` is the server's in messages, such as "the decision point".

        ``count`` is called with the result of each question, and the seconds of its call, None if
        there was none. ``failed`` makes the outcome of a call that failed on our side.
        """
        self._name = name
        self._log = log
        self._breakers = breakers
        self._count = count
        self._failed = failed
        self._lock = threading.Lock()
        self._calls: dict[bytes, PendingCall[T]] = {}

    def __len__(self) -> int:
        """Return the number of calls under way."""
        return len(self._calls)

    def begin(
        self, question: bytes, agent: str, make: Callable[[], CallOutcome[T]]
    ) -> PendingCall[T]:
        """Return the running call with this question, or a new call; ``make`` then makes it.

        Raises NotCalledError.
        """
        with self._lock:
            call = self._calls.get(question)
            if call is not None:
                self._count(SHARED, None)
                return call
            self._check_room(agent)
            self._admit(agent)
            call = self._calls[question] = PendingCall(agent, self._failed("no answer yet").value)
        args = (question, call, make)
        try:
            threading.Thread(target=self._run, args=args, name="call", daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self._end(question, call, self._failed("no thread could be started"), 0.0)
        return call

    def _check_room(self, agent: str) -> None:
        of_agent = sum(call.agent == agent for call in self._calls.values())
        if len(self._calls) >= MAX_CALLS or of_agent >= MAX_CALLS_OF_ONE:
            self._count(REFUSED, None)
            raise NotCalledError(f"too many questions to {self._name} at once")

    def _admit(self, agent: str) -> None:
        try:
            self._breakers.admit(agent, time.monotonic())
        except CircuitOpenError:
            self._count(CUT_OFF, None)
            message = f"{self._name} failed too often and is not asked for now"
            raise NotCalledError(message) from None

    def _run(
        self, question: bytes, call: PendingCall[T], make: Callable[[], CallOutcome[T]]
    ) -> None:
        """Make a call, in its own thread."""
        begun = time.monotonic()
        try:
            outcome = make()
        except Exception as error:  # noqa: BLE001 - waiting checks and the breaker must be told
            # Only its type: the text could hold a secret.
            self._log.error("a call to %s failed: %s", self._name, type(error).__name__)
            outcome = self._failed("the call failed: see the log")
        self._end(question, call, outcome, time.monotonic() - begun)

    def _end(
        self, question: bytes, call: PendingCall[T], outcome: CallOutcome[T], seconds: float
    ) -> None:
        """Report a call's outcome to the breaker, the metrics, and the waiting checks."""
        with self._lock:
            del self._calls[question]
            was_open = self._breakers.is_open
            if outcome.is_failure:
                self._breakers.failed(call.agent, time.monotonic())
            else:
                self._breakers.answered(call.agent)
            is_open = self._breakers.is_open
            self._count(outcome.result, seconds)
        call.value = outcome.value
        call.done.set()
        if is_open != was_open:
            what = "fails, and is not asked for now" if is_open else "answers again"
            self._log.warning("%s %s", self._name, what)
