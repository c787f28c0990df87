"""The tables of the report: who acted for whom, what was refused, and which rules decided."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from authz.core.reason import Reason
from authz.review.audit_reading.tallies import BoundedTable
from authz.review.audit_report.activity import Activity, Seen, SeenPair
from authz.review.audit_report.markup import MAX_ROWS, moment, paragraph, table

_MEANINGS: Final = {reason.code: reason.message for reason in Reason}
_NOBODY: Final = "(nobody)"
_PAIRS: Final = ("Agent", "Principal", "Issuer", "Allowed", "Refused", "Rules", "First", "Last")
_REASONS: Final = ("Reason", "Meaning", "Refusals", "Last", "Decision ID of the last")
_REFUSALS: Final = ("Agent", "Principal", "Reason", "Refusals", "Last", "Decision ID of the last")
_RULES: Final = ("Rule", "Allowed", "Refused", "First", "Last")
_VERSIONS: Final = ("Policy version", "This config", "Records", "First", "Last")


def pairs(activity: Activity) -> Iterator[str]:
    """Yield who acted for whom, as HTML."""
    yield paragraph(
        "Each agent, the principal for whom it acted, and the rules that allowed it, as "
        "grant/rule. Without a principal, no token was accepted."
    )
    shown = activity.pairs.largest(MAX_ROWS)
    rows = [_pair_row(*key, seen) for key, seen in shown]
    caption = "Agents and principals, the most records first"
    yield from table(caption, _PAIRS, rows, _more(activity.pairs, shown))


def _pair_row(agent: str, principal: str, issuer: str, seen: SeenPair) -> tuple[object, ...]:
    rules = [*sorted(seen.rules), *(["and more"] if seen.has_more_rules else [])]
    who = (agent or _NOBODY, principal or _NOBODY, issuer)
    return (*who, seen.allowed, seen.refused, ", ".join(rules), *_period(seen))


def refused(activity: Activity) -> Iterator[str]:
    """Yield what was refused, as HTML."""
    if not activity.total.refused:
        yield paragraph("Nothing was refused.")
    reasons, refusals = activity.reasons, activity.refusals
    shown = reasons.largest(MAX_ROWS)
    rows = [(key, _meaning(key), seen.count, *_last(seen)) for key, seen in shown]
    yield from table("Refusals by reason", _REASONS, rows, _more(reasons, shown))
    by_all = refusals.largest(MAX_ROWS)
    yield from table(
        "Refusals by agent, principal and reason",
        _REFUSALS,
        [
            (agent or _NOBODY, principal or _NOBODY, reason, seen.count, *_last(seen))
            for (reason, agent, principal), seen in by_all
        ],
        _more(refusals, by_all),
    )


def rules(activity: Activity, version: str) -> Iterator[str]:
    """Yield which rules and policies decided, as HTML; ``version`` is that of the config."""
    yield paragraph(
        "The rules that the records name: those that allowed, and of refusals the rule that denied "
        "or came nearest."
    )
    shown = activity.rules.largest(MAX_ROWS)
    rows = [(key, seen.allowed, seen.refused, *_period(seen)) for key, seen in shown]
    yield from table("Rules", _RULES, rows, _more(activity.rules, shown))
    versions = activity.versions.largest(MAX_ROWS)
    yield from table(
        "Policies that decided",
        _VERSIONS,
        [
            (key or "(none)", "yes" if key == version else "no", seen.count, *_period(seen))
            for key, seen in versions
        ],
        _more(activity.versions, versions),
    )


def _meaning(reason: str) -> str:
    return _MEANINGS.get(reason, "unknown to this version of agent-authz")


def _period(seen: Seen) -> tuple[str, str]:
    return moment(seen.first), moment(seen.last)


def _last(seen: Seen) -> tuple[str, str]:
    return moment(seen.last), seen.last_id


def _more(of: BoundedTable[Any, Any], shown: Sequence[object]) -> int:
    return len(of.values) - len(shown)
