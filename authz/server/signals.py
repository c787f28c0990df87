"""Acts on signals in a thread of its own: SIGTERM and SIGINT stop, SIGHUP reloads.

Python runs handlers in the main thread, between two of its steps: never while that thread hangs,
and in a deadlock if it holds a lock that the handler wants. So the handlers do nothing; the numbers
of signals come through a pipe, which the interpreter writes in C, to a thread that acts on them.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

END_SECONDS: Final = 5.0  # how long an interpreter may take to end once all work is done
_PIPE_BYTES: Final = 65_536  # what a pipe holds on Linux
_log: Final = logging.getLogger("authz.server")
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class Stoppable(Protocol):
    """A process that signals stop and reload. Its methods return at once, for any thread.

    Attributes:
        stop_seconds: the longest time that a stop takes; the kernel ends the process then.
    """

    @property
    def stop_seconds(self) -> float:
        """The longest time that a stop takes."""

    def stop(self) -> None:
        """Begin to stop, without waiting for the end."""

    def reload(self) -> None:
        """Schedule a reload of the config, and reopen files."""


def end_within(seconds: float) -> None:
    """Have the kernel end the process after so long. Needs no thread of it to run."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextmanager
def signals(process: Stoppable) -> Iterator[None]:
    """Stop on SIGTERM and SIGINT, reload on SIGHUP; restore the former handlers at the end.

    For the main thread. A stop that has begun ends in time even if every thread hangs.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, _ignore) for number in (*_STOPS, signal.SIGHUP)}
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the default ends the process
    descriptor = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=_listen, args=(reader, process), name="signals", daemon=True)
    listener.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)
        listener.join()
        os.close(reader)


def _ignore(*_: object) -> None:
    """Do nothing: a signal without a handler would not come through the pipe."""


def _listen(reader: int, process: Stoppable) -> None:
    is_stopping = False
    # Signals that came together are read together: a storm of one signal must not fill the pipe and
    # lose another.
    while numbers := frozenset(os.read(reader, _PIPE_BYTES)):
        if signal.SIGHUP in numbers:
            _reload(process)
        for number in numbers.intersection(_STOPS):
            if not is_stopping:
                is_stopping = True
                end_within(process.stop_seconds)
                _log.info("signal", extra={"signal": signal.Signals(number).name})
                process.stop()


def _reload(process: Stoppable) -> None:
    try:
        process.reload()
    except Exception:  # noqa: BLE001 - without this thread no signal would stop the process
        _log.exception("can't act on SIGHUP")
