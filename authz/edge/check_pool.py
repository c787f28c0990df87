"""The threads that answer checks: a few that work, and more only while some of these wait.

More than a few threads make Python slower, not faster. But a check that waits for an issuer's keys
would occupy a thread that others could use. So it lends its place to another thread until it goes
on.

The pool runs a task and reports no result: the locks and conditions of ``concurrent.futures`` are a
considerable part of the cost of a check.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

_END: Final = None
_log: Final = logging.getLogger("authz.server")
Task = tuple[Callable[..., object], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """The state of the pool's threads and queue.

    Attributes:
        queued: tasks that no thread has taken yet.
        finished: tasks that have ended. Two at once may count as one, which is enough to see that
            the threads move.
        threads: how many there are, waiting threads included.
    """

    queued: int
    finished: int
    threads: int


class CheckPool:
    """Runs tasks in threads, ``working`` of them at a time.

    ``max_queued`` tasks may wait for a thread; with more, the pool reports that it is overloaded.

    Attributes:
        backlog: checks that wait for a transport's own thread, by its report: they count as queued.
        pressure: how many of them count towards overload.
        decided: checks that such a thread has taken from its backlog: they count as finished.
    """

    def __init__(self, working: int, max_queued: int) -> None:
        """Take the limits; ``start`` starts the threads."""
        self.backlog = 0
        self.pressure = 0
        self.decided = 0
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._max_queued = max_queued
        self._is_started = False
        self._wanted = working
        self._threads = 0
        self._finished = 0

    def start(self) -> None:
        """Start the threads. Raises RuntimeError if the system has no more threads."""
        self._is_started = True
        for _ in range(self._wanted):
            self._start_thread()

    def status(self) -> PoolStatus:
        """Return the state of the threads and of the queue."""
        return PoolStatus(
            self._queue.qsize() + self.backlog, self._finished + self.decided, self._threads
        )

    def is_overloaded(self) -> bool:
        """Return whether too many tasks wait for a thread to begin a new one."""
        return self._queue.qsize() + self.pressure >= self._max_queued

    def submit(self, function: Callable[..., object], /, *args: object) -> None:
        """Run a task soon. Its result is dropped, and its exception is logged."""
        self._queue.put((function, args))

    @contextmanager
    def lend(self) -> Iterator[None]:
        """Let another thread work in the calling thread's place while the caller waits."""
        with self._lock:
            self._wanted += 1
            has_place = self._is_started and self._threads < self._wanted
        try:
            if has_place:
                with suppress(RuntimeError):  # the system has no more threads: go on without
                    self._start_thread()
            yield
        finally:
            with self._lock:
                self._wanted -= 1

    def _start_thread(self) -> None:
        with self._lock:
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="check", daemon=True).start()
        except BaseException:  # a lack of memory too: a thread counted for ever is a place lost
            with self._lock:
                self._threads -= 1
            raise

    def _work(self) -> None:
        while (task := self._queue.get()) is not _END:
            _run(task)
            self._finished += 1
            del task  # else the last task's data would live until the next task
            if self._threads > self._wanted and self._is_spare():
                return

    def _is_spare(self) -> bool:
        """Tell whether this thread should end, as too many work; if so, count it off."""
        with self._lock:
            if self._threads <= self._wanted:
                return False
            self._threads -= 1
            return True

    def close(self) -> None:
        """End the threads after their current tasks. Does not wait for them."""
        with self._lock:
            self._wanted = 0
            count = self._threads
        for _ in range(count):
            self._queue.put(_END)


def _run(task: Task) -> None:
    function, args = task
    try:
        function(*args)
    except Exception as error:  # noqa: BLE001 - a thread must outlive any task
        _log.error("a call failed: %s", type(error).__name__)
