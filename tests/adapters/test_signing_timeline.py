"""Keys that sign change so that no verifier is ever without the key of a token in force."""

from collections.abc import Sequence
from itertools import accumulate
from math import inf
from typing import NamedTuple

import hypothesis
from hypothesis import strategies as st

from authz.adapters.signing.private_key import parse_signing_key
from authz.adapters.signing.timeline import (
    AHEAD_SECONDS,
    CLOCK_SKEW_SECONDS,
    DELAY_SECONDS,
    MAX_AGE_SECONDS,
    MAX_WAITING,
    Stage,
    Timeline,
    kept_seconds,
)
from support.signing import pem

LIFETIME = 120.0
KEPT = kept_seconds(LIFETIME)
KEYS = [parse_signing_key(pem(), f"key {number}") for number in range(10)]
STEP = 60  # all moments are multiples of it


def listed(*begins: float) -> Timeline:
    """Keys 0, 1, ... of a config, the first without a moment."""
    pairs = zip(begins, KEYS, strict=False)
    return Timeline(tuple(Stage(place, at, key) for place, (at, key) in enumerate(pairs)))


def uses(timeline: Timeline, now: float) -> dict[int, str]:
    """What each published key is for."""
    return {KEYS.index(key): str(use) for key, use in timeline.published(now, KEPT).items()}


