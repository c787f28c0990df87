"""What one request may cost: a search for the dearest one of each size finds none over the budget.

The budgets are steps of Python (``costs``), the same for the smallest request and for the largest:
what grows with what a client sends is done in C, or ends at a bound. With
``AUTHZ_COSTS_SEED=7 AUTHZ_COSTS_TRIES=500`` the search goes elsewhere, and on for longer.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from itertools import chain, combinations, islice
from typing import Any, Final

import pytest

from authz.core.paths import MAX_PATH_BYTES
from authz.core.protocols.mcp import MAX_CALLS
from authz.core.request import MAX_HOST_BYTES, MAX_METHOD_CHARS
from support.cost_places import (
    BODIES,
    CHANGES,
    ENVOY,
    HEAD,
    TOKEN,
    decided,
    place_of_body,
    place_of_head,
    place_of_token,
    with_body,
)
from support.costs import Place, dearest, growth, steps_of
from support.world import BALANCE, World, check_request, reason_of

SEED: Final = int(os.environ.get("AUTHZ_COSTS_SEED", "20261128"))
TRIES: Final = int(os.environ.get("AUTHZ_COSTS_TRIES", "8"))

# Steps of Python, each some 50 ns with what it calls in C.
HEAD_STEPS: Final = 5_000  # before we know who asks; 700 for a plain request, more only of xfcc
TOKEN_STEPS: Final = 15_000  # that nobody signed; 1,200, more only where one writes odd JSON
MESSAGE_STEPS: Final = 30_000
CALL_STEPS: Final = 1_000  # to decide on one of a message's calls
TOOLS_STEPS: Final = 50_000  # of 256 tools, each of them read and decided on


@pytest.fixture(scope="module")
def world_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with routes of every protocol, and conditions that read arguments."""
    with World(tmp_path_factory.mktemp("costs"), CHANGES) as world:
        yield world


def assert_in_budget(place: Place, sizes: tuple[int, ...], budget: int) -> None:
    """The dearest text of no size takes more steps."""
    for size in {min(size, place.most) for size in sizes}:
        steps, units = dearest(place, size, tries=TRIES, seed=SEED)
        assert steps <= budget, f"{steps} steps for {size} bytes of {units[:8]}"


def assert_linear(place: Place) -> None:
    """With 16 times the bytes no text takes more than 64 times as long: squares take 256."""
    for unit in place.units:
        times = growth(place, unit)
        assert times < 64, f"{times:.0f} times the time for 16 times of {unit}"


@pytest.mark.parametrize("name", HEAD)
def test_the_dearest_head(world_: World, name: str) -> None:
    """Of what comes before we know who asks nothing costs more the longer or odder it is."""
    assert_in_budget(place_of_head(world_, name), (512, 8 * 1024, ENVOY), HEAD_STEPS)


@pytest.mark.parametrize("part", ["header", "payload", "odd payload"])
def test_the_dearest_token(world_: World, part: str) -> None:
    """A token that nobody signed costs little, up to the longest that is read."""
    assert_in_budget(place_of_token(world_, part), (512, TOKEN), TOKEN_STEPS)


@pytest.mark.parametrize("name", BODIES)
def test_the_dearest_message(world_: World, name: str) -> None:
    """A message costs no more the longer or odder it is; but each of its calls is decided."""
    budget = MAX_CALLS * CALL_STEPS if name == "subscriptions" else MESSAGE_STEPS
    assert_in_budget(place_of_body(world_, name), (1024, 16 * 1024, 64 * 1024), budget)


def spellings(name: str, count: int) -> dict[str, int]:
    """One member in as many spellings, which a lax server takes for the same."""
    places = chain.from_iterable(combinations(range(1, len(name)), n) for n in (1, 2, 3))
    cut = [zip((0, *at), (*at, len(name)), strict=True) for at in islice(places, count)]
    return {"_".join(name[begin:end] for begin, end in one): 1 for one in cut}


def widened(leaf: dict[str, Any], member: str, *widths: int) -> dict[str, Any]:
    """An object with a list of objects with lists, and so on, which end in leaves."""
    for width in reversed(widths):
        leaf = {member: [leaf] * width}
    return leaf


