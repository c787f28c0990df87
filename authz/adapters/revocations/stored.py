"""Follows the revocations of the store, which all replicas share.

A look asks for the store's version, and only for what has changed since. What is known stays in
force while the store is away, and if it comes back with fewer revocations than it had:

- Another epoch, a smaller number, or another change where the last known one was means that the
  store lost revocations. What it lacks stays in force and is written to it again, unless its log
  says that it was taken back since.
- Otherwise its listing is the truth, and what it no longer has was taken back.
"""

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from authz.adapters.revocation_file.settings import RevocationSettings
from authz.adapters.revocation_file.telling import RevocationStatus, tell_added, tell_removed
from authz.adapters.revocations.absence import StoreAbsence, boot_seconds
from authz.adapters.revocations.listing import Changed, KnownEntries, ListingError
from authz.adapters.store.following import Follower, Whole
from authz.adapters.store.store import Change, Listing, Register, StoreError
from authz.core.decision import Agent, Delegation
from authz.core.request import Operation

LOOK_SECONDS: Final = 1.0  # the longest wait for a short answer
LIST_SECONDS: Final = 30.0  # for half a million entries
RESTORED_AT_ONCE: Final = 500  # entries in one write, which must not hold up the store
BY_RESTORING: Final = "restored"
BY_SWEEPING: Final = "expired"
SWEEP_SECONDS: Final = 600.0
SWEEP_AFTER_SECONDS: Final = 300.0  # clocks differ
SWEPT_AT_ONCE: Final = 1000
_log: Final = logging.getLogger("authz.revocations")


