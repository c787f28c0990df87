"""Watches the revocation file: added lines count at once, removed lines when the file rests.

Each change makes all cached decisions stale. A file that can't be read, or has an invalid line, is
not used: the last valid revocations stay.
"""

import logging
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Final

from authz.adapters.files import (
    ATTEMPTS,
    LOOK_SECONDS,
    WAIT_SECONDS,
    FileView,
    StabilityTimer,
    look,
)
from authz.adapters.revocation_file.settings import RevocationSettings
from authz.core.decision import Agent, Delegation
from authz.core.revocations import MAX_BYTES, RevocationError, Revocations, parse

_log: Final = logging.getLogger("authz.revocations")


@dataclass(frozen=True, slots=True)
class RevocationStatus:
    """The state of the revocations.

    Attributes:
        entries: revocations in force.
        taken: changes of the file that are in force.
        refused: changes that were not used, as the file was invalid.
        looked_at: unix seconds of the last check for a change.
    """

    entries: int
    taken: int
    refused: int
    looked_at: float


class RevocationFile:
    """The watched file. One thread refreshes; any thread may check.

    Attributes:
        path: of the file, None if the config names none.
        current: the revocations in force; swapped as a whole.
        generation: grows with every change.
    """

    def __init__(self, settings: RevocationSettings) -> None:
        """Read the file. Raises RevocationError."""
        self.path = Path(settings.file) if settings.file is not None else None
        self.generation = 0
        self._taken = 0
        self._refused = 0
        self.current = Revocations()
        self._rest = StabilityTimer()
        self._look: FileView | None = None
        self._found: Revocations | RevocationError = self.current  # in the file, by the last check
        self._doubted_since: float | None = None  # monotonic seconds
        self._is_believed = True  # whether the file as found is completely in force, or was refused
        if self.path is not None:
            self.current = self._first(self.path)
        self._looked_at = time.time()

    def status(self) -> RevocationStatus:
        """Return the state of the revocations."""
        return RevocationStatus(len(self.current), self._taken, self._refused, self._looked_at)

    def _first(self, path: Path) -> Revocations:
        """Read the file for the first time. Raises RevocationError."""
        self._look_at(path)
        for _ in range(ATTEMPTS):
            if self._look is not None and self._look.is_torn:
                time.sleep(LOOK_SECONDS)
                self._look_at(path)
        if isinstance(self._found, RevocationError):
            raise self._found
        return self._found

    def settle(self) -> None:
        """Wait until the file rests, as half of it may have been read. Raises RevocationError."""
        end = time.monotonic() + WAIT_SECONDS
        while self._look is not None and not self._is_believed and not self._look.has_rested():
            if time.monotonic() > end:
                raise RevocationError(
                    f"{self.path} changes during every read: rename a whole file over it instead"
                )
            time.sleep(LOOK_SECONDS)
            self.refresh()

    def refresh(self, now: float | None = None) -> None:
        """Put changes of the file into force.

        Keep the last valid entries while the file is invalid.

        Never waits. ``now`` is monotonic seconds, the clock's if left out.
        """
        if self.path is not None:
            self._refresh(self.path, time.monotonic() if now is None else now)
        self._looked_at = time.time()

    def _refresh(self, path: Path, now: float) -> None:
        if self._look_at(path) and isinstance(self._found, Revocations):
            self._take(self.current.joined(self._found))
        if self._rest.is_long_enough(self._look, now) and not self._is_believed:
            self._is_believed = True
            if isinstance(self._found, Revocations):
                self._take(self._found)
            else:
                self._refuse(self._found)
        self._tell_of_a_bad_file(now)

    def _tell_of_a_bad_file(self, now: float) -> None:
        """Refuse, once, an invalid file that is written too often to rest."""
        if self._is_believed:
            self._doubted_since = None
        elif self._doubted_since is None:
            self._doubted_since = now
        elif now - self._doubted_since > WAIT_SECONDS and isinstance(self._found, RevocationError):
            self._doubted_since = inf
            self._refuse(self._found)

    def _look_at(self, path: Path) -> bool:
        """Check the file, and read it if it is new; return whether it is."""
        before = self._look
        fresh, data = look(path, MAX_BYTES, before)
        is_new = before is None or fresh.content != before.content
        if is_new:
            self._is_believed = False
            self._found = _parsed(path, fresh, data)
        self._look = fresh  # last: if memory ran out while parsing, the next check finds it new
        return is_new

    def _take(self, fresh: Revocations) -> None:
        if fresh == self.current:
            return
        self.current = fresh
        self.generation += 1  # after the swap: a reader who sees it sees the entries as well
        self._taken += 1
        _log.info("revocations reloaded", extra={"entries": len(fresh)})

    def _refuse(self, why: RevocationError) -> None:
        self._refused += 1
        _log.error("revocations not reloaded; the last valid ones stay in force: %s", why)

    def check(self, agent: Agent, delegation: Delegation) -> None:
        """Require that neither is revoked. Raises Denied(AGENT_SUSPENDED | TOKEN_REVOKED)."""
        self.current.check(agent, delegation)


def _parsed(path: Path, found: FileView, data: bytes | None) -> Revocations | RevocationError:
    if data is None:
        return RevocationError(f"{path} can't be read: {found.error}")
    try:
        return parse(data)
    except RevocationError as error:
        return RevocationError(f"{path}: {error}")
