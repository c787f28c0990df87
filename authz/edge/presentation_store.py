"""Keeps the last presentation of each kind of check, and says which check to present.

Presentations are made only of checks that were not answered from the cache, of each kind once a
second at most, and within a budget for all kinds together. So a client can't make them cost more,
whatever it sends. Nothing here waits: a race between threads can lose a presentation, and nothing
else.
"""

from typing import Final

from authz.edge.presentation import Kept, Key, Presentation

MAX_KEPT: Final = 64  # kinds of checks: a handful of proxies, with the routes that each uses
REST_SECONDS: Final = 1.0  # between two presentations of a kind
# Of work in each second, for all kinds together: a presentation is one unit, and one more for each
# WEIGHT_BYTES of its message, which is read once more. Some 10 ms at most.
BUDGET: Final = 64
WEIGHT_BYTES: Final = 64 * 1024


class _Kind:
    """The counts of a kind; many threads change them, and a race may lose a count."""

    __slots__ = ("decided", "due", "last", "seen", "with_credential")

    def __init__(self) -> None:
        self.last: Presentation | None = None
        self.decided = self.seen = self.with_credential = 0
        self.due = 0.0


class Presentations:
    """The last presentation of each kind of check, MAX_KEPT kinds at most."""

    def __init__(self) -> None:
        """Begin without any."""
        self._kinds: dict[Key, _Kind] = {}
        self._second = 0.0
        self._left = BUDGET

    def wants(self, key: Key, size: int, now: float) -> bool:
        """Count a check of this kind, and tell whether to present it.

        ``size`` is the message's in bytes, ``now`` monotonic seconds.
        """
        kind = self._kinds.get(key)
        if kind is not None:
            kind.decided += 1
            if now < kind.due:
                return False
        if now - self._second >= REST_SECONDS:
            self._second, self._left = now, BUDGET
        cost = 1 + size // WEIGHT_BYTES
        if cost > self._left:  # it takes nothing from the other kinds then
            return False
        self._left -= cost
        if kind is None:
            kind = self._begun(key)
        kind.due = now + REST_SECONDS
        return True

    def _begun(self, key: Key) -> _Kind:
        """Add a kind, in place of the one that was presented longest ago if there are too many."""
        kinds = self._kinds
        if len(kinds) >= MAX_KEPT:
            oldest = min(list(kinds.items()), key=lambda item: item[1].due)[0]
            kinds.pop(oldest, None)
        kind = kinds[key] = _Kind()
        kind.decided = 1
        return kind

    def keep(self, key: Key, presentation: Presentation) -> None:
        """Keep a presentation as the last one of its kind."""
        kind = self._kinds.get(key)
        if kind is not None:
            kind.last = presentation
            kind.seen += 1
            kind.with_credential += bool(presentation.headers.credentials)

    def kept(self) -> list[Kept]:
        """Return the last presentation of each kind."""
        return [
            Kept(kind.last, kind.decided, kind.seen, kind.with_credential)
            for kind in list(self._kinds.values())
            if kind.last is not None
        ]
