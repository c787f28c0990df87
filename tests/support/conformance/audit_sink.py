"""What every sink of the audit log must do: a ``Sink`` of ``authz.adapters.audit.sinks.sink``."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditError, AuditLog
from authz.adapters.audit.records.line import AuditLine
from authz.adapters.audit.sinks.sink import Sink
from support.world import PATIENCE_SECONDS, wait_until

THREADS = 8


class Destination(Protocol):
    """Where a sink leads, as the test sees it, and may break it."""

    @property
    def sink(self) -> Sink:
        """Return the sink, not yet open."""

    def lines(self) -> list[str]:
        """Return the whole lines that have arrived, from the first one on."""

    def break_(self) -> None:
        """Have every write fail from now on."""

    def mend(self) -> None:
        """Let writes succeed again."""


class AuditSinkConformance(ABC):
    """The clauses, each through the log's queue as the server uses it.

    Not guaranteed: an order between threads, that a line arrives within a time while its
    destination is slow, that what waits outlives the process, and that a line is there when the
    machine loses its power.
    """

    @abstractmethod
    def destination(self, folder: Path) -> AbstractContextManager[Destination]:
        """Return a destination whose sink works, removed at the end."""

    @pytest.fixture
    def leads_to(self, tmp_path: Path) -> Iterator[Destination]:
        """A destination."""
        with self.destination(tmp_path) as destination:
            yield destination

    def test_lines_arrive_in_order(self, leads_to: Destination) -> None:
        """Lines of one thread arrive whole, once, in their order, while the log is open."""
        with running_log(leads_to) as log:
            for number in range(200):
                assert log.append(f"{number}\n")
            wait_until(lambda: len(leads_to.lines()) == 200)

        assert leads_to.lines() == [str(number) for number in range(200)]

    def test_many_threads_lose_no_line(self, leads_to: Destination) -> None:
        """Every line of every thread arrives once, in its thread's order, or is counted."""
        taken: list[list[str]] = [[] for _ in range(THREADS)]
        with running_log(leads_to, queue=500) as log:

            def write(thread: int) -> None:
                for number in range(1000):
                    line = f"{thread}-{number}"
                    if log.append(f"{line}\n"):
                        taken[thread].append(line)

            threads = [threading.Thread(target=write, args=(n,)) for n in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        written = leads_to.lines()

        for number, lines in enumerate(taken):
            assert [line for line in written if line.startswith(f"{number}-")] == lines
        assert log.status().dropped == THREADS * 1000 - len(written)

    def test_close_writes_what_waits(self, leads_to: Destination) -> None:
        """What was taken before a close is written by it."""
        with running_log(leads_to, queue=10_000) as log:
            for number in range(5000):
                assert log.append(f"{number}\n")

        assert leads_to.lines() == [str(number) for number in range(5000)]
        assert not log.status().queued

    def test_lines_longer_than_a_write(self, leads_to: Destination) -> None:
        """Lines of many kilobytes stay whole and apart."""
        lines = [f"{number}{'x' * size}" for number, size in enumerate((1, 30_000, 5, 60_000, 0))]
        with running_log(leads_to) as log:
            for line in lines:
                assert log.append(f"{line}\n")

        assert leads_to.lines() == lines

    def test_a_line_that_cannot_be_encoded(self, leads_to: Destination) -> None:
        """One record of no time that there is costs itself and is counted; later ones arrive."""
        with running_log(leads_to) as log:
            log.append("before\n")
            log.append(AuditLine(b"{", b"", 1e20, "", "", "id", is_hit=False, seconds=0.0))
            log.append("after\n")

        assert leads_to.lines() == ["before", "after"]
        assert log.status().errors == 1

    def test_nobody_waits_while_it_fails(self, leads_to: Destination) -> None:
        """A failing sink costs the asker nothing: lines queue up to the bound, others count."""
        with running_log(leads_to, queue=3) as log:
            leads_to.break_()
            log.append("0\n")
            wait_until(lambda: log.status().is_failing)
            taken = [log.append(f"{number}\n") for number in (1, 2, 3, 4)]
            for _ in range(50_000):  # each of which may wait for nothing, or this would never end
                log.append("more\n")

            assert taken == [True, True, False, False]
            assert (log.status().queued, log.status().dropped) == (3, 50_002)
            leads_to.mend()
            wait_until(lambda: not log.status().queued)

        assert leads_to.lines() == ["0", "1", "2"]

    def test_what_failed_is_written_later(self, leads_to: Destination) -> None:
        """Lines that could not be written are kept: each arrives once, in order, when it mends."""
        with running_log(leads_to) as log:
            log.append("first\n")
            wait_until(lambda: not log.status().queued)
            leads_to.break_()
            log.append("second\n")
            wait_until(lambda: log.status().errors > 1)
            log.append("third\n")
            leads_to.mend()
            wait_until(lambda: not log.status().queued and not log.status().is_failing)
            log.append("fourth\n")

        assert leads_to.lines() == ["first", "second", "third", "fourth"]

    @pytest.mark.parametrize(("when_full", "refuses"), [("drop", False), ("deny", True)])
    def test_what_fails_refuses_where_it_must(
        self, leads_to: Destination, when_full: str, *, refuses: bool
    ) -> None:
        """A write that fails is told while it lasts, and refuses allows where that is asked for."""
        with running_log(leads_to, when_full=when_full) as log:
            assert not log.refuses_allows
            leads_to.break_()
            log.append("one\n")
            wait_until(lambda: log.status().is_failing)
            wait_until(lambda: log.refuses_allows is refuses)  # what follows at once
            leads_to.mend()
            wait_until(lambda: not log.status().is_failing)
            wait_until(lambda: not log.refuses_allows)

    def test_reopen(self, leads_to: Destination) -> None:
        """Opened anew by another thread, however often, it loses and doubles nothing."""
        with running_log(leads_to) as log:
            for number in range(100):
                log.append(f"{number}\n")
                log.reopen()
                if number % 20 == 0:
                    wait_until(lambda: not log.status().queued)

        assert leads_to.lines() == [str(number) for number in range(100)]

    def test_close_while_it_fails(self, leads_to: Destination) -> None:
        """A close with a sink that fails ends, and says how many lines it could not write."""
        with running_log(leads_to) as log:
            leads_to.break_()
            log.append("lost\n")
            wait_until(lambda: log.status().is_failing)

        assert not log._thread.is_alive()
        assert log.status().queued == 1
        leads_to.mend()

    def test_a_start_that_cannot_write(self, leads_to: Destination) -> None:
        """Where it can't be written at the start, that ends at once, or the log says it fails."""
        leads_to.break_()
        log = AuditLog(AuditSettings(), leads_to.sink)
        with suppress(AuditError):
            log.start()
            log.append("x\n")
            wait_until(lambda: log.status().is_failing)
            log.close()
        leads_to.mend()


@contextmanager
def running_log(leads_to: Destination, **changes: object) -> Iterator[AuditLog]:
    """Run a log with the destination's sink, and these changes of the settings."""
    log = AuditLog(AuditSettings.model_validate(changes), leads_to.sink)
    log.start()
    try:
        yield log
    finally:
        log.close()
        log._thread.join(PATIENCE_SECONDS)
