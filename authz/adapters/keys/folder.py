"""Issuers' key documents on disk: each source's last document and its time, for the next start.

A file is checked completely when it is read, and ignored with a warning if anything is wrong: a
folder must never prevent a start, nor add keys that were not fetched. A separate thread writes the
documents, so that a hanging disk does not delay a fetch.
"""

import logging
import os
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Final

import msgspec

from authz.adapters.files import read_whole, replace
from authz.adapters.keys.settings import KeyCacheSettings
from authz.core import strict_json
from authz.core.jose.settings import KeySettings

# How old the time on disk may be while the document stays the same: a document that is fetched more
# often is not written after each fetch.
REWRITE_SECONDS: Final = 60.0
MAX_FILE_BYTES: Final = 1024 * 1024  # the largest document, with each character escaped
CLOSE_SECONDS: Final = 1.0  # how long a stop waits for the last document to be written
_VERSION: Final = 1
_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_log: Final = logging.getLogger("authz.keys")


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file: a document, its origin, and the time of its fetch in unix seconds.

    ``anchor`` is the source's: what the fetch relied on beside the settings.
    """

    version: int
    issuer: str
    place: str
    fetched_at: float
    document: str
    anchor: str = ""


class _UnfitError(Exception):
    """Signals that a file is not to be used; the message says why."""


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A document as it was fetched, the time of the fetch in unix seconds, and its anchor."""

    document: bytes
    fetched_at: float
    anchor: str = ""


class KeyFolder:
    """The folder of kept documents; if the config names no folder, nothing is kept."""

    def __init__(self, settings: KeyCacheSettings) -> None:
        """Take the settings; ``start`` makes the folder."""
        self._path = Path(settings.folder) if settings.folder is not None else None
        self._is_usable = False
        self._written: dict[str, KeptDocument] = {}
        self._waiting: dict[str, _Record] = {}  # by issuer: the last document counts
        self._condition = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="key folder", daemon=True)

    def start(self) -> None:
        """Make the folder, and begin to write. Warns about a folder that can't be used."""
        if self._path is None or self._thread.is_alive():
            return
        with suppress(OSError):
            self._path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        problem = folder_problem(self._path)
        if problem:
            _log.warning("key_cache: can't keep keys: %s", problem)
            return
        self._is_usable = True
        self._thread.start()

    def close(self) -> None:
        """Write the waiting documents, within CLOSE_SECONDS."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def load(self, issuer: str, settings: KeySettings) -> KeptDocument | None:
        """Return the issuer's kept document from the place of the settings; None if unusable."""
        if self._path is None or not self._is_usable or settings.is_file:
            return None
        path = self._path / _name(issuer)
        try:
            kept = _checked(_record(path), issuer, settings)
        except FileNotFoundError:
            return None
        except (OSError, _UnfitError) as error:
            why = getattr(error, "strerror", None) or error
            _log.warning("keys of %s: ignored %s: %s", issuer, path, why)
            return None
        self._written[issuer] = kept
        return kept

    def keep(self, issuer: str, settings: KeySettings, document: bytes, anchor: str = "") -> None:
        """Queue a document that was fetched just now to be written. Never waits."""
        if not self._is_usable or settings.is_file:
            return
        now = time.time()
        before = self._written.get(issuer, KeptDocument(b"", -inf))
        is_fresh = 0 <= now - before.fetched_at < REWRITE_SECONDS
        if is_fresh and (before.document, before.anchor) == (document, anchor):
            return
        record = _Record(_VERSION, issuer, settings.place_digest, now, document.decode(), anchor)
        self._written[issuer] = KeptDocument(document, now, anchor)
        with self._condition:
            self._waiting[issuer] = record
            self._condition.notify()

    def _run(self) -> None:
        was_good = True
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._is_stopping)
                records = list(self._waiting.values())
                self._waiting.clear()
            if not records:
                return
            error = self._write(records)
            if error and was_good:
                _log.warning("key_cache: can't write keys: %s", error)
            was_good = not error

    def _write(self, records: list[_Record]) -> str:
        """Write the records; return the last failure's reason, "" if all are written."""
        failed = ""
        for record in records:
            try:
                path = Path(str(self._path)) / _name(record.issuer)
                replace(path, msgspec.json.encode(record), mode=_FILE_MODE)
            except OSError as error:
                failed = error.strerror or type(error).__name__
                self._written.pop(record.issuer, None)
        return failed


def folder_problem(path: Path) -> str:
    """Return why a folder, or its parent if it is missing, can't hold keys; "" if it can."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return "" if path.parent.is_dir() else f"there is no folder {path.parent}"
    except OSError as error:
        return f"{path} can't be read: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is not a folder"
    return f"{path} {why}" if (why := _others(status)) else ""


def _others(status: os.stat_result) -> str:
    """Return how a user other than ourselves and root can write; "" if no such user can."""
    if status.st_uid not in {os.geteuid(), 0}:
        return "belongs to another user"
    if status.st_mode & _OTHERS_WRITE:
        return "can be written by others: chmod go-w"
    return ""


def _name(issuer: str) -> str:
    return f"{sha256(issuer.encode()).hexdigest()}.json"


def _record(path: Path) -> _Record:
    """Read a file that only we can write. Raises OSError, _UnfitError."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise _UnfitError("it is a link")
    if why := _others(status):
        raise _UnfitError(f"it {why}")
    data, _ = read_whole(path, MAX_FILE_BYTES)
    try:
        return strict_json.load_as(data, _Record)
    except strict_json.StrictJsonError as error:
        raise _UnfitError(str(error)) from None


def _checked(record: _Record, issuer: str, settings: KeySettings) -> KeptDocument:
    """Return the document of this issuer and place, if not too old. Raises _UnfitError.

    A bundle whose CAs authenticate its endpoint is never too old for that: the bootstrap file, in
    whose place it stands, is older.
    """
    if record.version != _VERSION:
        raise _UnfitError("it has another version")
    if record.issuer != issuer:
        raise _UnfitError("it is of another issuer")
    if record.place != settings.place_digest:
        raise _UnfitError("it was fetched from another place, or with other checks")
    age_seconds = time.time() - record.fetched_at
    if age_seconds < 0:
        raise _UnfitError("it was fetched in the future")
    if age_seconds >= settings.max_age and not settings.has_authorities:
        raise _UnfitError("it is older than max_age")
    return KeptDocument(record.document.encode(), record.fetched_at, record.anchor)
