"""Whatever fails while a check waits for the store, its places are free again."""

import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import authz
from authz.adapters.store.connections import Connections
from authz.adapters.store.engine import EngineStore
from authz.adapters.store.store import MAX_CALLS, Mark, StoreError
from authz.edge.bulkhead import Bulkhead
from authz.edge.check_pool import CheckPool
from authz.edge.turns import Turns
from lab.mesh import TRAVEL
from support.conformance.store import SECONDS, ready
from support.redis_server import RedisServer
from support.stores import opened_store
from support.world import wait_until

# What gives a place back can't fail without keeping it: these few steps call nothing else.
_GIVES_BACK: Final = {Connections.give_back.__code__}
_OURS: Final = tuple(
    str(Path(authz.__file__).parent / part)
    for part in ("adapters/store/", "adapters/circuit_breaker.py", "edge/")
)


class Fault:
    """Fails in the call of the code whose number is given, of this thread's calls of our code."""

    def __init__(self, number: int) -> None:
        """Begin to count."""
        self.left = number
        self.failed: CodeType | None = None

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        """Count a call, and fail in the last one: no memory, as any step may find."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_OURS) and code not in _GIVES_BACK:
            self.left -= 1
            if self.left == 0:
                self.failed = code
                raise MemoryError


def test_a_failure_in_any_step_keeps_no_place() -> None:
    """Each call on the way to a real store and back fails once; then all places are free."""
    pool = CheckPool(2, 5)
    places, turns = Bulkhead(1, pool.lend), Turns(1)
    with RedisServer() as server, opened_store(url=server.url) as store:
        ready(store)

        def use(seconds: float) -> None:
            now = time.time()
            mark = Mark(secrets.token_bytes(8), b"x", now, now + 60.0)
            with places.waiting(TRAVEL), turns.turn(TRAVEL, seconds):
                store.use(mark, now, seconds)

        number = 0
        while (fault := failing(use, number := number + 1)).failed is not None:
            wait_until(lambda: serves(store))
            assert not places.status().waiting, fault.failed
            use(SECONDS)  # in the single place, and the single turn
        assert number > 30
        taken = [store._connections.take(time.monotonic() + SECONDS) for _ in range(MAX_CALLS)]
        for each in taken:
            store._connections.give_back(each)


def failing(use: Any, number: int) -> Fault:
    """Use while that call fails; return what became of the fault."""
    fault, before = Fault(number), sys.gettrace()
    sys.settrace(fault)
    try:
        with suppress(MemoryError, StoreError):
            use(SECONDS)
    finally:
        sys.settrace(before)
    return fault


def serves(store: EngineStore) -> bool:
    """Tell whether the store answers, as once what failed is not held against it."""
    with suppress(StoreError):
        store.version(SECONDS)
        return True
    return False