def moments(last: int) -> st.SearchStrategy[int]:
    """Return moments up to a last one."""
    return st.integers(0, last // STEP).map(lambda number: number * STEP)


def test_the_last_key_whose_time_has_come_signs() -> None:
    """The first key signs before any moment, and each later one from its own moment on."""
    timeline = listed(-inf, 1000.0, 2000.0)
    assert [KEYS.index(timeline.signing(now)) for now in (0, 999, 1000, 1999, 2000)] == [
        0, 0, 1, 1, 2,
    ]  # fmt: skip
    assert timeline.next_at(0) == timeline.next_at(999.9) == 1000
    assert timeline.next_at(1000) == 2000
    assert timeline.next_at(2000) is None


def test_later_keys_are_published_and_earlier_ones_kept() -> None:
    """The current key comes first, all later ones after it, and an old one until its tokens end."""
    timeline = listed(-inf, 1000.0, 5000.0)
    assert uses(timeline, 0) == {0: "current", 1: "next", 2: "next"}
    assert list(uses(timeline, 1000)) == [1, 2, 0]
    assert uses(timeline, 1000 + KEPT - 1) == {1: "current", 2: "next", 0: "previous"}
    assert uses(timeline, 1000 + KEPT) == {1: "current", 2: "next"}


def test_a_replaced_key_signs_until_the_new_one_is_known() -> None:
    """The key that replaces another in its file is published at once, and signs later."""
    timeline = listed(-inf).replaced(0, KEYS[5], 100.0)
    assert uses(timeline, 100) == {0: "current", 5: "next"}
    assert timeline.next_at(100) == 100 + AHEAD_SECONDS
    assert uses(timeline, 100 + AHEAD_SECONDS) == {5: "current", 0: "previous"}
    assert uses(timeline, 100 + AHEAD_SECONDS + KEPT) == {5: "current"}
    ended = timeline.without_ended(100 + AHEAD_SECONDS + KEPT, KEPT)
    assert [stage.key for stage in ended.stages] == [KEYS[5]]


def test_a_key_never_signs_after_its_place_is_over() -> None:
    """A key that replaces one whose successor begins earlier never signs, nor is published."""
    timeline = listed(-inf, 400.0).replaced(0, KEYS[5], 100.0)
    assert uses(timeline, 100) == {0: "current", 1: "next"}
    assert uses(timeline, 100 + AHEAD_SECONDS) == {1: "current", 0: "previous"}


def test_a_key_that_may_sign_elsewhere_is_published() -> None:
    """Another replica may have seen a change sooner, and signs before the successor does."""
    timeline = listed(-inf, 500.0).replaced(0, KEYS[5], 100.0)
    assert uses(timeline, 100) == {0: "current", 5: "next", 1: "next"}
    assert uses(timeline, 500 + KEPT - 1) == {1: "current", 0: "previous", 5: "previous"}
    assert timeline.next_at(100) == 500


def test_files_that_change_all_the_time_stay_bounded() -> None:
    """A file that has another key each second publishes a few keys."""
    timeline = listed(-inf)
    for second in range(2000):
        timeline = timeline.replaced(0, KEYS[1 + second % 9], float(second))
        timeline = timeline.without_ended(float(second), KEPT)
        assert (
            len(timeline.published(float(second), KEPT)) <= len(timeline.stages) <= 3 * MAX_WAITING
        )


def test_a_clock_that_is_set_back_finds_a_key() -> None:
    """Before every moment that is left, the first key signs."""
    timeline = Timeline((Stage(0, 1000.0, KEYS[0]),))
    assert timeline.signing(0.0) == KEYS[0]
    assert uses(timeline, 0.0)[0] == "current"


@hypothesis.given(gaps=st.lists(moments(1500).filter(bool), max_size=4), asked=moments(6000))
@hypothesis.settings(max_examples=60, deadline=None)
def test_a_list_of_keys_is_used_as_a_slow_model_says(gaps: list[int], asked: int) -> None:
    """Signing and published keys are those of a model that walks through all of time."""
    begins = [0]
    for gap in gaps:
        begins.append(begins[-1] + gap)
    timeline = listed(-inf, *map(float, begins[1:]))
    signs = [sum(at <= now for at in begins) - 1 for now in range(0, 12000, STEP)]
    before, after = signs[: asked // STEP], signs[asked // STEP :]
    assert timeline.signing(asked) == KEYS[after[0]]
    recent = before[-int(KEPT // STEP) :]
    expected = {**dict.fromkeys(after, "next"), **dict.fromkeys(recent, "previous")}
    assert uses(timeline, asked) == {**expected, after[0]: "current"}


def replica(
    begins: Sequence[float], changes: Sequence[tuple[int, int, int]], delays: Sequence[int]
) -> list[Timeline]:
    """The timelines of a replica at each STEP, which sees each change of a file with a delay."""
    timeline = listed(-inf, *begins)
    seen = {}
    for (at, place, key), delay in zip(changes, delays, strict=True):
        seen[at + delay] = (place, key)
    found = []
    for now in range(0, 7200, STEP):
        timeline = timeline.without_ended(now, KEPT)
        if now in seen:
            place, key = seen[now]
            timeline = timeline.replaced(place, KEYS[key], now)
        found.append(timeline)
    return found


class World(NamedTuple):
    """A config, the changes of its files, and how much later each of two replicas sees them."""

    begins: list[float]
    changes: list[tuple[int, int, int]]
    delays: tuple[list[int], list[int]]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Return two replicas of a config whose files change now and then."""
    gaps = draw(st.lists(moments(2400).filter(lambda gap: gap > MAX_AGE_SECONDS), max_size=2))
    pauses = draw(st.lists(moments(1800).filter(lambda gap: gap >= AHEAD_SECONDS), max_size=3))
    begins, times = [float(at) for at in accumulate(gaps)], list(accumulate(pauses))
    places = [draw(st.integers(0, len(gaps))) for _ in times]
    changes = [(at, place, 4 + n) for n, (at, place) in enumerate(zip(times, places, strict=True))]
    delays = st.lists(moments(int(DELAY_SECONDS)), min_size=len(times), max_size=len(times))
    return World(begins, changes, (draw(delays), draw(delays)))


@hypothesis.given(world=worlds())
@hypothesis.settings(max_examples=60, deadline=None)
def test_every_verifier_knows_the_key_of_every_token_in_force(world: World) -> None:
    """Keys that a verifier fetched a while ago, from any replica, verify all that is in force.

    That holds at each moment, whichever replica signed, with clocks that differ.
    """
    old, life = MAX_AGE_SECONDS // STEP, int(LIFETIME + CLOCK_SKEW_SECONDS) // STEP
    replicas = [replica(world.begins, world.changes, delays) for delays in world.delays]
    for signer in replicas:
        for publisher in replicas:
            sets = [
                frozenset(timeline.published(at * STEP, KEPT))
                for at, timeline in enumerate(publisher)
            ]
            for at, timeline in enumerate(signer):
                key = timeline.signing(at * STEP)
                # All sets that a verifier may hold while the token is in force.
                assert all(key in keys for keys in sets[max(0, at - old) : at + life])


@hypothesis.given(delay=moments(int(DELAY_SECONDS)), place=st.integers(0, 2))
@hypothesis.settings(max_examples=20, deadline=None)
def test_a_replaced_key_signs_in_the_end(delay: int, place: int) -> None:
    """A file's new key signs when AHEAD_SECONDS are over, unless its place's time is."""
    timelines = replica((600.0, 1200.0), [(1800, place, 7)], [delay])
    last = timelines[-1].signing(7000.0)
    assert last == (KEYS[7] if place == 2 else KEYS[2])
