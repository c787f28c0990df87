"""The turns of agents at the store: a crowd of one agent waits for itself alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.edge.turns import NoTurnError, Turns
from support.world import PATIENCE_SECONDS


def test_a_crowd_waits_for_itself_alone() -> None:
    """Beyond its turns an agent gets none in time; another has its own, and each ends."""
    turns = Turns(2)
    with turns.turn("a", 0.0), turns.turn("a", 0.0):
        with pytest.raises(NoTurnError), turns.turn("a", 0.01):
            raise AssertionError
        with turns.turn("b", 0.0):
            pass
    with turns.turn("a", 0.0):
        pass


def test_no_more_than_its_turns_at_once() -> None:
    """Those that wait go on one after the other, also after an exception."""
    turns, lock = Turns(3), threading.Lock()
    now = most = 0

    def work(number: int) -> None:
        nonlocal now, most
        with turns.turn("a", PATIENCE_SECONDS):
            with lock:
                now += 1
                most = max(most, now)
            with lock:
                now -= 1
            if number % 7 == 0:
                raise ValueError

    with ThreadPoolExecutor(16) as pool:
        done = [pool.submit(work, number) for number in range(500)]
    assert sum(each.exception() is not None for each in done) == 500 // 7 + 1
    assert 0 < most <= 3
