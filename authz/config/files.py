"""Reads and merges the files that a config is made of, and tells when they changed."""

import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from authz.adapters.files import FileView, StabilityTimer, look
from authz.config.include import find
from authz.config.merged import MergedConfig
from authz.config.problems import ConfigError, Problem, without_repeats
from authz.config.yaml_document import YamlDocument, parse

MAX_BYTES: Final = 64 * 1024 * 1024  # of all files: 100,000 rules are some 20 MB
ATTEMPTS: Final = 3  # to read all files without one of them changing meanwhile
_STDIN_FD: Final = 0
_FROM_STDIN: Final = "; includes of standard input start at the working directory"
_PIPE: Final = FileView(None, b"pipe", is_settled=True)  # of a main file that can be read only once


class FilesChangingError(ConfigError):
    """The files may be half written: reading them again soon may give another config."""


class ConfigFiles:
    """A config's main file and those that it includes. For one thread at a time."""

    def __init__(self, main: Path, *, must_rest: bool = False, stdin: bytes | None = None) -> None:
        """Take the main file's path; nothing is read yet.

        With ``must_rest``, as in a server, files are read only when none of them has been written
        for a while: half a file may be a valid config that lacks its denies. ``stdin`` has the
        bytes of standard input, if that is the main file: its includes start at the working
        directory.
        """
        self.main = main
        self._must_rest = must_rest
        self._patterns: tuple[str, ...] = ()
        self._read: dict[str, FileView] = {}  # as they were read last
        self._looks: dict[str, FileView] = {}  # as they were last checked
        self._rest = StabilityTimer()
        self._believed: dict[str, FileView] = {}  # as they were last read at rest
        self._piped = stdin  # the bytes of a main file that can be read once
        self._is_stdin = stdin is not None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that the last reading found."""
        return tuple(map(Path, self._read))

    def read(self) -> MergedConfig:
        """Read and merge all files, as they were at one moment.

        Raises ConfigError if the main file can't be read, FilesChangingError if the files may soon
        change.
        """
        if self._must_rest and not self.is_at_rest():
            raise self._changing()
        main, contents, problems = self._at_one_moment()
        if self._must_rest and not (self.is_at_rest() and self._looks == self._read):
            raise self._changing()
        self._believed = self._read
        included = [parse(data, path) for path, data in contents.items()]
        merged = MergedConfig(main, included)
        merged.problems += without_repeats(problems, merged.problems)
        merged.is_whole = not problems and all(document.data is not None for document in included)
        return merged

    def _changing(self) -> FilesChangingError:
        self._read = {}  # so that ``changed`` is True until they are read
        return FilesChangingError.of(str(self.main), "is being written, or a file that it includes")

    def is_at_rest(self) -> bool:
        """Tell whether each check for a while found the same files and contents.

        Before the first reading it is enough that their times of modification are old.
        """
        has_rested = self._look()
        if not self._believed:
            has_rested = has_rested or all(view.has_rested() for view in self._looks.values())
        return has_rested or self._looks == self._believed

    def changed(self) -> bool:
        """Tell whether the files, or their contents, differ from those that were last read.

        Reads only the files that were replaced or written according to ``stat``.
        """
        self._look()
        now, before = self._looks.items(), self._read.items()
        return [(path, view.content) for path, view in now] != [
            (path, view.content) for path, view in before
        ]

    def _look(self) -> bool:
        """Check all files, and tell whether they have been the same for long enough."""
        paths = [str(self.main)]
        with suppress(OSError):
            paths += find(self.main, self._status_of_main(), self._patterns)[0]
        before = self._looks
        self._looks = {
            path: self._look_at(path, before.get(path) or self._read.get(path))[0] for path in paths
        }
        return self._rest.is_long_enough(self._looks, time.monotonic())

    def _look_at(self, path: str, before: FileView | None = None) -> tuple[FileView, bytes | None]:
        if self._piped is not None and path == str(self.main):
            return _PIPE, self._piped
        return look(path, MAX_BYTES, before)

    def _status_of_main(self) -> os.stat_result:
        return os.fstat(_STDIN_FD) if self._is_stdin else self.main.stat()

    def _at_one_moment(self) -> tuple[YamlDocument, dict[str, bytes], list[Problem]]:
        for _ in range(ATTEMPTS - 1):
            with suppress(FilesChangingError):
                found = self._contents()
                if not self.changed():
                    return found
        return self._contents()

    def _contents(self) -> tuple[YamlDocument, dict[str, bytes], list[Problem]]:
        """Return the main file, the other files' bytes, and problems. Raises ConfigError."""
        name = str(self.main)
        self._read, self._patterns = {}, ()
        main = main_document(self._bytes_of_main(name), name)
        self._patterns = _patterns(main.data)
        found, failures = find(self.main, self._status_of_main(), self._patterns)
        more = _FROM_STDIN if self._is_stdin else ""
        problems = [main.problem(("include", at), message + more) for at, message in failures]
        contents: dict[str, bytes] = {}
        left = MAX_BYTES - len(main.text)
        for path in found:
            self._read[path], data = self._look_at(path)
            if data is None:
                problems.append(Problem(path, 1, "", f"can't be read: {self._read[path].error}"))
                continue
            contents[path] = data
            left -= len(data)
            if left < 0:
                self._look()
                self._read = self._looks  # all of them, so that a change is noticed
                raise ConfigError(name, [main.problem(("include",), _too_large())])
        return main, contents, problems

    def _bytes_of_main(self, name: str) -> bytes:
        """Return the main file's bytes. Raises ConfigError, FilesChangingError."""
        if not self._must_rest and not self._believed and self._piped is None:
            self._piped = _bytes_of_pipe(self.main)
        self._read[name], data = self._look_at(name)
        if data is None:
            kind = FilesChangingError if self._read[name].is_torn else ConfigError
            raise kind.of(name, f"can't be read: {self._read[name].error}")
        return data


def _bytes_of_pipe(path: Path) -> bytes | None:
    """Return the content of a pipe or a device; None for a regular file, or if it can't be read."""
    with suppress(OSError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            with path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
    return None


def main_document(data: bytes, name: str) -> YamlDocument:
    """Parse the main file, which must be a mapping. Raises ConfigError."""
    if len(data) > MAX_BYTES:
        raise ConfigError.of(name, _too_large())
    document = parse(data, name)
    if document.data is None and document.problems:
        raise ConfigError(name, document.problems)
    if not isinstance(document.data, dict):
        message = "a config must be a mapping: server:, trust_domains:, issuers: ..."
        raise ConfigError(name, [*document.problems, document.problem((), message)])
    return document


def _too_large() -> str:
    return f"the config's files are larger than {MAX_BYTES} bytes"


def _patterns(data: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts of ``include``. Values of a wrong type are reported with all others."""
    listed = data.get("include")
    texts = listed if isinstance(listed, tuple) else ()
    return tuple(text for text in texts if isinstance(text, str))
