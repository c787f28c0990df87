"""The files that a config is made of: read and merged, and watched for changes."""

import hashlib
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from authz.config.include import Statuses, find
from authz.config.merged import Merged
from authz.config.problems import ConfigError, Problem, elsewhere
from authz.config.yamlfile import Document, parse

MAX_BYTES: Final = 64 * 1024 * 1024  # of all files: 100,000 rules are some 20 MB
# A file that changed so short a time before it was read may change again within the same tick of
# the file system's clock (two seconds at worst): its bytes are compared until it is older.
SETTLED_SECONDS: Final = 2.0
ATTEMPTS: Final = 3  # to read all files without one of them changing meanwhile
_UNREADABLE: Final = b"unreadable"  # in a digest's place: an error, which may pass by itself
_SKIPPED: Final = b"skipped"  # likewise: not looked into


@dataclass(frozen=True, slots=True)
class _State:
    """What ``stat`` says of a file: as long as it is the same, and settled, so are the bytes."""

    stamp: tuple[int, ...]
    is_settled: bool

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        if not stat.S_ISREG(status.st_mode):  # a pipe: it can be read once
            return cls((status.st_dev, status.st_ino), is_settled=True)
        times = (status.st_mtime_ns, status.st_ctime_ns)
        stamp = (status.st_dev, status.st_ino, status.st_size, *times)
        return cls(stamp, status.st_ctime + SETTLED_SECONDS < time.time())


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was read: its state before, and a digest of the bytes."""

    state: _State
    digest: bytes

    def is_still(self, state: _State) -> bool:
        """Whether a file needs no reading to know that it is the same."""
        will_do = self.state.is_settled or self.digest == _SKIPPED
        return self.state.stamp == state.stamp and will_do and self.digest != _UNREADABLE


class ConfigFiles:
    """A config's main file and those that it includes.

    One thread at a time: ``read`` when they are wanted, ``changed`` as often as one likes.
    """

    def __init__(self, main: Path) -> None:
        """Take the main file's path; nothing is read yet."""
        self.main = main
        self._patterns: tuple[str, ...] = ()
        self._seen: dict[str, _Seen] = {}

    def read(self) -> Merged:
        """Read and merge all files, as they were at one moment.

        Raises ConfigError where the main file can't be read.
        """
        for _ in range(ATTEMPTS):
            main, contents, problems = self._contents()
            if not self.changed():
                break
        included = [parse(data, path) for path, data in contents.items()]
        merged = Merged(main, included)
        merged.problems += elsewhere(problems, merged.problems)
        merged.is_whole = not problems and all(one.data is not None for one in included)
        return merged

    def changed(self) -> bool:
        """Whether the files are others, or hold something else, than when they were read last.

        Only what ``stat`` says is another file, or a newly written one, is read for that.
        """
        statuses = self._statuses()
        if list(statuses) != list(self._seen):
            return True
        for path, status in statuses.items():
            state, seen = _State.of(status), self._seen[path]
            if seen.is_still(state):
                continue
            if _digest(path) != seen.digest:
                return True
            self._seen[path] = _Seen(state, seen.digest)
        return False

    def _statuses(self) -> Statuses:
        """What there is of the files now, by the patterns that were read last."""
        try:
            of_main = self.main.stat()
        except OSError:
            return {}
        return {str(self.main): of_main, **find(self.main, of_main, self._patterns)[0]}

    def _contents(self) -> tuple[Document, dict[str, bytes], list[Problem]]:
        """The main file, the bytes of the others, and what can't be read. Raises ConfigError."""
        name = str(self.main)
        self._seen, self._patterns = {}, ()
        try:
            of_main = self.main.stat()
            data = self._bytes(name, of_main, MAX_BYTES)
        except OSError as error:
            raise ConfigError.of(name, f"can't be read: {error.strerror}") from None
        main = main_document(data, name)
        self._patterns = _patterns(main.data)
        statuses, failures = find(self.main, of_main, self._patterns)
        problems = [main.problem(("include", at), message) for at, message in failures]
        contents: dict[str, bytes] = {}
        left = MAX_BYTES - len(data)
        for path, status in statuses.items():
            try:
                contents[path] = self._bytes(path, status, left)
                left -= len(contents[path])
            except OSError as error:
                problems.append(Problem(path, 1, "", f"can't be read: {error.strerror}"))
        if left < 0:
            raise ConfigError(name, [main.problem(("include",), _too_large())])
        return main, contents, problems

    def _bytes(self, path: str, status: os.stat_result, most: int) -> bytes:
        """A file's bytes, or one more than ``most``; notes what was seen. Raises OSError."""
        state = _State.of(status)
        self._seen[path] = _Seen(state, _SKIPPED if most < 0 else _UNREADABLE)
        if most < 0:
            return b""
        with Path(path).open("rb") as file:
            data = file.read(most + 1)
        self._seen[path] = _Seen(state, hashlib.sha256(data).digest())
        return data


def _digest(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return _UNREADABLE


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
    return tuple(text for text in texts if isinstance(text, str))
