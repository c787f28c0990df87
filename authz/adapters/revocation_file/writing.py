"""Adds a line to the revocation file, or removes lines, as ``EntryFile`` does."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from authz.adapters.entry_file.writing import EntryFile
from authz.core.revocations import READER, Revocation


def append(path: Path, entry: Revocation) -> None:
    """Add a line to an existing valid file, as ``EntryFile.append``. Raises EntryError."""
    EntryFile(path, READER).append([entry])


def append_all(
    path: Path,
    entries: Sequence[Revocation],
    prune: Callable[[Mapping[bytes, Revocation], Sequence[Revocation]], Collection[Revocation]],
) -> None:
    """Add the lines that are not there, as ``EntryFile.append``. Raises EntryError."""
    EntryFile(path, READER).append(entries, prune)


def take_back(path: Path, ids: Collection[str]) -> list[Revocation]:
    """Remove entries, as ``EntryFile.take_back``. Raises EntryError."""
    return EntryFile(path, READER).take_back(ids)
