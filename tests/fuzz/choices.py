"""Random choices out of a drawn seed: some requests are good, some odd in one place, some in many.

To draw each choice from the fuzzer would take ten times as long.
"""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices(random.Random):
    """The choices of a seed."""

    wildness = 0.0

    @classmethod
    def of(cls, seed: int) -> "Choices":
        """Return the choices of a seed, wild or tame."""
        made = cls(seed)
        made.wildness = made.choice([0.0, 0.4, 0.4, 1.0])
        return made

    def is_odd(self, part: float) -> bool:
        """Whether to take an odd way here, as in this part of wild requests."""
        return self.random() < part * self.wildness

    def nearly(self, good: Sequence[T], odd: Sequence[T], part: float = 0.2) -> T:
        """Return a good value, or in this part of wild requests an odd one."""
        return self.choice(odd if self.is_odd(part) else good)
