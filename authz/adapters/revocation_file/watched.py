"""Watches the revocation file: added lines count at once, removed lines when the file rests.

Each change makes all cached decisions stale. A file that can't be read, or has an invalid line, is
not used: the last valid revocations stay. Only lines that are new are read, a few at a time, so
that checks go on however long the file is.
"""

import logging
import time
from collections.abc import Callable, Iterable
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
from authz.adapters.pacing import free, paced
from authz.adapters.revocation_file.settings import RevocationSettings
from authz.adapters.revocation_file.telling import RevocationStatus, tell_added, tell_removed
from authz.core.decision import Agent, Delegation
from authz.core.request import Operation
from authz.core.revocation_table import Revocations
from authz.core.revocations import (
    MAX_BYTES,
    Revocation,
    RevocationError,
    decode,
    read_entry,
    read_lines,
)

_log: Final = logging.getLogger("authz.revocations")


@dataclass(frozen=True, slots=True)
class _Found:
    """What the file holds: all of its lines, and the entries of those that were not in force."""

    lines: set[bytes]
    new: dict[bytes, Revocation]


class RevocationFile:
    """The watched file. One thread refreshes; any thread may check.

    Attributes:
        path: of the file, None if the config names none.
        current: the revocations in force; only the refreshing thread changes them.
        progress: is called again and again during a refresh that takes long.
    """

    def __init__(
        self, settings: RevocationSettings, changed: Callable[[], None] = lambda: None
    ) -> None:
        """Read the file, and call ``changed`` after each later change. Raises RevocationError."""
        self.path = Path(settings.file) if settings.file is not None else None
        self._changed = changed
        self.progress: Callable[[], None] = lambda: None
        self._taken = 0
        self._refused = 0
        self.current = Revocations()
        self._rest = StabilityTimer()
        self._look: FileView | None = None
        self._found: _Found | RevocationError | None = None  # by the last check, until believed
        self._doubted_since: float | None = None  # monotonic seconds
        self._is_believed = True  # whether the file as found is completely in force, or was refused
        self._expired_at = -inf  # unix seconds, by which the latest entry was left out as expired
        if self.path is not None:
            self._first(self.path)
        self._looked_at = time.time()

    def status(self) -> RevocationStatus:
        """Return the state of the revocations."""
        return RevocationStatus(
            "file", len(self.current), self._taken, self._refused, self._looked_at
        )

    def _first(self, path: Path) -> None:
        """Read the file for the first time. Raises RevocationError."""
        self._look_at(path)
        for _ in range(ATTEMPTS):
            if self._look is not None and self._look.is_torn:
                time.sleep(LOOK_SECONDS)
                self._look_at(path)
        if isinstance(self._found, RevocationError):
            raise self._found
        if self._found is not None:
            self._add(self._found)
            self._found.new.clear()

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
        if time.time() < self._expired_at:  # the clock was set back: they may count again
            self._look, self._expired_at = None, -inf
        self._look_at(path)
        if isinstance(self._found, _Found) and self._add(self._found):
            self._took()
            tell_added(self._found.new.values(), len(self._found.new))
            self._found.new.clear()
        if self._rest.is_long_enough(self._look, now) and not self._is_believed:
            self._is_believed = True
            self._believe()
        self._tell_of_a_bad_file(now)
        self._expire(time.time())

    def _expire(self, now: float) -> None:
        if self.current.expire(now):
            self._expired_at = max(self._expired_at, now)
            self._changed()

    def _believe(self) -> None:
        found, self._found = self._found, None
        if isinstance(found, RevocationError):
            self._refuse(found)
        elif found is not None and self._remove_all_but(found.lines):
            self._took()

    def _tell_of_a_bad_file(self, now: float) -> None:
        """Refuse, once, an invalid file that is written too often to rest."""
        if self._is_believed:
            self._doubted_since = None
        elif self._doubted_since is None:
            self._doubted_since = now
        elif now - self._doubted_since > WAIT_SECONDS and isinstance(self._found, RevocationError):
            self._doubted_since = inf
            self._refuse(self._found)

    def _look_at(self, path: Path) -> None:
        """Check the file, and read it if it is new."""
        before = self._look
        fresh, data = look(path, MAX_BYTES, before)
        if before is None or fresh.content != before.content:
            self._is_believed = False
            self._found = self._read(path, fresh, data)
        self._look = fresh  # last: if memory ran out while parsing, the next check finds it new

    def _read(self, path: Path, view: FileView, data: bytes | None) -> _Found | RevocationError:
        if data is None:
            return RevocationError(f"{path} can't be read: {view.error}")
        try:
            return self._parsed(data)
        except RevocationError as error:
            return RevocationError(f"{path}: {error}")

    def _parsed(self, data: bytes) -> _Found:
        """Read the lines that are not in force. Raises RevocationError for the first bad line."""
        if len(data) > MAX_BYTES:
            raise RevocationError(f"larger than {MAX_BYTES} bytes")
        found = _Found(set(), {})
        now = time.time()
        for number, line in paced(read_lines(data), self.progress):
            found.lines.add(line)
            if line in self.current.lines:
                continue
            try:
                entry = read_entry(line)
            except RevocationError as error:
                raise RevocationError(f"line {number}: {error}") from None
            if entry.is_over(now):
                self._expired_at = max(self._expired_at, now)
            else:
                found.new[line] = entry
        return found

    def _add(self, found: _Found) -> int:
        """Put the new entries into force, and return their number."""
        for line, entry in paced(found.new.items(), self.progress):
            if line not in self.current.lines:  # as it is if memory ran out after it
                self.current.add(line, entry)
        return len(found.new)

    def _remove_all_but(self, lines: set[bytes]) -> int:
        """Take back what the file no longer has, and return the number of entries."""
        gone = [line for line in paced(self.current.lines, self.progress) if line not in lines]
        for line in paced(gone, self.progress):
            self.current.remove(line)
        tell_removed(map(decode, gone), len(gone))
        free(lines)
        return len(gone)

    def _took(self) -> None:
        self._changed()  # after the change: a reader who sees it sees the entries as well
        self._taken += 1
        _log.info("revocations reloaded", extra={"entries": len(self.current)})

    def _refuse(self, why: RevocationError) -> None:
        self._refused += 1
        _log.error("revocations not reloaded; the last valid ones stay in force: %s", why)

    def check(
        self, agent: Agent, delegation: Delegation, operations: tuple[Operation, ...]
    ) -> None:
        """Require that none is revoked. Raises Denied, as ``Revocations.check``."""
        self.current.check(agent, delegation, operations)

    def revoked_agents(self, agents: Iterable[str]) -> tuple[str, ...]:
        """Return those of the agents that are revoked."""
        return self.current.revoked_agents(agents)
