"""Finds the files that the patterns of ``include`` name."""

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

MAX_FILES: Final = 1000  # a file for each of many teams, and each is checked once a second
MAX_ENTRIES: Final = 100_000  # names searched: more mean a pattern of the wrong folder
MAX_PARTS: Final = 64  # of a pattern, between slashes
_WILDCARDS: Final = frozenset("*?[")

Statuses = dict[str, os.stat_result]


class _FindError(Exception):
    """A pattern names no readable file; the message says why."""


def find(
    main: Path, of_main: os.stat_result, patterns: tuple[str, ...]
) -> tuple[Statuses, list[tuple[int, str]]]:
    """Return the files that the patterns name, each once, and the patterns' problems by number.

    Files are sorted by name within a pattern. The main file is left out if a pattern matches it.
    """
    known = {_identity(of_main)}
    found: Statuses = {}
    problems: list[tuple[int, str]] = []
    walk = _Walk()
    for number, pattern in enumerate(patterns):
        try:
            for path, status in walk.files(main.parent, pattern):
                if (identity := _identity(status)) not in known:
                    known.add(identity)
                    found[path] = status
        except _FindError as error:
            problems.append((number, str(error)))
        if len(found) > MAX_FILES:
            return {}, [*problems, (number, f"more than {MAX_FILES} files")]
    return found, problems


class _Walk:
    """Searches folders by pattern, MAX_ENTRIES names in all.

    Paths are texts here, and a folder's text ends with a slash. This runs once a second, and making
    Path objects would be most of the work.
    """

    def __init__(self) -> None:
        self._left = MAX_ENTRIES

    def files(self, folder: Path, pattern: str) -> list[tuple[str, os.stat_result]]:
        """Return the files of a pattern, sorted by name. Raises _FindError."""
        parts = tuple(part for part in Path(pattern).parts if part.strip("/"))
        if not 0 < len(parts) <= MAX_PARTS or not pattern.isprintable():
            raise _FindError("must be a path or a pattern, such as policy.d/*.yaml")
        above = "/" if pattern.startswith("/") else str(folder / "x")[:-1]
        found = sorted(self._matches(above, parts))
        if not found and _WILDCARDS.isdisjoint(pattern):
            where = (
                "" if pattern.startswith("/") else ": the path is relative to this file's folder"
            )
            raise _FindError(f"there is no file {folder / pattern}{where}")
        if not found:
            raise _FindError(
                f"no file in {folder.absolute()} matches {pattern}: is the folder right?"
            )
        return [(path, _status_of_file(path)) for path in found]

    def _matches(self, above: str, parts: tuple[str, ...]) -> Iterator[str]:
        first, rest = parts[0], parts[1:]
        if first == "**":
            for inner in self._folders(above):
                yield from self._matches(inner, rest or ("*",))
            return
        names = [first] if _WILDCARDS.isdisjoint(first) else self._names(above)
        for name in names:
            if name == first or fnmatchcase(name, first):
                path = above + name
                if rest:
                    yield from self._matches(f"{path}/", rest)
                elif name != first or os.path.lexists(path):
                    yield path

    def _folders(self, above: str) -> Iterator[str]:
        """Yield a folder and those below it, each once: links are followed, and may form a ring."""
        known: set[tuple[int, int]] = set()
        pending = [above]
        while pending:
            inner = pending.pop()
            try:
                status = os.stat(inner or ".")  # noqa: PTH116 - texts, as said above
            except OSError:  # not a folder, a dangling link, or removed meanwhile
                continue
            if _identity(status) not in known:
                known.add(_identity(status))
                yield inner
                pending.extend(f"{inner}{name}/" for name in self._names(inner))

    def _names(self, above: str) -> list[str]:
        """Return a folder's names without hidden ones, such as Kubernetes' ``..data``."""
        try:
            names = [name for name in os.listdir(above or ".") if not name.startswith(".")]  # noqa: PTH208 - likewise
        except (NotADirectoryError, FileNotFoundError):
            return []
        except OSError as error:
            raise _FindError(f"{above} can't be read: {error.strerror}") from None
        self._left -= len(names)
        if self._left < 0:
            raise _FindError(f"more than {MAX_ENTRIES} names to search: name the folder")
        return names


def _status_of_file(path: str) -> os.stat_result:
    if not path.isprintable():  # messages and log lines will hold it
        raise _FindError(f"a file's name has characters that can't be shown: {path!a}")
    try:
        status = os.stat(path)  # noqa: PTH116 - likewise
    except OSError as error:
        raise _FindError(f"{path} can't be read: {error.strerror}") from None
    if stat.S_ISDIR(status.st_mode):
        raise _FindError(f"{path} is a folder: name its files, {Path(path).name}/*.yaml")
    if not stat.S_ISREG(status.st_mode):
        raise _FindError(f"{path} is not a file that can be read")
    return status


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
