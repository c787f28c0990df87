"""The history of a file of entries: who added what and took what back, when and why.

It stands beside the file, under its name with ``.history`` at the end, with one JSON object a line.
Only the command writes it, after each of its changes; no server reads it.
"""

import os
import stat
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from authz.adapters.files import open_plain
from authz.adapters.store.store import Change

MAX_READ_BYTES: Final = 16 * 1024 * 1024  # from its end: tens of thousands of changes
_TAKEN_BACK: Final = "taken back"
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_PERMISSIONS: Final = 0o777


Done = Literal["revoked", "given"]  # what is done by adding an entry


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    at: datetime
    done: Literal["revoked", "given", "taken back"]
    by: str
    id: str
    entry: msgspec.Raw
    note: str = ""


def history_path(path: Path) -> Path:
    """Return the path of a file's history: beside the file itself, if that is a link."""
    whole = path.resolve()
    return whole.with_name(f"{whole.name}.history")


def record(path: Path, changes: Sequence[Change], added: Done = "revoked") -> None:
    """Append changes to a file's history; they are on the disk on return.

    ``added`` is the word for an entry that was added. Raises OSError.
    """
    lines = b"".join(_line(change, added) + b"\n" for change in changes)
    mode = stat.S_IMODE(path.stat().st_mode) & _PERMISSIONS
    descriptor = os.open(history_path(path), _FLAGS | os.O_NONBLOCK, mode)
    with os.fdopen(descriptor, "ab", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{history_path(path)} is not a plain file")
        size = os.fstat(descriptor).st_size
        start = b"\n" if size and not _ends_with_line(path) else b""
        file.write(start + lines)  # in one piece: others may append at the same time
        os.fsync(descriptor)


def _ends_with_line(path: Path) -> bool:
    with open_plain(history_path(path)) as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_changes(path: Path, most: int) -> list[Change]:
    """Return the last changes of a file, the newest first; those of others' lines not.

    Raises OSError.
    """
    try:
        with open_plain(history_path(path)) as file:
            start = max(0, file.seek(0, os.SEEK_END) - MAX_READ_BYTES)
            file.seek(start)
            lines = file.read(MAX_READ_BYTES).split(b"\n")
    except FileNotFoundError:
        return []
    if start:
        del lines[0]  # the end of a line
    return [change for line in reversed(lines) if (change := _change(line))][:most]


def _line(change: Change, added: Done) -> bytes:
    return msgspec.json.encode(
        _Line(
            at=datetime.fromtimestamp(change.at, UTC).replace(microsecond=0),
            done=added if change.is_added else _TAKEN_BACK,
            by=change.by,
            id=change.id,
            entry=msgspec.Raw(change.entry),
            note=change.note,
        )
    )


def _change(line: bytes) -> Change | None:
    try:
        read = _decode(line)
    except ValueError:
        return None
    return Change(
        number=0,
        at=read.at.timestamp(),
        by=read.by,
        is_added=read.done != _TAKEN_BACK,
        id=read.id,
        entry=bytes(read.entry),
        note=read.note,
    )


def change_now(by: str, name: str, entry: bytes, *, is_added: bool, note: str = "") -> Change:
    """Return a change of now."""
    return Change(
        number=0, at=time.time(), by=by, is_added=is_added, id=name, entry=entry, note=note
    )


_decode: Final = msgspec.json.Decoder(_Line).decode
