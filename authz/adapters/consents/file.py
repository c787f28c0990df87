"""The file of consents: what counts is what it has when a token is asked for.

A line that is not there counts no more at once, and a file that can't be read has none. An invalid
line is no consent, and takes nothing from the others: half a line is never a whole JSON object.
"""

import logging
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

from authz.adapters.entry_file.telling import MOST_TOLD, told_members
from authz.adapters.files import ATTEMPTS, FileView, look
from authz.core.consents import READER, Consent, ConsentError, ConsentQuery, Consents
from authz.core.entry_lines import read_lines

MAX_FILE_BYTES: Final = 16 * 1024 * 1024  # a request that finds it changed reads all of it
_PAUSE_SECONDS: Final = 0.002  # between reads while it is being written
_log: Final = logging.getLogger("authz.consents")


class ConsentFile:
    """The consents in a file. One thread at a time looks, any thread may find.

    Attributes:
        path: of the file.
        fault: why it can't be read; "" if it could be.
        invalid: how many of its lines are no consents.
    """

    def __init__(self, path: Path, wall: Callable[[], float] = time.time) -> None:
        """Begin without having looked."""
        self.path = path
        self.fault = "it was not read yet"
        self.invalid = 0
        self._wall = wall
        self._consents = Consents()
        self._view: FileView | None = None
        self._is_first = True

    def __len__(self) -> int:
        """Return the number of consents."""
        return len(self._consents)

    def find(self, query: ConsentQuery, now: float) -> Consent | None:
        """Return a consent that covers a query, as ``Consents.find``."""
        return self._consents.find(query, now)

    def once(self, digest: str) -> Consent | None:
        """Return a consent that may be used once, by its digest."""
        return self._consents.once(digest)

    def look(self) -> None:
        """Put what the file has now into force, and nothing else."""
        view, data = self._read()
        if self._view is not None and view.content == self._view.content:
            self._view = view
            return
        if data is None or len(data) > MAX_FILE_BYTES:
            fault = view.error or f"larger than {MAX_FILE_BYTES} bytes"
            self._fail(fault)
        else:
            self._take(data)
        self._view = view  # last: if memory ran out, the next look finds it new

    def _read(self) -> tuple[FileView, bytes | None]:
        """Return the file as it is; read again for a moment while it is being written."""
        for _ in range(ATTEMPTS):
            view, data = look(self.path, MAX_FILE_BYTES, self._view)
            if not view.is_torn:
                break
            time.sleep(_PAUSE_SECONDS)
        return view, data

    def _fail(self, fault: str) -> None:
        if fault != self.fault:
            _log.error("the file of consents can't be used, so none of it counts: %s", fault)
        self.fault = fault
        for name in self._consents.names():
            self._consents.drop(name)

    def _take(self, data: bytes) -> None:
        lines: dict[bytes, int] = {}
        for number, line in read_lines(data):
            lines.setdefault(line, number)
        gone = [name for name in self._consents.names() if name not in lines]
        for name in gone:  # first: what was taken back must not count, whatever comes then
            self._consents.drop(name)
        now, added, invalid = self._wall(), list[Consent](), dict[int, str]()
        for line, number in lines.items():
            if line in self._consents:
                continue
            try:
                consent = READER.read(line)
                if not consent.is_over(now):
                    self._consents.put(line, consent, now)
                    added.append(consent)
            except ConsentError as error:
                invalid[number] = str(error)
        self.fault, self.invalid = "", len(invalid)
        self._tell(added, len(gone), invalid)

    def _tell(self, added: list[Consent], gone: int, invalid: dict[int, str]) -> None:
        is_first, self._is_first = self._is_first, False
        for consent in () if is_first else islice(added, MOST_TOLD):
            _log.info("consent given", extra=told_members(consent.id, consent.by, consent.note))
        if gone or (added and is_first) or len(added) > MOST_TOLD:
            told = {"added": len(added), "removed": gone, "consents": len(self)}
            _log.info("the file of consents was read", extra=told)
        for number, why in islice(invalid.items(), MOST_TOLD):
            _log.error("line %d of the file of consents is no consent: %s", number, why)
