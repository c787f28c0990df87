"""Budgets that replicas share: exact over many processes, refused while the store is away."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from authz.adapters.budgets import SpendResult
from lab.config_builder import AT_READ_RULE, LAB, ConfigBuilder
from support.child import with_support
from support.redis_server import RedisServer
from support.world import World, header_of, reason_of, wait_until

READ_RULE = "finance-read/0"
# Spends 250 times in four threads, once it is told to, and prints how often it passed.
_CHILD = """\
import sys
from concurrent.futures import ThreadPoolExecutor
from authz.adapters.store.engine import EngineStore
from authz.adapters.store.settings import StoreSettings
from authz.adapters.store.store import Charge, ExhaustedError, StoreAwayError

store = EngineStore(StoreSettings(url=sys.argv[1], insecure=True, timeout="5s"), "many")
store.start()
charges = [Charge(b"all", 1, 100, 86400.0), Charge(sys.argv[2].encode(), 1, 1000, 86400.0)]

def passes(_):
    try:
        store.spend(charges, 0.0, 30.0)
    except ExhaustedError:
        return 0
    return 1

while True:
    try:
        store.spend([Charge(b"warm", 0, 1, 60.0)], 0.0, 5.0)
        break
    except StoreAwayError:
        pass
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(passes, range(250))), flush=True)
store.close()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """Return a real server."""
    with RedisServer() as started:
        yield started


def shared(server: RedisServer, limit: int, **more: Any) -> ConfigBuilder:
    """Return the lab's config with a store, and a budget of the rule by which balances are read."""
    budget = {"limit": limit, "per": "pair", "window": "1h", **more}
    store = f'{{url: "{server.url}", insecure: true, timeout: 2s}}'
    return LAB.with_((*AT_READ_RULE, "budget"), budget).with_section("store", store)


def asked(world: World, token: str) -> str:
    """Return what is answered."""
    return reason_of(world.ask(token))


def is_allowed(world: World, token: str) -> bool:
    """Tell whether it is allowed, as once the store is connected."""
    return asked(world, token) == "allow"


def test_many_processes_at_once(server: RedisServer) -> None:
    """Of 1,000 spendings at once in four processes, exactly as many pass as the limit says."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _CHILD, server.url, f"child-{number}"],
            env=with_support(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        told = [child.communicate()[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert sum(map(int, told)) == 100
    with server.admin() as client:  # what did not pass has spent nothing of the other budget
        keys = [f"{{authz:many}}:budget:{f'child-{n}'.encode().hex()}" for n in range(4)]
        spent = [int(client.hget(key, "c") or 0) for key in keys]
    assert spent == list(map(int, told))


def test_replicas_share_a_budget(server: RedisServer, tmp_path: Path) -> None:
    """What passes a replica is spent for the other, whoever is asked; nothing is remembered."""
    changes = shared(server, 5)
    with World(tmp_path / "a", changes) as first, World(tmp_path / "b", changes) as second:
        tokens = first.token(), second.token()  # both of the same principal
        for world, token in zip((first, second), tokens, strict=True):
            wait_until(partial(is_allowed, world, token))  # it has connected
        with server.admin() as client:
            client.flushall()
        assert [asked(first, tokens[0]) for _ in range(3)] == ["allow"] * 3
        assert [asked(second, tokens[1]) for _ in range(3)] == [*["allow"] * 2, "budget_exhausted"]
        assert asked(first, tokens[0]) == "budget_exhausted"


def test_while_the_store_is_away(tmp_path: Path) -> None:
    """What can't be counted is refused; with local each process counts for itself."""
    with RedisServer() as server:
        deny, local = shared(server, 2), shared(server, 2, when_away="local")
        with World(tmp_path / "a", deny) as strict, World(tmp_path / "b", local) as lax:
            tokens = strict.token(), lax.token()
            wait_until(partial(is_allowed, strict, tokens[0]))
            wait_until(partial(is_allowed, lax, tokens[1]))
            server.kill()

            answer = strict.ask(tokens[0])
            assert reason_of(answer) == "store_unavailable"
            assert header_of(answer, "retry-after") == "1"
            # It has counted by itself what has passed it before.
            assert [asked(lax, tokens[1]) for _ in range(2)] == ["allow", "budget_exhausted"]
            counts = lax.parts.shared.spender.status().counts
            assert counts[READ_RULE, SpendResult.SPENT_LOCALLY] == 1
            public = strict.ask(tokens[0], path="/public/x")
            assert reason_of(public) == "allow"  # what has no budget does not need the store
