"""Reads all sources of entries, and tells what can't be read in them."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple

from authz.cli.common import complain
from authz.cli.entry_sources import Listed, Source, SourceError
from authz.cli.progress import progress
from authz.config.printable import one_line
from authz.core.entry_lines import E


class Read(NamedTuple, Generic[E]):
    """A source, and what it holds, or why it can't be read."""

    source: Source[E]
    listed: Listed[E]
    error: str | None = None

    def members(self) -> dict[str, Any]:
        """Return the members of its JSON object."""
        return {"source": self.source.name, "where": self.source.where, "error": self.error}


def read_sources(sources: Sequence[Source[E]]) -> list[Read[E]]:
    """Read each source."""
    return [_read(source) for source in sources]


def _read(source: Source[E]) -> Read[E]:
    try:
        with progress(f"reading {source.where}"):
            return Read(source, source.read())
    except SourceError as error:
        return Read(source, Listed(), str(error))


def complain_of(read: Sequence[Read[E]]) -> None:
    """Print what can't be read to standard error."""
    for each in read:
        where = each.source.where
        if each.error is not None:
            complain(one_line(f"authz: the {each.source.name} can't be read: {each.error}"))
        for invalid in each.listed.invalid:
            name = f"line {invalid.line}" if invalid.id is None else f"entry {invalid.id}"
            complain(one_line(f"authz: {where}: {name}: {invalid.why}"))
        if each.listed.invalid:
            complain(f"authz: {each.source.if_invalid}")


def invalid_members(read: Sequence[Read[E]]) -> list[dict[str, Any]]:
    """Return the members of the JSON objects of invalid entries."""
    return [
        {"source": each.source.name, "line": bad.line, "id": bad.id, "error": bad.why}
        for each in read
        for bad in each.listed.invalid
    ]


class Joined(NamedTuple, Generic[E]):
    """An entry, its id, and the sources that have it: the line of each, None in the store."""

    id: str
    entry: E
    lines: Mapping[str, int | None]


def join_sources(listed: Mapping[Source[E], Listed[E]]) -> list[Joined[E]]:
    """Return the entries of all sources; an entry that several have, or have twice, is there once.

    The file's come first, in the order of its lines.
    """
    found: dict[tuple[str, bytes], tuple[E, dict[str, int | None]]] = {}
    for source, held in listed.items():
        for kept in held.entries:
            _, lines = found.setdefault((kept.id, kept.entry.line), (kept.entry, {}))
            lines.setdefault(source.name, kept.line)
    return [Joined(name, entry, lines) for (name, _), (entry, lines) in found.items()]
