"""Decides which lines go next to a receiver that acknowledges batches, and what a refusal costs.

- Of a refused batch half is sent next, so that only those lines are lost for which it was refused.
- A line that is refused alone is not yet to blame: proxies and collectors refuse everything for
  faults of their own too. It is in doubt, and rejected once the receiver takes another one in the
  same flush, or has refused it in ``ATTEMPTS``.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from authz.adapters.audit.sinks.refused import Refused

MAX_IN_DOUBT: Final = 8  # lines: a receiver that takes none is not asked about each of them
ATTEMPTS: Final = 12  # that end with lines in doubt; with the pauses between them, some minutes


class Batches:
    """The lines that wait in a sink whose receiver acknowledges them. One thread uses it."""

    def __init__(self, sink: str, max_lines: int, max_bytes: int) -> None:
        """Take the sink's name, for the log, and the limits of a batch."""
        self._refused = Refused(sink)
        self._max_lines = self._at_once = max_lines
        self._max_bytes = max_bytes
        self._lines: deque[bytes] = deque()
        self._in_doubt = 0  # of the first lines, that the receiver refused one by one
        self._why = ""  # it refused the last of these
        self._attempts = 0  # that ended with lines in doubt, since the last batch that was taken
        self._has_taken = False  # whether the receiver took a batch in this flush

    @property
    def waiting(self) -> int:
        """Return the number of lines that the receiver has not taken, and may take."""
        return len(self._lines)

    @property
    def rejected(self) -> int:
        """Return the number of lines that the receiver will never take, since the start."""
        return self._refused.count

    def add(self, lines: Iterable[bytes]) -> None:
        """Add lines to be sent."""
        self._lines.extend(lines)

    def begin(self) -> None:
        """Begin a flush."""
        self._has_taken = False

    def next(self) -> list[bytes]:
        """Return the next lines behind those in doubt: at least one, and no more than fit."""
        batch: list[bytes] = []
        size = 0
        for line in islice(self._lines, self._in_doubt, self._in_doubt + self._at_once):
            size += len(line)
            if batch and size > self._max_bytes:
                break
            batch.append(line)
        return batch

    def taken(self, count: int, rejected: int = 0) -> None:
        """Forget lines that were taken, ``rejected`` of them in vain; give up those in doubt."""
        self._give_up(self._why)
        self._attempts = 0
        self._has_taken = True
        self._drop(count)
        self._at_once = min(2 * self._at_once, self._max_lines)
        if rejected:
            self._refused.add(min(rejected, count), "it took a request in part only")

    def refused(self, count: int, why: str, *, is_certain: bool = False) -> bool:
        """Note that a batch was refused; return whether the receiver seems to refuse every line.

        Then the flush must end. ``is_certain`` says that a line refused alone is to blame, unless
        others were refused before it.
        """
        if count > 1:
            self.halve(count)
            return False
        self._in_doubt += 1
        self._why = why
        if self._has_taken or (is_certain and self._in_doubt == 1):
            self._give_up(why)
        elif self._in_doubt >= min(MAX_IN_DOUBT, len(self._lines)):
            return self._has_more_attempts(why)
        return False

    def halve(self, count: int) -> None:
        """Send half as many lines next."""
        self._at_once = max(1, count // 2)

    def failed(self) -> None:
        """Keep all lines for a later flush: nothing was learnt of those in doubt."""
        self._in_doubt = 0

    def _has_more_attempts(self, why: str) -> bool:
        """Count an attempt; after the last one give up the lines in doubt, and count anew."""
        self._attempts += 1
        if self._attempts < ATTEMPTS:
            self.failed()
            return True
        self._give_up(f"{why}, in {ATTEMPTS} attempts")
        self._attempts = 0
        return False

    def _give_up(self, why: str) -> None:
        """Reject the lines in doubt, if there are any."""
        if self._in_doubt:
            self._refused.add(self._in_doubt, why)
            self._drop(self._in_doubt)
        self._in_doubt = 0

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._lines.popleft()
