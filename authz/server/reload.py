"""Reloads a changed config: reads, checks and compiles it while the server continues."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Final

from authz.adapters.files import WAIT_SECONDS
from authz.adapters.keys.store import KeyStoreError
from authz.config import Config, ConfigError, ConfigFiles, FilesChangingError, load, load_at_rest
from authz.server.giving_way import yielding_gil
from authz.wiring.files import BuildError

_log: Final = logging.getLogger("authz.server")
Take = Callable[[Config, Config | None], str]
Read = Callable[[ConfigFiles], Config]


class ConfigSource:
    """Reads the files of a config and of its candidate, and tells when they have changed."""

    def __init__(self, main: Path) -> None:
        """Take the main file's path; nothing is read yet."""
        self._main = ConfigFiles(main, must_rest=True)
        self._candidate: ConfigFiles | None = None

    def read_config(self, read: Read = load_at_rest) -> Config:
        """Read the config. Raises ConfigError.

        ``load_at_rest`` waits until the files are at rest; ``load`` raises FilesChangingError.
        """
        return read(self._main)

    def read_candidate(self, config: Config, read: Read = load_at_rest) -> Config | None:
        """Read the candidate that a config names, None without a candidate.

        Raises as ``read_config``.
        """
        path = None if config.candidate is None else Path(config.candidate)
        if path is None or self._candidate is None or self._candidate.main != path:
            self._candidate = None if path is None else ConfigFiles(path, must_rest=True)
        return None if self._candidate is None else read(self._candidate)

    def has_changed(self) -> bool:
        """Tell whether a file differs from the content that was read."""
        candidate = self._candidate
        return self._main.changed() or (candidate is not None and candidate.changed())

    def is_candidate_at_rest(self) -> bool:
        """Tell whether the candidate's files are at rest, or there is no candidate."""
        return self._candidate is None or self._candidate.is_at_rest()


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """The counts of reloads, and the state of the last one.

    Attributes:
        taken: changes that are or were in force.
        refused: changes that did not come into force.
        taken_at: unix seconds when the config in force was loaded.
        is_refused: whether the config on disk is invalid, and the last valid one in force.
    """

    taken: int
    refused: int
    taken_at: float
    is_refused: bool


class ConfigReload:
    """Checks for changes of a config, and puts them into force."""

    def __init__(self, source: ConfigSource, take: Take) -> None:
        """Watch ``source``, which was read before.

        ``take`` puts a config and its candidate into force, completely or not at all, and returns
        the policy's version. It raises BuildError or KeyStoreError if it can't.
        """
        self._source = source
        self._take = take
        self._is_wanted = threading.Event()
        self._waits_since: float | None = None  # monotonic seconds; inf once it was logged
        self._status = ReloadStatus(0, 0, time.time(), is_refused=False)

    def status(self) -> ReloadStatus:
        """Return the counts of reloads."""
        return self._status

    def want(self) -> None:
        """Make the next check reload the files, changed or not. For any thread."""
        self._is_wanted.set()

    def look(self) -> bool:
        """Put a changed config into force; if it is invalid, keep the last valid one. Never raises.

        Returns True if the files are being written, and must soon be checked again.
        """
        is_wanted = self._is_wanted.is_set()
        self._is_wanted.clear()
        if not is_wanted and not self._source.has_changed():
            self._waits_since = None
            return False
        if not self._source.is_candidate_at_rest():
            return self._wait()
        try:
            self._read_and_take()
        except FilesChangingError:
            return self._wait()
        except (ConfigError, BuildError, KeyStoreError) as error:
            self._refuse(str(error).splitlines())
        except Exception as error:  # noqa: BLE001 - a config must not stop a server that runs
            self._refuse([f"internal error: {type(error).__name__}"])
        self._waits_since = None
        return False

    def _read_and_take(self) -> None:
        with yielding_gil():
            config = self._source.read_config(load)
            version = self._take(config, self._source.read_candidate(config, load))
        taken = self._status.taken + 1
        self._status = replace(self._status, taken=taken, taken_at=time.time(), is_refused=False)
        _log.info("config taken", extra={"policy_version": version})

    def _wait(self) -> bool:
        """Ask for another check; log and refuse files that are still written after WAIT_SECONDS."""
        self._is_wanted.set()
        now = time.monotonic()
        if self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > WAIT_SECONDS:
            self._waits_since = inf
            self._refuse(["its files change during every read: rename whole files over them"])
        return True

    def _refuse(self, problems: list[str]) -> None:
        self._status = replace(self._status, refused=self._status.refused + 1, is_refused=True)
        for line in problems:
            _log.error("config not reloaded; the last valid one stays in force: %s", line)