class StoredRevocations:
    """The revocations of the store. One thread looks, another one judges, any thread may check.

    Attributes:
        absence: how long the store has not answered.
    """

    def __init__(
        self,
        register: Register,
        settings: RevocationSettings,
        changed: Callable[[], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = boot_seconds,
    ) -> None:
        """Begin without revocations; ``changed`` is called after each change."""
        self._register = register
        self._changed = changed
        self._wall, self._monotonic = wall, monotonic
        self.absence = StoreAbsence(settings, changed, monotonic)
        self._entries = KnownEntries()
        self._follower = Follower(register, LOOK_SECONDS, LIST_SECONDS)
        self._pending: dict[str, bytes] = {}  # entries to be restored
        self._taken = self._refused = self._lost = 0
        self._looked_at = 0.0
        self._sweep_at = monotonic() + SWEEP_SECONDS

    def check(
        self, agent: Agent, delegation: Delegation, operations: tuple[Operation, ...]
    ) -> None:
        """Require that none is revoked, and that the store has said so recently enough.

        Raises Denied(AGENT_SUSPENDED | TOKEN_REVOKED | STOPPED | STORE_UNAVAILABLE).
        """
        self._entries.current.check(agent, delegation, operations)
        self.absence.check()

    def revoked_agents(self, agents: Iterable[str]) -> tuple[str, ...]:
        """Return those of the agents that are revoked."""
        return self._entries.current.revoked_agents(agents)

    @property
    def is_ready(self) -> bool:
        """Tell whether requests may be served."""
        return not self.absence.refuses and (
            self._follower.version is not None or self.absence.is_long
        )

    @property
    def is_current(self) -> bool:
        """Tell whether the store has said what is revoked, and recently enough."""
        return self._follower.version is not None and not self.absence.is_long

    def status(self) -> RevocationStatus:
        """Return the state."""
        return RevocationStatus(
            "store",
            len(self._entries.current),
            self._taken,
            self._refused,
            self._looked_at,
            self._lost,
            self.absence.is_long,
        )

    def look(self) -> None:
        """Put changes of the store into force, and write to it what it has lost.

        Waits for the store. Any error leaves in force what is known.
        """
        try:
            self._look()
        except (StoreError, ListingError) as error:
            if isinstance(error, ListingError):
                self._refused += 1
            self.absence.tell(error)
        except Exception:  # such as a lack of memory: a part may be in force
            self._changed()
            raise
        else:
            self._looked_at = self._wall()
            self.absence.end()
            self._restore()
            self._sweep()
        if self._entries.expire(self._wall()):
            self._changed()

    def _look(self) -> None:
        """Bring what is known up to the store's version. Raises StoreError, ListingError."""
        news = self._follower.read()
        if isinstance(news, Whole):
            self._take(news)
        else:
            self._apply(news)

    def _apply(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        changed, now = Changed(), self._wall()
        for change in changes:
            if change.is_added:
                self._entries.put(change.id, change.entry, now, changed)
            else:
                self._entries.drop(change.id, changed)
            self._pending.pop(change.id, None)  # the store knows of it
        self._follower.took(changes)
        self._took(changed, [change for change in changes if not change.is_added])

    def _take(self, whole: Whole) -> None:
        """Put all that the store lists into force. Raises ListingError."""
        listing, log = whole.listing, whole.log
        if whole.has_lost:
            self._keep(listing, log)
        pending = {
            name: line for name, line in self._pending.items() if name not in listing.entries
        }
        changed = self._entries.take(listing.entries, pending, self._wall())
        self._pending = pending
        is_first = self._follower.version is None
        self._follower.took_all(whole)
        if is_first:
            _log.info("revocations of the store", extra={"entries": len(self._entries.current)})
            self._tell_invalid(changed)
            self._changed()
        else:
            self._took(changed, log)

    def _keep(self, listing: Listing, log: Sequence[Change]) -> None:
        """Note the entries to be restored: those that are missing, and were not taken back."""
        since = 0.0 if self._follower.last is None else self._follower.last.at
        taken_back = {
            change.id for change in log if not change.is_added and change.at > since
        }  # by the store's clock
        missing = {
            name: line
            for name, line in self._entries.missing_in(listing.entries, self._wall())
            if name not in taken_back
        }
        if missing:
            self._pending |= missing
            self._lost += 1
            _log.error(
                "the store has lost %d revocations: they stay in force here, and are written to it"
                " again",
                len(missing),
            )

    def _restore(self) -> None:
        """Write to the store what it lost, at each look until the store tells of it."""
        waiting = iter([*self._pending.items()])
        while chunk := dict(islice(waiting, RESTORED_AT_ONCE)):
            try:
                self._register.add(chunk, BY_RESTORING, LOOK_SECONDS)
            except StoreError as error:
                _log.warning("can't restore revocations in the store: %s", error)
                return

    def _sweep(self) -> None:
        """Have the store drop what has expired: by its own clock, as ours may be wrong."""
        now, last = self._monotonic(), self._follower.last
        if last is None or now < self._sweep_at:
            return
        self._sweep_at = now + random.uniform(0.5, 1.5) * SWEEP_SECONDS  # noqa: S311 - no secret
        if names := self._entries.expired(last.at - SWEEP_AFTER_SECONDS, SWEPT_AT_ONCE):
            try:
                self._register.take_back(names, BY_SWEEPING, "", LIST_SECONDS)
            except StoreError as error:
                _log.warning("can't remove expired revocations from the store: %s", error)

    def _took(self, changed: Changed, log: Sequence[Change]) -> None:
        if changed:
            self._changed()  # after the change: a reader who sees it sees the entries as well
            self._taken += 1
            by = {change.id: (change.by, change.note) for change in log if not change.is_added}
            tell_added(changed.added, changed.count_added)
            tell_removed(changed.removed, changed.count_removed, by)
        self._tell_invalid(changed)

    def _tell_invalid(self, changed: Changed) -> None:
        if changed.invalid:
            self._refused += 1
        for name, why in changed.invalid.items():
            _log.error(
                "an entry of the store is invalid, and revokes nothing: %s",
                why,
                extra={"id": name[:64]},
            )
