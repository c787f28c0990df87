"""Lets the other threads continue while a config is read, which takes seconds for 100,000 rules.

Python runs one thread at a time. Three things delayed the others, as measured for 100,000 rules:

- a thread that waits for the interpreter gets it after 5 ms, each time: here after half a
  millisecond;
- the garbage collector's third generation examines every object, for up to two seconds, six times
  in a load: here not during a load;
- it does the same after a load, whenever a request makes it due: here the config's objects are
  frozen, so that the collector skips them.

A replaced config is freed without the collector: it has no reference cycles (a test checks that).
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SWITCH_SECONDS: Final = 0.0005
_NEVER: Final = 1_000_000_000  # collections of the second generation before one of the third


@contextmanager
def yielding_gil() -> Iterator[None]:
    """Keep the other threads running while the body reads a config. For one thread at a time."""
    switch, (young, middle, old) = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
        gc.freeze()  # also the objects that other threads hold now: those of a few requests
    finally:
        gc.set_threshold(young, middle, old)
        sys.setswitchinterval(switch)
