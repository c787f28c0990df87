"""Lets the other threads go on while a config is read, which takes seconds for 100,000 rules.

Python runs one thread at a time. What kept the others waiting, measured for 100,000 rules:

- a thread that wants the interpreter gets it after 5 ms, each time that it has waited for anything:
  half a millisecond here;
- the garbage collector's third generation looks at every object that there is, up to two seconds
  each time, six times a load: not meanwhile;
- and after it, whenever a request makes it due: the config's objects are frozen, it passes them.

A config that is replaced is freed without the collector: it is no ring (a test holds it).
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
    """Read a config within. For one thread at a time."""
    switch, (young, middle, old) = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(young, middle, _NEVER)
    try:
        yield
        gc.freeze()  # what other threads hold at this moment too: a few requests of one moment
    finally:
        gc.set_threshold(young, middle, old)
        sys.setswitchinterval(switch)
