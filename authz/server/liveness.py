"""Tells whether the parts of a process still move: what ``/healthz`` and gRPC health answer.

Each part says so itself each time that it has done its work, and whoever asks compares the times.
So the answer needs none of the parts: one that hangs can't keep it from being given.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

MAIN: Final = "main"
REVOCATIONS: Final = "revocations"
CONFIG: Final = "config"
POOL: Final = "pool"
# Seconds after which a part is stuck. None: shown and not judged.
LIMITS: Final[Mapping[str, float | None]] = {
    # Looks at flags five times a second. It gets the interpreter within a second, whatever runs.
    MAIN: 5.0,
    # Reads one file. Half a million entries take it a second alone, and several beside checks.
    REVOCATIONS: 10.0,
    # Calls that wait for something lend their thread to others, so one ends in milliseconds.
    POOL: 10.0,
    # Reading 100,000 rules takes half a minute, and a file system that hangs forever; the last
    # good config is in force meanwhile, and a restart could not read another one either.
    CONFIG: None,
}


@dataclass(frozen=True, slots=True)
class LivenessStatus:
    """Whether the parts move.

    Attributes:
        idle_seconds: by part, the time since it last moved.
        stuck: a line for each part that is stuck; none means that all is well.
    """

    idle_seconds: Mapping[str, float]
    stuck: tuple[str, ...]


class Liveness:
    """When each part last moved. Times are monotonic seconds."""

    def __init__(self) -> None:
        """Begin with no part; one is looked after from its first beat on."""
        self._moved: dict[str, float] = {}

    def beat(self, part: str, now: float | None = None) -> None:
        """Note that a part of LIMITS has moved, now if no time is given."""
        self._moved[part] = time.monotonic() if now is None else now

    def status(self, now: float | None = None) -> LivenessStatus:
        """Return whether the parts move, ``now`` if no time is given."""
        now = time.monotonic() if now is None else now
        idle = {part: max(0.0, now - moved) for part, moved in list(self._moved.items())}
        return LivenessStatus(idle, tuple(_stuck(idle)))

    def stuck(self, now: float | None = None) -> tuple[str, ...]:
        """Return the lines of the status: what health checks ask for."""
        return self.status(now).stuck


def _stuck(idle_seconds: Mapping[str, float]) -> Iterator[str]:
    for part, seconds in idle_seconds.items():
        if seconds > (LIMITS[part] or inf):
            yield f"{part}: has made no progress for {seconds:.0f} s"