SMALL = {"model": "small-1"}
TOOL = {"type": "t", "name": "n"}
SPELLED = spellings("parallel_tool_calls", 480)
WIDE = {
    "bodies in bodies": widened(SMALL, "fallbacks", 8, 16, 16),
    "tools in tools": {"tools": [TOOL | {"tools": [TOOL] * 12}] * 200},
    "tools in bodies": widened({"tools": [TOOL] * 200}, "fallbacks", 16),
    "tools of many members": {"tools": [spellings("parallel_tool_calls", 28) | TOOL] * 256},
    "tools in a conversation": {"input": [{"tools": [TOOL]}] * 256},
    "a long conversation": {"input": [{"content": [{"a": 1}, {"b": 2}]}] * 2500, "tools": [TOOL]},
    "a long conversation with tools": {"input": [{"tool": 1}] * 256 + [{"a": 1}] * 7000},
    "members in many spellings": {"fallbacks": [SMALL | SPELLED] * 15, **SPELLED},
}


@pytest.mark.parametrize("name", WIDE)
def test_lists_in_lists(world_: World, name: str) -> None:
    """What a model call holds is counted as a whole, not list by list."""
    body = json.dumps(WIDE[name] | SMALL, separators=(",", ":"))
    message = with_body(world_, "/v1/chat/completions", body, token=world_.token())

    assert steps_of(decided(world_, message)) <= TOOLS_STEPS


@pytest.mark.parametrize("name", HEAD)
def test_no_head_takes_time_beyond_its_size(world_: World, name: str) -> None:
    """What C does, which is in no step, grows as the size does: no search steps back."""
    assert_linear(place_of_head(world_, name))


@pytest.mark.parametrize("name", ["argument", "arguments", "tools of a model", "bare body"])
def test_no_message_takes_time_beyond_its_size(world_: World, name: str) -> None:
    """Likewise for messages, up to the longest that is read."""
    assert_linear(place_of_body(world_, name))


def test_many_headers_of_one_name(world_: World) -> None:
    """Where a proxy lets through thousands, to join them takes no more time than to read them."""

    def ask(text: str) -> Callable[[], object]:
        headers = [("cookie", one) for one in text.split()]
        return decided(world_, check_request(world_.svid, headers, raw_headers=True))

    assert_linear(Place("headers", ENVOY * 4, ("aaaaaaaa ",), ask))


def test_plain_requests_pass(world_: World) -> None:
    """Long but plain is no reason to refuse: queries, cookies and paths as applications send."""
    query = "&".join(f"uri%5B{n}%5D=https%3A%2F%2Fa.example%2F%3Fb%3D{n}" for n in range(150))
    cookies = "; ".join(f"session-{n}={'c' * 40}" for n in range(150))
    path = f"{BALANCE}/{'/'.join(f'part-{n}' for n in range(800))}"
    japanese = f"{BALANCE}/{'%E6%AE%8B%E9%AB%98' * 400}"
    headers = [("authorization", f"Bearer {world_.token()}"), ("cookie", cookies)]
    for asked in (f"{BALANCE}?{query}", path, japanese, f"{path}?{query}"):
        answer = world_.check(check_request(world_.svid, headers, path=asked))
        assert reason_of(answer) == "allow", asked


def test_records_are_as_long_as_what_is_read(world: World) -> None:
    """Of what is too long a record has enough to be refused again, and not all of it."""
    odds: list[dict[str, Any]] = [
        {"path": "/" + "a" * ENVOY}, {"host": "a" * ENVOY}, {"method": "A" * ENVOY}
    ]  # fmt: skip
    for odd in odds:
        assert reason_of(world.check(check_request(world.svid, [], **odd))) == "path_ambiguous"

    records = world.audit_records()
    assert [len(one["path"]) for one in records] == [MAX_PATH_BYTES + 1, *[len(BALANCE)] * 2]
    assert len(records[1]["host"]) == MAX_HOST_BYTES + 1
    assert len(records[2]["method"]) == MAX_METHOD_CHARS + 1


def test_the_search_finds_what_costs() -> None:
    """A reader that looks at each pair of a query is found out, and so is a search that backs."""

    def pairs(text: str) -> Callable[[], object]:
        return lambda: [pair for pair in text.split("&") if pair.startswith("x")]

    def back(text: str) -> Callable[[], object]:
        return lambda: re.search("a*b", text)

    units = ("a", "=", "a&", "b=c")
    steps, found = dearest(Place("pairs", ENVOY, units, pairs), ENVOY, tries=TRIES, seed=SEED)
    assert steps > HEAD_STEPS
    assert "a&" in found
    with pytest.raises(AssertionError, match="times the time for 16 times of a"):
        assert_linear(Place("back", 8192, units, back))


def test_a_step_is_a_step(world_: World) -> None:
    """The same request takes the same steps each time, whatever else the machine does."""
    message = check_request(world_.svid, [], path="/public/x?" + "%61&" * 1000)
    decided(world_, message)()

    assert len({steps_of(decided(world_, message)) for _ in range(5)}) == 1
