"""``authz revocations``: lists the revocations in force, and takes some back."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from authz.adapters.files import read_between
from authz.adapters.revocation_file.writing import take_back
from authz.cli.common import FAILED, FINE, USAGE, answer, complain, refuse
from authz.cli.reading import load_config
from authz.cli.verbs.revoke import revocation_file
from authz.config import Config
from authz.config.nearest import nearest
from authz.config.printable import one_line
from authz.core.policy import AgentSettings
from authz.core.policy.spiffe_table import SpiffeTable
from authz.core.revocations import (
    MAX_BYTES,
    REVOKED,
    Revocation,
    RevocationError,
    read_entries,
)
from authz.core.spiffe import SpiffeId, SpiffePattern

_MOST_SHOWN: Final = 20  # of the matches in a message, and of the entries still in force
_HEADINGS: Final = ("ID", "REVOKED", "TOKENS ISSUED BEFORE", "SINCE", "NOTE")


class _Known:
    """The agents and issuers of a config, found as fast as servers do."""

    def __init__(self, config: Config) -> None:
        """Index the entries of agents."""
        self._issuers = {issuer.issuer for issuer in config.issuers}
        self._agents: SpiffeTable[AgentSettings] = SpiffeTable()
        for agent in config.agents:
            self._agents.add(SpiffePattern.parse(agent.id), agent)

    def has(self, entry: Revocation) -> bool:
        """Tell whether the config has the issuer, or an entry that fits the agent."""
        return bool(self._of(entry)) if entry.agent is not None else entry.issuer in self._issuers

    def suspended(self, entry: Revocation) -> list[str]:
        """Return the IDs of the entries of agents that suspend the agent of an entry."""
        return [agent.id for agent in self._of(entry) if agent.suspended]

    def _of(self, entry: Revocation) -> list[AgentSettings]:
        return [] if entry.agent is None else self._agents.find(SpiffeId.parse(entry.agent))


@dataclass(slots=True)
class _Listed:
    """The file's entries by line, and its invalid lines."""

    entries: dict[int, Revocation] = field(default_factory=dict)
    invalid: dict[int, str] = field(default_factory=dict)


