"""Patterns of agents' names fuzzed: no two names make the same ID, nor any of another domain."""

from collections.abc import Callable
from typing import Any, Protocol

from hypothesis import strategies as st

from fuzz import reference
from support.costs import steps_of

Draw = Callable[..., Any]
MAX_STEPS = 100  # of Python, for a name of any length


class Pattern(Protocol):
    """What is fuzzed."""

    def make(self, value: str) -> str | None:
        """Return the ID that a value makes."""


Parse = Callable[[str, str], Pattern]
DOMAIN = "corp.example"
PIECES = st.sampled_from(
    ["{a}", "{b}", "{c}", "{a}", "{b}", ":", "/", "-", ".", "x", "_", "{", "}", "{A}", "%", "\n"]
)
TEXTS = st.text(st.sampled_from("aB9.-_:/x%\n\u00e9\u0661{}"), max_size=8)


def check(parse: Parse, draw: Draw) -> tuple[str, str]:
    """Make IDs of two names by a drawn pattern; the answer, and what is wrong with it."""
    value = "".join(draw(st.lists(PIECES, min_size=1, max_size=6)))
    path = "".join(draw(st.lists(PIECES, min_size=1, max_size=6)))
    authority = draw(st.sampled_from([DOMAIN] * 6 + ["{a}", "{a}.example", ""]))
    template = f"spiffe://{authority}/{path}"
    try:
        pattern = parse(value, template)
    except ValueError:
        return "refused", ""
    first, second = (_name(draw, value) for _ in range(2))
    made = [pattern.make(name) for name in (first, second)]
    what = f"{value!r}: {template!r} made {made} of {first!r} and {second!r}"
    if first != second and made[0] is not None and made[0] == made[1]:
        return "same", f"two names: {what}"
    if not all(one is None or reference.agent_may_be(one, DOMAIN) for one in made):
        return "other", f"not an ID of the domain: {what}"
    if steps_of(lambda: pattern.make(first * 1000)) > MAX_STEPS:
        return "slow", f"too many steps: {what}"
    return "made" if any(made) else "unfit", ""


def _name(draw: Draw, value: str) -> str:
    """A name that fits a pattern, or nearly does, or any text."""
    if draw(st.integers(0, 5)) == 0:
        return str(draw(TEXTS))
    for name in "abc":
        value = value.replace("{" + name + "}", draw(TEXTS if draw(st.booleans()) else _HELD))
    return value


_HELD = st.text(st.sampled_from("aB9.-_"), min_size=1, max_size=4)
