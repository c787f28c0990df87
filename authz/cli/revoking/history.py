"""The changes of revocations that the sources remember: who, when, what and why."""

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from authz.adapters.store.store import Change
from authz.cli.common import FAILED, FINE, answer, complain, refuse
from authz.cli.progress import progress
from authz.cli.revoking.meant import asked_members, is_asked
from authz.cli.revoking.shown import lined_up, moment, what
from authz.cli.revoking.sources import Source, SourceError
from authz.config.printable import one_line
from authz.core.revocations import Revocation, RevocationError, read_entry

_HEADINGS: Final = ("WHEN", "DONE", "BY", "ID", "WHAT", "UNTIL", "SOURCE", "WHY")


class _Made(NamedTuple):
    """A change in a source."""

    source: str
    change: Change

    @property
    def entry(self) -> Revocation | None:
        """The entry; None if it is invalid."""
        try:
            return read_entry(self.change.entry)
        except RevocationError:
            return None


def answer_history(options: argparse.Namespace, sources: Sequence[Source]) -> int:
    """Print the changes that the flags ask for, and return the exit status."""
    made, errors = list[_Made](), dict[str, str]()
    for source in sources:
        try:
            with progress(f"reading {source.where}"):
                made += [_Made(source.name, change) for change in source.changes(options.lines)]
        except SourceError as error:
            errors[source.name] = str(error)
            complain(one_line(f"authz: the {source.name} can't be read: {error}"))
    if len(errors) == len(sources):
        return refuse(options, "no history was read", FAILED)
    made.sort(key=lambda each: each.change.at, reverse=True)
    shown = [each for each in made[: options.lines] if _is_asked(options, each)]

    def members() -> dict[str, Any]:
        told = [
            {"source": source.name, "where": source.where, "error": errors.get(source.name)}
            for source in sources
        ]
        return {"sources": told, "changes": [_members(each) for each in shown]}

    read = [source for source in sources if source.name not in errors]
    answer(options, _lines(shown, read, with_source=len(sources) > 1), members)
    return FAILED if errors else FINE


def _is_asked(options: argparse.Namespace, made: _Made) -> bool:
    if options.id and made.change.id not in options.id:
        return False
    asked, entry = asked_members(options), made.entry
    return not any(asked) or (entry is not None and is_asked(entry, asked))


def _lines(shown: Sequence[_Made], read: Sequence[Source], *, with_source: bool) -> Iterator[str]:
    rows = [_row(each, with_source=with_source) for each in shown]
    yield from lined_up(_HEADINGS, rows)
    noun = "change" if len(shown) == 1 else "changes"
    yield f"{len(shown)} {noun} in {' and '.join(source.where for source in read)}"


def _row(made: _Made, *, with_source: bool) -> Sequence[str]:
    change, entry = made.change, made.entry
    note = entry.note if entry is not None and change.is_added else change.note
    return (
        _at(change),
        "revoked" if change.is_added else "taken back",
        one_line(change.by),
        one_line(change.id),
        "an invalid entry" if entry is None else what(entry),
        "" if entry is None else moment(entry.expires),
        made.source if with_source else "",
        one_line(note or ""),
    )


def _at(change: Change) -> str:
    return moment(datetime.fromtimestamp(change.at, UTC))


def _members(made: _Made) -> dict[str, Any]:
    change, entry = made.change, made.entry
    return {
        "source": made.source,
        "number": change.number or None,
        "at": _at(change),
        "by": change.by,
        "is_added": change.is_added,
        "id": change.id,
        "note": change.note or None,
        "entry": None if entry is None else msgspec.to_builtins(entry),
    }
