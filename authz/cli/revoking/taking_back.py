"""Takes entries back from the sources that have them, and says where they still count."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse
from authz.cli.progress import progress
from authz.cli.revoking.known import Known
from authz.cli.revoking.meant import joined, meant
from authz.cli.revoking.shown import Shown, is_over, line_of, some
from authz.cli.revoking.sources import INTERRUPTED, Listed, Source, SourceError
from authz.cli.revoking.who import user_at_host
from authz.config.printable import one_line
from authz.core.revocations import RevocationError


@dataclass(slots=True)
class _Taken:
    """What was taken back.

    Attributes:
        entries: the entries.
        broken: ids of entries in a store that can't be read, likewise.
        left: what the sources hold now.
        done: the sources that have them no more.
        failed: the source that still has them, with the error.
        warnings: what failed beside the changes that were made.
    """

    entries: Sequence[Shown]
    broken: Sequence[str]
    left: dict[Source, Listed]
    done: list[Source] = field(default_factory=list)
    failed: tuple[Source, SourceError] | None = None
    warnings: list[str] = field(default_factory=list)


def answer_taken_back(
    options: argparse.Namespace, known: Known, listed: Mapping[Source, Listed]
) -> int:
    """Take back what the flags name, and return the exit status."""
    broken = [name for name in options.id or () if name in _broken(listed)]
    try:
        named = [name for name in options.id or () if name not in broken]
        others = argparse.Namespace(**{**vars(options), "id": named})
        entries = [] if broken and not named else meant(others, joined(listed))
    except RevocationError as error:
        return refuse(options, f"not taken back: {error}", USAGE)
    for source, held in listed.items():
        if source.is_all_or_nothing and held.invalid and _in(source, entries):
            return refuse(options, f"not taken back: {source.if_invalid}", FAILED)
    taken = _take_back(options, _Taken(entries, broken, dict(listed)))
    complain(*(f"authz: {warning}" for warning in taken.warnings))
    if taken.failed is not None:
        source, why = taken.failed
        told = f"not certainly taken back on {source.counts_on}: {why}; try the same again"
        if not taken.done:
            return refuse(options, told, FAILED)
        complain(f"authz: {told}")
    answer(options, _lines(taken, known), lambda: _members(taken, known))
    return FINE if taken.failed is None else FAILED


def _take_back(options: argparse.Namespace, taken: _Taken) -> _Taken:
    """Take back source by source, up to the first that fails."""
    by, note = options.by or user_at_host(), options.note or ""
    # The store first: it is what may be away, and then nothing has changed.
    for source in sorted(taken.left, key=lambda source: source.name, reverse=True):
        held = {shown.id: shown.entry.line for shown in _in(source, taken.entries)}
        held |= dict.fromkeys({*taken.broken} & _broken({source: taken.left[source]}), b"")
        if not held:
            continue
        try:
            with progress(f"writing to {source.where}"):
                warning = source.take_back(held, by, note)
                taken.left[source] = source.read()
        except SourceError as error:
            taken.failed = source, error
            break
        except KeyboardInterrupt:  # what was taken back by then is told
            taken.failed = source, SourceError(INTERRUPTED)
            break
        taken.done.append(source)
        taken.warnings += [] if warning is None else [warning]
    return taken


def _in(source: Source, entries: Sequence[Shown]) -> list[Shown]:
    return [shown for shown in entries if source.name in shown.lines]


def _broken(listed: Mapping[Source, Listed]) -> set[str]:
    return {bad.id for held in listed.values() for bad in held.invalid if bad.id is not None}


def _still(taken: _Taken) -> list[Shown]:
    """Return the entries that still revoke something of what was taken back."""
    ends = [shown.entry for shown in taken.entries]
    return [
        shown
        for shown in joined(taken.left)
        if not is_over(shown.entry) and any(shown.entry.overlaps(entry) for entry in ends)
    ]


def _suspended(taken: _Taken, known: Known) -> list[str]:
    return sorted({name for shown in taken.entries for name in known.suspended(shown.entry)})


def _lines(taken: _Taken, known: Known) -> Iterator[str]:
    for shown in taken.entries:
        yield f"taken back: {line_of(shown.id, shown.entry)}"
    for name in taken.broken:
        yield f"removed the invalid entry {one_line(name)}"
    for source in taken.done:
        yield f"takes effect on {source.counts_on} {source.rests}"
    yield from some("still revoked by: ", _still(taken))
    yield from (
        f"still suspended in the config by the entry of agents {name}"
        for name in _suspended(taken, known)
    )


def _members(taken: _Taken, known: Known) -> dict[str, Any]:
    failed = taken.failed
    sources = [
        {"source": source.name, "where": source.where, "error": None} for source in taken.done
    ]
    if failed is not None:
        sources.append(
            {"source": failed[0].name, "where": failed[0].where, "error": str(failed[1])}
        )
    return {
        "taken_back": [shown.members(known) for shown in taken.entries],
        "removed_invalid": list(taken.broken),
        "sources": sources,
        "still_revoked_by": [shown.members(known) for shown in _still(taken)],
        "suspended_by": _suspended(taken, known),
    }
