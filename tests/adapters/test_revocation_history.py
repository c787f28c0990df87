"""The history beside a revocation file: each change once, whoever else writes meanwhile."""

import os
import stat
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.entry_file import history
from authz.adapters.entry_file.history import (
    change_now,
    history_path,
    read_changes,
    record,
)
from authz.adapters.store.store import Change
from authz.core.revocations import Revocation

ENTRY = Revocation(tool="transfer_money")


def change(by: str, note: str = "") -> Change:
    """A change by somebody."""
    return change_now(by, ENTRY.id, ENTRY.line, is_added=not note, note=note)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A revocation file."""
    path = tmp_path / "revoked"
    path.touch()
    return path


def test_what_is_recorded(path: Path) -> None:
    """Changes are read as they were made, the newest first, as many as asked for."""
    record(path, [change("alice"), change("bob\n\u2028", "over")])
    record(path, [change("carol")])
    found = read_changes(path, 2)
    assert [(one.by, one.is_added, one.note) for one in found] == [
        ("carol", True, ""),
        ("bob\n\u2028", False, "over"),
    ]
    assert [(one.id, one.entry) for one in found] == [(ENTRY.id, ENTRY.line)] * 2
    assert len(read_changes(path, 9)) == 3


def test_no_history_yet(path: Path) -> None:
    """A file without a history has no changes."""
    assert read_changes(path, 9) == []


def test_where_it_stands(path: Path, tmp_path: Path) -> None:
    """It is beside the file itself, also by way of a link, and as readable as the file."""
    path.chmod(0o640)
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    record(link, [change("alice")])
    beside = tmp_path / "revoked.history"
    assert history_path(link) == beside
    assert stat.S_IMODE(beside.stat().st_mode) & 0o137 == 0
    assert len(read_changes(path, 9)) == 1


def test_many_at_once(path: Path) -> None:
    """No change is lost or torn if several are recorded at once."""
    names = [str(number) for number in range(60)]

    def keep(part: list[str]) -> None:
        for name in part:
            record(path, [change(name)])

    threads = [threading.Thread(target=keep, args=(names[at::3],)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.by for one in read_changes(path, 99)) == sorted(names)


@given(st.binary(max_size=80))
def test_any_bytes(data: bytes) -> None:
    """Whatever stands there, a change that is recorded next is found."""
    with TemporaryDirectory() as name:
        path = Path(name) / "revoked"
        path.touch()
        history_path(path).write_bytes(data)
        record(path, [change("alice")])
        assert read_changes(path, 1)[0].by == "alice"


def test_a_long_history(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long history the end is read, from a whole line on."""
    record(path, [change(str(number)) for number in range(50)])
    monkeypatch.setattr(history, "MAX_READ_BYTES", 1000)
    found = read_changes(path, 50)
    assert 2 < len(found) < 10
    assert found[0].by == "49"


def test_what_is_no_plain_file(path: Path, tmp_path: Path) -> None:
    """Neither a link nor a pipe in its place is written to."""
    other = tmp_path / "other"
    other.touch()
    history_path(path).symlink_to(other)
    with pytest.raises(OSError, match="symbolic link"):
        record(path, [change("alice")])
    assert other.read_bytes() == b""
    history_path(path).unlink()
    os.mkfifo(history_path(path))
    with pytest.raises(OSError, match=r"revoked\.history"):
        record(path, [change("alice")])
