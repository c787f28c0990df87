"""The port of stores: marks, budgets, registers and secrets, for all replicas that share one.

Every method waits for ``seconds`` at most, is safe for many threads, and raises StoreError if the
store did not answer: then it is unknown whether it has done what was asked. ``now`` is unix
seconds.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from authz.core.reason import RETRY_AFTER, Denied, Reason

# How far the clocks of servers may differ; each from the store's by half of it. Also longer than
# the longest wait for a store, so that a mark does not end while it is being made.
CLOCKS_DIFFER_SECONDS: Final = 5.0
# Calls at once: an answer takes a fraction of a millisecond, so they are rarely more than 2.
MAX_CALLS: Final = 16


class StoreError(Exception):
    """The store can't be used; the message is for operators, and holds nothing secret."""


class StoreAwayError(StoreError):
    """The store can't be reached, did not answer in time, or is not what the settings say."""


class StoreFullError(StoreError):
    """The store has no room."""


class StoreBusyError(StoreError):
    """Too many wait for the store, or the caller had too little time for it.

    This says nothing about the store, so it is no reason to do without it.
    """


class StoreForgotError(StoreError):
    """The store may have lost marks since the time that was asked about."""


def unavailable(detail: str) -> Denied:
    """Return the refusal of a request that needs the store; ``detail`` is for operators."""
    return Denied(Reason.STORE_UNAVAILABLE, detail, headers=((RETRY_AFTER, "1"),))


class AlreadyUsedError(Exception):
    """Another attempt has used it."""


class ExhaustedError(Exception):
    """A budget has no room for a charge.

    After ``seconds`` all charges have room, if nothing is spent until then.
    """

    def __init__(self, at: int, seconds: float) -> None:
        """Take the number of the charge in its sequence, and the seconds."""
        super().__init__()
        self.at = at
        self.seconds = seconds


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A use of something that may be used once.

    Attributes:
        key: a digest that names it.
        attempt: names the HTTP request that uses it: a proxy may ask again for the same one.
        made_at: unix seconds; it was certainly not used before.
        until: unix seconds; from then on it is refused anyway, and may be forgotten.
    """

    key: bytes
    attempt: bytes
    made_at: float
    until: float


class Charge(msgspec.Struct, frozen=True, gc=False):
    """A part of a budget to be spent.

    Attributes:
        key: names the budget and whose it is; of several charges each has another.
        cost: in millionths; not more than ``limit``.
        limit: the most that may be spent in a window, in millionths; below 2**51.
        window: seconds.
    """

    key: bytes
    cost: int
    limit: int
    window: float


class Version(msgspec.Struct, frozen=True, gc=False):
    """A version of a register.

    Attributes:
        epoch: names the store's memory: another one means that earlier changes may be lost.
        number: grows by one with each change.
    """

    epoch: str
    number: int


class Listing(msgspec.Struct, frozen=True, gc=False):
    """The entries of a register: their lines as in a file of entries, by their ids."""

    version: Version
    entries: Mapping[str, bytes]


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of a register.

    Attributes:
        number: of the version that it made.
        at: unix seconds, by the store's clock.
        by: who made it.
        is_added: whether the entry was added; False if it was taken back.
        id, entry: the entry, as in ``Listing``.
        note: why, for an entry that was taken back.
    """

    number: int
    at: float
    by: str
    is_added: bool
    id: str
    entry: bytes
    note: str = ""


class Marks(Protocol):
    """Remembers what was used.

    A key that one attempt has used stays used for all others until it ends, for every replica.
    """

    def use(self, mark: Mark, now: float, seconds: float) -> None:
        """Mark as used, in one step with the check that no other attempt has used it.

        Raises AlreadyUsedError, StoreForgotError if the store's memory begins after ``made_at``,
        StoreFullError.
        """

    def agreed(self, name: str, proposal: bytes, seconds: float) -> bytes:
        """Return the value that all replicas have for a name: the first that was proposed."""


class Budgets(Protocol):
    """Counts what was spent, in sliding windows.

    The spending of the window so far is this fixed window's, and the part of the last one's that
    the sliding window still covers, as if that had been spent evenly. Fixed windows are counted
    from the beginning of Unix time. So no more than the limit is spent in a fixed window, and less
    than twice the limit in any window of this length. The clock is the store's own, if it has one.
    """

    def spend(self, charges: Sequence[Charge], now: float, seconds: float) -> None:
        """Spend all charges, or none. Raises ExhaustedError for the first without room."""


class Register(Protocol):
    """Keeps entries of a kind, revocations or consents, each by its id."""

    def version(self, seconds: float) -> Version:
        """Return the version in force."""

    def entries(self, seconds: float) -> Listing:
        """Return all entries, as of one version."""

    def add(self, entries: Mapping[str, bytes], by: str, seconds: float) -> Version:
        """Add entries, lines by their ids, all or none; those that are there stay."""

    def take_back(self, ids: Collection[str], by: str, note: str, seconds: float) -> Listing:
        """Remove entries, and return those that stay. Unknown ids are ignored."""

    def changes(self, most: int, seconds: float) -> Sequence[Change]:
        """Return the last changes, the newest first."""

    def watch(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called soon after each change, and whenever some may have been missed.

        It runs in the store's thread, must not wait, and must not fail.
        """


class StoreStatus(msgspec.Struct, frozen=True, gc=False):
    """The state of a store.

    Attributes:
        is_shared: whether other processes use it too.
        is_away: whether the last call to it failed.
        answered_at: unix seconds of its last answer, 0 if there was none.
        calls: the number of calls by operation and result.
        marks: how many marks it holds, None if only the engine knows.
    """

    is_shared: bool
    is_away: bool
    answered_at: float
    calls: Mapping[tuple[str, str], int]
    marks: int | None = None


class Store(Marks, Budgets, Register, Protocol):
    """All of it, in one place; as a register it is that of revocations."""

    @property
    def consents(self) -> Register:
        """The register of consents."""

    def start(self) -> None:
        """Begin to connect; nothing waits for it."""

    def status(self) -> StoreStatus:
        """Return its state, without waiting."""

    def close(self) -> None:
        """End its threads and connections."""
