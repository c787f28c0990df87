"""What every replay store must do: a ``ReplayStore`` of ``authz.adapters.replay_store``."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Barrier

import pytest

from authz.adapters.replay_store import ReplayStore
from authz.core.decision import SingleUseProof
from authz.core.reason import Denied, Reason

THREADS = 16
ROUNDS = 50
SWITCH_SECONDS = 1e-6  # threads take turns in the middle of a use, or a missing lock is never seen


def outcome(use: Callable[[], None]) -> Reason | None:
    """Return why something could not be used, None when it was."""
    try:
        use()
    except Denied as denied:
        return denied.reason
    return None


def together(uses: list[Callable[[], None]]) -> list[Reason | None]:
    """Return the outcomes of uses that begin at the same moment, each in a thread."""
    begin = Barrier(len(uses))
    interval = sys.getswitchinterval()

    def use(number: int) -> Reason | None:
        begin.wait()
        return outcome(uses[number])

    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with ThreadPoolExecutor(len(uses)) as pool:
            return list(pool.map(use, range(len(uses))))
    finally:
        sys.setswitchinterval(interval)


class ReplayStoreConformance(ABC):
    """The clauses.

    Not guaranteed: that a store survives its process, that two stores share anything, what becomes
    of marks when the clock goes back for longer than they last, and in which time a use is done.
    A store that can fail refuses: anything but a plain return is no use, and an exception that is
    no ``Denied`` is refused by the edge.
    """

    @abstractmethod
    def opened(self, folder: Path, entries: int) -> AbstractContextManager[ReplayStore]:
        """Return an empty store that remembers so many at most, closed at the end."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[ReplayStore]:
        """An empty store with room."""
        with self.opened(tmp_path, 10_000) as store:
            yield store

    def test_one_use(self, store: ReplayStore) -> None:
        """What one attempt used is refused to every other as DPOP_PROOF, until it ends."""
        once = SingleUseProof(b"a", 100.0)
        store.use(once, b"1", 0.0)

        for now in (0.0, 50.0, 99.9):
            assert outcome(lambda now=now: store.use(once, b"2", now)) is Reason.DPOP_PROOF  # type: ignore[misc]

    def test_the_same_attempt_may_repeat(self, store: ReplayStore) -> None:
        """The attempt that used it may use it again: a proxy may ask twice for one request."""
        once = SingleUseProof(b"a", 100.0)
        for now in (0.0, 0.0, 99.0):
            store.use(once, b"1", now)

        assert outcome(lambda: store.use(once, b"2", 99.0)) is Reason.DPOP_PROOF
        store.use(once, b"1", 99.0)

    def test_one_of_many_at_once(self, store: ReplayStore) -> None:
        """Of attempts at the same moment exactly one wins: look and mark are one step."""
        for number in range(ROUNDS):
            once = SingleUseProof(b"key %d" % number, 100.0)
            found = together(
                [
                    lambda once=once, attempt=b"%d" % n: store.use(once, attempt, 1.0)  # type: ignore[misc]
                    for n in range(THREADS)
                ]
            )
            assert found.count(None) == 1
            assert found.count(Reason.DPOP_PROOF) == THREADS - 1

    def test_one_attempt_at_once(self, store: ReplayStore) -> None:
        """The same attempt may come many times at the same moment, and all of them pass."""
        once = SingleUseProof(b"a", 100.0)

        assert together([lambda: store.use(once, b"1", 1.0)] * THREADS) == [None] * THREADS

    def test_keys_are_apart(self, store: ReplayStore) -> None:
        """A use says nothing of other keys, however alike: they are bytes of any value."""
        keys = [b"", b"\0", b"\0\0", b"a", b"A", b"a ", b"%", b"\xff" * 32, b"\xff" * 31, b"'--"]
        for key in keys:
            store.use(SingleUseProof(key, 100.0), b"1", 0.0)

        for key in keys:
            assert outcome(lambda key=key: store.use(SingleUseProof(key, 100.0), b"2", 1.0))  # type: ignore[misc]

    def test_never_forgotten_before_its_end(self, store: ReplayStore) -> None:
        """Neither uses nor the end of others shortens it; at ``expires_at`` it still holds."""
        store.use(SingleUseProof(b"long", 100.0), b"1", 0.0)
        for number in range(500):
            store.use(SingleUseProof(b"short %d" % number, 1.0 + number / 10), b"1", number / 10)

        assert (
            outcome(lambda: store.use(SingleUseProof(b"long", 100.0), b"2", 100.0))
            is Reason.DPOP_PROOF
        )

    def test_a_clock_that_goes_back_forgets_nothing(self, store: ReplayStore) -> None:
        """Requests are decided at their own times, which come in no order."""
        store.use(SingleUseProof(b"a", 100.0), b"1", 50.0)

        for now in (10.0, 60.0, 20.0):
            found = outcome(lambda now=now: store.use(SingleUseProof(b"a", 100.0), b"2", now))  # type: ignore[misc]
            assert found is Reason.DPOP_PROOF

    def test_room_again_after_the_end(self, tmp_path: Path) -> None:
        """After ``expires_at`` a mark takes no room: of any order, those that ended make way."""
        with self.opened(tmp_path, 3) as store:
            for key, end in ((b"b", 20.0), (b"a", 10.0), (b"c", 30.0)):
                store.use(SingleUseProof(key, end), b"1", 0.0)

            assert (
                outcome(lambda: store.use(SingleUseProof(b"d", 90.0), b"1", 10.0))
                is Reason.OVERLOADED
            )
            store.use(SingleUseProof(b"d", 90.0), b"1", 10.1)
            assert (
                outcome(lambda: store.use(SingleUseProof(b"e", 90.0), b"1", 10.1))
                is Reason.OVERLOADED
            )
            assert (
                outcome(lambda: store.use(SingleUseProof(b"b", 20.0), b"2", 10.1))
                is Reason.DPOP_PROOF
            )
            store.use(SingleUseProof(b"e", 90.0), b"1", 20.1)

    def test_without_room_nothing_is_used(self, tmp_path: Path) -> None:
        """A full store refuses as OVERLOADED, keeps what it holds, and marks nothing."""
        with self.opened(tmp_path, 1) as store:
            store.use(SingleUseProof(b"a", 10.0), b"1", 0.0)
            assert (
                outcome(lambda: store.use(SingleUseProof(b"b", 90.0), b"1", 1.0))
                is Reason.OVERLOADED
            )

            store.use(SingleUseProof(b"a", 10.0), b"1", 2.0)
            assert (
                outcome(lambda: store.use(SingleUseProof(b"a", 10.0), b"2", 2.0))
                is Reason.DPOP_PROOF
            )
            store.use(SingleUseProof(b"b", 90.0), b"2", 11.0)

    def test_the_bound_holds_for_many_at_once(self, tmp_path: Path) -> None:
        """Never more than the bound are used, however many come at the same moment."""
        with self.opened(tmp_path, THREADS // 2) as store:
            found = together(
                [
                    lambda key=b"%d" % n: store.use(SingleUseProof(key, 100.0), b"1", 1.0)  # type: ignore[misc]
                    for n in range(THREADS)
                ]
            )

        assert found.count(None) == THREADS // 2
        assert found.count(Reason.OVERLOADED) == THREADS // 2
