"""The event loop: one thread that waits for sockets, and runs what other threads ask of it."""

import logging
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeVar, TypeVarTuple

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
# How often connections and calls that take too long are looked for.
SWEEP_SECONDS: Final = 0.5
MAX_EVENTS: Final = 256  # of one turn; the next begins with the others
Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
_log: Final = logging.getLogger("authz.server")


class Waiter(Protocol):
    """An object that waits for a descriptor."""

    def on_ready(self, events: int, now: float) -> None:
        """Read or write without waiting; ``events`` are epoll's, ``now`` is monotonic seconds."""

    def on_fault(self) -> None:
        """Give up after an exception of ``on_ready``. Never raises."""


class _Bell:
    """Wakes the loop to call functions for other threads. The loop polls it like a socket."""

    def __init__(self) -> None:
        """Open the descriptor."""
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Other threads may ring after the end, when the number must not be another descriptor's.
        weakref.finalize(self, os.close, self.descriptor).atexit = False
        self._asked: deque[Callable[[], object]] = deque()

    def ring(self, function: Callable[[], object]) -> None:
        """Have a function called soon."""
        self._asked.append(function)
        os.eventfd_write(self.descriptor, 1)

    def on_ready(self, _events: int, _now: float) -> None:
        """Call the functions that were asked for."""
        os.eventfd_read(self.descriptor)
        while self._asked:
            attempt(_go_on, self._asked.popleft())

    def on_fault(self) -> None:
        """Go on: no connection is at fault."""


class Loop:
    """One thread that waits for descriptors, and does what other threads ask.

    Attributes:
        turns: how often it has looked at the descriptors.
    """

    def __init__(self, work: Callable[[], bool], sweep: Callable[[float], None]) -> None:
        """Prepare; nothing runs yet.

        ``work`` is called at each turn, does a slice of what waits, and returns whether more waits.
        ``sweep`` is called every SWEEP_SECONDS with monotonic seconds.
        """
        self.turns = 0
        self._work = work
        self._sweep = sweep
        self._poller = select.epoll()
        self._waiters: dict[int, Waiter] = {}
        self._bell = _Bell()
        self.wait_for(self._bell.descriptor, self._bell)
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="transport", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def wait_for(self, descriptor: int, waiter: Waiter) -> None:
        """Call ``waiter`` whenever the descriptor can be read. Raises OSError."""
        self._poller.register(descriptor, READ)
        self._waiters[descriptor] = waiter

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._poller.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Stop waiting for a descriptor, before it is closed."""
        if self._waiters.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def ask(self, function: Callable[[], object]) -> None:
        """Have the loop's thread call a function soon. For any thread."""
        self._bell.ring(function)

    def end(self, seconds: float) -> None:
        """End the thread, and wait for so long at most until it has. For any other thread."""
        if self._thread.is_alive():
            self.ask(self._end)
            self._thread.join(seconds)

    def _end(self) -> None:
        self._is_ending = True

    def _run(self) -> None:
        clock, poll = time.monotonic, self._poller.poll
        now = clock()
        next_sweep = now + SWEEP_SECONDS
        has_more = False
        while not self._is_ending:
            # Counted from the beginning of the last turn: a sweep that is late by a turn costs less
            # than reading the clock again. Never negative, which epoll takes for "for ever".
            events = poll(0.0 if has_more else next_sweep - now, MAX_EVENTS)
            now = clock()
            has_more = self._turn(events, now)
            self.turns += 1
            if now >= next_sweep:
                next_sweep = now + SWEEP_SECONDS
                attempt(_go_on, self._sweep, now)
        self._poller.close()

    def _turn(self, events: list[tuple[int, int]], now: float) -> bool:
        """Call the waiters that are ready, then do a slice of work; return whether more waits.

        It does what ``attempt`` does, without its price, which each read would pay twice.
        """
        for descriptor, mask in events:
            waiter = self._waiters.get(descriptor)
            if waiter is None:  # it was closed in this turn
                continue
            try:
                waiter.on_ready(mask, now)
            except Exception as error:  # noqa: BLE001 - law 4
                log_fault(error)
                waiter.on_fault()
        try:
            return self._work()
        except Exception as error:  # noqa: BLE001 - law 4
            log_fault(error)
            return False


def attempt(
    on_fault: Callable[[], None], step: Callable[[*Arguments], Result], *args: *Arguments
) -> Result | None:
    """Take a step and return its result; after a fault of ours call ``on_fault``, and go on."""
    try:
        return step(*args)
    except Exception as error:  # noqa: BLE001 - law 4
        log_fault(error)
        on_fault()
        return None


def _go_on() -> None:
    """Do nothing: no connection is at fault."""


def log_fault(error: Exception) -> None:
    """Log a fault of ours: its type only, as its text could hold what a client sent."""
    _log.error("internal error in the transport: %s", type(error).__name__)
