"""Lets Ctrl-C interrupt a verb, and not the loading of its modules."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[None]:
    """Make Ctrl-C raise KeyboardInterrupt, once, so that a verb closes what it has opened.

    A second Ctrl-C gets the former handler, as does a Ctrl-C before or after the verb: that of
    ``authz.__main__`` ends the process. For the main thread. If Ctrl-C is ignored, it stays
    ignored.
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
