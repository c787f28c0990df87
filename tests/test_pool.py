"""The threads that answer checks: few work at a time, and who waits holds no one up."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from authz.server.pool import CheckPool

SECONDS = 5.0


@pytest.fixture
def pool() -> Iterator[CheckPool]:
    """Two working threads."""
    made = CheckPool(2)
    yield made
    made.shutdown()
    until(lambda: made._threads == 0 or not _alive())


def _alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "check"]


def until(condition: Callable[[], object]) -> None:
    """Wait for something that must come."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def test_results_and_errors(pool: CheckPool) -> None:
    """What a call returns or raises comes back; arguments go through."""
    assert pool.submit(divmod, 7, 2).result(SECONDS) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 7, 0).result(SECONDS)
    assert pool.submit(dict, a=1).result(SECONDS) == {"a": 1}


def test_so_many_work_at_a_time(pool: CheckPool) -> None:
    """More calls than threads wait for their turn."""
    gate = threading.Event()
    started = [threading.Event() for _ in range(3)]

    def call(number: int) -> None:
        started[number].set()
        gate.wait(SECONDS)

    futures = [pool.submit(call, number) for number in range(3)]
    assert started[0].wait(SECONDS)
    assert started[1].wait(SECONDS)
    assert not started[2].wait(0.1)
    gate.set()
    for future in futures:
        future.result(SECONDS)


def test_who_waits_lends_his_place(pool: CheckPool) -> None:
    """However many wait, as many as ever work; and afterwards there are no more threads."""
    gate = threading.Event()

    def waiting() -> None:
        with pool.lend():
            gate.wait(SECONDS)

    futures = [pool.submit(waiting) for _ in range(50)]
    until(lambda: pool._wanted == 52)
    assert pool.submit(int, "7").result(SECONDS) == 7
    assert pool._threads <= 52
    gate.set()
    for future in futures:
        future.result(SECONDS)
    for _ in range(200):  # spare threads end after their next call
        pool.submit(int, "7").result(SECONDS)
    until(lambda: pool._threads == 2)


def test_a_system_without_threads(pool: CheckPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no more threads can be had, who waits waits all the same."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pool.lend():
        assert pool._threads == 2
    assert pool.submit(int, "7").result(SECONDS) == 7


def test_a_cancelled_call_is_not_made(pool: CheckPool) -> None:
    """A call that was cancelled while it waited for its turn is left out."""
    gate = threading.Event()
    for _ in range(2):
        pool.submit(gate.wait, SECONDS)
    made: list[int] = []
    late = pool.submit(made.append, 1)
    assert late.cancel()
    gate.set()
    pool.submit(int).result(SECONDS)
    assert made == []
