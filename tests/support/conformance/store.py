"""What every store must do: a ``Store`` of ``authz.adapters.store.store``, and a model of it."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from threading import Barrier
from typing import Final

from authz.adapters.store.store import (
    AlreadyUsedError,
    Mark,
    Store,
    StoreError,
)
from support.world import PATIENCE_SECONDS, wait_until

THREADS: Final = 8
ROUNDS: Final = 25
SECONDS: Final = PATIENCE_SECONDS  # in which a store that is there answers


def marked(store: Store, key: bytes, attempt: bytes, made_at: float, lasts: float = 600.0) -> str:
    """Use a key that was made then, and return what came of it: "", or the exception's name."""
    try:
        store.use(Mark(key, attempt, made_at, made_at + lasts), time.time(), SECONDS)
    except (AlreadyUsedError, StoreError) as error:
        return type(error).__name__
    return ""


def ready(store: Store) -> float:
    """Wait until a store answers, and return the time: it remembers what is made from then on."""
    store.version(SECONDS)
    return time.time()


def together(work: Callable[[int], str]) -> list[str]:
    """Return the results of work that begins at the same moment in THREADS, by their numbers."""
    begin = Barrier(THREADS)

    def begun(number: int) -> str:
        begin.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begun, range(THREADS)))


def _marked_by(store: Store, key: bytes, now: float, number: int) -> str:
    return marked(store, key, b"%d" % number, now)


