"""What signals mean: SIGTERM and SIGINT stop, SIGHUP reloads."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol

_log: Final = logging.getLogger("authz.server")


class Stoppable(Protocol):
    """What signals are for."""

    def stop(self) -> None:
        """Begin to stop."""

    def reload(self) -> None:
        """Read the config, and open files, anew."""


@contextmanager
def signals(process: Stoppable) -> Iterator[None]:
    """SIGTERM and SIGINT stop, SIGHUP reloads; the handlers that were there come back after."""

    def stop(number: int, _: FrameType | None) -> None:
        _log.info("signal", extra={"signal": signal.Signals(number).name})
        process.stop()

    wanted: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: lambda *_: process.reload(),
    }
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
