"""Lets Ctrl-C interrupt a verb, and not the loading of its modules."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C raise KeyboardInterrupt, once, so that a verb closes what it has opened.

    A second Ctrl-C meets the former handler, as does one before or after the verb: that of
    ``authz.__main__`` ends the process. For the main thread. Where Ctrl-C is ignored, it stays so.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
