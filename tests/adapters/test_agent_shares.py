"""The share of an agent in the memory for proofs: its size, its time, and clocks that are set."""

import tracemalloc

import pytest

from authz.adapters import agent_shares
from authz.adapters.agent_shares import AgentShares
from authz.adapters.store.store import StoreFullError
from lab.mesh import PAYMENTS, TRAVEL


def test_an_agent_that_never_rests_takes_no_more_memory() -> None:
    """What is known of an agent that makes a proof a second does not grow after the first hours."""
    shares = AgentShares(100_000)

    def taken_after(begin: int, end: int) -> int:
        for now in range(begin, end):
            shares.check(TRAVEL, now)
            shares.add(TRAVEL, now + 600.0)
        mine = tracemalloc.Filter(True, agent_shares.__file__)  # not other threads' memory
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([mine]).traces)

    tracemalloc.start()
    try:
        first = taken_after(1_000_000, 1_002_000)
        later = taken_after(1_002_000, 1_022_000)
    finally:
        tracemalloc.stop()
    assert first > 0
    assert later < 2 * first  # ten times of it, were nothing forgotten


def test_a_clock_that_went_forward_for_a_moment_ends_no_share() -> None:
    """Proofs that are made after it was set back count, as they are remembered too."""
    shares = AgentShares(4)
    shares.check(TRAVEL, 5000.0)
    for _ in range(4):
        shares.check(TRAVEL, 1000.0)
        shares.add(TRAVEL, 1060.0)

    with pytest.raises(StoreFullError):
        shares.check(TRAVEL, 1001.0)
    shares.check(PAYMENTS, 1001.0)
    shares.check(TRAVEL, 1061.1)
