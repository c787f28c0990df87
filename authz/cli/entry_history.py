"""The changes of entries that the sources remember: who, when, what and why."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, NamedTuple

import msgspec

from authz.adapters.store.store import Change
from authz.cli.common import FAILED, FINE, answer, complain, refuse
from authz.cli.entry_sources import Source, SourceError
from authz.cli.lined_up import lined_up, moment
from authz.cli.progress import progress
from authz.config.printable import one_line
from authz.core.entry_lines import E, EntryError, EntryReader

_HEADINGS: Final = ("WHEN", "DONE", "BY", "ID", "WHAT", "UNTIL", "SOURCE", "WHY")


@dataclass(frozen=True, slots=True)
class HistoryWords(Generic[E]):
    """How the changes of a kind are told.

    Attributes:
        reader: reads an entry.
        added: what is done by adding one.
        what: what an entry is about.
        until: when it ends by itself, "" for never.
        is_asked: whether the flags ask for an entry, None if it is invalid.
    """

    reader: EntryReader[E]
    added: str
    what: Callable[[E], str]
    until: Callable[[E], str]
    is_asked: Callable[[argparse.Namespace, E | None], bool]


class _Made(NamedTuple, Generic[E]):
    """A change in a source; its entry is None if it is invalid."""

    source: str
    change: Change
    entry: E | None


def answer_history(
    options: argparse.Namespace, sources: Sequence[Source[E]], words: HistoryWords[E]
) -> int:
    """Print the changes that the flags ask for, and return the exit status."""
    made, errors = list[_Made[E]](), dict[str, str]()
    for source in sources:
        try:
            with progress(f"reading {source.where}"):
                made += _read(source, options.lines, words)
        except SourceError as error:
            errors[source.name] = str(error)
            complain(one_line(f"authz: the {source.name} can't be read: {error}"))
    if len(errors) == len(sources):
        return refuse(options, "no history was read", FAILED)
    made.sort(key=lambda each: each.change.at, reverse=True)
    shown = [each for each in made[: options.lines] if _is_asked(options, each, words)]

    def members() -> dict[str, Any]:
        told = [
            {"source": source.name, "where": source.where, "error": errors.get(source.name)}
            for source in sources
        ]
        return {"sources": told, "changes": [_members(each) for each in shown]}

    read = [source for source in sources if source.name not in errors]
    answer(options, _lines(shown, read, words, with_source=len(sources) > 1), members)
    return FAILED if errors else FINE


def _read(source: Source[E], most: int, words: HistoryWords[E]) -> Iterator[_Made[E]]:
    for change in source.changes(most):
        try:
            entry = words.reader.read(change.entry)
        except EntryError:
            entry = None
        yield _Made(source.name, change, entry)


def _is_asked(options: argparse.Namespace, made: _Made[E], words: HistoryWords[E]) -> bool:
    if options.id and made.change.id not in options.id:
        return False
    return words.is_asked(options, made.entry)


def _lines(
    shown: Sequence[_Made[E]],
    read: Sequence[Source[E]],
    words: HistoryWords[E],
    *,
    with_source: bool,
) -> Iterator[str]:
    rows = [_row(each, words, with_source=with_source) for each in shown]
    yield from lined_up(_HEADINGS, rows)
    noun = "change" if len(shown) == 1 else "changes"
    yield f"{len(shown)} {noun} in {' and '.join(source.where for source in read)}"


def _row(made: _Made[E], words: HistoryWords[E], *, with_source: bool) -> Sequence[str]:
    change, entry = made.change, made.entry
    note = getattr(entry, "note", None) if entry is not None and change.is_added else change.note
    return (
        _at(change),
        words.added if change.is_added else "taken back",
        one_line(change.by),
        one_line(change.id),
        "an invalid entry" if entry is None else words.what(entry),
        "" if entry is None else words.until(entry),
        made.source if with_source else "",
        one_line(note or ""),
    )


def _at(change: Change) -> str:
    return moment(datetime.fromtimestamp(change.at, UTC))


def _members(made: _Made[E]) -> dict[str, Any]:
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
