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
_PIPE_BYTES: Final = 65_536  # what a pipe holds on Linux
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
    # All that came at once is one: a storm of one kind must not fill the pipe, and lose the other.
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
