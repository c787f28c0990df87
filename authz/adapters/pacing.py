"""Lets other threads continue during long work, as Python runs one thread at a time."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

# A waiting thread asks for the interpreter after 5 ms, and a check may wait for it several times.
# While a file grew by 200,000 lines, another thread waited 10 ms (median), and so 0.4 ms.
_WORK_SECONDS: Final = 0.0002
_PAUSE_SECONDS: Final = 0.00005  # a pause of 0 often gives the interpreter to nobody
_AT_ONCE: Final = 16  # items between two looks at the clock
_T = TypeVar("_T")


def _nobody() -> None:
    """Tell nobody."""


def paced(items: Iterable[_T], progress: Callable[[], None] = _nobody) -> Iterator[_T]:
    """Yield the items, with a short pause now and then, and call ``progress`` after each pause.

    Short work has none.
    """
    until = time.perf_counter() + _WORK_SECONDS
    for number, item in enumerate(items, start=1):
        yield item
        if number % _AT_ONCE == 0 and time.perf_counter() > until:
            time.sleep(_PAUSE_SECONDS)
            progress()
            until = time.perf_counter() + _WORK_SECONDS


def free(items: set[_T]) -> None:
    """Empty a set bit by bit: freed at once, half a million items take a hundredth of a second."""
    for _ in paced(range(len(items))):
        items.pop()