def run(options: argparse.Namespace) -> int:
    """List or take back, and return the exit status. Raises ConfigError."""
    config = load_config(options.config)
    known = _Known(config)
    try:
        path = revocation_file(config)
    except RevocationError as error:
        return refuse(options, str(error), USAGE)
    try:
        listed = _read(path)
    except (OSError, RevocationError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return refuse(options, f"{path}: {why}", FAILED)
    for number, invalid in listed.invalid.items():
        complain(one_line(f"authz: {path}: line {number}: {invalid}"))
    if listed.invalid:
        complain("authz: servers do not load a file with an invalid line: mend or remove it")
    if options.take_back:
        return _take_back(options, known, path, listed)
    _answer_list(options, known, path, listed)
    return FAILED if listed.invalid else FINE


def _read(path: Path) -> _Listed:
    """Read the file. Raises OSError, RevocationError."""
    listed = _Listed()
    for number, entry in read_entries(read_between(path, MAX_BYTES)):
        if isinstance(entry, RevocationError):
            listed.invalid[number] = str(entry)
        else:
            listed.entries[number] = entry
    return listed


def _answer_list(options: argparse.Namespace, known: _Known, path: Path, listed: _Listed) -> None:
    asked = _asked(options)
    shown = {
        number: entry
        for number, entry in listed.entries.items()
        if (not options.id or entry.id in options.id) and _is_asked(entry, asked)
    }

    def members() -> dict[str, Any]:
        entries = [{"line": at, **_members(entry, known)} for at, entry in shown.items()]
        invalid = [{"line": at, "error": why} for at, why in listed.invalid.items()]
        return {"file": str(path), "entries": entries, "invalid": invalid}

    count = f"{len(shown)} of {len(listed.entries)} entries" if any(asked) or options.id else None
    is_one = len(listed.entries) == 1
    count = count or f"{len(listed.entries)} {'entry' if is_one else 'entries'}"
    answer(options, (*_table(shown.values(), known), f"{count} in {path}"), members)


def _take_back(options: argparse.Namespace, known: _Known, path: Path, listed: _Listed) -> int:
    try:
        meant = _meant(options, list(listed.entries.values()))
    except RevocationError as error:
        return refuse(options, f"not taken back: {error}", USAGE)
    try:
        left = take_back(path, {entry.id for entry in meant})
    except RevocationError as error:
        return refuse(options, f"not taken back: {error}", FAILED)
    still = [entry for entry in left if any(entry.overlaps(one) for one in meant)]
    suspended = sorted({name for entry in meant for name in known.suspended(entry)})

    def members() -> dict[str, Any]:
        return {
            "taken_back": [_members(entry, known) for entry in meant],
            "still_revoked_by": [_members(entry, known) for entry in still],
            "suspended_by": suspended,
        }

    answer(options, _taken_lines(meant, still, suspended), members)
    return FINE


def _taken_lines(
    meant: Sequence[Revocation], still: Sequence[Revocation], suspended: Sequence[str]
) -> Iterator[str]:
    for entry in meant:
        yield f"taken back; takes effect when the file has rested for a second: {_line(entry)}"
    yield from _some("still revoked by: ", still)
    yield from (
        f"still suspended in the config by the entry of agents {name}" for name in suspended
    )


def _meant(options: argparse.Namespace, entries: Sequence[Revocation]) -> list[Revocation]:
    """Return the entries that the flags name. Raises RevocationError unless that is certain."""
    asked = _asked(options)
    if options.id:
        if any(asked):
            raise RevocationError("--id names an entry: leave out the other flags")
        return _by_id(options.id, entries)
    if not any(asked):
        raise RevocationError("say which: by --agent, --issuer and the like, or by --id")
    found = list({entry.id: entry for entry in entries if entry.revoked == asked}.values())
    if len(found) == 1:
        return found
    if found:
        raise RevocationError(
            "\n  ".join([f"{len(found)} entries revoke it; name each by --id", *_some("", found)])
        )
    alike = [entry for entry in entries if _is_asked(entry, asked)]
    if alike:
        why = "no entry revokes exactly that; name those that are meant by --id"
        raise RevocationError("\n  ".join([why, *_some("", alike)]))
    raise RevocationError(f"no entry revokes it{_nearest(asked, entries)}")


def _by_id(ids: Sequence[str], entries: Sequence[Revocation]) -> list[Revocation]:
    found = {entry.id: entry for entry in entries}
    missing = sorted({*ids} - found.keys())
    if missing:
        raise RevocationError(f"no entry has the id {missing[0]!r}")
    return [found[name] for name in dict.fromkeys(ids)]


def _nearest(asked: Sequence[str | bool | None], entries: Sequence[Revocation]) -> str:
    """Return "did you mean" for the first member that no entry has; "" if none is near."""
    for at, given in enumerate(asked):
        known = {entry.revoked[at] for entry in entries}
        if isinstance(given, str) and given not in known:
            names = sorted(name for name in known if isinstance(name, str))
            return one_line(nearest(given, names))
    return ""


def _asked(options: argparse.Namespace) -> tuple[str | bool | None, ...]:
    return tuple(getattr(options, name, None) for name in REVOKED)


def _is_asked(entry: Revocation, asked: Sequence[str | bool | None]) -> bool:
    pairs = zip(asked, entry.revoked, strict=True)
    return all(given in (None, own) for given, own in pairs)


def _some(start: str, entries: Sequence[Revocation]) -> list[str]:
    lines = [f"{start}{_line(entry)}" for entry in entries[:_MOST_SHOWN]]
    more = len(entries) - len(lines)
    return [*lines, f"and {more} more"] if more else lines


def _line(entry: Revocation) -> str:
    """Return an entry in one line: its id, what it revokes and its time."""
    _, revoked, before, since, note = _cells(entry)
    told = [revoked, f"issued before {before}" if before else "", since and f"since {since}", note]
    return f"{entry.id}: {', '.join(filter(None, told))}"


def _table(entries: Iterable[Revocation], known: _Known) -> Iterator[str]:
    """Yield the lines of a table, without the spaces at their ends."""
    rows = [_HEADINGS, *(_row(entry, known) for entry in entries)]
    if len(rows) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(text.ljust(width) for text, width in cells).rstrip()


def _row(entry: Revocation, known: _Known) -> tuple[str, ...]:
    *cells, note = _cells(entry)
    unknown = "" if known.has(entry) else "(the config does not know it)"
    return (*cells, " ".join(filter(None, (note, unknown))))


def _cells(entry: Revocation) -> tuple[str, ...]:
    pairs = zip(REVOKED, entry.revoked, strict=True)
    revoked = ", ".join(_told(name, value) for name, value in pairs if value is not None)
    note = one_line(entry.note or "")
    return entry.id, revoked, _moment(entry.before), _moment(entry.since), note


def _told(name: str, value: object) -> str:
    return f"{name} {one_line(value)}" if isinstance(value, str) else name


def _moment(time: datetime | None) -> str:
    return "" if time is None else time.isoformat(timespec="seconds").replace("+00:00", "Z")


def _members(entry: Revocation, known: _Known) -> dict[str, Any]:
    return {
        "id": entry.id,
        **msgspec.to_builtins(entry),
        "is_in_config": known.has(entry),
    }
