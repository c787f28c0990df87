"""Budgets in a process's memory, and in a real server: counted alike, kept as long as needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import redis

from authz.adapters.store.memory_budgets import MemoryBudgets
from authz.adapters.store.script import load_script
from authz.adapters.store.store import Charge, ExhaustedError, StoreFullError
from support.conformance.budgets import BEGIN, BudgetConformance, charge
from support.redis_server import RedisServer

_CLOCK = b"redis.call('TIME')\nlocal now"


class TestMemory(BudgetConformance):
    """The memory of a process."""

    def forget(self) -> None:
        """Begin again."""
        self.budgets = MemoryBudgets()

    def spend(self, charges: Sequence[Charge], now: float) -> None:
        """Spend at a time."""
        self.budgets.spend(charges, now)


def test_memory_that_is_full_refuses_new_budgets() -> None:
    """No budget that is in force is forgotten for another; those whose time is over make room."""
    budgets = MemoryBudgets(2)
    budgets.spend([charge(b"a", 10), charge(b"b", 1)], BEGIN)
    with pytest.raises(StoreFullError):
        budgets.spend([charge(b"c")], BEGIN)
    with pytest.raises(ExhaustedError):
        budgets.spend([charge(b"a")], BEGIN)
    budgets.spend([charge(b"b")], BEGIN)

    budgets.spend([charge(b"c")], BEGIN + 16)  # the window of a, and the one after it, are over


def test_memory_that_has_no_room_for_a_moment_has_none() -> None:
    """A wait that rounds to nothing is a wait, as in the engine."""
    budgets = MemoryBudgets()
    for cost, now in ((168, 0.0), (149, 12.875)):
        budgets.spend([Charge(b"k", cost, 177, 7.0)], now)
    with pytest.raises(ExhaustedError):
        budgets.spend([Charge(b"k", 1, 177, 7.0)], 12.875)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Return a real server."""
    with RedisServer() as started:
        yield started


@dataclass
class TimedScript:
    """The script that spends, in a real server, with a clock of the test's."""

    client: redis.Redis
    server: str = field(init=False)

    def __post_init__(self) -> None:
        """Read what the script wants to know of its server."""
        told = self.client.info()
        self.server = f"{told['run_id']}:{told['master_replid']}"
        text = load_script("spend").text
        assert text.count(_CLOCK) == 1
        self.text = text.replace(_CLOCK, b"{ARGV[#ARGV - 1], ARGV[#ARGV]}\nlocal now")

    def spend(self, charges: Sequence[Charge], now: float) -> None:
        """Spend at a time. Raises ExhaustedError."""
        parts = [part for each in charges for part in (each.cost, each.limit, each.window)]
        seconds, microseconds = divmod(round(now * 1_000_000), 1_000_000)
        keys = [b"budget:" + each.key for each in charges]
        arguments = ("t", self.server, 0, *parts, seconds, microseconds)
        answer = self.client.eval(self.text.decode(), len(keys), *keys, *arguments)
        assert answer[0] == b"t"
        if answer[1] == b"EXHAUSTED":
            raise ExhaustedError(answer[2], float(answer[3]))
        assert answer[1:] == [b"OK"]


@pytest.fixture(scope="module")
def script(server: RedisServer) -> Iterator[TimedScript]:
    """Return the script in the server."""
    with server.admin() as client:
        yield TimedScript(client)


class TestEngine(BudgetConformance):
    """The script in a real server."""

    @pytest.fixture(autouse=True)
    def _take(self, script: TimedScript) -> None:
        self.script = script

    def forget(self) -> None:
        """Begin again."""
        self.script.client.flushall()

    def spend(self, charges: Sequence[Charge], now: float) -> None:
        """Spend at a time."""
        self.script.spend(charges, now)

    def test_a_key_ends_by_itself(self) -> None:
        """A budget's key is kept until the end of the window after its own, and no longer."""
        self.forget()
        self.spend([charge(b"a"), charge(b"c")], BEGIN + 2)
        client = self.script.client
        assert 13_000 < client.pttl(b"budget:a") <= 14_000
        assert 125_000 < client.pttl(b"budget:c") <= 126_000
