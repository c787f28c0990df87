"""The threads that answer checks: a few that work, and more only while some of these wait.

More threads than a few bring no speed to Python, and cost it. But a check that waits for an
issuer's keys would take a working thread away from those that need no wait: so it lends its place
to another one until it goes on.

It runs a task and says nothing of it afterwards: the locks and conditions of
``concurrent.futures`` are a good part of what a check costs.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_END: Final = None
_log: Final = logging.getLogger("authz.server")
Task = tuple[Callable[..., object], tuple[Any, ...]]


class CheckPool:
    """Runs tasks in threads, ``working`` of them at a time."""

    def __init__(self, working: int) -> None:
        """Start the threads."""
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wanted = working
        self._threads = 0
        self.waiting = self._queue.qsize  # tasks that no thread has taken yet
        self.finished = 0  # tasks; two at once may count as one: that it moves is what counts
        for _ in range(working):
            self._start_thread()

    def submit(self, function: Callable[..., object], /, *args: object) -> None:
        """Run a task soon. What it returns is dropped, what it raises is logged."""
        self._queue.put((function, args))

    @contextmanager
    def lend(self) -> Iterator[None]:
        """While the calling thread waits, another may work in its place."""
        with self._lock:
            self._wanted += 1
            has_place = self._threads < self._wanted
        try:
            if has_place:
                with suppress(RuntimeError):  # the system has no more threads: then without
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
        except RuntimeError:
            with self._lock:
                self._threads -= 1
            raise

    def _work(self) -> None:
        while (task := self._queue.get()) is not _END:
            _run(task)
            self.finished += 1
            del task  # or the last task's data would live until the next
            if self._threads > self._wanted and self._is_spare():
                return

    def _is_spare(self) -> bool:
        """Whether this thread should end: more of them work than should."""
        with self._lock:
            if self._threads <= self._wanted:
                return False
            self._threads -= 1
            return True

    def shutdown(self) -> None:
        """End the threads after what is under way. Does not wait for them."""
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
