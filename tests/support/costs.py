"""Counts what a request costs in steps of Python, and searches for the dearest text of a place.

Steps are what ``sys.settrace`` tells of: each line that is run, and each call and return. They are
the same on a quiet machine and on a busy one. What one call of C does is not in them: that has to
be linear, which is checked by how its CPU time grows with the size.
"""

import gc
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import FrameType
from typing import Any

COUNTER = "#"  # in a unit: another number each time
FLOOR_SECONDS = 0.0002  # less is noise


def steps_of(call: Callable[[], object]) -> int:
    """Count the steps of Python that a call takes, in this thread."""
    steps = 0

    def trace(_: FrameType, __: str, ___: Any) -> Any:
        nonlocal steps
        steps += 1
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # a collection may run finalizers of other tests' objects, in Python
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return steps


def seconds_of(make: Callable[[], Callable[[], object]]) -> float:
    """Measure the CPU time of a call in this thread; ``make`` makes the call beforehand."""
    call = make()
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


@dataclass(frozen=True)
class Place:
    """A place in a request that a client fills, and what it may fill it with.

    Attributes:
        name: for people.
        most: bytes that can get there.
        units: of which the search makes texts.
        ask: makes something to ask the server from a text.
        joint: stands between units.
    """

    name: str
    most: int
    units: Sequence[str]
    ask: Callable[[str], Callable[[], object]]
    joint: str = ""

    def text(self, units: Sequence[str], size: int) -> str:
        """Repeat these units, up to so many bytes."""
        period = self.joint.join(units) + self.joint
        times = size // (len(period.encode()) + 4 * period.count(COUNTER))
        if not times:
            fitting = accumulate(len(unit.encode()) + len(self.joint) for unit in units)
            return self.joint.join(units[: sum(length <= size for length in fitting)])
        if COUNTER not in period:
            return (period * times).removesuffix(self.joint)
        text = "".join(period.replace(COUNTER, f"{number:x}") for number in range(times))
        return text.removesuffix(self.joint)

    def steps(self, units: Sequence[str], size: int) -> int:
        """Count the steps for such a text."""
        return steps_of(self.ask(self.text(units, size)))


def dearest(place: Place, size: int, *, tries: int, seed: int) -> tuple[int, tuple[str, ...]]:
    """Climb to the dearest text of this size: its steps, and the units that it repeats.

    First each unit alone, then the best one changed at random, as long as that makes it dearer.
    """
    chance = random.Random(f"{seed} {place.name} {size}")
    alone: list[tuple[str, ...]] = [(unit,) for unit in place.units]
    best = max((place.steps(units, size), units) for units in alone)
    for _ in range(tries):
        units = _changed(best[1], place.units, chance)
        best = max(best, (place.steps(units, size), units))
    return best


def _changed(
    units: tuple[str, ...], known: Sequence[str], chance: random.Random
) -> tuple[str, ...]:
    changed = list(units)
    at = chance.randrange(len(changed) + 1)
    other = chance.choice(known)
    how = chance.randrange(4)
    if how == 0:
        changed.insert(at, other)
    elif how == 1:
        changed[at : at + 1] = [other]
    elif how == 2 and len(changed) > 1:
        del changed[at - 1]
    else:  # a long run of one, then something else
        changed += [chance.choice(changed)] * chance.choice([3, 30, 300]) + [other]
    return tuple(changed)


def growth(place: Place, unit: str) -> float:
    """Return how many times longer all bytes of a unit take than a sixteenth, in CPU time."""

    def least_of(tries: int, size: int) -> float:
        text = place.text([unit], size)
        return min(seconds_of(lambda: place.ask(text)) for _ in range(tries))

    short = max(least_of(3, place.most // 16), FLOOR_SECONDS)
    times = least_of(1, place.most) / short
    return times if times < 32 else least_of(5, place.most) / short
