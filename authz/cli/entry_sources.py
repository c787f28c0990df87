"""Reads and writes the sources of entries of a kind: a file, and a register of the store."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from authz.adapters.entry_file.history import (
    Done,
    change_now,
    history_path,
    read_changes,
    record,
)
from authz.adapters.entry_file.writing import EntryFile, ReadOnlyError
from authz.adapters.files import read_between
from authz.adapters.store.settings import MAX_TIMEOUT_SECONDS, StoreSettings
from authz.adapters.store.store import (
    Change,
    Listing,
    Register,
    Store,
    StoreAwayError,
    StoreError,
)
from authz.config import Config
from authz.core.entry_lines import MAX_BYTES, E, EntryError, EntryReader
from authz.wiring.store import open_store

PATIENCE_SECONDS: Final = 5.0  # for a store that fails over
_PAUSE_SECONDS: Final = 0.25
INTERRUPTED: Final = "interrupted before it was certain"
_T = TypeVar("_T")
Warned = str | None  # what failed beside a change that was made


class SourceError(Exception):
    """A source can't be read or written; the message says why.

    Attributes:
        is_read_only: whether it is a file that others write.
    """

    def __init__(self, message: str, *, is_read_only: bool = False) -> None:
        """Take the message."""
        super().__init__(message)
        self.is_read_only = is_read_only


class Kept(NamedTuple, Generic[E]):
    """An entry in a source: ``id`` names it there, ``line`` is its number, None in a store."""

    id: str
    line: int | None
    entry: E


class Invalid(NamedTuple):
    """A line of a source that is not an entry, and why."""

    id: str | None
    line: int | None
    why: str


@dataclass(slots=True)
class Listed(Generic[E]):
    """What a source holds."""

    entries: list[Kept[E]] = field(default_factory=list)
    invalid: list[Invalid] = field(default_factory=list)


class Source(Protocol[E]):
    """A place that keeps entries of a kind.

    Attributes:
        name: "file" or "store".
        where: names it for people.
        counts_on: the servers on which its entries count.
        rests: when taking back takes effect.
        if_invalid: what an invalid entry does, and how to mend that.
        is_all_or_nothing: whether servers use no entry while another is invalid.
    """

    name: str
    where: str
    counts_on: str
    rests: str
    if_invalid: str
    is_all_or_nothing: bool

    def read(self) -> Listed[E]:
        """Return what it holds. Raises SourceError."""

    def add(self, entry: E, by: str) -> Warned:
        """Add an entry, which is there for good on return. Raises SourceError."""

    def take_back(self, entries: Mapping[str, bytes], by: str, note: str) -> Warned:
        """Remove entries, lines by their ids. Raises SourceError."""

    def changes(self, most: int) -> Sequence[Change]:
        """Return the last changes, the newest first. Raises SourceError."""


@dataclass(frozen=True, slots=True)
class EntryKind(Generic[E]):
    """A kind of entries.

    Attributes:
        reader: reads a line.
        added: what is done by adding one, for the history.
        rests: when it takes effect that a line was removed from the file.
        if_invalid: what an invalid line of the file does.
        is_tolerant: whether servers use a file's other lines while one is invalid.
        max_bytes: how much of a file servers read.
        prune: what a file need not have any more when some are added, None for all that it has.
    """

    reader: EntryReader[E]
    added: Done
    rests: str
    if_invalid: str
    is_tolerant: bool = False
    max_bytes: int = MAX_BYTES
    prune: Callable[[Mapping[bytes, E], Sequence[E]], Collection[E]] | None = None


class FileSource(Generic[E]):
    """A file of entries."""

    name = "file"

    def __init__(self, path: Path, kind: EntryKind[E]) -> None:
        """Take the path, and what kind it has."""
        self.path = path
        self._kind = kind
        self._file = EntryFile(
            path, kind.reader, is_tolerant=kind.is_tolerant, max_bytes=kind.max_bytes
        )
        self.rests, self.if_invalid = kind.rests, kind.if_invalid
        self.is_all_or_nothing = not kind.is_tolerant
        self.where = str(path)
        self.counts_on = f"every server that reads {path}"

    def read(self) -> Listed[E]:
        """Return its lines. Raises SourceError."""
        listed = Listed[E]()
        try:
            data = read_between(self.path, MAX_BYTES)
            for number, entry in self._kind.reader.read_all(data):
                if isinstance(entry, EntryError):
                    listed.invalid.append(Invalid(None, number, str(entry)))
                else:
                    listed.entries.append(Kept(entry.id, number, entry))
        except (OSError, EntryError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise SourceError(f"{self.path}: {why}") from None
        return listed

    def add(self, entry: E, by: str) -> Warned:
        """Append a line. Raises SourceError."""
        try:
            self._file.append([entry], self._kind.prune)
        except EntryError as error:
            is_read_only = isinstance(error, ReadOnlyError)
            raise SourceError(str(error), is_read_only=is_read_only) from None
        return self._record([change_now(by, entry.id, entry.line, is_added=True)])

    def take_back(self, entries: Mapping[str, bytes], by: str, note: str) -> Warned:
        """Remove the lines. Raises SourceError."""
        try:
            self._file.take_back(entries)
        except EntryError as error:
            raise SourceError(str(error)) from None
        items = entries.items()
        return self._record(
            [change_now(by, name, line, is_added=False, note=note) for name, line in items]
        )

    def _record(self, changes: Sequence[Change]) -> Warned:
        try:
            record(self.path, changes, self._kind.added)
        except OSError as error:
            why = error.strerror or error
            return f"the change is not in the history, {history_path(self.path)}: {why}"
        return None

    def changes(self, most: int) -> Sequence[Change]:
        """Return the last changes in its history, the newest first. Raises SourceError."""
        try:
            return read_changes(self.path, most)
        except OSError as error:
            raise SourceError(f"{history_path(self.path)}: {error.strerror}") from None


class StoreSource(Generic[E]):
    """A register of the store that servers share."""

    name = "store"
    rests = "within a second"
    if_invalid = "servers leave an invalid entry out: --id and --take-back remove it"
    is_all_or_nothing = False

    def __init__(
        self, register: Register, reader: EntryReader[E], settings: StoreSettings, namespace: str
    ) -> None:
        """Take a register of a store that was started."""
        self._register = register
        self._reader = reader
        self._place = settings.where
        self.where = f"{self._place}, namespace {namespace}"
        self.counts_on = f"every server of namespace {namespace} that reaches {self._place}"

    def read(self) -> Listed[E]:
        """Return its entries. Raises SourceError."""
        return self._listed(self._patiently(self._register.entries))

    def add(self, entry: E, by: str) -> Warned:
        """Add an entry. Raises SourceError."""
        self._patiently(lambda seconds: self._register.add({entry.id: entry.line}, by, seconds))
        return None

    def take_back(self, entries: Mapping[str, bytes], by: str, note: str) -> Warned:
        """Remove entries. Raises SourceError."""
        self._patiently(lambda seconds: self._register.take_back([*entries], by, note, seconds))
        return None

    def changes(self, most: int) -> Sequence[Change]:
        """Return the last changes, the newest first. Raises SourceError."""
        return self._patiently(lambda seconds: self._register.changes(most, seconds))

    def _patiently(self, ask: Callable[[float], _T]) -> _T:
        """Ask until there is an answer, for PATIENCE_SECONDS. Raises SourceError.

        An outcome that is unknown does no harm: adding twice and taking back twice change nothing.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return ask(MAX_TIMEOUT_SECONDS)
            except StoreAwayError as error:
                if time.monotonic() > end:
                    raise SourceError(f"{self._place}: {error}") from None
                time.sleep(_PAUSE_SECONDS)
            except StoreError as error:
                raise SourceError(f"{self._place}: {error}") from None

    def _listed(self, listing: Listing) -> Listed[E]:
        listed = Listed[E]()
        for name, line in sorted(listing.entries.items()):
            try:
                listed.entries.append(Kept(name, None, self._reader.read(line)))
            except EntryError as error:
                listed.invalid.append(Invalid(name, None, str(error)))
        return listed


@contextmanager
def opened_store(config: Config, settings: StoreSettings) -> Iterator[Store]:
    """Open the store of a config for a command, and start it. Raises BuildError."""
    logging.getLogger("authz.store").addHandler(logging.NullHandler())  # the command tells it
    # A command waits for longer than a check may.
    patient = settings.model_copy(update={"timeout": MAX_TIMEOUT_SECONDS})
    with closing(open_store(config.model_copy(update={"store": patient}))) as store:
        store.start()
        yield store
