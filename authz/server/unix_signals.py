"""Acts on signals in a thread of its own: SIGTERM and SIGINT stop, SIGHUP reloads.

Python runs handlers in the main thread, between two of its steps: never while that thread hangs,
and with a deadlock if it holds a lock that the handler needs. So the handlers do nothing. The
interpreter writes the signals' numbers, in C, to a pipe, from which a thread reads them and acts.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

END_SECONDS: Final = 5.0  # how long an interpreter may take to end after all work is done
_PIPE_BYTES: Final = 65_536  # the size of a pipe on Linux
_log: Final = logging.getLogger("authz.server")
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


class Stoppable(Protocol):
    """A process that can be stopped and reloaded. Its methods return at once, for any thread.

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
    """Make the kernel end the process after so many seconds, even if all its threads hang."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextmanager
def signals(process: Stoppable) -> Iterator[None]:
    """Stop on SIGTERM and SIGINT, reload on SIGHUP; restore the former handlers at the end.

    For the main thread. A stop that has begun ends in time, even if every thread hangs.
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
    """Do nothing: a signal without a handler would not be written to the pipe."""


def _listen(reader: int, process: Stoppable) -> None:
    is_stopping = False
    # Signals that arrived together are read together: a storm of one signal must not fill the pipe
    # and lose another signal.
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
