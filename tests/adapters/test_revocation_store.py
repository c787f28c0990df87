"""Revocations of the store: like a list, while it is away, comes back, and loses what it had."""

import logging
import threading
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.revocation_file import RevocationSettings
from authz.adapters.revocations.sources import RevocationSources
from authz.adapters.revocations.stored import SWEEP_SECONDS, StoredRevocations
from authz.adapters.store.following import MAX_FOLLOWED
from authz.core.decision import Agent, Delegation
from authz.core.entry_lines import MAX_LINE_BYTES
from authz.core.reason import Denied, Reason
from authz.core.revocations import Revocation, read_entry
from authz.core.spiffe import SpiffeId
from support.shaky_store import ShakyStore

NAMES: Final = [f"spiffe://corp.example/{name}" for name in "abcde"]
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
NOBODY: Final = Delegation("i", "s", (), frozenset(), 0.0, inf)


def suspend(name: str, **members: Any) -> Revocation:
    """An entry on an agent."""
    return Revocation(agent=name, **members)


class Follower:
    """A source that follows a store, and what it should have in force."""

    def __init__(self, store: ShakyStore, **settings: Any) -> None:
        """Begin before the first look."""
        self.store = store
        self.now, self.monotonic, self.generation = START.timestamp(), 0.0, 0
        self.source = StoredRevocations(
            store,
            RevocationSettings(**settings),
            self._changed,
            wall=lambda: self.now,
            monotonic=lambda: self.monotonic,
        )
        self.expected: dict[str, bytes] = {}
        self.known_number = 0  # of the version when it last saw the store
        self.least_number: float = inf  # of the versions since then
        self.taken_back: set[str] = set()  # after a loss since then

    def _changed(self) -> None:
        self.generation += 1

    def lost(self) -> None:
        """The store went back to an earlier state."""
        self.least_number = min(self.least_number, self.store.number)
        self.taken_back.clear()

    def look(self) -> None:
        """Look, and compare with what should be in force."""
        before, generation = self.in_force(), self.generation
        self.source.look()
        if not self.store.is_away:
            self.source.look()  # which sees what the first has restored
            held = self.entries(self.store.held())
            if self.least_number < self.known_number:
                kept = {key: v for key, v in self.expected.items() if key not in self.taken_back}
                held = {**self.valid(kept), **held}
            self.expected = held
            self.known_number, self.least_number = self.store.number, inf
            self.taken_back.clear()
            assert self.entries(self.store.held()) == held or self.store.is_full, "it is restored"
        assert self.in_force() == {*self.valid(self.expected).values()}
        assert self.generation > generation or self.in_force() == before

    def entries(self, lines: dict[str, bytes]) -> dict[str, bytes]:
        """Those that are entries."""
        return {key: line for key, line in lines.items() if line != b"garbage"}

    def valid(self, lines: dict[str, bytes]) -> dict[str, bytes]:
        """Those of these that have not expired."""
        entries = self.entries(lines).items()
        return {key: line for key, line in entries if not read_entry(line).is_over(self.now)}

    def in_force(self) -> set[bytes]:
        """The lines in force."""
        return {*self.source._entries.current.lines}

    def refusal(self, name: str) -> Reason | None:
        """Why an agent is refused."""
        try:
            self.source.check(Agent(SpiffeId.parse(name)), NOBODY, ())
        except Denied as denied:
            return denied.reason
        return None


ENTRIES: Final = st.builds(
    suspend,
    st.sampled_from(NAMES),
    expires=st.none() | st.integers(1, 4).map(lambda hours: START + timedelta(hours=hours)),
)
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("revoke"), ENTRIES),
        st.tuples(st.just("take_back"), st.integers(0, 9)),
        st.tuples(st.sampled_from(["copy", "restore", "lose_all"]), st.none()),
        st.tuples(
            st.sampled_from(["go", "come", "garbage", "many", "wait", "set_back"]), st.none()
        ),
        st.tuples(st.just("look"), st.none()),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=25,
)


@given(STEPS)
def test_like_a_list(steps: list[tuple[str, Any]]) -> None:
    """Whatever happens to the store, no known revocation is lost, and nothing else is in force."""
    store = ShakyStore()
    follower, copy = Follower(store), store.copy()
    for step, value in [*steps, ("come", None), ("look", None), ("look", None)]:
        held = list(store.held())
        if step in {"go", "come"}:
            store.is_away = step == "go"
        elif step == "look":
            follower.look()
        elif step == "wait":
            follower.now += 3600
        elif step == "set_back":
            follower.now -= 3600
        elif step == "copy":
            copy = store.copy()
        elif step in {"restore", "lose_all"}:
            store.lose_all() if step == "lose_all" else store.restore(copy)
            copy = store.copy()
            follower.lost()
        elif not store.is_away:
            change(store, step, value, held, follower)


