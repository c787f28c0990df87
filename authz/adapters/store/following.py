"""Follows a register: asks for its version, and only for what has changed since the last look.

Another epoch, a smaller number, or another change where the last known one was means that the store
lost changes: then it lists all that it has. So it does when too much has changed.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from authz.adapters.store.store import Change, Listing, Register, Version

MAX_FOLLOWED: Final = 1000  # changes that are followed one by one; more are listed anew
MAX_LOG: Final = 10_000


class Whole(msgspec.Struct, frozen=True):
    """All that a register has.

    Attributes:
        log: its last changes, the newest first.
        has_lost: whether it may lack changes that it had.
    """

    listing: Listing
    log: Sequence[Change]
    has_lost: bool


class Follower:
    """Follows a register. A single thread asks.

    Attributes:
        version: that the caller took last; None before the first.
        last: the change that made it, if it is known.
    """

    def __init__(self, register: Register, look_seconds: float, list_seconds: float) -> None:
        """Take the register, and how long it may take to give a short and a long answer."""
        self._register = register
        self._look_seconds = look_seconds
        self._list_seconds = list_seconds
        self.version: Version | None = None
        self.last: Change | None = None

    def read(self) -> Sequence[Change] | Whole:
        """Return the changes since the version, the oldest first, or all. Raises StoreError.

        ``took`` or ``took_all`` must follow once they are in force.
        """
        known, version = self.version, self._register.version(self._look_seconds)
        changes = None
        if known is not None and version.epoch == known.epoch:
            changes = self._since(known, version)
        return self._whole() if changes is None else changes

    def took(self, changes: Sequence[Change]) -> None:
        """Note that changes are in force."""
        if changes and self.version is not None:
            self.version = Version(self.version.epoch, changes[-1].number)
            self.last = changes[-1]

    def took_all(self, whole: Whole) -> None:
        """Note that a listing is in force."""
        self.version = whole.listing.version
        last = [change for change in whole.log if change.number == self.version.number]
        self.last = last[0] if last else None

    def _since(self, known: Version, version: Version) -> Sequence[Change] | None:
        """Return the changes since the known version; None if that is uncertain."""
        missing = version.number - known.number
        if not 0 <= missing <= MAX_FOLLOWED:
            return None
        changes = sorted(
            self._register.changes(missing + 1, self._look_seconds),
            key=lambda change: change.number,
        )
        # A further change may have come meanwhile, and pushed out the oldest.
        before = [change for change in changes if change.number == known.number]
        new = [change for change in changes if change.number > known.number]
        is_whole = [change.number - known.number for change in new] == [*range(1, len(new) + 1)]
        if not is_whole or len(new) < missing or self._differs(before):
            return None
        if new and self._register.version(self._look_seconds).epoch != known.epoch:
            return None
        return new

    def _differs(self, before: Sequence[Change]) -> bool:
        """Tell whether the change that made the known version is another one in the store's log."""
        return self.last is not None and before != [self.last]

    def _whole(self) -> Whole:
        listing = self._register.entries(self._list_seconds)
        log = self._register.changes(MAX_LOG, self._list_seconds)
        return Whole(listing, log, self._has_lost(listing, log))

    def _has_lost(self, listing: Listing, log: Sequence[Change]) -> bool:
        known = self.version
        if known is None:
            return False
        if known.epoch != listing.version.epoch or listing.version.number < known.number:
            return True
        before = [change for change in log if change.number == known.number]
        return bool(before) and self._differs(before)
