"""Takes a changed config: read, checked and compiled beside everything that goes on."""

import logging
import threading
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Final

from authz.adapters.files import WAIT_SECONDS
from authz.adapters.metrics import Metrics
from authz.config import Config, ConfigError, ConfigFiles, FilesChangingError, load, load_at_rest
from authz.edge.snapshot import Snapshot
from authz.server.giving_way import giving_way
from authz.wiring import BuildError

_log: Final = logging.getLogger("authz.server")
Compile = Callable[[Config, Config | None], Snapshot]
Take = Callable[[Config, Snapshot], None]
Read = Callable[[ConfigFiles], Config]


class ConfigReload:
    """The files of a config and of its candidate, and what becomes of a change in them."""

    def __init__(
        self, files: ConfigFiles, compile_config: Compile, take: Take, metrics: Metrics
    ) -> None:
        """Watch ``files``. ``compile_config`` makes the snapshot that ``take`` puts into force."""
        self._files = files
        self._candidate: ConfigFiles | None = None
        self._compile = compile_config
        self._take = take
        self._metrics = metrics
        self._is_wanted = threading.Event()
        self._waits_since: float | None = None  # monotonic seconds; told once when it is long

    def compiled(self, config: Config, read: Read = load_at_rest) -> Snapshot:
        """Compile it with its candidate, whose files are watched from now on.

        ``read`` reads the candidate's files: it waits until nobody writes them, or does not. Raises
        ConfigError, BuildError.
        """
        path = None if config.candidate is None else Path(config.candidate)
        if path is None or self._candidate is None or self._candidate.main != path:
            self._candidate = None if path is None else ConfigFiles(path, must_rest=True)
        return self._compile(config, None if self._candidate is None else read(self._candidate))

    def want(self) -> None:
        """Have the next look take the files, changed or not."""
        self._is_wanted.set()

    def look(self) -> bool:
        """Take a changed config; keep the last good one when it is not good.

        True when somebody is writing the files: they have to be looked at again in a moment.
        """
        is_wanted = self._is_wanted.is_set()
        self._is_wanted.clear()
        if not is_wanted and not self._has_changed():
            self._waits_since = None
            return False
        if self._candidate is not None and not self._candidate.is_at_rest():
            return self._wait()
        try:
            with giving_way():
                config = load(self._files)
                snapshot = self.compiled(config, load)
        except FilesChangingError:
            return self._wait()
        except (ConfigError, BuildError) as error:
            self._refuse(str(error).splitlines())
        except Exception as error:  # noqa: BLE001 - a config must not stop a server that runs
            self._refuse([f"internal error: {type(error).__name__}"])
        else:
            self._take(config, snapshot)
            self._metrics.reloaded(succeeded=True)
            _log.info("config reloaded", extra={"policy_version": snapshot.policy_version})
        self._waits_since = None
        return False

    def _wait(self) -> bool:
        """Look again in a moment. What is written for ever is told, and counted as refused."""
        self._is_wanted.set()
        now = time.monotonic()
        if self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > WAIT_SECONDS:
            self._waits_since = inf
            self._refuse(["its files change during every read: rename whole files over them"])
        return True

    def _has_changed(self) -> bool:
        candidate = self._candidate
        return self._files.changed() or (candidate is not None and candidate.changed())

    def _refuse(self, problems: list[str]) -> None:
        self._metrics.reloaded(succeeded=False)
        for line in problems:
            _log.error("config not reloaded; the last valid one stays in force: %s", line)
