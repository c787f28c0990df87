"""The threads that answer checks: few work at a time, and who waits holds no one up."""

import threading
from collections.abc import Iterator
from functools import partial

import pytest
from world import wait_until

from authz.server.pool import Call, CheckPool

SECONDS = 5.0
until = partial(wait_until, seconds=SECONDS)


@pytest.fixture
def pool() -> Iterator[CheckPool]:
    """Two working threads."""
    made = CheckPool(2)
    yield made
    made.shutdown()
    until(lambda: made._threads == 0 or not _alive())


def _alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "check"]


def finish(call: Call) -> None:
    """Wait until a call is done."""
    done = threading.Event()
    call.add_done_callback(lambda _: done.set())
    assert done.wait(SECONDS)


def test_arguments_and_errors(pool: CheckPool, caplog: pytest.LogCaptureFixture) -> None:
    """Arguments go through; a call that raises is done too, and its thread goes on."""
    made: list[int] = []
    finish(pool.submit(made.insert, 0, 7))
    assert made == [7]
    for _ in range(5):
        finish(pool.submit(divmod, 7, 0))
    finish(pool.submit(made.append, 8))
    assert made == [7, 8]
    assert "ZeroDivisionError" in caplog.text


def test_a_listener_is_told_once(pool: CheckPool) -> None:
    """Whether it begins to listen before, while or after the call is done."""
    told: list[Call] = []
    calls = [pool.submit(int) for _ in range(2000)]
    for call in calls:
        call.add_done_callback(told.append)
    finish(pool.submit(int))
    until(lambda: len(told) == 2000)
    assert set(told) == set(calls)


def test_how_many_wait(pool: CheckPool) -> None:
    """The calls that no thread has taken yet are counted."""
    gate = threading.Event()
    calls = [pool.submit(gate.wait, SECONDS) for _ in range(7)]
    until(lambda: pool.waiting() == 5)
    gate.set()
    for call in calls:
        finish(call)
    assert pool.waiting() == 0


def test_so_many_work_at_a_time(pool: CheckPool) -> None:
    """More calls than threads wait for their turn."""
    gate = threading.Event()
    started = [threading.Event() for _ in range(3)]

    def wait(number: int) -> None:
        started[number].set()
        gate.wait(SECONDS)

    calls = [pool.submit(wait, number) for number in range(3)]
    assert started[0].wait(SECONDS)
    assert started[1].wait(SECONDS)
    assert not started[2].wait(0.1)
    gate.set()
    for call in calls:
        finish(call)


def test_who_waits_lends_his_place(pool: CheckPool) -> None:
    """However many wait, as many as ever work; and afterwards there are no more threads."""
    gate = threading.Event()

    def waiting() -> None:
        with pool.lend():
            gate.wait(SECONDS)

    calls = [pool.submit(waiting) for _ in range(50)]
    until(lambda: pool._wanted == 52)
    finish(pool.submit(int, "7"))
    assert pool._threads <= 52
    gate.set()
    for call in calls:
        finish(call)
    for _ in range(200):  # spare threads end after their next call
        finish(pool.submit(int, "7"))
    until(lambda: pool._threads == 2)


def test_a_system_without_threads(pool: CheckPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no more threads can be had, who waits waits all the same."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pool.lend():
        assert pool._threads == 2
    finish(pool.submit(int, "7"))
