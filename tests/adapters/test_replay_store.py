"""The replay store of one process: what every store must do, and its own memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from authz.adapters.replay_settings import ReplaySettings
from authz.adapters.replay_store import MemoryReplayStore, ReplayStore
from authz.core.decision import SingleUseProof
from support.conformance.replay_store import ReplayStoreConformance


class TestMemoryReplayStore(ReplayStoreConformance):
    """The store in this process's memory."""

    def opened(self, folder: Path, entries: int) -> AbstractContextManager[ReplayStore]:
        """Return one."""
        del folder

        @contextmanager
        def made() -> Iterator[ReplayStore]:
            yield MemoryReplayStore(ReplaySettings(entries=entries))

        return made()


def test_marks_that_ended_leave_memory() -> None:
    """The number of marks is told, and falls with the next use after their end."""
    store = MemoryReplayStore(ReplaySettings(entries=10))
    for number in range(5):
        store.use(SingleUseProof(b"%d" % number, 10.0), b"1", 0.0)
    assert store.status().remembered == 5

    store.use(SingleUseProof(b"x", 30.0), b"1", 20.0)
    assert store.status().remembered == 1
