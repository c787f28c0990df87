"""Counts records by reason, agent, principal, rule and tool, with cache, latencies and period."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from authz.review.audit_reading.entry import Entry, names_of_rules
from authz.review.audit_reading.found import PassedOver
from authz.review.audit_reading.listing import moment_text, shortened
from authz.review.audit_reading.tallies import BoundedTable, Latencies, Tally, bounded_name

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)
_HIT: Final = "hit"
_MAX_ALIKE: Final = 1024


class RecordStats:
    """The counts of some records."""

    def __init__(self) -> None:
        """Begin without records."""
        self.records = 0
        self.allowed = 0
        self.hits = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.latencies = {use: Latencies() for use in ("hit", "miss")}
        # Records alike are counted together first: most are like others before.
        self._alike: dict[tuple[str, str, str, str, str], int] = {}
        self._tables: dict[str, BoundedTable[str, Tally]] = {
            name: BoundedTable(Tally)
            for name in ("reasons", "agents", "principals", "rules", "tools")
        }

    def take(self, entry: Entry) -> None:
        """Count a record."""
        self.records += 1
        self.allowed += entry.is_allow
        is_hit = entry.cache == _HIT
        self.hits += is_hit
        self.latencies["hit" if is_hit else "miss"].add(entry.duration_us)
        self._take_time(entry.time)
        key = entry.reason, entry.agent, entry.principal, entry.rule, entry.principal_rule
        self._alike[key] = self._alike.get(key, 0) + 1
        for tool in entry.tools if entry.calls else ():
            self._count("tools", tool, 1)
        if len(self._alike) >= _MAX_ALIKE:
            self._count_alike()

    @property
    def tables(self) -> dict[str, BoundedTable[str, Tally]]:
        """The counts by name, of each kind of name."""
        self._count_alike()
        return self._tables

    def _count_alike(self) -> None:
        for (reason, agent, principal, *listed), count in self._alike.items():
            self._count("reasons", reason, count)
            self._count("agents", agent, count)
            self._count("principals", principal, count)
            for rule in names_of_rules(*listed):
                self._count("rules", rule, count)
        self._alike.clear()

    def _count(self, table: str, name: str, count: int) -> None:
        if name:
            self._tables[table].of(bounded_name(name)).count += count

    def _take_time(self, time: datetime | None) -> None:
        if time is not None:
            if self.first is None or time < self.first:
                self.first = time
            if self.last is None or time > self.last:
                self.last = time

    def lines(self, top: int) -> Iterator[str]:
        """Yield the lines for a person, with so many names of each kind."""
        denied = self.records - self.allowed
        yield f"records: {self.records} (allow {self.allowed}, deny {denied})"
        yield f"period: {moment_text(self.first)} to {moment_text(self.last)} UTC"
        yield f"remembered: {100 * self.hits / max(1, self.records):.1f} %"
        for use, latencies in self.latencies.items():
            if latencies.count:
                told = [f"{percent:g} % {latencies.percentile(percent)}" for percent in PERCENTILES]
                yield f"latency, cache {use} (us): {', '.join(told)}, most {latencies.most}"
        for name, table in self.tables.items():
            yield from _table_lines(name, table, top)

    def members(self, top: int, passed: PassedOver) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "records": self.records,
            "allow": self.allowed,
            "deny": self.records - self.allowed,
            "first": self.first and self.first.isoformat(),
            "last": self.last and self.last.isoformat(),
            "cache_hits": self.hits,
            "latency_us": {
                use: {f"p{percent:g}": each.percentile(percent) for percent in PERCENTILES}
                | {"max": each.most}
                for use, each in self.latencies.items()
            },
            **{name: _table_members(table, top) for name, table in self.tables.items()},
            "invalid_lines": passed.invalid,
            "dropped": passed.own.dropped,
            "gaps": passed.own.gaps,
        }


def _table_lines(name: str, table: BoundedTable[str, Tally], top: int) -> Iterator[str]:
    kinds = f"more than {len(table.values)}" if table.left_out else f"{len(table.values)}"
    yield f"{name}: {kinds}"
    shown = table.largest(top)
    yield from (f"  {tally.count:>9}  {shortened(key)}" for key, tally in shown)
    rest = sum(tally.count for tally in table.values.values()) - sum(t.count for _, t in shown)
    if rest + table.left_out:
        yield f"  {rest + table.left_out:>9}  (others)"
    if table.missed:
        yield f"  too many to count each exactly: a count may be up to {table.missed} too low"


def _table_members(table: BoundedTable[str, Tally], top: int) -> dict[str, Any]:
    return {
        "top": [{"name": key, "count": tally.count} for key, tally in table.largest(top)],
        "names": len(table.values),
        "is_complete": not table.left_out,
        "counts_may_lack": table.missed,
    }
