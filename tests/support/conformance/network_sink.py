"""What a sink must do that sends records to a receiver over a network, beside what every sink must.

A receiver can be away, slow, or end connections at any time. Lines may then arrive twice, and never
go missing: a line's first arrival is behind those of the lines before it.
"""

import threading
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pytest

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.log import AuditLog
from support.conformance.audit_sink import AuditSinkConformance, Destination, running_log
from support.world import wait_until


class NetworkDestination(Destination, Protocol):
    """A receiver, as the test sees it. ``mend`` ends each of its moods."""

    def cut(self) -> None:
        """Cut the connections that are open; new ones are accepted."""

    def hang(self) -> None:
        """Accept connections, and answer nothing; a sink's timeout must end within a test."""

    def lose_answers(self) -> None:
        """Take what comes, and cut the connection in place of an answer."""


class NetworkSinkConformance(AuditSinkConformance):
    """The further clauses.

    Not guaranteed: that a line arrives only once if a connection was cut, and that what the sink
    has reported as written was read by a receiver that acknowledges nothing.
    """

    @abstractmethod
    def destination(self, folder: Path) -> AbstractContextManager[NetworkDestination]:
        """Return a receiver that works, stopped at the end."""

    @pytest.fixture
    def receiver(self, tmp_path: Path) -> Iterator[NetworkDestination]:
        """A receiver."""
        with self.destination(tmp_path) as destination:
            yield destination

    def test_a_receiver_that_is_not_there_yet(self, receiver: NetworkDestination) -> None:
        """A start without it succeeds; lines of that time arrive once it is there."""
        receiver.break_()
        with running_log(receiver) as log:
            log.append("early\n")
            wait_until(lambda: log.status().errors > 1)
            receiver.mend()
            log.append("later\n")
            wait_until(lambda: receiver.lines() == ["early", "later"])

    def test_connections_that_end(self, receiver: NetworkDestination) -> None:
        """Connections that end, between lines or under way, cost no line, and change no order."""
        lines = [str(number) for number in range(300)]
        with running_log(receiver) as log:
            for number, line in enumerate(lines):
                assert log.append(f"{line}\n")
                if number % 30 == 0:
                    receiver.cut()
                if number % 60 == 0:
                    wait_until(lambda: not log.status().queued)
            wait_until(lambda: first_arrivals(receiver) == lines)

    def test_a_receiver_that_comes_and_goes(self, receiver: NetworkDestination) -> None:
        """Lines of all the times that it was away arrive, in order."""
        lines: list[str] = []
        with running_log(receiver) as log:
            for part in range(4):
                fresh = [f"{part}-{number}" for number in range(50)]
                for line in fresh[:25]:
                    assert log.append(f"{line}\n")
                receiver.break_()
                for line in fresh[25:]:
                    assert log.append(f"{line}\n")
                receiver.mend()
                lines += fresh
            wait_until(lambda: first_arrivals(receiver) == lines)

    def test_answers_that_are_lost(self, receiver: NetworkDestination) -> None:
        """What a receiver took and did not acknowledge is sent again, and is not lost."""
        with running_log(receiver) as log:
            receiver.lose_answers()
            log.append("first\n")
            wait_until(lambda: "first" in receiver.lines())
            log.append("second\n")
            receiver.mend()
            log.append("third\n")
            wait_until(lambda: first_arrivals(receiver) == ["first", "second", "third"])
            wait_until(lambda: not log.status().queued)

    def test_a_receiver_that_hangs(self, receiver: NetworkDestination) -> None:
        """It delays nobody who appends; lines that had room arrive once it goes on."""
        with running_log(receiver, queue=1000) as log:
            receiver.hang()
            log.append("x\n")
            taken = [str(n) for n in range(20_000) if log.append(f"{n}\n")]
            receiver.mend()
            wait_until(lambda: first_arrivals(receiver) == ["x", *taken])
            assert log.status().dropped == 20_000 - len(taken)

    def test_a_close_while_it_hangs(self, receiver: NetworkDestination) -> None:
        """A close ends, with its thread, and loses no line untold."""
        before = set(threading.enumerate())
        log = AuditLog(AuditSettings(), receiver.sink)
        log.start()
        receiver.hang()
        log.append("held up\n")
        log.close()
        wait_until(lambda: not any("audit" in one.name for one in _since(before)))
        receiver.mend()

        assert log.status().queued == 1 or receiver.lines() == ["held up"]

    def test_a_reopen_while_it_hangs(self, receiver: NetworkDestination) -> None:
        """A reopen by another thread never waits, and costs no line."""
        with running_log(receiver) as log:
            receiver.hang()
            log.append("1\n")
            for _ in range(1000):
                log.reopen()
            receiver.mend()
            log.append("2\n")
            wait_until(lambda: first_arrivals(receiver) == ["1", "2"])


def first_arrivals(receiver: NetworkDestination) -> list[str]:
    """Return the lines in the order in which they arrived for the first time."""
    return list(dict.fromkeys(receiver.lines()))


def _since(before: set[threading.Thread]) -> set[threading.Thread]:
    return set(threading.enumerate()) - before
