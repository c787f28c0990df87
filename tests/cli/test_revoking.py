"""``authz revoke``: a line more, whole and lasting, whoever else writes or reads meanwhile."""

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from authz.adapters.entry_file import writing
from authz.adapters.files import replace
from authz.adapters.revocation_file import RevocationSettings
from authz.adapters.revocation_file.watched import RevocationFile
from authz.adapters.revocation_file.writing import append
from authz.core.entry_lines import EntryError
from authz.core.revocations import Revocation
from support.revocation_lines import parse

PROCESSES, LINES = 4, 15
APPEND = """
import os, sys
from pathlib import Path
from authz.adapters.revocation_file.writing import append
from authz.core.entry_lines import EntryError
from authz.core.revocations import Revocation
if sys.argv[3:]:
    os.setuid(int(sys.argv[3]))
for number in range(int(sys.argv[2])):
    append(Path(sys.argv[1]), Revocation(issuer="i", token_id=f"{os.getpid()}-{number}"))
"""
NOBODY = 65534


def appending(path: Path, lines: int, *more: str) -> "subprocess.Popen[bytes]":
    """A process that adds so many lines."""
    return subprocess.Popen([sys.executable, "-c", APPEND, str(path), str(lines), *more])


def token_ids(path: Path) -> Sequence[str]:
    """Those of the file's entries."""
    return [json.loads(line)["token_id"] for line in path.read_text().splitlines()]


def test_many_at_once(tmp_path: Path) -> None:
    """Processes and threads that revoke at once lose no line; who reads meanwhile sees none go."""
    path, link = tmp_path / "data" / "revoked", tmp_path / "revoked"
    path.parent.mkdir()
    path.write_bytes(b'{"issuer":"i","token_id":"first"}')  # without an end of line
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12345, 54321)
    first = path.open("rb")  # held open, so that no later file gets its number
    before = path.stat()
    link.symlink_to(path)
    children = [appending(link, LINES) for _ in range(PROCESSES)]

    def revoke(name: str) -> None:
        for number in range(LINES):
            append(link, Revocation(issuer="i", token_id=f"{name}-{number}"))

    threads = [threading.Thread(target=revoke, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    watched = RevocationFile(RevocationSettings(file=str(link)))
    known = 0
    while any(child.poll() is None for child in children):
        watched.refresh()
        assert len(parse(link.read_bytes())) >= known
        known = len(watched.current)
    for thread in threads:
        thread.join()
    watched.refresh()
    after = path.stat()

    assert [child.returncode for child in children] == [0] * PROCESSES
    assert len({*token_ids(path)}) == len(token_ids(path)) == 1 + LINES * (PROCESSES + 2)
    assert len(watched.current) == len(token_ids(path))
    assert watched.status().refused == 0
    assert link.is_symlink()
    assert [*path.parent.iterdir()] == [path]
    for name in ("st_mode", "st_uid", "st_gid"):
        assert getattr(after, name) == getattr(before, name)
    assert after.st_ino != before.st_ino, "by rename"
    first.close()


def test_a_file_of_two_names(tmp_path: Path) -> None:
    """Where a rename would part the file's names the line is added in place."""
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"")
    other.hardlink_to(path)
    append(path, Revocation(issuer="i", token_id="x"))

    assert token_ids(other) == ["x"]
    assert path.samefile(other)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach: another run of pytest closes the parents of tmp_path."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_folder_of_others(open_folder: Path) -> None:
    """Who may write the file, and not its folder, can revoke all the same."""
    path = open_folder / "folder" / "revoked"
    path.parent.mkdir()
    path.write_bytes(b"")
    path.chmod(0o666)
    path.parent.chmod(0o555)
    before = path.stat()
    is_root = os.geteuid() == 0
    child = appending(path, 3, *([str(NOBODY)] if is_root else []))

    assert child.wait() == 0
    assert len(token_ids(path)) == 3
    assert path.stat().st_ino == before.st_ino
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    path.parent.chmod(0o755)


def test_what_others_add_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who adds a line without the lock, as `echo >>` does, does not lose it to the rename."""
    path = tmp_path / "revoked"
    path.write_bytes(b'{"issuer":"i","token_id":"before"}\n')

    def late(path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(b'{"issuer":"i","token_id":"echo"}\n')
        replace(path, data)

    monkeypatch.setattr(writing, "replace", late)
    append(path, Revocation(issuer="i", token_id="own"))

    assert sorted(token_ids(path)) == ["before", "echo", "own"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"issuer":"i"}\n{"issuer"', "line 2: "),
        (b'{"issuer":"i","issuer":"j"}\n', "line 1: a member name occurs twice"),
        (None, "No such file or directory; begin with an empty file"),
    ],
)
def test_what_is_not_added_to(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """To a file that no server would take nothing is added: the line would seem to count."""
    path = tmp_path / "revoked"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EntryError, match=rf"revoked: {expected}"):
        append(path, Revocation(issuer="i", token_id="x"))

    assert content is None or path.read_bytes() == content


def test_no_plain_file(tmp_path: Path) -> None:
    """A pipe in its place is an error, and nothing that is waited for."""
    path = tmp_path / "revoked"
    os.mkfifo(path)
    with pytest.raises(EntryError, match="it is not a plain file"):
        append(path, Revocation(issuer="i", token_id="x"))
