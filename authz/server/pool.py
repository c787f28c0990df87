"""The threads that answer checks: a few that work, and more only while some of these wait.

More threads than a few bring no speed to Python, and cost it. But a check that waits for an
issuer's keys would take a working thread away from those that need no wait: so it lends its place
to another one until it goes on.

grpcio asks of an executor that ``submit`` runs a call in another thread, and of what it returns
that it tells when the call is done. This one does that and nothing else: locks and conditions of
``concurrent.futures`` are a good part of what a check costs. The call must never run in ``submit``
itself: grpcio holds the server's lock there, and would wait for itself.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from typing import Any, Final

_END: Final = None
_log: Final = logging.getLogger("authz.server")


class Call:
    """A call that was submitted; tells one listener, once, when it is done."""

    __slots__ = ("_args", "_function", "_is_done", "_listeners")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Take what to call."""
        self._function = function
        self._args = args
        self._listeners: list[Callable[[Call], object]] = []
        self._is_done = False

    def add_done_callback(self, listener: "Callable[[Call], object]") -> None:
        """Call the listener when the call is done, which it may be already."""
        self._listeners.append(listener)
        if self._is_done:
            self._tell()

    def run(self) -> None:
        """Make the call. What it raises is logged: nobody else would hear of it."""
        try:
            self._function(*self._args)
        except Exception as error:  # noqa: BLE001 - a thread must outlive any call
            _log.error("a call failed: %s", type(error).__name__)
        self._is_done = True
        self._tell()

    def _tell(self) -> None:
        # Both threads may come here at once: pop() is atomic, so each listener is told once.
        with suppress(IndexError):
            self._listeners.pop()(self)


class CheckPool(Executor):
    """Runs calls in threads, ``working`` of them at a time."""

    def __init__(self, working: int) -> None:
        """Start the threads."""
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wanted = working
        self._threads = 0
        self.waiting = self._queue.qsize  # calls that no thread has taken yet
        self.finished = 0  # calls; two at once may count as one: that it moves is what counts
        for _ in range(working):
            self._start_thread()

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Call:  # type: ignore[override] # noqa: ANN401 - as inherited
        """Run a call soon. What it returns is dropped."""
        call = Call(function, args)
        self._queue.put(call)
        return call

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
        while (call := self._queue.get()) is not _END:
            call.run()
            self.finished += 1
            del call  # or the last call's data would live until the next
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
