"""The share of an agent in the memory for proofs: its size, its time, and clocks that are set."""

import tracemalloc

import pytest

from authz.adapters.agent_shares import AgentShares
from authz.adapters.store.store import StoreFullError
from lab.mesh import PAYMENTS, TRAVEL


def test_an_agent_that_never_rests_takes_no_more_memory() -> None:
    """What is known of an agent that makes a proof a second, for hours, does not grow."""
    shares = AgentShares(100_000)

    def work(begin: int, end: int) -> None:
        for now in range(begin, end):
            shares.check(TRAVEL, now)
            shares.add(TRAVEL, now + 600.0)

    work(1_000_000, 1_002_000)
    tracemalloc.start()
    try:
        work(1_002_000, 1_008_000)
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < 100_000  # not 6,000 numbers of 60 bytes, and their table


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
