"""The report of a replay: which decisions would change, counted by rule, agent and principal."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from authz.config.printable import one_line
from authz.core.reads import NOTHING, Reads
from authz.review.audit_records import OwnLines, RecordedDecision

# Invalid lines, and kinds of changes, that are listed: as many as fit on a screen.
MAX_SHOWN: Final = 20


@dataclass(frozen=True, slots=True, order=True)
class ReplayGroup:
    """The key of a count: agent, principal, the rule that decides now, and that of then."""

    rule: str
    agent: str
    principal: str
    then: str = ""


@dataclass(slots=True)
class Changed:
    """The count of a group's records, and the decision ID of the first."""

    count: int = 0
    example: str = ""

    def add(self, record: RecordedDecision) -> None:
        """Count a record."""
        self.count += 1
        self.example = self.example or record.decision_id


Changes = defaultdict[ReplayGroup, Changed]


def _changes() -> Changes:
    return defaultdict(Changed)


@dataclass(slots=True)
class ReplayReport:
    """The decisions that would change, and those that are unknown.

    Attributes:
        undecidable: records that lack a claim or header that the policy reads, by the rule of then.
        not_judged: records whose decision depends on arguments or on the rest of a URI, which are
            not recorded, while the rules about them changed; by the rule of then.
        redacted: records without fields that decisions read, by the rule of then; ``lost`` are
            these fields, which audit.redact has hashed or left empty.
        unknown: the claims and headers that the policy reads and some records lack.
        not_by_policy: count of records that another step than policy decided.
        own: the lines that the logs have about themselves.
        bad: the first invalid lines, of ``bad_count``.
    """

    newly_allowed: Changes = field(default_factory=_changes)
    newly_denied: Changes = field(default_factory=_changes)
    undecidable: Changes = field(default_factory=_changes)
    not_judged: Changes = field(default_factory=_changes)
    redacted: Changes = field(default_factory=_changes)
    lost: set[str] = field(default_factory=set)
    unknown: Reads = NOTHING
    unchanged: int = 0
    not_by_policy: int = 0
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0
    own: OwnLines = field(default_factory=OwnLines)

    def add_bad(self, told: str) -> None:
        """Count an invalid line, and keep the first MAX_SHOWN."""
        self.bad_count += 1
        if len(self.bad) < MAX_SHOWN:
            self.bad.append(told)

    @property
    def records(self) -> int:
        """The count of valid records."""
        changed = sum(_total(changes) for _, changes in self._titled())
        return changed + self.unchanged + self.not_by_policy

    def needs_a_look(self, *, is_strict: bool) -> bool:
        """Tell whether anyone may do more than before, or perhaps may; if strict, also less."""
        unsure = self.undecidable or self.not_judged or self.redacted
        worse = self.newly_allowed or unsure or self.bad_count
        return bool(worse or not self.records or (is_strict and self.newly_denied))

    def lines(self) -> Iterator[str]:
        """Yield the lines for a person."""
        named = [f"claim {name}" for name in sorted(self.unknown.claims)]
        named += [f"header {name}" for name in sorted(self.unknown.headers)]
        for name in named:
            yield (
                f"warning: the policy reads the {name}, "
                "and some records don't say whether it was there"
            )
        if named:
            yield "    if the config that decided then read it too, give that config with --old"
        yield from (f"warning: {told}" for told in self.own.told())
        yield f"records: {self.records}"
        if self.not_judged:
            yield (
                "warning: records hold neither the arguments of calls nor whole URIs, and rules "
                "about some of these calls changed"
            )
        if self.lost:
            lost = ", ".join(sorted(self.lost))
            yield (
                f"warning: audit.redact has redacted {lost} in some records, "
                "which can't be decided again"
            )
        for title, changes in self._titled():
            yield f"{title}: {_total(changes)}"
            for who, changed in _most_first(changes)[:MAX_SHOWN]:
                rule = who.rule or "no rule"
                rule += f" (then {who.then})" if who.then not in ("", who.rule) else ""
                whom = who.principal or "nobody"
                yield one_line(
                    f"  {changed.count:>7}  {rule}  {who.agent} for {whom}, as in {changed.example}"
                )
            if len(changes) > MAX_SHOWN:
                yield f"           and {len(changes) - MAX_SHOWN} more kinds; --json lists all"
        yield f"unchanged: {self.unchanged}"
        yield f"not decided by policy: {self.not_by_policy}"
        if self.bad_count:
            yield f"bad lines: {self.bad_count}"
            yield from (one_line(f"  {bad}") for bad in self.bad)

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            **{
                title.replace(" ", "_"): {
                    "count": _total(changes),
                    "by": [
                        {
                            "rule": who.rule,
                            "then": who.then,
                            "agent": who.agent,
                            "principal": who.principal,
                            "count": changed.count,
                            "decision_id": changed.example,
                        }
                        for who, changed in _most_first(changes)
                    ],
                }
                for title, changes in self._titled()
            },
            "records": self.records,
            "unchanged": self.unchanged,
            "not_by_policy": self.not_by_policy,
            "lost_fields": sorted(self.lost),
            "unknown_claims": sorted(self.unknown.claims),
            "unknown_headers": sorted(self.unknown.headers),
            "missing": {"dropped": self.own.dropped, "gaps": self.own.gaps},
            "bad_lines": {"count": self.bad_count, "first": self.bad},
        }

    def _titled(self) -> tuple[tuple[str, Changes], ...]:
        return (
            ("newly allowed", self.newly_allowed),
            ("newly denied", self.newly_denied),
            ("undecidable", self.undecidable),
            ("not judged", self.not_judged),
            ("redacted", self.redacted),
        )


def _total(changes: Changes) -> int:
    return sum(changed.count for changed in changes.values())


def _most_first(changes: Changes) -> list[tuple[ReplayGroup, Changed]]:
    return sorted(changes.items(), key=lambda item: (-item[1].count, item[0]))
