"""Files that others write while we read: one whole state is read, and halves are not believed."""

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.files import (
    STABLE_SECONDS,
    BeingWrittenError,
    StabilityTimer,
    look,
    open_plain,
    read_at_rest,
    read_between,
    read_whole,
    replace,
)

MANY = 10**6


@contextmanager
def rewriting(path: Path, *contents: bytes, pause: float = 0.0) -> Iterator[None]:
    """A process that writes these contents in place, in turn, as often as it can."""
    program = (
        "import sys, time\n"
        "while True:\n"
        "    for text in sys.argv[3:]:\n"
        "        open(sys.argv[1], 'w').write(text)\n"
        "        time.sleep(float(sys.argv[2]))\n"
    )
    texts = [one.decode() for one in contents]
    child = subprocess.Popen([sys.executable, "-c", program, str(path), str(pause), *texts])
    try:
        before = path.read_bytes()
        while before == path.read_bytes():
            time.sleep(0.001)
        yield
    finally:
        child.kill()
        child.wait()


def test_no_half_is_read(tmp_path: Path) -> None:
    """While a file is rewritten in place as fast as can be, a read is of one state of it, or none.

    A state may be a half, too: those are what ``StabilityTimer`` is for.
    """
    path = tmp_path / "file"
    path.write_bytes(b"")
    contents = (b"a" * 30_000, b"b" * 30_000)
    torn = whole = 0
    with rewriting(path, *contents):
        end = time.monotonic() + 60
        while (torn < 3 or whole < 20) and time.monotonic() < end:
            try:
                data, state = read_whole(path, MANY)
            except BeingWrittenError:
                torn += 1
            else:
                assert len(data) == state.size
                assert len({*data}) <= 1
                whole += 1

    assert torn >= 3
    assert whole >= 20


def test_what_is_between_two_writes(tmp_path: Path) -> None:
    """A file that is written again and again is read between two writes."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    with rewriting(path, b"a" * 9_000, b"b" * 9_000, pause=0.005):
        for _ in range(20):
            read_between(path, MANY)


def test_waiting_for_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read once and kept is read when its writer has finished, pauses included."""
    path = tmp_path / "file"
    path.write_bytes(b"one,")
    written = threading.Event()

    def write() -> None:
        for part in (b"two,", b"three,", b"four,", b"five,", b"six"):
            time.sleep(0.25 * STABLE_SECONDS)
            with path.open("ab") as file:
                file.write(part)
        written.set()

    threading.Thread(target=write).start()

    assert read_at_rest(path, MANY) == b"one,two,three,four,five,six"
    assert written.is_set()
    monkeypatch.setattr(
        "authz.adapters.files.LOOK_SECONDS", 3600.0
    )  # by now it is old: there is no wait
    assert read_at_rest(path, 3) == b"one,", "one byte more than asked for, to know that there is"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket", "nothing", "ring"])
def test_what_is_no_plain_file(tmp_path: Path, kind: str) -> None:
    """A pipe, a device, a folder or nothing is an error at once, and a pipe has no reader."""
    path = tmp_path / "file"
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "socket": lambda: os.mknod(path, stat.S_IFSOCK | 0o600),
        "nothing": lambda: None,
        "ring": lambda: path.symlink_to(path),
    }
    make[kind]()
    for read in (
        lambda: read_whole(path, MANY),
        lambda: read_between(path, MANY),
        lambda: read_at_rest(path, MANY),
        lambda: open_plain(path),
    ):
        with pytest.raises(OSError, match=r".+"):
            read()
    seen, data = look(path, MANY)

    assert data is None
    assert seen.error
    assert seen.state is None
    if kind == "pipe":
        with pytest.raises(OSError, match="No such device"):  # nobody reads it
            os.open(path, os.O_WRONLY | os.O_NONBLOCK)


def test_a_look_reads_only_what_may_be_another(tmp_path: Path) -> None:
    """A file that was old when it was read is known by its state alone; a young one is read."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    first, data = look(path, MANY)
    assert data == b"x"
    assert not first.is_settled
    again, data = look(path, MANY, first)
    assert (again, data) == (first, b"x")
    while not (settled := look(path, MANY, again)[0]).is_settled:
        time.sleep(0.05)
    assert look(path, MANY, settled) == (settled, None)
    path.write_bytes(b"y")
    other, data = look(path, MANY, settled)

    assert data == b"y"
    assert other != settled


def test_the_same_size_and_time(tmp_path: Path) -> None:
    """Other bytes of the same length under the same time are another look."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    first, before = look(path, MANY)[0], path.stat()
    path.write_bytes(b"y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert look(path, MANY, first)[0] != first


# In 64ths of a second, whose sums are exact: the model adds them in another order.
PAUSES = st.integers(0, 5 * 64).map(lambda parts: parts / 64)


@given(st.lists(st.tuples(PAUSES, st.sampled_from("ab")), max_size=30))
def test_rest(looks: list[tuple[float, str]]) -> None:
    """Rest is a second of the same, of which no single pause is more than half."""
    rest, now = StabilityTimer(), 100.0
    same: list[float] = []  # the pauses between looks that found the same
    last = ""
    for pause, found in looks:
        now += pause
        same = [*same, min(pause, 0.5)] if found == last else []
        last = found
        assert rest.is_long_enough(found, now) == (sum(same) >= STABLE_SECONDS)
        assert len(same) >= 2 or not rest.is_long_enough(found, now)


def test_replacing_keeps_what_a_file_is(tmp_path: Path) -> None:
    """A replaced file has the mode, owner and attributes of the one before; a link stays a link."""
    target, link = tmp_path / "data" / "file", tmp_path / "file"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(target, 12345, 54321)
    link.symlink_to("data/file")
    before = target.stat()
    with target.open("rb") as reader:
        replace(link, b"new")
        after = target.stat()

        assert reader.read() == b"old", "who reads has the whole of one or the other"
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert after.st_ino != before.st_ino
    for name in ("st_mode", "st_uid", "st_gid"):
        assert getattr(after, name) == getattr(before, name)
    assert after.st_mtime > before.st_mtime - 1
    assert [*target.parent.iterdir()] == [target]


def test_replacing_with_a_mode(tmp_path: Path) -> None:
    """A mode that is given counts, whatever the file had before, or the process would give."""
    path = tmp_path / "file"
    path.write_bytes(b"")
    path.chmod(0o666)
    replace(path, b"x", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    replace(tmp_path / "new", b"x", mode=0o644)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


def test_a_replacement_that_fails(tmp_path: Path) -> None:
    """Where a file can't be replaced it stays, and nothing else is left."""
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match=r".+"):
        replace(tmp_path / "folder", b"x", mode=0o600)
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / "none", b"x")

    assert [*tmp_path.iterdir()] == [tmp_path / "folder"]
