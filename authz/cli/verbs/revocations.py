"""``authz revocations``: lists what is revoked, takes revocations back, and tells their history."""

import argparse
from collections.abc import Sequence
from typing import Any

from authz.cli.common import FAILED, FINE, USAGE, answer, refuse
from authz.cli.entry_history import answer_history
from authz.cli.entry_reading import Read, complain_of, invalid_members, read_sources
from authz.cli.reading import load_config
from authz.cli.revoking.history import HISTORY
from authz.cli.revoking.known import Known
from authz.cli.revoking.meant import asked_members, is_asked, joined
from authz.cli.revoking.shown import table
from authz.cli.revoking.sources import open_sources
from authz.cli.revoking.taking_back import answer_taken_back
from authz.core.entry_lines import MAX_LINE_BYTES
from authz.core.revocations import Revocation, RevocationError


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
                return answer_history(options, sources, HISTORY)
            read = read_sources(sources)
            complain_of(read)
            if options.take_back:
                return _take_back(options, known, read)
            _answer_list(options, known, read)
    except RevocationError as error:
        return refuse(options, str(error), USAGE)
    return FAILED if any(each.error or each.listed.invalid for each in read) else FINE


def _take_back(options: argparse.Namespace, known: Known, read: Sequence[Read[Revocation]]) -> int:
    unread = [each.source.name for each in read if each.error is not None]
    if len(unread) == len(read):
        return refuse(options, "nothing was taken back", FAILED)
    if unread:
        others = next(each.source.name for each in read if each.error is None)
        why = f"nothing was taken back: the {unread[0]} may revoke it too; --source {others}"
        return refuse(options, f"{why} takes it back there alone", FAILED)
    listed = {each.source: each.listed for each in read}
    return answer_taken_back(options, known, listed)


def _answer_list(
    options: argparse.Namespace, known: Known, read: Sequence[Read[Revocation]]
) -> None:
    entries = joined({each.source: each.listed for each in read})
    asked = asked_members(options)
    shown = [
        entry
        for entry in entries
        if (not options.id or entry.id in options.id) and is_asked(entry.entry, asked)
    ]

    def members() -> dict[str, Any]:
        return {
            "sources": [each.members() for each in read],
            "entries": [entry.members(known) for entry in shown],
            "invalid": invalid_members(read),
        }

    is_part = any(asked) or options.id
    count = f"{len(shown)} of {len(entries)}" if is_part else str(len(entries))
    noun = "entry" if len(entries) == 1 and not is_part else "entries"
    where = " and ".join(each.source.where for each in read if each.error is None)
    lines = table(shown, known, with_source=len(read) > 1)
    answer(options, (*lines, f"{count} {noun} in {where}" if where else ""), members)
