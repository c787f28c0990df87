"""Collects from records who acted for whom, through which rules, and what was refused."""

from typing import TYPE_CHECKING, Final

from authz.review.audit_reading.entry import Entry
from authz.review.audit_reading.tallies import BoundedTable, bounded_name

if TYPE_CHECKING:
    from datetime import datetime

MAX_RULES: Final = 20  # listed of one pair; a report says if there are more


class Seen:
    """How often something was recorded, when first and last, and the last decision's ID."""

    __slots__ = ("allowed", "count", "first", "last", "last_id")

    def __init__(self) -> None:
        """Begin without records."""
        self.count = 0
        self.allowed = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.last_id = ""

    @property
    def refused(self) -> int:
        """The count of refusals."""
        return self.count - self.allowed

    def add(self, entry: Entry) -> None:
        """Count a record."""
        self.count += 1
        self.allowed += entry.is_allow
        time = entry.time
        if time is None:
            return
        if self.first is None or time < self.first:
            self.first = time
        if self.last is None or time >= self.last:
            self.last, self.last_id = time, entry.decision_id

    def merge(self, other: "Seen") -> None:
        """Add what was counted elsewhere."""
        self.count += other.count
        self.allowed += other.allowed
        if other.first is not None and (self.first is None or other.first < self.first):
            self.first = other.first
        if other.last is not None and (self.last is None or other.last >= self.last):
            self.last, self.last_id = other.last, other.last_id


class SeenPair(Seen):
    """The same of an agent that acts for a principal, with the rules that allowed it."""

    __slots__ = ("has_more_rules", "rules")

    def __init__(self) -> None:
        """Begin without records."""
        super().__init__()
        self.rules: set[str] = set()
        self.has_more_rules = False

    def keep_rules(self, entry: Entry) -> None:
        """Keep the names of the rules that allowed a record."""
        for rule in entry.rules - self.rules if entry.is_allow else ():
            if len(self.rules) < MAX_RULES:
                self.rules.add(bounded_name(rule))
            else:
                self.has_more_rules = True


class Activity:
    """What some records tell.

    Attributes:
        total: all records.
        pairs: by agent, principal and issuer.
        reasons: refusals by reason.
        refusals: refusals by reason, agent and principal.
        rules: by the name of a rule that allowed, or denied or came nearest.
        versions: by the version of the policy that decided.
        redacted: the fields that some records leave out or hash.
    """

    def __init__(self) -> None:
        """Begin without records."""
        self.total = Seen()
        self.pairs: BoundedTable[tuple[str, str, str], SeenPair] = BoundedTable(SeenPair)
        self.reasons: BoundedTable[str, Seen] = BoundedTable(Seen)
        self.refusals: BoundedTable[tuple[str, str, str], Seen] = BoundedTable(Seen)
        self.rules: BoundedTable[str, Seen] = BoundedTable(Seen)
        self.versions: BoundedTable[str, Seen] = BoundedTable(Seen)
        self.redacted: set[str] = set()
        self.redacted_records = 0

    def take(self, entry: Entry, seen: Seen) -> None:
        """Count records that are like an entry."""
        self.total.merge(seen)
        agent, principal = bounded_name(entry.agent), bounded_name(entry.principal)
        pair = self.pairs.of((agent, principal, bounded_name(entry.issuer)))
        pair.merge(seen)
        pair.keep_rules(entry)
        self.versions.of(bounded_name(entry.policy_version)).merge(seen)
        for rule in entry.rules:
            self.rules.of(bounded_name(rule)).merge(seen)
        if not entry.is_allow:
            reason = bounded_name(entry.reason)
            self.reasons.of(reason).merge(seen)
            self.refusals.of((reason, agent, principal)).merge(seen)
        if entry.redacted:
            self.redacted_records += seen.count
            self.redacted.update(entry.redacted[:MAX_RULES])
