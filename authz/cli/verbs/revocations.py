"""``authz revocations``: lists what is revoked, takes revocations back, and tells their history."""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.cli.revoking.history import answer_history
from authz.cli.revoking.known import Known
from authz.cli.revoking.meant import asked_members, is_asked, joined
from authz.cli.revoking.shown import table
from authz.cli.revoking.sources import Listed, Source, SourceError, open_sources
from authz.cli.revoking.taking_back import answer_taken_back
from authz.config.printable import one_line
from authz.core.entry_lines import MAX_LINE_BYTES
from authz.core.revocations import RevocationError


class _Read(NamedTuple):
    """A source, and what it holds, or why it can't be read."""

    source: Source
    listed: Listed
    error: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the members of its JSON object."""
        return {"source": self.source.name, "where": self.source.where, "error": self.error}


def run(options: argparse.Namespace) -> int:
    """List or take back, and return the exit status. Raises ConfigError, BuildError."""
    if options.history and options.take_back:
        return refuse(options, "--history and --take-back are two questions: ask each alone", USAGE)
    if len(f"{options.note or ''}{options.by or ''}".encode()) > MAX_LINE_BYTES:
        return refuse(options, f"--note and --by have {MAX_LINE_BYTES} bytes at most", USAGE)
    config = load_config(options.config)
    known = Known(config)
    try:
        with open_sources(config, options.source) as sources:
            if options.history:
                return answer_history(options, sources)
            read = [_read(source) for source in sources]
            _complain(read)
            if options.take_back:
                return _take_back(options, known, read)
            _answer_list(options, known, read)
    except RevocationError as error:
        return refuse(options, str(error), USAGE)
    return FAILED if any(each.error or each.listed.invalid for each in read) else FINE


def _read(source: Source) -> _Read:
    try:
        with progress(f"reading {source.where}"):
            return _Read(source, source.read())
    except SourceError as error:
        return _Read(source, Listed(), str(error))


def _complain(read: Sequence[_Read]) -> None:
    for each in read:
        where = each.source.where
        if each.error is not None:
            complain(one_line(f"authz: the {each.source.name} can't be read: {each.error}"))
        for invalid in each.listed.invalid:
            name = f"line {invalid.line}" if invalid.id is None else f"entry {invalid.id}"
            complain(one_line(f"authz: {where}: {name}: {invalid.why}"))
        if each.listed.invalid:
            complain(f"authz: {each.source.if_invalid}")


def _take_back(options: argparse.Namespace, known: Known, read: Sequence[_Read]) -> int:
    unread = [each.source.name for each in read if each.error is not None]
    if len(unread) == len(read):
        return refuse(options, "nothing was taken back", FAILED)
    if unread:
        others = next(each.source.name for each in read if each.error is None)
        why = f"nothing was taken back: the {unread[0]} may revoke it too; --source {others}"
        return refuse(options, f"{why} takes it back there alone", FAILED)
    listed = {each.source: each.listed for each in read}
    return answer_taken_back(options, known, listed)


def _answer_list(options: argparse.Namespace, known: Known, read: Sequence[_Read]) -> None:
    entries = joined({each.source: each.listed for each in read})
    asked = asked_members(options)
    shown = [
        entry
        for entry in entries
        if (not options.id or entry.id in options.id) and is_asked(entry.entry, asked)
    ]

    def members() -> dict[str, Any]:
        invalid = [
            {"source": each.source.name, "line": bad.line, "id": bad.id, "error": bad.why}
            for each in read
            for bad in each.listed.invalid
        ]
        return {
            "sources": [each.members() for each in read],
            "entries": [entry.members(known) for entry in shown],
            "invalid": invalid,
        }

    is_part = any(asked) or options.id
    count = f"{len(shown)} of {len(entries)}" if is_part else str(len(entries))
    noun = "entry" if len(entries) == 1 and not is_part else "entries"
    where = " and ".join(each.source.where for each in read if each.error is None)
    lines = table(shown, known, with_source=len(read) > 1)
    answer(options, (*lines, f"{count} {noun} in {where}" if where else ""), members)
