"""Writes the revocations of signals where they outlive this process: to the store, or the file."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from authz.adapters.files import read_between
from authz.adapters.revocation_file import writing
from authz.adapters.store.store import Register, StoreError
from authz.core.entry_lines import EntryError
from authz.core.revocations import MAX_BYTES, Revocation, RevocationError, read_entries
from authz.core.signals.effects import Restoration, is_of_signal, taken_back

# A file is read and written as a whole for each signal. Beyond so many entries of signals about an
# issuer none is added, so that no transmitter leaves others, and the operator, without room.
MAX_IN_FILE: Final = 10_000
# How long an expired entry of a signal stays in the file: our clock may be ahead.
EXPIRED_SECONDS: Final = 86_400.0
STORE_SECONDS: Final = 5.0  # the other side waits longer, and tries again


class WriteError(Exception):
    """Signals that nothing certain was written; the message is for operators."""


class RevocationWriter(Protocol):
    """Where entries are written. On return they will count, also after a restart."""

    def add(self, entries: Sequence[Revocation], by: str) -> None:
        """Add entries; those that are there stay. Raises WriteError."""

    def restore(self, restorations: Sequence[Restoration], by: str) -> int:
        """Take back what the restorations say, and return how many entries. Raises WriteError."""


class StoreWriter:
    """Writes to the store that replicas share."""

    def __init__(self, register: Register) -> None:
        """Take the store."""
        self._register = register

    def add(self, entries: Sequence[Revocation], by: str) -> None:
        """Add entries in one step."""
        lines = {entry.id: _checked(entry).line for entry in entries}
        try:
            self._register.add(lines, by, STORE_SECONDS)
        except StoreError as error:
            raise WriteError(f"the store: {error}") from None

    def restore(self, restorations: Sequence[Restoration], by: str) -> int:
        """Take entries back; those that another process has just taken back don't matter."""
        try:
            listed = self._register.entries(STORE_SECONDS)
            entries = _read(b"\n".join(listed.entries.values()))
            ids = _taken_back(entries, restorations)
            if ids:
                self._register.take_back(ids, by, "", STORE_SECONDS)
        except StoreError as error:
            raise WriteError(f"the store: {error}") from None
        return len(ids)


class FileWriter:
    """Appends to the revocation file."""

    def __init__(self, path: Path) -> None:
        """Take the file, which exists."""
        self._path = path

    def add(self, entries: Sequence[Revocation], by: str) -> None:
        """Append a line for each entry that is not there: the entry says who made it."""
        del by
        try:
            writing.append_all(self._path, entries, _expired)
        except EntryError as error:
            raise WriteError(str(error)) from None

    def restore(self, restorations: Sequence[Restoration], by: str) -> int:
        """Remove lines."""
        del by
        try:
            entries = _read(read_between(self._path, MAX_BYTES))
            ids = _taken_back(entries, restorations)
            if ids:
                writing.take_back(self._path, ids)
        except OSError as error:
            raise WriteError(f"{self._path}: {error.strerror}") from None
        except EntryError as error:
            raise WriteError(str(error)) from None
        return len(ids)


def _expired(held: Mapping[bytes, Revocation], entries: Sequence[Revocation]) -> list[Revocation]:
    """Return the entries of signals that have expired long ago.

    Raises RevocationError if too many have not.
    """
    made = [entry for entry in held.values() if is_of_signal(entry)]
    now = time.time() - EXPIRED_SECONDS
    gone = [entry for entry in made if entry.is_over(now)]
    about = Counter(entry.issuer for entry in made if not entry.is_over(now))
    about.update({entry.issuer for entry in entries})
    if any(about[entry.issuer] > MAX_IN_FILE for entry in entries):
        raise RevocationError(f"more than {MAX_IN_FILE} entries of signals: use a store")
    return gone


def _checked(entry: Revocation) -> Revocation:
    try:
        entry.check()
    except RevocationError as error:
        raise WriteError(str(error)) from None
    return entry


def _read(data: bytes) -> list[Revocation]:
    return [entry for _, entry in read_entries(data) if isinstance(entry, Revocation)]


def _taken_back(
    entries: Sequence[Revocation], restorations: Sequence[Restoration]
) -> frozenset[str]:
    found = (entry for restoration in restorations for entry in taken_back(entries, restoration))
    return frozenset(entry.id for entry in found)
