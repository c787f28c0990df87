"""What may be used once: the rules of uses, in this process's memory, and reasons and margins."""

import math
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from authz.adapters.replay_settings import ReplaySettings
from authz.adapters.single_use import MIN_SECONDS, SingleUses, UseResult
from authz.adapters.store.memory import MemoryStore
from authz.adapters.store.store import (
    CLOCKS_DIFFER_SECONDS,
    Mark,
    StoreAwayError,
    StoreBusyError,
    StoreForgotError,
    StoreFullError,
)
from authz.core.choice import WhenAway
from authz.core.reason import Denied, Reason
from authz.core.single_use import SingleUse, UseKind
from lab.mesh import PAYMENTS, TRAVEL

THREADS = 16
ROUNDS = 50
SWITCH_SECONDS = 1e-6  # threads take turns in the middle of a use, or a missing lock is never seen
PROOF, TOKEN = UseKind.PROOF, UseKind.TOKEN


def outcome(use: Callable[[], None]) -> Reason | None:
    """Return why something could not be used, None when it was."""
    try:
        use()
    except Denied as denied:
        return denied.reason
    return None


def used(
    memory: SingleUses,
    attempt: bytes = b"1",
    key: bytes = b"a",
    *,
    now: float = 0.0,
    until: float = 100.0,
    kind: UseKind = PROOF,
    seconds: float = math.inf,
) -> Reason | None:
    """Return what became of a use."""
    once = SingleUse(key, 0.0, until, kind)
    return outcome(lambda: memory.use(once, attempt, now, seconds))


def together(uses: list[Callable[[], Reason | None]]) -> list[Reason | None]:
    """Return the outcomes of uses that begin at the same moment, each in a thread."""
    begin = Barrier(len(uses))
    interval = sys.getswitchinterval()

    def use(number: int) -> Reason | None:
        begin.wait()
        return uses[number]()

    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with ThreadPoolExecutor(len(uses)) as pool:
            return list(pool.map(use, range(len(uses))))
    finally:
        sys.setswitchinterval(interval)


def in_memory(entries: int = 10_000) -> SingleUses:
    """Return the memory of a process without a shared store."""
    settings = ReplaySettings(entries=entries)
    return SingleUses(MemoryStore(entries), settings, is_shared=False)


@pytest.mark.parametrize(
    ("kind", "reason"), [(PROOF, Reason.DPOP_PROOF), (TOKEN, Reason.TOKEN_USED)]
)
def test_one_use(kind: UseKind, reason: Reason) -> None:
    """What one attempt used is refused to every other, until it ends."""
    memory = in_memory()
    assert used(memory, kind=kind) is None

    for now in (0.0, 50.0, 99.9):
        assert used(memory, b"2", now=now, kind=kind) is reason
    assert memory.status().counts == {(kind, UseResult.PASSED): 1, (kind, UseResult.USED): 3}


def test_the_same_attempt_may_repeat() -> None:
    """The attempt that used it may use it again: a proxy may ask twice for one request."""
    memory = in_memory()
    assert [used(memory, now=now) for now in (0.0, 0.0, 99.0)] == [None] * 3
    assert used(memory, b"2", now=99.0) is Reason.DPOP_PROOF
    assert used(memory, now=99.0) is None


def test_one_of_many_at_once() -> None:
    """Of attempts at the same moment exactly one wins: look and mark are one step."""
    memory = in_memory()
    for number in range(ROUNDS):
        key = b"key %d" % number
        found = together(
            [lambda key=key, n=n: used(memory, b"%d" % n, key) for n in range(THREADS)]  # type: ignore[misc]
        )
        assert found.count(None) == 1
        assert found.count(Reason.DPOP_PROOF) == THREADS - 1


def test_one_attempt_at_once() -> None:
    """The same attempt may come many times at the same moment, and all of them pass."""
    memory = in_memory()
    assert together([lambda: used(memory)] * THREADS) == [None] * THREADS


def test_keys_are_apart() -> None:
    """A use says nothing of other keys, however alike, nor of the same key of another kind."""
    memory = in_memory()
    keys = [b"", b"\0", b"\0\0", b"a", b"A", b"a ", b"%", b"\xff" * 32, b"\xff" * 31, b"'--"]
    for kind in (PROOF, TOKEN):
        assert [used(memory, b"1", key, kind=kind) for key in keys] == [None] * len(keys)

    assert all(used(memory, b"2", key) is Reason.DPOP_PROOF for key in keys)


