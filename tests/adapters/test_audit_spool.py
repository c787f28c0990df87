"""The spool: lines on disk that survive kills, full disks and restarts, each whole, in order."""

import errno
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from authz.adapters.audit.sinks.spool import Spool
from authz.adapters.audit.sinks.spool_segment import HEAD_BYTES

MAX_BYTES = 4096  # so that a segment has a line or two
LARGE = 1 << 20


def opened(folder: Path, max_bytes: int = LARGE) -> Spool:
    """An open spool."""
    spool = Spool(folder, max_bytes)
    spool.open()
    return spool


def drained(spool: Spool) -> list[bytes]:
    """All lines, each delivered."""
    found: list[bytes] = []
    while lines := spool.read(7):
        found += lines
        spool.done(lines)
    return found


def numbered(count: int, size: int = 0) -> list[bytes]:
    """So many lines."""
    return [b"%d%s\n" % (number, b"x" * size) for number in range(count)]


class SpoolMachine(RuleBasedStateMachine):
    """A spool beside a list: whatever happens to the process, the spool has the list's lines."""

    def __init__(self) -> None:
        """Make the model."""
        super().__init__()
        self.folders = TemporaryDirectory()
        self.runs = 0
        self.model: list[bytes] = []
        self.seen = 0  # of the lines that were read last and are not done

    @initialize()
    def start(self) -> None:
        """Open the first one."""
        self.spool = opened(self.folder, MAX_BYTES)

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return Path(self.folders.name) / str(self.runs)

    def files(self) -> list[Path]:
        """The segments."""
        return sorted(self.folder.glob("*.spool"))

    @rule(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=6), is_promised=st.booleans())
    def append(self, sizes: list[int], *, is_promised: bool) -> None:
        """All lines are kept, or none where the limit of bytes does not leave room."""
        lines = [b"%d-%s\n" % (len(self.model), b"y" * size) for size in sizes]
        before = self.spool.bytes
        is_kept = self.spool.append(lines, is_promised=is_promised)
        room = MAX_BYTES - before - HEAD_BYTES
        assert is_kept is (is_promised or sum(map(len, lines)) <= room)
        self.model += lines if is_kept else []

    @rule(limit=st.integers(1, 9))
    def read(self, limit: int) -> None:
        """The first lines are read, and no more than asked for."""
        lines = self.spool.read(limit)
        assert list(lines) == self.model[: len(lines)]
        assert bool(lines) is bool(self.model)
        assert len(lines) <= limit
        self.seen = len(lines)

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        """Lines that were delivered are there no more."""
        count = data.draw(st.integers(0, self.seen))
        self.spool.done(self.model[:count])
        del self.model[:count]
        self.seen -= count

    @rule(cut=st.integers(0, 60))
    def kill(self, cut: int) -> None:
        """The process is killed while it writes a further line, of which it wrote ``cut`` bytes."""
        before, files = self.folder, self.files()
        if files:
            with files[-1].open("ab") as last:
                last.write(b"z" * cut)
        self.runs += 1
        shutil.copytree(before, self.folder)
        self.spool.close()
        self.spool = opened(self.folder, MAX_BYTES)
        self.seen = 0

    @rule()
    def restart(self) -> None:
        """The process ends in peace, and another follows."""
        self.spool.close()
        self.spool = opened(self.folder, MAX_BYTES)
        self.seen = 0

    @invariant()
    def bytes_are_those_on_disk(self) -> None:
        """It tells the disk space that it takes, and leaves none behind."""
        if hasattr(self, "spool"):
            assert self.spool.bytes == sum(path.stat().st_size for path in self.files())
            assert self.spool.is_empty is not bool(self.model)

    def teardown(self) -> None:
        """Deliver what waits."""
        if hasattr(self, "spool"):
            assert drained(self.spool) == self.model
            assert not self.files()
            self.spool.close()
        self.folders.cleanup()


TestModel = SpoolMachine.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)

KILLED = """
import sys
from pathlib import Path
from authz.adapters.audit.sinks.spool import Spool
spool = Spool(Path(sys.argv[1]), 1 << 20)
spool.open()
number = int(sys.argv[2])
while True:
    assert spool.append([b"%d%s\\n" % (number, b"x" * (number % 900))], is_promised=True)
    number += 1
    print(number, flush=True)
    if number % 3 == 0:
        lines = spool.read(2)
        spool.done(lines)
        for line in lines:
            print("-", int(line.rstrip(b"x\\n")), flush=True)
"""


