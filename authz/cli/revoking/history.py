"""The changes of revocations that a store remembers: who, when, what and why."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from authz.adapters.store.store import Change
from authz.cli.common import FAILED, FINE, answer, refuse
from authz.cli.progress import progress
from authz.cli.revoking.meant import asked_members, is_asked
from authz.cli.revoking.shown import lined_up, moment, what
from authz.cli.revoking.sources import Source, SourceError
from authz.config.printable import one_line
from authz.core.revocations import Revocation, RevocationError, read_entry

_HEADINGS = ("WHEN", "DONE", "BY", "ID", "WHAT", "UNTIL", "WHY")


def answer_history(options: argparse.Namespace, source: Source) -> int:
    """Print the changes that the flags ask for, and return the exit status."""
    try:
        with progress(f"reading {source.where}"):
            changes = source.changes(options.lines)
    except SourceError as error:
        return refuse(options, f"the {source.name} can't be read: {error}", FAILED)
    shown = [change for change in changes if _is_asked(options, change)]

    def members() -> dict[str, Any]:
        return {"where": source.where, "changes": [_members(change) for change in shown]}

    rows = [_row(change) for change in shown]
    count = f"{len(shown)} of the last {len(changes)} changes in {source.where}"
    answer(options, (*lined_up(_HEADINGS, rows), count), members)
    return FINE


def _entry(change: Change) -> Revocation | None:
    try:
        return read_entry(change.entry)
    except RevocationError:
        return None


def _is_asked(options: argparse.Namespace, change: Change) -> bool:
    if options.id and change.id not in options.id:
        return False
    asked, entry = asked_members(options), _entry(change)
    return not any(asked) or (entry is not None and is_asked(entry, asked))


def _row(change: Change) -> Sequence[str]:
    entry = _entry(change)
    why = change.note or ("" if entry is None or not change.is_added else entry.note or "")
    return (
        moment(datetime.fromtimestamp(change.at, UTC)),
        "revoked" if change.is_added else "taken back",
        one_line(change.by),
        one_line(change.id),
        "an invalid entry" if entry is None else what(entry),
        "" if entry is None else moment(entry.expires),
        one_line(why),
    )


def _members(change: Change) -> dict[str, Any]:
    entry = _entry(change)
    return {
        "number": change.number,
        "at": moment(datetime.fromtimestamp(change.at, UTC)),
        "by": change.by,
        "is_added": change.is_added,
        "id": change.id,
        "note": change.note or None,
        "entry": None if entry is None else msgspec.to_builtins(entry),
    }
