"""Reads and writes the sources of a config's revocations: the revocation file, and the store."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from authz.adapters.files import read_between
from authz.adapters.revocation_file.history import (
    change_now,
    history_path,
    read_changes,
    record,
)
from authz.adapters.revocation_file.writing import ReadOnlyError, append, take_back
from authz.adapters.store.settings import MAX_TIMEOUT_SECONDS, StoreSettings
from authz.adapters.store.store import Change, Listing, Store, StoreAwayError, StoreError
from authz.config import Config
from authz.core.revocations import (
    MAX_BYTES,
    Revocation,
    RevocationError,
    read_entries,
    read_entry,
)
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


class Kept(NamedTuple):
    """An entry in a source: ``id`` names it there, ``line`` is its number, None in a store."""

    id: str
    line: int | None
    entry: Revocation


class Invalid(NamedTuple):
    """A line of a source that is not an entry, and why."""

    id: str | None
    line: int | None
    why: str


@dataclass(slots=True)
class Listed:
    """What a source holds."""

    entries: list[Kept] = field(default_factory=list)
    invalid: list[Invalid] = field(default_factory=list)


class Source(Protocol):
    """A place that keeps revocations.

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

    def read(self) -> Listed:
        """Return what it holds. Raises SourceError."""

    def add(self, entry: Revocation, by: str) -> Warned:
        """Add an entry, which is there for good on return. Raises SourceError."""

    def take_back(self, entries: Mapping[str, bytes], by: str, note: str) -> Warned:
        """Remove entries, lines by their ids. Raises SourceError."""

    def changes(self, most: int) -> Sequence[Change]:
        """Return the last changes, the newest first. Raises SourceError."""


class FileSource:
    """The revocation file."""

    name = "file"
    rests = "when the file has rested for a second"
    if_invalid = "servers do not load a file with an invalid line: mend or remove it"
    is_all_or_nothing = True

    def __init__(self, path: Path) -> None:
        """Take the path."""
        self.path = path
        self.where = str(path)
        self.counts_on = f"every server that reads {path}"

    def read(self) -> Listed:
        """Return its lines. Raises SourceError."""
        listed = Listed()
        try:
            for number, entry in read_entries(read_between(self.path, MAX_BYTES)):
                if isinstance(entry, RevocationError):
                    listed.invalid.append(Invalid(None, number, str(entry)))
                else:
                    listed.entries.append(Kept(entry.id, number, entry))
        except (OSError, RevocationError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise SourceError(f"{self.path}: {why}") from None
        return listed

    def add(self, entry: Revocation, by: str) -> Warned:
        """Append a line. Raises SourceError."""
        try:
            append(self.path, entry)
        except RevocationError as error:
            is_read_only = isinstance(error, ReadOnlyError)
            raise SourceError(str(error), is_read_only=is_read_only) from None
        return self._record([change_now(by, entry.id, entry.line, is_added=True)])

    def take_back(self, entries: Mapping[str, bytes], by: str, note: str) -> Warned:
        """Remove the lines. Raises SourceError."""
        try:
            take_back(self.path, entries)
        except RevocationError as error:
            raise SourceError(str(error)) from None
        items = entries.items()
        return self._record(
            [change_now(by, name, line, is_added=False, note=note) for name, line in items]
        )

    def _record(self, changes: Sequence[Change]) -> Warned:
        try:
            record(self.path, changes)
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


class StoreSource:
    """The store that servers share."""

    name = "store"
    rests = "within a second"
    if_invalid = "servers leave an invalid entry out: --id and --take-back remove it"
    is_all_or_nothing = False

    def __init__(self, store: Store, settings: StoreSettings, namespace: str) -> None:
        """Take a store that was started."""
        self._store = store
        self._place = settings.where
        self.where = f"{self._place}, namespace {namespace}"
        self.counts_on = f"every server of namespace {namespace} that reaches {self._place}"

    def read(self) -> Listed:
        """Return its entries. Raises SourceError."""
        return _listed(self._patiently(self._store.entries))

    def add(self, entry: Revocation, by: str) -> Warned:
        """Add an entry. Raises SourceError."""
        self._patiently(lambda seconds: self._store.add({entry.id: entry.line}, by, seconds))
        return None

    def take_back(self, entries: Mapping[str, bytes], by: str, note: str) -> Warned:
        """Remove entries. Raises SourceError."""
        self._patiently(lambda seconds: self._store.take_back([*entries], by, note, seconds))
        return None

    def changes(self, most: int) -> Sequence[Change]:
        """Return the last changes, the newest first. Raises SourceError."""
        return self._patiently(lambda seconds: self._store.changes(most, seconds))

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


def _listed(listing: Listing) -> Listed:
    listed = Listed()
    for name, line in sorted(listing.entries.items()):
        try:
            listed.entries.append(Kept(name, None, read_entry(line)))
        except RevocationError as error:
            listed.invalid.append(Invalid(name, None, str(error)))
    return listed


@contextmanager
def open_sources(config: Config, only: str | None) -> Iterator[Sequence[Source]]:
    """Open the sources that a config has, the store last; ``only`` the one with this name.

    Raises RevocationError if there is none, BuildError.
    """
    sources: list[Source] = []
    with ExitStack() as opened:
        if config.revocations.file is not None and only in {None, FileSource.name}:
            sources.append(FileSource(Path(config.revocations.file)))
        if config.store is not None and only in {None, StoreSource.name}:
            sources.append(_store_source(config, config.store, opened))
        if not sources:
            raise RevocationError(_MISSING[only])
        yield sources


_MISSING: Final = {
    None: "the config sets neither revocations.file nor store",
    FileSource.name: "the config does not set revocations.file",
    StoreSource.name: "the config does not set store",
}


def _store_source(config: Config, settings: StoreSettings, opened: ExitStack) -> StoreSource:
    logging.getLogger("authz.store").addHandler(logging.NullHandler())  # the command tells it
    # A command waits for longer than a check may.
    patient = settings.model_copy(update={"timeout": MAX_TIMEOUT_SECONDS})
    store = opened.enter_context(closing(open_store(config.model_copy(update={"store": patient}))))
    store.start()
    return StoreSource(store, settings, settings.namespace or config.trust_domains[0])