class StoreConformance(ABC):
    """The clauses. Each test begins with an empty store.

    Not guaranteed: that it survives its process, and that it has answered while it is away.
    """

    @abstractmethod
    def opened(self) -> AbstractContextManager[Store]:
        """Return an empty store that is started, and closed at the end."""

    def test_a_key_is_used_by_a_single_attempt(self) -> None:
        """The attempt that was first may use it again; all others are told that it was used."""
        with self.opened() as store:
            now = ready(store)
            assert marked(store, b"k", b"first", now) == ""
            assert marked(store, b"k", b"first", now) == ""
            assert marked(store, b"k", b"other", now) == "AlreadyUsedError"
            assert marked(store, b"k", b"first", now) == ""
            assert marked(store, b"l", b"other", now) == ""

    def test_keys_and_attempts_are_any_bytes(self) -> None:
        """No byte has a meaning, and no key is another's beginning."""
        with self.opened() as store:
            now = ready(store)
            keys = (b"\x00", b"\x00\x00", b"\r\n", b"{a}", b"*", b"\xff" * 32, b":")
            for key in keys:
                assert marked(store, key, key, now) == ""
                assert marked(store, key, key + b"\x00", now) == "AlreadyUsedError"

    def test_of_many_at_once_one_is_first(self) -> None:
        """Threads with an attempt each, at the same moment: one of them may use the key."""
        with self.opened() as store:
            now = ready(store)
            for number in range(ROUNDS):
                found = together(partial(_marked_by, store, b"race %d" % number, now))
                assert sorted(found) == ["", *["AlreadyUsedError"] * (THREADS - 1)]

    def test_all_agree_on_the_first_proposal(self) -> None:
        """Who asks for a name gets the value of whoever was first, for each name."""
        with self.opened() as store:
            first = store.agreed("other", b"x", SECONDS)
            found = together(lambda at: store.agreed("n", b"%d\x00" % at, SECONDS).hex())
            assert len(set(found)) == 1
            assert store.agreed("other", b"y", SECONDS) == first == b"x"

    def test_an_empty_register_has_no_entries(self) -> None:
        """Nothing was added, and nothing has changed."""
        with self.opened() as store:
            assert store.version(SECONDS).number == 0
            assert dict(store.entries(SECONDS).entries) == {}
            assert list(store.changes(10, SECONDS)) == []

    def test_what_was_added_is_listed_until_it_is_taken_back(self) -> None:
        """Entries that are there stay as they are, and unknown ids are ignored."""
        with self.opened() as store:
            first = store.add({"a": b"1", "b": b"\x00\xff"}, "ann", SECONDS)
            again = store.add({"a": b"other", "c": b"3"}, "bob", SECONDS)
            assert again.number == first.number + 1
            assert again.epoch == first.epoch
            listing = store.entries(SECONDS)
            assert dict(listing.entries) == {"a": b"1", "b": b"\x00\xff", "c": b"3"}
            assert listing.version == again == store.version(SECONDS)
            left = store.take_back(["b", "unknown"], "cid", "why", SECONDS)
            assert dict(left.entries) == {"a": b"1", "c": b"3"}
            assert left.version.number == again.number + 1
            assert store.entries(SECONDS) == left

    def test_registers_are_apart(self) -> None:
        """Consents are no revocations: each has entries, a version and a log of its own."""
        with self.opened() as store:
            store.add({"a": b"1"}, "ann", SECONDS)
            assert dict(store.consents.entries(SECONDS).entries) == {}
            store.consents.add({"b": b"2", "c": b"3"}, "bob", SECONDS)
            store.consents.take_back(["b"], "bob", "", SECONDS)
            assert dict(store.consents.entries(SECONDS).entries) == {"c": b"3"}
            assert dict(store.entries(SECONDS).entries) == {"a": b"1"}
            assert store.version(SECONDS).number == 1
            assert store.consents.version(SECONDS).number == 3
            assert [change.by for change in store.changes(10, SECONDS)] == ["ann"]
            assert len(store.consents.changes(10, SECONDS)) == 3

    def test_what_changes_nothing_is_no_version(self) -> None:
        """Entries that are there, ids that are not, and none at all."""
        with self.opened() as store:
            version = store.add({"a": b"1"}, "ann", SECONDS)
            assert store.add({"a": b"2"}, "ann", SECONDS) == version
            assert store.add({}, "ann", SECONDS) == version
            assert store.take_back(["b"], "ann", "", SECONDS).version == version
            assert store.take_back([], "ann", "", SECONDS).version == version
            assert len(store.changes(10, SECONDS)) == 1

    def test_changes_tell_who_and_why(self) -> None:
        """The newest is first, and a change tells what was added or taken back, and when."""
        with self.opened() as store:
            begun = time.time()
            store.add({"a": b"1", "b": b"2"}, "ann", SECONDS)
            store.take_back(["a"], "bob ü", "a mistake\n", SECONDS)
            newest, *older = store.changes(10, SECONDS)
            assert (newest.number, newest.by, newest.note) == (3, "bob ü", "a mistake\n")
            assert (newest.is_added, newest.id, newest.entry) == (False, "a", b"1")
            assert [(change.number, change.id) for change in older] == [(2, "b"), (1, "a")]
            assert all(change.is_added and change.by == "ann" for change in older)
            assert begun - 5 < older[-1].at <= newest.at < time.time() + 5
            assert list(store.changes(1, SECONDS)) == [newest]

    def test_of_many_adds_at_once_none_is_lost(self) -> None:
        """Each gets a number of its own, and all are listed."""
        with self.opened() as store:
            found = together(lambda at: str(store.add({f"e{at}": b"x"}, "ann", SECONDS).number))
            assert sorted(found) == [str(number + 1) for number in range(THREADS)]
            assert len(store.entries(SECONDS).entries) == THREADS

    def test_watchers_are_woken(self) -> None:
        """Each is, after each change."""
        with self.opened() as store:
            first, second = threading.Event(), threading.Event()
            store.watch(first.set)
            store.watch(second.set)
            store.add({"a": b"1"}, "ann", SECONDS)
            wait_until(lambda: first.is_set() and second.is_set())
            store.entries(SECONDS)

    def test_its_state_is_told_without_waiting(self) -> None:
        """A store that answers is not away."""
        with self.opened() as store:
            store.version(SECONDS)
            assert not store.status().is_away

    def test_many_entries(self) -> None:
        """Thousands of entries come and go in a call."""
        with self.opened() as store:
            entries = {f"id-{number}": b"x" * 100 for number in range(5000)}
            store.add(entries, "ann", SECONDS)
            assert dict(store.entries(SECONDS).entries) == entries
            assert not store.take_back(list(entries), "ann", "", SECONDS).entries
