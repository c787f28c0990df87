"""``authz revoke``: adds an entry to the revocation file and to the store."""

import argparse
import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from authz.cli.agent_hint import agent_hint
from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse
from authz.cli.lined_up import moment
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.cli.revoking.known import Known
from authz.cli.revoking.sources import INTERRUPTED, Source, SourceError, open_sources
from authz.cli.revoking.who import user_at_host
from authz.config.printable import one_line
from authz.core.entry_lines import MAX_LINE_BYTES
from authz.core.revocations import Revocation, RevocationError

_NO_NOTE: Final = "--everything stops every request: say why in --note, for those who will ask"


class _Tried(NamedTuple):
    """A source, and why the entry is not there; None if it is."""

    source: Source
    error: SourceError | None = None
    warning: str | None = None

    @property
    def is_written(self) -> bool:
        """Whether it has the entry."""
        return self.error is None

    @property
    def is_failure(self) -> bool:
        """Whether it ought to have the entry, and has not."""
        return self.error is not None and not self.error.is_read_only


def run(options: argparse.Namespace) -> int:
    """Revoke, and return the exit status. Raises ConfigError, BuildError."""
    config = load_config(options.config)
    try:
        entry = _entry(options)
        entry.check()
        if not options.force:
            Known(config).require(entry)
        with open_sources(config, options.source) as sources:
            tried = _add_to_all(sources, entry)
    except RevocationError as error:
        return refuse(options, f"{error}{agent_hint(config, options.agent)}", USAGE)
    if not any(each.is_written for each in tried):
        why = "; ".join(dict.fromkeys(str(each.error) for each in tried))
        return refuse(options, f"not revoked: {why}", FAILED)
    for each in tried:
        if each.warning is not None:
            complain(f"authz: {each.warning}")
    failed = [each for each in tried if each.is_failure]
    for each in failed:
        complain(*_what_to_do(each))
    answer(options, _lines(options, entry, tried), lambda: _answer(entry, tried))
    return FAILED if failed else FINE


def _entry(options: argparse.Namespace) -> Revocation:
    """Return the entry that the flags mean. Raises RevocationError."""
    if options.everything and not (options.note or "").strip():
        raise RevocationError(_NO_NOTE)
    if options.any_time and options.before:
        raise RevocationError("--any-time and --before contradict each other: give one of them")
    entry = _timed(options, _named(options))
    if len(entry.line) > MAX_LINE_BYTES:
        raise RevocationError(f"an entry has {MAX_LINE_BYTES} bytes at most: shorten --note")
    return entry


def _named(options: argparse.Namespace) -> Revocation:
    return Revocation(
        agent=options.agent,
        issuer=options.issuer,
        subject=options.subject,
        token_id=options.token_id,
        tool=options.tool,
        everything=options.everything or None,
        session=options.session,
        email=options.email,
        before=options.before,
        note=options.note,
        since=datetime.now(UTC).replace(microsecond=0),
        by=options.by or user_at_host(),
        expires=options.expires,
    )


def _timed(options: argparse.Namespace, entry: Revocation) -> Revocation:
    """Return an entry with the time of now, unless it is about tokens of any time."""
    is_timeless = options.any_time or options.before or entry.token_id or entry.session
    if is_timeless or entry.issuer is None:
        return entry
    return msgspec.structs.replace(entry, before=datetime.now(UTC))


def _add_to_all(sources: Sequence[Source], entry: Revocation) -> list[_Tried]:
    """Add an entry to each source, and to no further one once the person has interrupted.

    What was written by then is told: it is in force.
    """
    tried: list[_Tried] = []
    for source in sources:
        try:
            tried.append(_add(source, entry))
        except KeyboardInterrupt:
            missed = sources[len(tried) :]
            return [*tried, *(_Tried(each, SourceError(INTERRUPTED)) for each in missed)]
    return tried


def _add(source: Source, entry: Revocation) -> _Tried:
    try:
        with progress(f"writing to {source.where}"):
            return _Tried(source, warning=source.add(entry, entry.by or ""))
    except SourceError as error:
        return _Tried(source, error)


def _what_to_do(failed: _Tried) -> Iterator[str]:
    source = failed.source
    yield f"authz: NOT CERTAINLY REVOKED on {source.counts_on}: {failed.error}"
    yield (
        f"authz: once that is mended, run the same command with --source {source.name}; until then"
        " it may be allowed there"
    )


def _lines(
    options: argparse.Namespace, entry: Revocation, tried: Sequence[_Tried]
) -> Iterator[str]:
    yield one_line(f"revoked; takes effect within a second: {entry.line.decode()}")
    for each in sorted(tried, key=lambda each: not each.is_written):
        if each.is_written:
            yield f"on {each.source.counts_on}"
        elif not each.is_failure:
            yield f"only there, as the {each.source.name} can't be written: {each.error}"
    if entry.everything:
        yield "EVERYTHING IS STOPPED: these servers refuse every request until it is taken back"
    if entry.expires is not None:
        yield f"it ends by itself at {moment(entry.expires)}"
    config = shlex.quote(str(options.config))
    yield f"to take it back: authz revocations {config} --id {entry.id} --take-back"


def _answer(entry: Revocation, tried: Sequence[_Tried]) -> dict[str, Any]:
    sources = [
        {
            "source": each.source.name,
            "where": each.source.where,
            "is_written": each.is_written,
            "error": None if each.error is None else str(each.error),
        }
        for each in tried
    ]
    return {"revoked": {"id": entry.id, **msgspec.to_builtins(entry)}, "sources": sources}
