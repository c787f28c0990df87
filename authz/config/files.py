"""The files that a config is made of: found by the patterns of ``include``, read, and watched."""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from authz.config.merged import Merged
from authz.config.problems import ConfigError, Problem
from authz.config.yamlfile import Document, parse

MAX_BYTES: Final = 64 * 1024 * 1024  # of all files: 100,000 rules are some 20 MB
MAX_FILES: Final = 1000  # a file for each of many teams, and each is looked at once a second
MAX_ENTRIES: Final = 100_000  # names looked at for the patterns: more are a pattern gone astray
MAX_PARTS: Final = 64  # of a pattern, between slashes
# A file that changed so short a time before it was read may change again within the same tick of
# the file system's clock (two seconds at worst): its bytes are compared until it is older.
SETTLED_SECONDS: Final = 2.0
ATTEMPTS: Final = 3  # to read all files without one of them changing meanwhile
_UNREADABLE: Final = b""  # no digest
_WILDCARDS: Final = frozenset("*?[")


class _FindError(Exception):
    """A pattern of ``include`` names nothing that can be read; the message says why."""


@dataclass(slots=True)
class _Seen:
    """A file as it was read: what ``stat`` said before, and a digest of the bytes."""

    stamp: tuple[int, ...] | None
    is_settled: bool
    digest: bytes


class ConfigFiles:
    """A config's main file and those that it includes.

    One thread at a time: ``read`` when they are wanted, ``changed`` as often as one likes.
    """

    def __init__(self, main: Path) -> None:
        """Take the main file's path; nothing is read yet."""
        self.main = main
        self._patterns: tuple[str, ...] = ()
        self._seen: dict[Path, _Seen] = {}

    def read(self) -> Merged:
        """Read and merge all files, as they were at one moment. Raises ConfigError."""
        for _ in range(ATTEMPTS):
            main, contents, problems = self._contents()
            if not self.changed():
                break
        included = [parse(data, str(path)) for path, data in contents.items()]
        merged = Merged(main, included)
        problems += [p for document in included if document.data is None for p in document.problems]
        if problems:  # what is missing would only be missed all over the rest
            raise ConfigError(main.file, problems + merged.problems)
        return merged

    def changed(self) -> bool:
        """Whether the files are others, or hold something else, than when they were read last.

        Only what ``stat`` says is another file, or a newly written one, is read for that.
        """
        paths, _ = _found(self.main, self._patterns)
        if [self.main, *paths] != list(self._seen):
            return True
        return any(_differs(path, seen) for path, seen in self._seen.items())

    def _contents(self) -> tuple[Document, dict[Path, bytes], list[Problem]]:
        """The main file, the bytes of the others, and what can't be read. Raises ConfigError."""
        name = str(self.main)
        self._seen, self._patterns = {}, ()
        try:
            data = self._bytes(self.main, MAX_BYTES)
        except OSError as error:
            raise ConfigError.of(name, f"can't be read: {error.strerror}") from None
        main = main_document(data, name)
        self._patterns = _patterns(main.data)
        paths, failures = _found(self.main, self._patterns)
        problems = [main.problem(("include", at), message) for at, message in failures]
        contents: dict[Path, bytes] = {}
        left = MAX_BYTES - len(data)
        for path in paths:
            try:
                contents[path] = self._bytes(path, left)
            except OSError as error:
                problems.append(Problem(str(path), 1, "", f"can't be read: {error.strerror}"))
                continue
            left -= len(contents[path])
            if left < 0:
                raise ConfigError(name, [main.problem(("include",), _too_large())])
        return main, contents, problems

    def _bytes(self, path: Path, most: int) -> bytes:
        """A file's bytes, one more than ``most`` at most; notes what was seen. Raises OSError."""
        stamp, is_settled = _stamp(path)
        self._seen[path] = _Seen(stamp, is_settled=False, digest=_UNREADABLE)
        with path.open("rb") as file:
            data = file.read(most + 1)
        self._seen[path] = _Seen(stamp, is_settled, hashlib.sha256(data).digest())
        return data


def main_document(data: bytes, name: str) -> Document:
    """Parse the main file, which has to be a mapping. Raises ConfigError."""
    if len(data) > MAX_BYTES:
        raise ConfigError.of(name, _too_large())
    document = parse(data, name)
    if document.data is None and document.problems:
        raise ConfigError(name, document.problems)
    if not isinstance(document.data, dict):
        message = "a config is a mapping: server:, trust_domains:, issuers: ..."
        raise ConfigError(name, [*document.problems, document.problem((), message)])
    return document


