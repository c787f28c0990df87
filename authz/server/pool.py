"""The threads that answer checks: a few that work, and more only while some of these wait.

More threads than a few bring no speed to Python, and cost it. But a check that waits for an
issuer's keys would take a working thread away from those that need no wait: so it lends its place
to another one until it goes on.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_END: Final = None


class CheckPool(Executor):
    """Runs calls in threads, ``working`` of them at a time."""

    def __init__(self, working: int) -> None:
        """Start the threads."""
        self._queue: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._wanted = working
        self._threads = 0
        for _ in range(working):
            self._start_thread()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call soon; what it returns."""
        future: Future[T] = Future()
        self._queue.put((future, lambda: fn(*args, **kwargs)))
        return future

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
        while (item := self._queue.get()) is not _END:
            _run(*item)
            del item  # or the last call's data would live until the next
            if self._threads > self._wanted and self._is_spare():
                return

    def _is_spare(self) -> bool:
        """Whether this thread should end: more of them work than should."""
        with self._lock:
            if self._threads <= self._wanted:
                return False
            self._threads -= 1
            return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as inherited
        """End the threads after what is under way. Does not wait for them."""
        del wait, cancel_futures
        with self._lock:
            self._wanted = 0
            count = self._threads
        for _ in range(count):
            self._queue.put(_END)


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
        future.set_exception(error)
    else:
        future.set_result(result)
