"""A sink's backlog: what was kept survives a kill, and what is delivered comes in order."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from authz.adapters.audit.identity import WorkerIdentity
from authz.adapters.audit.settings import SinkSettings
from authz.adapters.audit.sinks.backlog import Backlog
from authz.adapters.audit.sinks.spool import Spool
from authz.adapters.audit.sinks.worker_spool import spool_of

MAX_BYTES = 2048


class BacklogMachine(RuleBasedStateMachine):
    """A backlog beside a list: every line is delivered in order, but those of memory at a kill."""

    def __init__(self) -> None:
        """Make the model."""
        super().__init__()
        self.folders = TemporaryDirectory()
        self.runs = 0
        self.next = 0
        self.waits: list[bytes] = []  # the first ones are held
        self.held = 0

    @initialize()
    def start(self) -> None:
        """Open the first one."""
        self.open()

    def open(self) -> None:
        """Open a backlog in this run's folder."""
        self.backlog = Backlog(Spool(self.folder, MAX_BYTES))
        self.backlog.open()
        self.held = 0

    @property
    def folder(self) -> Path:
        """The folder of this run."""
        return Path(self.folders.name) / str(self.runs)

    @rule(sizes=st.lists(st.integers(0, 90), min_size=1, max_size=6))
    def add(self, sizes: list[int]) -> None:
        """Lines are added."""
        lines = [b"%d-%s\n" % (self.next + at, b"y" * size) for at, size in enumerate(sizes)]
        self.next += len(lines)
        self.backlog.add(lines)
        self.waits += lines

    @precondition(lambda self: not self.held)
    @rule(count=st.integers(1, 9))
    def take(self, count: int) -> None:
        """The sink is given the first lines."""
        taken = self.backlog.take(count)
        assert list(taken) == self.waits[: len(taken)]
        assert bool(taken) is bool(self.waits)
        assert len(taken) <= count
        self.held = len(taken)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """The sink has delivered some of them."""
        waiting = data.draw(st.integers(0, self.held))
        assert self.backlog.delivered(waiting) == self.held - waiting
        del self.waits[: self.held - waiting]
        self.held = waiting

    @rule(is_last=st.booleans())
    def keep(self, *, is_last: bool) -> None:
        """What is in memory goes to disk; at the end all of it."""
        self.backlog.keep(is_last=is_last)
        if is_last:
            assert not self.backlog.in_memory

    @rule()
    def kill(self) -> None:
        """The process is killed: what was in memory alone is lost, and nothing else."""
        lost, before = self.backlog.in_memory, self.folder
        self.runs += 1
        shutil.copytree(before, self.folder)
        self.backlog.close()
        self.open()
        del self.waits[len(self.waits) - lost :]

    @rule()
    def restart(self) -> None:
        """The process ends in peace, and another follows: nothing is lost."""
        self.backlog.keep(is_last=True)
        self.backlog.close()
        self.open()

    @invariant()
    def nothing_is_uncounted(self) -> None:
        """What is in memory is no more than what waits; it is empty if nothing waits."""
        if hasattr(self, "backlog"):
            assert self.backlog.in_memory <= len(self.waits)
            assert self.backlog.is_empty is not bool(self.waits)

    def teardown(self) -> None:
        """Deliver the rest."""
        if hasattr(self, "backlog"):
            self.backlog.delivered(0)
            found: list[bytes] = []
            while lines := self.backlog.take(5):
                found += lines
                self.backlog.delivered(0)
            assert found == self.waits[self.held :]
            assert not self.backlog.on_disk
            self.backlog.close()
        self.folders.cleanup()


TestModel = BacklogMachine.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


def place(folder: Path) -> SinkSettings:
    """A sink's settings with a spool."""
    return SinkSettings.model_validate(
        {"http": {"url": "https://siem.example/"}, "spool": {"folder": str(folder)}}
    )


def test_a_sink_without_a_spool() -> None:
    """Lines stay in memory."""
    backlog = Backlog(None)
    backlog.open()
    backlog.add([b"1\n", b"2\n"])
    backlog.keep(is_last=True)

    assert backlog.in_memory == 2
    assert not backlog.has_spool
    assert backlog.take(9) == (b"1\n", b"2\n")
    assert spool_of(SinkSettings(path="-"), WorkerIdentity()) is None


def test_fewer_workers(tmp_path: Path) -> None:
    """The first worker sends what workers left that are no more, unless they are still there."""
    for number in range(4):
        spool = spool_of(place(tmp_path), WorkerIdentity(worker=number, workers=4))
        assert spool is not None
        spool.open()
        spool.append([b"%d\n" % number])
        if number < 3:
            spool.close()
    second = spool_of(place(tmp_path), WorkerIdentity(worker=1, workers=2))
    first = spool_of(place(tmp_path), WorkerIdentity(worker=0, workers=2))
    assert first is not None
    assert second is not None
    second.open()
    first.open()

    assert second.read(9) == (b"1\n",)
    assert first.read(9) == (b"0\n",)
    first.done((b"0\n",))
    assert first.read(9) == (b"2\n",)
    for one in (first, second, spool):
        assert one is not None
        one.close()
