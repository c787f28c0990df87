"""``authz consent``: adds a principal's consent to the store or to the file of consents."""

import argparse
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from authz.cli.agent_hint import agent_hint
from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse
from authz.cli.consenting.shown import what
from authz.cli.consenting.sources import open_sources
from authz.cli.entry_sources import Source, SourceError
from authz.cli.lined_up import moment
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.cli.revoking.known import Known
from authz.cli.revoking.who import user_at_host
from authz.config import Config
from authz.config.printable import one_line
from authz.core.consents import READER, Consent, ConsentError
from authz.core.entry_lines import MAX_LINE_BYTES, EntryError
from authz.core.revocations import Revocation

BY_ENDING = "ended"


def run(options: argparse.Namespace) -> int:
    """Give a consent, and return the exit status. Raises ConfigError, BuildError."""
    config = load_config(options.config)
    try:
        consent = _consent(options)
        if not options.force:
            _require_known(config, consent)
        with open_sources(config, options.source) as sources:
            source = sources[-1]  # one place is enough: servers ask both
            return _give(options, source, consent)
    except EntryError as error:
        return refuse(options, f"{error}{agent_hint(config, options.agent)}", USAGE)


def _consent(options: argparse.Namespace) -> Consent:
    """Return the consent that the flags mean. Raises ConsentError."""
    consent = Consent(
        issuer=options.issuer,
        subject=options.subject,
        agent=options.agent,
        until=options.until,
        audiences=tuple(options.audience) if options.audience else None,
        scopes=tuple(options.scope) if options.scope else None,
        authorization_details=None if options.details is None else (options.details,),
        once=_is_once(options) or None,
        by=options.by or user_at_host(),
        note=options.note,
        since=datetime.now(UTC).replace(microsecond=0),
    )
    consent.check()
    if len(consent.line) > MAX_LINE_BYTES:
        raise ConsentError(f"a consent has {MAX_LINE_BYTES} bytes at most")
    return READER.read(consent.line)  # as servers read it


def _is_once(options: argparse.Namespace) -> bool:
    """Tell whether one token alone may be made by it: for a single call that is the default."""
    return bool(options.once or (options.details is not None and not options.many_tokens))


def _require_known(config: Config, consent: Consent) -> None:
    """Require an issuer and an agent that the config knows. Raises EntryError."""
    known = Known(config, "; with --force the consent is given all the same")
    known.require(Revocation(issuer=consent.issuer))
    known.require(Revocation(agent=consent.agent))


def _give(options: argparse.Namespace, source: Source[Consent], consent: Consent) -> int:
    try:
        with progress(f"writing to {source.where}"):
            warning = source.add(consent, consent.by or "")
    except SourceError as error:
        return refuse(options, f"not certainly given: {error}", FAILED)
    warnings = [warning, _sweep(source)]
    complain(*(f"authz: {each}" for each in warnings if each is not None))
    answer(options, _lines(options, source, consent), lambda: _members(source, consent))
    return FINE


def _sweep(source: Source[Consent]) -> str | None:
    """Take back what has ended, so that the source does not grow; return what failed."""
    now = datetime.now(UTC).timestamp()
    try:
        entries = source.read().entries
        ended = {kept.id: kept.entry.line for kept in entries if kept.entry.is_over(now)}
        return source.take_back(ended, BY_ENDING, "") if ended else None
    except SourceError as error:
        return f"consents that have ended are still there: {error}"


def _lines(options: argparse.Namespace, source: Source[Consent], consent: Consent) -> Iterator[str]:
    yield one_line(f"given: {consent.line.decode()}")
    yield f"it lets {what(consent)}"
    yield f"with the next request, on {source.counts_on}, until {moment(consent.until)}"
    config = shlex.quote(str(options.config))
    yield f"to take it back: authz consents {config} --id {consent.id} --take-back"


def _members(source: Source[Consent], consent: Consent) -> dict[str, Any]:
    return {
        "given": {"id": consent.id, **msgspec.to_builtins(consent)},
        "source": source.name,
        "where": source.where,
    }