def change(store: ShakyStore, step: str, value: Any, held: list[str], follower: Follower) -> None:
    """Change the store as others do."""
    if step == "revoke":
        store.revoke(value)
    elif step == "garbage":
        store.add({"g": b"garbage"}, "x", 1.0)
    elif step == "many":
        for number in range(MAX_FOLLOWED // 2 + 1):
            store.add({f"m{number}": suspend(NAMES[0], note=str(number)).line}, "x", 1.0)
            store.take_back([f"m{number}"], "x", "", 1.0)
    elif held:
        name = held[value % len(held)]
        store.take_back([name], "x", "", 1.0)
        follower.taken_back.add(name)


def test_a_failover_that_caught_up() -> None:
    """A new primary that lost a change, and has another one by that number, is found out."""
    store = ShakyStore()
    follower = Follower(store)
    store.revoke(suspend(NAMES[0]))
    copy = store.copy()
    store.revoke(suspend(NAMES[1]))
    follower.look()
    store.restore(copy)
    follower.lost()
    store.revoke(suspend(NAMES[2]))

    follower.look()
    assert [follower.refusal(name) for name in NAMES[:3]] == [Reason.AGENT_SUSPENDED] * 3
    assert len(store.held()) == 3
    assert follower.source.status().lost == 1


def test_a_full_store_is_restored_later() -> None:
    """What can't be written back stays in force here, and is written when there is room."""
    store = ShakyStore()
    follower = Follower(store)
    store.revoke(suspend(NAMES[0]))
    follower.look()
    store.lose_all()
    follower.lost()
    store.is_full = True
    follower.look()
    assert follower.refusal(NAMES[0]) is Reason.AGENT_SUSPENDED
    assert not store.held()
    store.is_full = False
    follower.source.look()
    assert len(store.held()) == 1
    assert follower.source.status().lost == 1


@pytest.mark.parametrize("when_away", ["deny", "serve"])
def test_away_for_too_long(when_away: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once; then all is refused, or what is known stays in force, until it answers."""
    caplog.set_level(logging.INFO)
    store = ShakyStore()
    follower = Follower(store, when_away=when_away, away_after="10s")
    source, refused = follower.source, Reason.STORE_UNAVAILABLE if when_away == "deny" else None
    assert (follower.refusal(NAMES[1]), source.is_ready) == (refused, False), "before a look"
    store.revoke(suspend(NAMES[0], by="ann", note="stolen"))
    follower.look()
    assert (follower.refusal(NAMES[1]), source.is_ready) == (None, True)

    store.is_away = True
    for _ in range(3):
        follower.monotonic += 5
        generation = follower.generation
        follower.look()
        source.absence.judge()
        is_long = follower.monotonic > 10
        assert follower.refusal(NAMES[1]) == (refused if is_long else None)
        assert follower.generation - generation == is_long
        assert follower.refusal(NAMES[0]) is Reason.AGENT_SUSPENDED
    assert source.status().is_away
    assert (source.is_ready, source.is_current) == (when_away == "serve", False)
    follower.monotonic += 5
    source.absence.judge()
    assert caplog.text.count("the store has been away for 15 s") == 1
    assert caplog.text.count("can't look for revocations") == 1, "of three looks"
    for _ in range(2):
        follower.monotonic += 60
        follower.look()
    assert caplog.text.count("can't look for revocations") == 3, "and once a minute"

    store.is_away = False
    generation = follower.generation
    follower.look()
    assert follower.refusal(NAMES[1]) is None
    assert (follower.generation > generation) == (when_away == "deny")
    assert "the store answers again" in caplog.text
    store.is_away = True
    follower.look()
    assert caplog.text.count("can't look for revocations") == 4, "of a new silence"
    store.is_away = False
    follower.look()
    assert (source.is_ready, source.status().is_away) == (True, False)


def test_a_start_without_the_store() -> None:
    """With serve, a server begins without the store when it has waited; with deny, never."""
    for when_away in ("deny", "serve"):
        store = ShakyStore()
        store.is_away = True
        follower = Follower(store, when_away=when_away, away_after="10s")
        follower.look()
        follower.source.absence.judge()
        assert not follower.source.is_ready
        follower.monotonic += 11
        follower.source.absence.judge()
        assert follower.source.is_ready == (when_away == "serve")


def test_what_the_log_tells(caplog: pytest.LogCaptureFixture) -> None:
    """Who revoked what and why, and who took it back; of many entries the first, and the count."""
    caplog.set_level(logging.INFO, "authz.revocations")
    store = ShakyStore()
    follower = Follower(store)
    follower.look()
    caplog.clear()
    entry = suspend(NAMES[0], by="ann", note="stolen")
    store.revoke(entry)
    follower.look()
    store.take_back([entry.id], "bob", "found", 1.0)
    follower.look()
    told = [
        (r.message, r.__dict__["id"], r.__dict__["by"], r.__dict__["note"]) for r in caplog.records
    ]
    assert told == [
        ("revocation in force", entry.id, "ann", "stolen"),
        ("revocation taken back", entry.id, "bob", "found"),
    ]
    caplog.clear()
    many = [suspend(NAMES[0], note=str(number)) for number in range(50)]
    store.add({each.id: each.line for each in many}, "ann", 1.0)
    follower.look()
    assert len(caplog.records) == 21
    assert caplog.records[-1].message == "revocations in force: 50 in all"


def test_garbage(caplog: pytest.LogCaptureFixture) -> None:
    """Invalid lines are told once, and revoke nothing; an entry that becomes one stays in force."""
    store = ShakyStore()
    follower = Follower(store)
    entry = suspend(NAMES[0])
    store.revoke(entry)
    follower.look()
    long = suspend(NAMES[1], note="x" * MAX_LINE_BYTES)
    store.add({"a": b"{", "b\n": b"\xff", "c": b"", "long": long.line}, "x", 1.0)
    follower.source.look()
    follower.source.look()
    assert caplog.text.count("an entry of the store is invalid") == 4
    assert follower.in_force() == {entry.line}
    assert follower.source.status().refused == 1
    store.take_back([entry.id], "x", "", 1.0)
    store.add({entry.id: b"{"}, "x", 1.0)
    follower.source.look()
    assert follower.refusal(NAMES[0]) is None, "it was taken back first"
    store.take_back([entry.id], "x", "", 1.0)
    store.revoke(entry)
    follower.source.look()
    copy = store.copy()
    copy.entries[entry.id] = b"{"
    store.restore(copy)
    follower.source._follower.version = None
    follower.source.look()
    assert follower.refusal(NAMES[0]) is Reason.AGENT_SUSPENDED


def test_the_same_entry_by_two_ids() -> None:
    """An entry counts until it is taken back by each of its ids."""
    store = ShakyStore()
    follower = Follower(store)
    line = suspend(NAMES[0]).line
    store.add({"x": line, "y": line}, "x", 1.0)
    follower.look()
    store.take_back(["x"], "x", "", 1.0)
    follower.look()
    assert follower.refusal(NAMES[0]) is Reason.AGENT_SUSPENDED
    store.take_back(["y"], "x", "", 1.0)
    follower.look()
    assert follower.refusal(NAMES[0]) is None


def test_a_clock_that_is_set_back() -> None:
    """What a clock that was ahead let expire counts again, by each of its ids."""
    store = ShakyStore()
    follower = Follower(store)
    line = suspend(NAMES[0], expires=START + timedelta(hours=1)).line
    store.add({"x": line, "y": line}, "x", 1.0)
    follower.look()
    follower.now += 7200
    follower.look()
    assert follower.refusal(NAMES[0]) is None
    follower.now -= 7200
    follower.look()
    assert follower.refusal(NAMES[0]) is Reason.AGENT_SUSPENDED
    store.take_back(["x"], "x", "", 1.0)
    follower.look()
    assert follower.refusal(NAMES[0]) is Reason.AGENT_SUSPENDED


def test_the_sweep_goes_by_the_clock_of_the_store() -> None:
    """Expired entries leave the store, however wrong our clock is: by a later change's time."""
    store = ShakyStore()
    follower = Follower(store)
    soon = datetime.fromtimestamp(store._ticks + 10, UTC)
    store.revoke(suspend(NAMES[0], expires=soon))
    follower.look()
    follower.monotonic += 2 * SWEEP_SECONDS
    follower.source.look()
    assert len(store.held()) == 1, "by the store's clock it has not expired"
    store._ticks += 1000
    store.revoke(suspend(NAMES[1]))
    follower.monotonic += 2 * SWEEP_SECONDS
    follower.source.look()
    assert [*store.held().values()] == [suspend(NAMES[1]).line]
    assert store.changes(1, 1.0)[0].by == "expired"


def test_no_bump_is_lost() -> None:
    """Two threads that add to the generation never set it back."""
    sources = RevocationSources(RevocationSettings(), ShakyStore())

    def change_often() -> None:
        for _ in range(20_000):
            sources._changed()

    threads = [threading.Thread(target=change_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sources.generation == 80_000
