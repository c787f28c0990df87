"""Limits how often one kind of log line is written: a client must not be able to fill the log.

Each kind has a token bucket of ``BURST`` lines, which gains a line every ``REFILL_SECONDS``
seconds. If it is empty, lines are left out and counted; the count is logged as soon as there is
room.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final

BURST: Final = 200  # enough for every problem of a completely wrong config, a line each
REFILL_SECONDS: Final = 5.0  # 17,280 lines a day of one kind at most: some 3 MB
MAX_KINDS: Final = 256  # we have some 60 messages; the rest are those of libraries
_OTHERS: Final = "others"  # kinds beyond MAX_KINDS share this bucket


@dataclass(slots=True)
class _Bucket:
    """A kind's remaining allowance, and the lines left out since the last notice."""

    filled_at: float
    lines: float = BURST
    left_out: int = 0

    def fill(self, now: float) -> None:
        gained = (now - self.filled_at) / REFILL_SECONDS
        self.lines, self.filled_at = min(BURST, self.lines + gained), now

    @property
    def is_forgettable(self) -> bool:
        return self.lines >= BURST and not self.left_out


class LogRateLimiter:
    """Decides which lines are written. For one thread at a time; ``now`` is in monotonic seconds.

    Attributes:
        left_out: how many lines were left out, in total.
    """

    def __init__(self) -> None:
        """Begin with a full bucket for every kind."""
        self.left_out = 0
        self._buckets: dict[Hashable, _Bucket] = {}

    def admit(self, kind: Hashable, now: float) -> bool:
        """Tell whether a line of this kind may be written now, and count it."""
        bucket = self._bucket(kind, now)
        bucket.fill(now)
        if bucket.lines < 1.0:
            bucket.left_out += 1
            self.left_out += 1
            return False
        bucket.lines -= 1.0
        return True

    def untold(self, now: float) -> Iterator[tuple[Hashable, int]]:
        """Yield each kind that has room again, with the number of its lines that were left out."""
        for kind, bucket in self._buckets.items():
            if not bucket.left_out:
                continue
            bucket.fill(now)
            if bucket.lines >= 1.0:
                bucket.lines -= 1.0
                count, bucket.left_out = bucket.left_out, 0
                yield kind, count

    def _bucket(self, kind: Hashable, now: float) -> _Bucket:
        if kind not in self._buckets and len(self._buckets) >= MAX_KINDS:
            self._forget(now)
            kind = kind if len(self._buckets) < MAX_KINDS else _OTHERS
        return self._buckets.setdefault(kind, _Bucket(now))

    def _forget(self, now: float) -> None:
        for kind, bucket in list(self._buckets.items()):
            bucket.fill(now)
            if bucket.is_forgettable:
                del self._buckets[kind]
