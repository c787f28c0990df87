"""The threads that answer checks: few work at a time, and who waits holds no one up."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from authz.edge.check_pool import CheckPool
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until as until


@pytest.fixture
def pool() -> Iterator[CheckPool]:
    """Two working threads."""
    others = _alive()
    made = CheckPool(2, 5)
    made.start()
    yield made
    made.close()
    until(lambda: _alive() <= others)


def _alive() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "check"}


def finish(pool: CheckPool, count: int = 1) -> None:
    """Wait until so many tasks that are submitted now are done."""
    done: list[int] = []
    for number in range(count):
        pool.submit(done.append, number)
    until(lambda: len(done) == count)


def test_arguments_and_errors(pool: CheckPool, caplog: pytest.LogCaptureFixture) -> None:
    """Arguments go through; a task that raises is done too, and its thread goes on."""
    made: list[int] = []
    pool.submit(made.insert, 0, 7)
    until(lambda: made == [7])
    for _ in range(5):
        pool.submit(divmod, 7, 0)
    finish(pool)
    until(lambda: caplog.text.count("ZeroDivisionError") == 5)


def test_how_many_wait(pool: CheckPool) -> None:
    """The tasks that no thread has taken yet are counted."""
    gate = threading.Event()
    for _ in range(7):
        pool.submit(gate.wait, SECONDS)
    until(lambda: pool.status().queued == 5)
    gate.set()
    until(lambda: pool.status().queued == 0)


def test_so_many_work_at_a_time(pool: CheckPool) -> None:
    """More tasks than threads wait for their turn."""
    gate = threading.Event()
    started = [threading.Event() for _ in range(3)]

    def wait(number: int) -> None:
        started[number].set()
        gate.wait(SECONDS)

    for number in range(3):
        pool.submit(wait, number)
    assert started[0].wait(SECONDS)
    assert started[1].wait(SECONDS)
    assert not started[2].wait(0.1)
    gate.set()
    assert started[2].wait(SECONDS)


def test_who_waits_lends_his_place(pool: CheckPool) -> None:
    """However many wait, as many as ever work; and afterwards there are no more threads."""
    gate = threading.Event()

    def waiting() -> None:
        with pool.lend():
            gate.wait(SECONDS)

    for _ in range(50):
        pool.submit(waiting)
    until(lambda: pool._wanted == 52)
    finish(pool)
    assert pool._threads <= 52
    gate.set()
    until(lambda: pool._wanted == 2)
    finish(pool, 200)  # spare threads end after their next task
    until(lambda: pool._threads == 2)


def test_a_system_without_threads(pool: CheckPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no more threads can be had, who waits waits all the same."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pool.lend():
        assert pool._threads == 2
    finish(pool)


def raising(error: BaseException) -> Callable[[threading.Thread], None]:
    """Return what takes the place of a start that fails."""

    def begin(_thread: threading.Thread) -> None:
        raise error

    return begin


def test_a_thread_that_can_not_begin_is_not_counted(
    pool: CheckPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system lacks, the place is free again, and a later lender has its thread."""
    for error in (RuntimeError("no threads"), MemoryError()):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", raising(error))
            with suppress(MemoryError), pool.lend():
                pass
        assert pool.status().threads == 2
    with pool.lend():
        assert pool.status().threads == 3
