"""Patterns of agents' names fuzzed: no two names make the same ID, nor any of another domain."""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Protocol

from hypothesis import strategies as st

from fuzz import reference

Draw = Callable[..., Any]


class Pattern(Protocol):
    """What is fuzzed."""

    def make(self, value: str) -> str | None:
        """Return the ID that a value makes."""


Parse = Callable[[str, str], Pattern]
DOMAIN = "corp.example"
PIECES = ["{a}", "{b}", "{c}", ":", "/", "-", ".", "x", "_", "{", "}", "{A}", "%", "\n"]
_TEXTS = st.text(st.sampled_from("aB9.-_:/x%\n\u00e9\u0661{}"), max_size=8)
_HELD = st.text(st.sampled_from("aB9.-_"), min_size=1, max_size=4)
_PATH = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join)
_ODD = st.tuples(_PATH, _PATH)


@st.composite
def _sane(draw: Draw) -> tuple[str, str]:
    """Draw a pattern and a path that may well be good: mostly the same names, each once."""
    names = draw(st.lists(st.sampled_from(["{a}", "{b}", "{c}"]), min_size=1, unique=True))

    def joined(separators: list[str]) -> str:
        parts = [names[0]]
        for name in names[1:]:
            parts += [draw(st.sampled_from(separators)), name]
        around = st.sampled_from(["", "x", "x-", "-"])
        return f"{draw(around)}{''.join(parts)}{draw(around)}"

    value = joined([":", ":x:", "/", "-:", "-"])
    how = draw(st.sampled_from(["same", "same", "same", "twice", "fewer"]))
    names = [*draw(st.permutations(names)), *names[: how == "twice"]][how == "fewer" :]
    if not names or draw(st.integers(0, 9)) == 0:
        return f"{value}:{value}", "x"
    return value, joined(["/", "/x/", "-/x", "-"])


_SANE = _sane()


def check(parse: Parse, draw: Draw) -> tuple[str, str]:
    """Make IDs of two names by a drawn pattern; the answer, and what is wrong with it."""
    value, path = draw(_SANE if draw(st.integers(0, 3)) else _ODD)
    authority = draw(st.sampled_from([DOMAIN] * 8 + ["{a}", "{a}.example", ""]))
    template = f"spiffe://{authority}/{path}"
    try:
        pattern = parse(value, template)
    except ValueError:
        return "refused", ""
    names = {_name(draw, value), *_names(value)}
    made = {name: pattern.make(name) for name in sorted(names)}
    agents = [agent for agent in made.values() if agent is not None]
    what = f"{value!r}: {template!r} made {made}"
    if len(set(agents)) < len(agents):
        return "same", f"two names: {what}"
    if not all(reference.agent_may_be(agent, DOMAIN) for agent in agents):
        return "other", f"not an ID of the domain: {what}"
    return "made" if agents else "unfit", ""


def _names(value: str) -> Iterator[str]:
    """Names of a pattern whose parts could be taken for each other's, or for what is between."""
    for parts in product(["a", "-", "a-", "a-a", "axa"], repeat=3):
        name = value
        for letter, part in zip("abc", parts, strict=True):
            name = name.replace("{" + letter + "}", part)
        yield name


def _name(draw: Draw, value: str) -> str:
    """A name that fits a pattern, or nearly does, or any text."""
    if draw(st.integers(0, 5)) == 0:
        return str(draw(_TEXTS))
    for name in "abc":
        text: str = draw(_TEXTS if draw(st.booleans()) else _HELD)
        value = value.replace("{" + name + "}", text)
    return value
