"""Tells whether the parts of a process still make progress, for ``/healthz`` and gRPC health.

Each part notes the time when it has done its work, and the answer compares these times. So the
answer does not need the parts, and a hanging part can't delay it.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

MAIN: Final = "main"
REVOCATIONS: Final = "revocations"
STORE: Final = "store"
CONFIG: Final = "config"
POOL: Final = "pool"
TRANSPORT: Final = "transport"
# Seconds without progress after which a part is stuck. None: shown, and never stuck.
LIMITS: Final[Mapping[str, float | None]] = {
    # Checks flags five times a second, and gets the interpreter within a second, whatever else
    # runs.
    MAIN: 5.0,
    # Reads one file, and tells its progress while it does: half a million new entries take longer.
    REVOCATIONS: 10.0,
    # Waits for the store. The config says what happens while it is away.
    STORE: None,
    # Calls that wait for something lend their thread to others, so a call ends in milliseconds.
    POOL: 10.0,
    # Its loop runs at least twice a second, and works for a millisecond each time.
    TRANSPORT: 10.0,
    # Reading 100,000 rules takes half a minute; a hanging file system takes forever. Meanwhile the
    # last valid config is in force, and a restart could not read another config either.
    CONFIG: None,
}


@dataclass(frozen=True, slots=True)
class LivenessStatus:
    """The progress of the parts.

    Attributes:
        idle_seconds: by part, the time since its last progress.
        stuck: a line for each part that is stuck.
    """

    idle_seconds: Mapping[str, float]
    stuck: tuple[str, ...]


class Liveness:
    """The time of each part's last progress, in monotonic seconds. For any thread."""

    def __init__(self) -> None:
        """Begin without parts; a part counts from its first beat on."""
        self._moved: dict[str, float] = {}

    def beat(self, part: str, now: float | None = None) -> None:
        """Note that a part of LIMITS has made progress, now if no time is given."""
        self._moved[part] = time.monotonic() if now is None else now

    def status(self, now: float | None = None) -> LivenessStatus:
        """Return the progress of the parts, as of now if no time is given."""
        now = time.monotonic() if now is None else now
        idle = {part: max(0.0, now - moved) for part, moved in list(self._moved.items())}
        return LivenessStatus(idle, tuple(_stuck(idle)))

    def stuck(self, now: float | None = None) -> tuple[str, ...]:
        """Return a line for each part that is stuck, for health checks."""
        return self.status(now).stuck


def _stuck(idle_seconds: Mapping[str, float]) -> Iterator[str]:
    for part, seconds in idle_seconds.items():
        if seconds > (LIMITS[part] or inf):
            yield f"{part}: has made no progress for {seconds:.0f} s"
