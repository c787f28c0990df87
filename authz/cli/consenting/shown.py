"""Shows consents: one in a line, all in a table, their members for JSON, and their history."""

import argparse
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from authz.cli.entry_history import HistoryWords
from authz.cli.entry_reading import Joined
from authz.cli.lined_up import lined_up, moment
from authz.config.printable import one_line
from authz.core.consents import READER, Consent

_HEADINGS: Final = (
    *("ID", "AGENT", "FOR", "ISSUER", "AUDIENCES", "SCOPES", "CALL", "USES", "UNTIL", "SINCE"),
    *("BY", "SOURCE", "NOTE"),
)


def is_over(consent: Consent) -> bool:
    """Tell whether a consent has ended."""
    return consent.is_over(datetime.now(UTC).timestamp())


def what(consent: Consent) -> str:
    """Return what a consent allows, in a line."""
    told = [
        f"{consent.agent} for {consent.subject} of {consent.issuer}",
        f"at {', '.join(consent.audiences)}" if consent.audiences else "",
        f"with {' '.join(consent.scopes)}" if consent.scopes else "",
        f"to do {_call(consent)}" if consent.detail else "",
        "once" if consent.once else "",
    ]
    return one_line(", ".join(filter(None, told)))


def _call(consent: Consent) -> str:
    return "" if consent.detail is None else json.dumps(consent.detail, separators=(",", ":"))


def table(entries: Iterable[Joined[Consent]], *, with_source: bool) -> Iterator[str]:
    """Yield the lines of a table."""
    return lined_up(_HEADINGS, [_row(each, with_source=with_source) for each in entries])


def _row(joined: Joined[Consent], *, with_source: bool) -> tuple[str, ...]:
    consent = joined.entry
    over = "(ended: it does not count)" if is_over(consent) else ""
    cells = (
        joined.id,
        consent.agent,
        consent.subject,
        consent.issuer,
        ", ".join(consent.audiences or ()),
        " ".join(consent.scopes or ()),
        _call(consent),
        "one" if consent.once else "",
        moment(consent.until),
        moment(consent.since),
        consent.by or "",
        ", ".join(joined.lines) if with_source else "",
        " ".join(filter(None, (consent.note, over))),
    )
    return tuple(map(one_line, cells))


def members(joined: Joined[Consent]) -> dict[str, Any]:
    """Return the members of a consent's JSON object."""
    return {
        "id": joined.id,
        "sources": list(joined.lines),
        "line": joined.lines.get("file"),
        **msgspec.to_builtins(joined.entry),
        "has_ended": is_over(joined.entry),
    }


def is_asked(options: argparse.Namespace, consent: Consent | None) -> bool:
    """Tell whether a consent has what the flags name; an invalid one has nothing."""
    asked = {name: getattr(options, name) for name in ("issuer", "subject", "agent")}
    given = {name: value for name, value in asked.items() if value is not None}
    if consent is None:
        return not given
    return all(getattr(consent, name) == value for name, value in given.items())


HISTORY: Final = HistoryWords(
    READER, "given", what, lambda consent: moment(consent.until), is_asked
)