def test_the_folder_is_for_the_server_alone(tmp_path: Path) -> None:
    """Each folder that the spool makes is its owner's, also the one that the config names."""
    opened(tmp_path / "spool" / "siem" / "0").close()
    for folder in ("spool", "spool/siem", "spool/siem/0"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


def test_kill_9(tmp_path: Path) -> None:
    """A process that is killed has lost no line that it appended; none is cut, or out of order."""
    number, delivered = 0, -1
    begun = set[int]()  # lines whose append may not have ended
    for _ in range(5):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(200)]
            process.send_signal(signal.SIGKILL)
            told += [line for line in process.stdout if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        number = max(int(line) for line in told if not line.startswith("-"))
        delivered = max(int(line[2:]) for line in told if line.startswith("-"))
        begun.add(number)
        number += 1
    spool = opened(tmp_path)
    found = [int(line.rstrip(b"x\n")) for line in drained(spool)]
    spool.close()

    assert found == sorted(set(found))
    assert found[0] <= delivered + 3  # two delivered at a time, and one whose append did not end
    assert set(range(found[0], number)) - set(found) <= begun


FULL = """
import resource, sys
from pathlib import Path
from authz.adapters.audit.sinks.spool import Spool
from authz.adapters.audit.sinks.spool_segment import HEAD_BYTES
spool = Spool(Path(sys.argv[1]), 1 << 20)
spool.open()
def may_grow_to(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
for cut in range(40 + HEAD_BYTES):
    may_grow_to(cut)
    try:
        spool.append([b"first-%d\\n" % cut, b"second\\n"])
    except OSError as error:
        print(error.strerror)
    else:
        print("kept")
    assert bool(spool.read(9)) is not spool.is_empty
    may_grow_to(resource.RLIM_INFINITY)
    assert spool.append([b"later\\n"])
    lines = spool.read(9)
    print(lines)
    spool.done(lines)
    assert spool.is_empty and not spool.bytes
"""


def test_a_full_disk(tmp_path: Path) -> None:
    """Wherever the disk became full, lines are kept all or none, and later ones follow whole."""
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    told = done.stdout.decode().splitlines()

    results, lines = told[::2], told[1::2]
    kept = results.index("kept")
    assert results == ["File too large"] * kept + ["kept"] * (len(results) - kept)
    assert kept == HEAD_BYTES + len(b"first-99\nsecond\n")
    assert lines == [str((b"later\n",))] * kept + [
        str((b"first-%d\n" % cut, b"second\n", b"later\n")) for cut in range(kept, len(results))
    ]


def test_a_full_disk_behind_other_lines(tmp_path: Path) -> None:
    """A line that found a disk full in its middle leaves those before it as they were."""
    spool = opened(tmp_path)
    assert spool.append(numbered(3))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEAD_BYTES + 9, limit[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            spool.append([b"cut in its middle\n"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert (tmp_path / "000000000000.spool").stat().st_size == HEAD_BYTES + 6
    spool.append([b"more\n"])

    assert drained(spool) == [*numbered(3), b"more\n"]
    spool.close()


def test_one_owner(tmp_path: Path) -> None:
    """A folder that is in use is refused, in words; free again, it is taken."""
    spool = opened(tmp_path)
    with pytest.raises(OSError, match="another process uses the spool") as caught:
        opened(tmp_path)
    assert caught.value.errno == errno.EBUSY
    spool.close()

    opened(tmp_path).close()


def test_a_worker_that_is_no_more(tmp_path: Path) -> None:
    """Another's lines are taken over with what it delivered, but not while it lives."""
    other = opened(tmp_path / "1")
    other.append(numbered(4))
    other.done(other.read(1))
    spool = opened(tmp_path / "0")
    spool.append([b"own\n"])
    with pytest.raises(OSError, match="another process"):
        spool.adopt(tmp_path / "1")
    other.close()
    spool.adopt(tmp_path / "1")

    assert drained(spool) == [b"own\n", *numbered(4)[1:]]
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["lock"]
    spool.close()


def test_it_is_the_owners(tmp_path: Path) -> None:
    """The folder is made for the owner alone, and so are its files."""
    spool = opened(tmp_path / "a" / "b")
    spool.append([b"1\n"])
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").rglob("*")}
    spool.close()

    assert modes == {"b": 0o700, "lock": 0o600, "000000000000.spool": 0o600}


@pytest.mark.parametrize("head", [b"", b"authz", b"\0" * HEAD_BYTES, b"9" * HEAD_BYTES])
def test_a_head_that_is_broken(tmp_path: Path, head: bytes) -> None:
    """What a loss of power did to a head makes lines come twice, and never go."""
    spool = opened(tmp_path)
    spool.append(numbered(4))
    spool.done(spool.read(2))
    spool.close()
    path = tmp_path / "000000000000.spool"
    data = path.read_bytes()
    path.write_bytes(head + data[HEAD_BYTES:] if len(head) == HEAD_BYTES else head)
    spool = opened(tmp_path)

    assert drained(spool) == (numbered(4) if len(head) == HEAD_BYTES else [])
    spool.close()


def test_a_tail_of_zeros(tmp_path: Path) -> None:
    """A tail without a line's end, as a loss of power leaves it, is dropped and told."""
    spool = opened(tmp_path)
    spool.append(numbered(2))
    spool.close()
    with (tmp_path / "000000000000.spool").open("ab") as file:
        file.write(b"\0" * 200_000)
    spool = opened(tmp_path)
    spool.append([b"more\n"])

    assert drained(spool) == [*numbered(2), b"more\n"]
    spool.close()


def test_a_segment_that_was_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that an operator removed is told, and does not hold up those behind it."""
    spool = opened(tmp_path, MAX_BYTES)
    for line in numbered(5, size=50):
        spool.append([line])
    (tmp_path / "000000000001.spool").unlink()

    assert drained(spool) == [line for line in numbered(5, size=50) if line[:1] != b"1"]
    assert "000000000001.spool was removed" in caplog.text
    assert not spool.bytes
    spool.close()


def test_lines_longer_than_a_read(tmp_path: Path) -> None:
    """A line of any length comes whole."""
    lines = [b"short\n", b"x" * 3_000_000 + b"\n", b"end\n"]
    spool = opened(tmp_path, 1 << 24)
    for line in lines:
        assert spool.append([line])

    assert drained(spool) == lines
    spool.close()


def test_threads(tmp_path: Path) -> None:
    """One thread appends while another reads: each line comes once, in order."""
    spool = opened(tmp_path, 100_000)
    lines, found = numbered(3000, size=20), list[bytes]()

    def append() -> None:
        for line in lines:
            assert spool.append([line], is_promised=True)

    thread = threading.Thread(target=append)
    thread.start()
    while thread.is_alive():
        found += drained(spool)
    thread.join()
    found += drained(spool)
    spool.close()

    assert found == lines
