"""``authz consents``: lists consents, takes them back, and tells their history."""

import argparse
from collections.abc import Sequence
from typing import Any

from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse
from authz.cli.consenting.shown import HISTORY, is_asked, members, table, what
from authz.cli.consenting.sources import open_sources
from authz.cli.entry_history import answer_history
from authz.cli.entry_reading import (
    Joined,
    Read,
    complain_of,
    invalid_members,
    join_sources,
    read_sources,
)
from authz.cli.entry_sources import INTERRUPTED, SourceError
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.cli.revoking.who import user_at_host
from authz.config.printable import one_line
from authz.core.consents import Consent, ConsentError
from authz.core.entry_lines import MAX_LINE_BYTES


def run(options: argparse.Namespace) -> int:
    """List or take back, and return the exit status. Raises ConfigError, BuildError."""
    if options.history and options.take_back:
        return refuse(options, "--history and --take-back are two questions: ask each alone", USAGE)
    if len(f"{options.note or ''}{options.by or ''}".encode()) > MAX_LINE_BYTES:
        return refuse(options, f"--note and --by have {MAX_LINE_BYTES} bytes at most", USAGE)
    config = load_config(options.config)
    try:
        with open_sources(config, options.source) as sources:
            if options.history:
                return answer_history(options, sources, HISTORY)
            read = read_sources(sources)
            complain_of(read)
            if options.take_back:
                return _take_back(options, read)
            _answer_list(options, read)
    except ConsentError as error:
        return refuse(options, str(error), USAGE)
    return FAILED if any(each.error or each.listed.invalid for each in read) else FINE


def _asked(options: argparse.Namespace, read: Sequence[Read[Consent]]) -> list[Joined[Consent]]:
    return [
        each
        for each in join_sources({each.source: each.listed for each in read})
        if (not options.id or each.id in options.id) and is_asked(options, each.entry)
    ]


def _answer_list(options: argparse.Namespace, read: Sequence[Read[Consent]]) -> None:
    shown = _asked(options, read)
    noun = "consent" if len(shown) == 1 else "consents"
    where = " and ".join(each.source.where for each in read if each.error is None)
    lines = table(shown, with_source=len(read) > 1)
    answer(
        options,
        (*lines, f"{len(shown)} {noun} in {where}" if where else ""),
        lambda: {
            "sources": [each.members() for each in read],
            "consents": [members(each) for each in shown],
            "invalid": invalid_members(read),
        },
    )


def _take_back(options: argparse.Namespace, read: Sequence[Read[Consent]]) -> int:
    """Take back all that the flags name; what can't be read is told, and holds nothing up."""
    if not any((options.id, options.issuer, options.subject, options.agent)):
        return refuse(options, "say which: by --subject, --agent and the like, or by --id", USAGE)
    entries = _asked(options, read)
    broken = {
        bad.id: bad.why
        for each in read
        for bad in each.listed.invalid
        if bad.id is not None and bad.id in (options.id or ())
    }
    errors = {each.source.name: each.error for each in read if each.error is not None}
    if not entries and not broken:
        status = FAILED if errors else USAGE
        return refuse(options, "not taken back: no consent is what the flags name", status)
    for each in read:
        held = {shown.id: shown.entry.line for shown in entries if each.source.name in shown.lines}
        held |= {bad.id: b"" for bad in each.listed.invalid if bad.id and bad.id in broken}
        if held and (error := _take_from(options, each, held)) is not None:
            errors[each.source.name] = error
    unknown = sorted({*(options.id or ())} - {each.id for each in entries} - broken.keys())
    for name in unknown:
        complain(one_line(f"authz: nothing was taken back for {name}: no such consent was found"))
    _answer_taken(options, entries, [*broken], errors)
    return FAILED if errors else USAGE if unknown else FINE


def _take_from(
    options: argparse.Namespace, read: Read[Consent], held: dict[str, bytes]
) -> str | None:
    """Take entries back from a source; return what failed."""
    try:
        with progress(f"writing to {read.source.where}"):
            by = options.by or user_at_host()
            warning = read.source.take_back(held, by, options.note or "")
    except SourceError as error:
        return str(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    complain(*([] if warning is None else [f"authz: {warning}"]))
    return None


def _answer_taken(
    options: argparse.Namespace,
    entries: Sequence[Joined[Consent]],
    broken: Sequence[str],
    errors: dict[str, str],
) -> None:
    for name, error in errors.items():
        complain(f"authz: NOT CERTAINLY TAKEN BACK from the {name}: {error}; try the same again")
    lines = [f"taken back: {one_line(each.id)}: {what(each.entry)}" for each in entries]
    lines += [f"removed the invalid entry {one_line(name)}" for name in broken]
    lines.append("no token is made by it from now on; tokens that were made stay valid: to end")
    lines.append("them too, use authz revoke")

    def told() -> dict[str, Any]:
        return {
            "taken_back": [members(each) for each in entries],
            "removed_invalid": list(broken),
            "errors": errors,
        }

    answer(options, lines, told)
