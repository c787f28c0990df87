"""What signals mean: SIGTERM and SIGINT stop, SIGHUP reloads; in a thread of their own.

Python runs handlers in the main thread, between two of its steps: not at all while that hangs, and
while it holds a lock that the handler wants, forever. So the handlers do nothing; the numbers of
signals come through a pipe, which the interpreter writes in C, to a thread that acts on them.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

END_SECONDS: Final = 5.0  # how long an interpreter may take to end once all work is done
_log: Final = logging.getLogger("authz.server")
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class Stoppable(Protocol):
    """What signals are for.

    Attributes:
        stop_seconds: how long a stop takes at most; the kernel ends the process then.
    """

    @property
    def stop_seconds(self) -> float:
        """As above."""

    def stop(self) -> None:
        """Begin to stop."""

    def reload(self) -> None:
        """Read the config, and open files, anew."""


def end_within(seconds: float) -> None:
    """Have the kernel end the process then, if it has not ended by itself. Asks no thread of it."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextmanager
def signals(process: Stoppable) -> Iterator[None]:
    """SIGTERM and SIGINT stop, SIGHUP reloads; what they meant before comes back after.

    For the main thread. A stop that has begun ends in time even if every thread hangs.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, _ignore) for number in (*_STOPS, signal.SIGHUP)}
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, asking nobody
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
    """Nothing: but a signal without a handler would not come through the pipe."""


def _listen(reader: int, process: Stoppable) -> None:
    is_stopping = False
    while number := os.read(reader, 1):
        name = signal.Signals(number[0]).name
        if number[0] == signal.SIGHUP:
            process.reload()
        elif number[0] in _STOPS and not is_stopping:
            is_stopping = True
            end_within(process.stop_seconds)
            _log.info("signal", extra={"signal": name})
            process.stop()