def test_never_forgotten_before_its_end() -> None:
    """Neither uses nor the end of others shortens it."""
    memory = in_memory()
    used(memory, b"1", b"long")
    for number in range(500):
        now = number / 10
        assert used(memory, b"1", b"short %d" % number, now=now, until=now + 1.0) is None

    assert used(memory, b"2", b"long", now=99.9) is Reason.DPOP_PROOF


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    """Requests are decided at their own times, which come in no order."""
    memory = in_memory()
    used(memory, now=50.0)

    assert [used(memory, b"2", now=now) for now in (10.0, 60.0, 20.0)] == [Reason.DPOP_PROOF] * 3


def test_a_clock_that_goes_forward_for_a_moment_forgets_nothing() -> None:
    """What ended by a wrong clock is refused once it is right; what is new is not."""
    memory = in_memory()
    used(memory, now=10.0, until=70.0)
    used(memory, b"1", b"other", now=5000.0, until=5060.0)

    assert used(memory, b"2", now=11.0, until=70.0) is Reason.STORE_UNAVAILABLE
    assert used(memory, b"2", b"another", now=11.0, until=71.0) is None


def test_what_has_ended_passes_for_nobody() -> None:
    """A check that waited beyond the end is refused: its mark would not be kept."""
    memory = in_memory()

    for kind, reason in ((PROOF, Reason.DPOP_PROOF), (TOKEN, Reason.TOKEN_USED)):
        found = [used(memory, attempt, now=100.0, kind=kind) for attempt in (b"1", b"2")]
        assert found == [reason, reason]
        assert memory.status().counts[kind, UseResult.ENDED] == 2


def test_room_again_after_the_end() -> None:
    """Some seconds after its end, a mark takes no room: of any order, those that ended make way."""
    memory = in_memory(3)
    for key, until in ((b"b", 20.0), (b"a", 10.0), (b"c", 30.0)):
        assert used(memory, b"1", key, until=until) is None
    gone = 10.0 + CLOCKS_DIFFER_SECONDS

    assert used(memory, b"1", b"d", now=gone - 0.1) is Reason.OVERLOADED
    assert used(memory, b"1", b"d", now=gone) is None
    assert used(memory, b"1", b"e", now=gone) is Reason.OVERLOADED
    assert used(memory, b"2", b"b", now=gone, until=20.0) is Reason.DPOP_PROOF
    assert used(memory, b"1", b"e", now=gone + 10.0) is None


def test_without_room_nothing_is_used() -> None:
    """A full memory refuses as overloaded, keeps what it holds, and marks nothing."""
    memory = in_memory(1)
    assert used(memory, b"1", b"a", until=10.0) is None
    assert used(memory, b"1", b"b", now=1.0) is Reason.OVERLOADED

    assert used(memory, b"1", b"a", now=2.0) is None
    assert used(memory, b"2", b"a", now=2.0) is Reason.DPOP_PROOF
    assert used(memory, b"2", b"b", now=20.0) is None


def test_the_bound_holds_for_many_at_once() -> None:
    """Never more than the bound are used, however many come at the same moment."""
    memory = in_memory(THREADS // 2)
    found = together([lambda n=n: used(memory, b"1", b"%d" % n) for n in range(THREADS)])  # type: ignore[misc]

    assert found.count(None) == THREADS // 2
    assert found.count(Reason.OVERLOADED) == THREADS // 2


def test_no_time_is_no_use() -> None:
    """Without time before the caller's deadline the store is not asked, and nothing is marked."""
    memory = in_memory()

    assert used(memory, seconds=0.0) is Reason.OVERLOADED
    assert used(memory, seconds=MIN_SECONDS / 2) is Reason.OVERLOADED
    assert used(memory, b"2", seconds=0.1) is None


class Failing:
    """A shared store that raises an error, or else answers as one in memory."""

    def __init__(self) -> None:
        """Begin to answer."""
        self.error: Exception | None = None
        self.marks: list[Mark] = []
        self._store = MemoryStore()

    def use(self, mark: Mark, now: float, seconds: float) -> None:
        """Note the mark, then fail or mark it."""
        self.marks.append(mark)
        if self.error is not None:
            raise self.error
        self._store.use(mark, now, seconds)

    def agreed(self, name: str, proposal: bytes, seconds: float) -> bytes:
        """Return what was agreed."""
        return self._store.agreed(name, proposal, seconds)


def shared(when_away: WhenAway, entries: int = 100) -> tuple[Failing, SingleUses]:
    """Return a shared store, and the memory that asks it."""
    store, settings = Failing(), ReplaySettings(entries=entries, when_away=when_away)
    return store, SingleUses(store, settings, is_shared=True)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreAwayError("no answer"), Reason.STORE_UNAVAILABLE),
        (StoreForgotError("it began at 12:00"), Reason.STORE_UNAVAILABLE),
        (StoreFullError("out of memory"), Reason.OVERLOADED),
        (StoreBusyError("a crowd"), Reason.OVERLOADED),
    ],
)
def test_a_store_that_can_not_say_lets_nothing_pass(error: Exception, reason: Reason) -> None:
    """The refusal names the cause for operators; for an absent store, the client may try again."""
    store, memory = shared(WhenAway.DENY)
    store.error = error
    with pytest.raises(Denied) as refused:
        memory.use(SingleUse(b"a", 0.0, 100.0), b"1", 0.0, 1.0)

    assert refused.value.reason is reason
    assert str(error) in refused.value.detail
    retried = reason is Reason.STORE_UNAVAILABLE
    assert refused.value.headers == ((("retry-after", "1"),) if retried else ())


