"""The page of the report: its sections, made from what was collected."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from authz import __version__
from authz.review.audit_reading.found import PassedOver
from authz.review.audit_reading.tallies import BoundedTable
from authz.review.audit_report import tables
from authz.review.audit_report.activity import Activity, Seen
from authz.review.audit_report.chain import ChainStatement
from authz.review.audit_report.config_use import ConfigUse
from authz.review.audit_report.markup import (
    MAX_ROWS,
    facts,
    moment,
    paragraph,
    section,
    text_of_ours,
)
from authz.review.audit_report.style import POLICY, STYLE
from authz.review.audit_report.unused import agents_of, principals_of, unused

TITLE: Final = "Audit report"
_FILES: Final = 20  # whose names are listed
_SECTIONS: Final = (
    ("summary", "Summary"),
    ("pairs", "Who acted for whom"),
    ("refused", "What was refused"),
    ("unused", "What was not used"),
    ("rules", "Which rules decided"),
    ("limits", "What this report can't tell"),
)


@dataclass(frozen=True, slots=True)
class Report:
    """All that a report says.

    Attributes:
        files: the names of the logs.
        config: the name of the config.
        since, until: the period that was asked for.
        made: when the report was made.
        chain: the result of verifying the logs' chain; None if that was not asked for.
    """

    files: Sequence[str]
    config: str
    since: datetime | None
    until: datetime | None
    made: datetime
    activity: Activity
    use: ConfigUse
    passed: PassedOver
    chain: ChainStatement | None = None

    def html(self) -> Iterator[str]:
        """Yield the lines of the page."""
        yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        yield f'<meta http-equiv="Content-Security-Policy" content="{text_of_ours(POLICY)}">'
        yield '<meta name="viewport" content="width=device-width">'
        yield '<meta name="referrer" content="no-referrer">'
        yield f"<title>{TITLE}</title><style>{STYLE}</style></head><body><header><h1>{TITLE}</h1>"
        links = (f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title in _SECTIONS)
        yield f'<nav aria-label="Sections"><ul>{"".join(links)}</ul></nav></header><main>'
        bodies = (
            self._summary(),
            tables.pairs(self.activity),
            tables.refused(self.activity),
            unused(self.use),
            tables.rules(self.activity, self.use.version),
            self._limits(),
        )
        for (anchor, title), body in zip(_SECTIONS, bodies, strict=True):
            yield from section(anchor, title, body)
        yield "</main></body></html>"

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        total = self.activity.total
        return {
            "records": total.count,
            "allow": total.allowed,
            "deny": total.refused,
            "first": total.first and total.first.isoformat(),
            "last": total.last and total.last.isoformat(),
            "unused_grants": self.use.unused_grants(),
            "unused_rules": self.use.unused_rules(),
            "unused_agents": [name for name, *_ in agents_of(self.use)],
            "unused_principals": [place for place, *_ in principals_of(self.use)],
            "invalid_lines": self.passed.invalid,
            "dropped": self.passed.own.dropped,
            "gaps": self.passed.own.gaps,
            "chain_is_proven": self.chain and self.chain.is_proven,
        }

    def _summary(self) -> Iterator[str]:
        total = self.activity.total
        yield from facts(
            (
                (
                    "Records",
                    f"{total.count:,}: {total.allowed:,} allowed, {total.refused:,} refused",
                ),
                ("First record", moment(total.first)),
                ("Last record", moment(total.last)),
                ("Asked for", f"{moment(self.since, 'any time')} to {moment(self.until, 'now')}"),
                ("Logs", _some(self.files)),
                ("Config", f"{self.config}, policy version {self.use.version}"),
                ("Made", f"{moment(self.made)}, by agent-authz {__version__}"),
            )
        )
        if self.chain is None:
            yield paragraph(
                "It was not verified that the logs are complete and unchanged: this report "
                "believes them.",
                "bad",
            )
        else:
            proven = (
                "The logs' chain is proven" if self.chain.is_proven else "The chain is NOT proven"
            )
            yield paragraph(f"{proven}:", "good" if self.chain.is_proven else "bad")
            yield from map(paragraph, self.chain.lines[:MAX_ROWS])
        yield from (paragraph(line, "bad") for line in self.passed.lines())

    def _limits(self) -> Iterator[str]:
        activity = self.activity
        yield paragraph(
            "It counts what the logs hold. Rules are matched by their names: a rule that was "
            "renamed is another one. Principals are matched by the claims that were recorded."
        )
        others = activity.total.count - _count_of(activity.versions, self.use.version)
        if others:
            yield paragraph(
                f"Records that other policies than that of this config decided: {others:,}. Their "
                "rules may have meant something else."
            )
        if activity.redacted_records:
            yield paragraph(
                f"{activity.redacted_records:,} records are redacted "
                f"({', '.join(sorted(activity.redacted))}): hashes stand for names, and "
                "an agent or a principal that was used may be listed as not used."
            )
        for name, each in (("pairs", activity.pairs), ("refusals", activity.refusals)):
            if each.left_out:
                yield paragraph(
                    f"There were too many {name} to keep all: rare ones with {each.left_out:,} "
                    f"records are left out, and a count may be up to {each.missed:,} too low."
                )
        yield paragraph(
            f"A table has {MAX_ROWS} rows at most. The arguments of calls, queries and tokens are "
            "in no record."
        )


def _some(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _FILES} more"] if len(names) > _FILES else []
    return ", ".join([*names[:_FILES], *more])


def _count_of(of: BoundedTable[str, Seen], key: str) -> int:
    return of.values[key].count if key in of.values else 0