def _too_large() -> str:
    return f"the config's files are larger than {MAX_BYTES} bytes"


def _patterns(data: dict[str, Any]) -> tuple[str, ...]:
    """The texts of ``include``; what has the wrong shape is reported where all shapes are."""
    listed = data.get("include")
    texts = listed if isinstance(listed, tuple) else ()
    return tuple(text if isinstance(text, str) else "" for text in texts)


def _found(main: Path, patterns: tuple[str, ...]) -> tuple[list[Path], list[tuple[int, str]]]:
    """The files that the patterns name, each once, and the patterns' problems by number.

    Sorted by name within a pattern. The main file itself is none of them, if a pattern fits it.
    """
    known = {_identity(main)}
    paths: list[Path] = []
    problems: list[tuple[int, str]] = []
    walk = _Walk()
    for number, pattern in enumerate(patterns):
        try:
            for path in walk.files(main.parent, pattern):
                if (identity := _identity(path)) not in known:
                    known.add(identity)
                    paths.append(path)
        except _FindError as error:
            problems.append((number, str(error)))
    if len(paths) > MAX_FILES:
        problems.append((0, f"more than {MAX_FILES} files"))
    return paths[:MAX_FILES], problems


class _Walk:
    """Walks folders by pattern, a bounded number of names in all."""

    def __init__(self) -> None:
        self._left = MAX_ENTRIES

    def files(self, folder: Path, pattern: str) -> list[Path]:
        """The files of one pattern, sorted by name. Raises _FindError."""
        parts = Path(pattern).parts
        if not 0 < len(parts) <= MAX_PARTS or "\0" in pattern:
            raise _FindError("a path or a pattern is needed, such as policy.d/*.yaml")
        found = sorted(self._matches(folder, parts))
        if not found and _WILDCARDS.isdisjoint(pattern):
            raise _FindError(f"there is no file {folder / pattern}")
        if not found:
            raise _FindError(f"no file fits; it is looked for in {folder}")
        for path in found:
            if path.is_dir():
                raise _FindError(f"{path} is a folder: name its files, {path.name}/*.yaml")
            if not path.is_file():
                raise _FindError(f"{path} is no file that can be read")
        return found

    def _matches(self, folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
        if not parts:
            yield folder
            return
        first, *rest = parts
        if first == "**":
            for inner in self._folders(folder):
                yield from self._matches(inner, tuple(rest) or ("*",))
        elif _WILDCARDS.isdisjoint(first):
            if (path := folder / first).exists() or path.is_symlink():
                yield from self._matches(path, tuple(rest))
        else:
            for name in self._names(folder):
                if fnmatchcase(name, first):
                    yield from self._matches(folder / name, tuple(rest))

    def _folders(self, folder: Path) -> Iterator[Path]:
        """A folder and those below it, each once: links are followed, and may lead in a ring."""
        known: set[tuple[int, int]] = set()
        pending = [folder]
        while pending:
            inner = pending.pop()
            identity = _identity(inner)
            if inner.is_dir() and identity not in known:
                known.add(identity)
                yield inner
                pending.extend(inner / name for name in self._names(inner))

    def _names(self, folder: Path) -> list[str]:
        """What a folder holds but for hidden names, of which Kubernetes' ``..data`` is one."""
        try:
            names = [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208 - names, not paths
        except NotADirectoryError:
            return []
        except OSError as error:
            raise _FindError(f"{folder} can't be read: {error.strerror}") from None
        self._left -= len(names)
        if self._left < 0:
            raise _FindError(f"more than {MAX_ENTRIES} names to look at: say which folder")
        return sorted(names)


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, hash(path)
    return status.st_dev, status.st_ino


def _stamp(path: Path) -> tuple[tuple[int, ...] | None, bool]:
    """What tells one state of a file from another without reading it, and whether it will do."""
    try:
        status = path.stat()
    except OSError:
        return None, False
    if not stat.S_ISREG(status.st_mode):  # a pipe: it can be read once
        return (status.st_dev, status.st_ino), True
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return stamp, status.st_ctime + SETTLED_SECONDS < time.time()


def _differs(path: Path, seen: _Seen) -> bool:
    """Whether a file holds something else than what was seen."""
    stamp, is_settled = _stamp(path)
    if stamp == seen.stamp and seen.is_settled:
        return False
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        digest = _UNREADABLE
    if digest != seen.digest:
        return True
    seen.stamp, seen.is_settled = stamp, is_settled and digest != _UNREADABLE
    return False