def test_a_request_may_have_a_long_name() -> None:
    """A mark is small, however long an id a client sent; long names are told apart."""
    store, memory = shared(WhenAway.DENY)
    names = [b"x" * 60_000 + end for end in (b"1", b"1", b"2")]

    assert [used(memory, name) for name in names] == [None, None, Reason.DPOP_PROOF]
    assert {len(mark.attempt) for mark in store.marks} == {32}


def test_clocks_may_differ() -> None:
    """A mark counts as made earlier, and is kept for longer, than this server's clock says."""
    store, memory = shared(WhenAway.DENY)
    memory.use(SingleUse(b"a", 40.0, 100.0), b"1", 50.0, 1.0)

    assert [(mark.made_at, mark.until) for mark in store.marks] == [
        (40.0 - CLOCKS_DIFFER_SECONDS, 100.0 + CLOCKS_DIFFER_SECONDS)
    ]


@pytest.mark.parametrize("error", [StoreAwayError("no answer"), StoreForgotError("it began")])
def test_alone_each_process_remembers_what_it_saw(error: Exception) -> None:
    """With when_away: local, what this process let pass before does not pass again, nor twice."""
    store, memory = shared(WhenAway.LOCAL)
    assert used(memory, b"1", b"before") is None
    store.error = error

    assert used(memory, b"2", b"before") is Reason.DPOP_PROOF
    assert used(memory, b"1", b"before") is None
    assert [used(memory, attempt, b"a") for attempt in (b"1", b"2")] == [None, Reason.DPOP_PROOF]
    assert memory.status().counts[PROOF, UseResult.PASSED_LOCALLY] == 2
    store.error = None  # and it does not pass when the store is back
    assert used(memory, b"2", b"a") is Reason.DPOP_PROOF


def test_alone_the_own_memory_has_its_limit() -> None:
    """It refuses only while the store is away: otherwise the store's room counts."""
    store, memory = shared(WhenAway.LOCAL, entries=1)
    assert [used(memory, b"1", key) for key in (b"a", b"b")] == [None, None]
    store.error = StoreAwayError("no answer")

    assert used(memory, b"1", b"c") is Reason.OVERLOADED
    assert used(memory, b"2", b"a") is Reason.DPOP_PROOF


@pytest.mark.parametrize("error", [StoreFullError("out of memory"), StoreBusyError("a crowd")])
def test_a_full_or_busy_store_is_not_away(error: Exception) -> None:
    """With when_away: local, a store without room or time still refuses: a flood is no absence."""
    store, memory = shared(WhenAway.LOCAL)
    store.error = error

    assert used(memory) is Reason.OVERLOADED


def test_no_agent_takes_all_of_the_memory() -> None:
    """An agent has half of the memory for proofs; they end, and others have their own half."""
    memory = in_memory(8)

    def use(agent: str, number: int, now: float) -> str:
        once = SingleUse(f"{agent}{number}".encode(), now, now + 60.0)
        found = outcome(lambda: memory.use(once, b"1", now, 1.0, agent=agent))
        return "" if found is None else found.code

    assert [use(TRAVEL, number, 100.0) for number in range(6)] == [""] * 4 + ["overloaded"] * 2
    assert use(PAYMENTS, 0, 100.0) == ""
    assert use(TRAVEL, 6, 159.0) == "overloaded"
    assert use(TRAVEL, 7, 200.0) == ""
    assert memory.status().counts[PROOF, UseResult.FULL] == 3


def test_tokens_have_no_share() -> None:
    """Tokens are as many as their issuer makes, whichever agent they are for."""
    memory = in_memory(8)
    for number in range(8):
        once = SingleUse(bytes([number]), 100.0, 160.0, TOKEN)
        memory.use(once, b"1", 100.0, 1.0, agent=TRAVEL)
