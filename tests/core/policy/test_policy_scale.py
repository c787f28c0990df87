"""What a decision costs, in counted steps, must not grow with the entries of a policy."""

import random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.policy import PrincipalMatch, PrincipalSettings
from authz.core.policy.held_rules import LOOKS
from authz.core.policy.name_patterns import Glob, NamePatterns
from authz.core.policy.policy import Policy
from authz.core.reason import Denied
from support.costs import steps_of
from support.policy_shapes import ISSUER, SHAPES, UNDIVIDED, Shape, query, rule, spiffe_id

FEW: Final = 10
MANY: Final = 400
# A new token looks for its entries once: once more for each group of its own, and for each entry
# that fits it.
GROWING: Final = (
    *UNDIVIDED,
    "a group each, and a token of many",
    "an entry each for one agent",
)
PATH_STEPS: Final = 400  # of a new path with a known token; 250 where a single rule fits
TOKEN_STEPS: Final = 4_000  # of a new token: 20 entries are tried, of 50 steps each, and some words
DRAWN: Final = 25  # policies


def decide(policy: Policy, shape: Shape) -> None:
    """Decide for a token that was not seen before."""
    whose = shape.delegation()
    policy.flags(whose)
    policy.evaluate(query(whose))


def steps_of_a_path(policy: Policy, shape: Shape) -> int:
    """Count the steps for another path of a token that has asked for some."""
    case = query(shape.delegation())
    for _ in range(LOOKS + 2):
        policy.evaluate(case)
    return steps_of(lambda: (policy.flags(case.delegation), policy.evaluate(case)))


@pytest.mark.parametrize("name", SHAPES)
def test_a_path_costs_the_same(name: str) -> None:
    """A known token's new path costs the same with 400 entries of a shape as with 10."""
    few, many = (SHAPES[name](count) for count in (FEW, MANY))

    costs = steps_of_a_path(few.policy(), few), steps_of_a_path(many.policy(), many)
    assert costs[1] <= 1.3 * costs[0], costs


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in GROWING])
def test_a_token_costs_the_same(name: str) -> None:
    """A new token takes as long among 400 entries as among 10, or tries a dozen entries more."""
    few, many = (SHAPES[name](count) for count in (FEW, MANY))
    policies = few.policy(), many.policy()

    costs = [
        steps_of(lambda policy=policy, shape=shape: decide(policy, shape))  # type: ignore[misc]
        for policy, shape in zip(policies, (few, many), strict=True)
    ]
    assert costs[1] <= 2 * costs[0], costs


@pytest.mark.parametrize("name", SHAPES)
def test_what_nothing_divides_is_known(name: str) -> None:
    """The entries of which a new token tries each are few, but in the shapes that are doubted."""
    undivided = SHAPES[name](MANY).policy().principals.undivided

    assert (len(undivided) > 2 * FEW) == (name in UNDIVIDED)


class Drawn:
    """A policy drawn from a seed: each kind of entry gives each member in one of five ways."""

    def __init__(self, seed: int) -> None:
        """Draw the kinds; a kind has its own grant."""
        self.draw = random.Random(seed)
        self.kinds = [self._kind() for _ in range(4)]

    def _kind(self) -> dict[str, str]:
        ways = ["not", "not", "own", "one of ten", "one of many", "several"]
        members = ("subjects", "agents", "groups", "roles", "dept", "takes")
        kind = {member: self.draw.choice(ways) for member in members}
        if not {"own", "one of many"} & set(kind.values()):
            kind[self.draw.choice(members[:-1])] = "own"
        return kind

    def _values(self, way: str, number: int) -> tuple[int, ...] | None:
        if way == "not":
            return None
        if way == "several":
            return tuple(self.draw.sample(range(1000), 3))
        return ({"own": number, "one of ten": number % 10, "one of many": number % 97}[way],)

    def shape(self, count: int) -> Shape:
        """Make the policy of so many entries."""
        entries = [self._entry(self.kinds[n % len(self.kinds)], n) for n in range(count)]
        grants = {"read": (rule("/**"),), "never": (rule("/closed/**"),)}
        claims = {"groups": ["t-0", "t-1"], "roles": [self.draw.choice(["t-0", 7])], "dept": "t-0"}
        everyone = PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("read",))
        return Shape([everyone, *entries], claims, grants)

    def _entry(self, kind: dict[str, str], number: int) -> PrincipalSettings:
        values = {
            member: self._values(way, number) for member, way in kind.items() if member != "takes"
        }
        agents = values.pop("agents")
        match: dict[str, Any] = {
            member: tuple(f"t-{value}" for value in some)
            for member, some in values.items()
            if some is not None
        }
        if "dept" in match:
            match["claims"] = {"dept": match.pop("dept")}
        takes = kind["takes"] == "own" and number % 10 == 1
        return PrincipalSettings(
            match=PrincipalMatch.model_validate({"issuer": ISSUER, **match}),
            agents=None if agents is None else tuple(map(spiffe_id, agents)),
            grants=("never",) if takes else ("read",),
            suspended=takes,
        )


def test_no_drawn_policy_is_dear() -> None:
    """A search over drawn policies of 300 entries finds none in which a decision takes long."""
    for seed in range(DRAWN):
        shape = Drawn(seed).shape(300)
        policy = shape.policy()
        try:
            token = steps_of(lambda: decide(policy, shape))  # noqa: B023 - called at once
            path = steps_of_a_path(policy, shape)
        except Denied:
            token, path = steps_of(lambda: suspended(policy, shape)), 0  # noqa: B023 - likewise
        assert path <= PATH_STEPS, (seed, path)
        assert token <= TOKEN_STEPS, (seed, token)


def suspended(policy: Policy, shape: Shape) -> None:
    """Decide where the principal is suspended."""
    with pytest.raises(Denied):
        decide(policy, shape)


@pytest.mark.parametrize("form", ["get_{}_*", "*_of_{}", "a{}*z"])
def test_patterns_of_names(form: str) -> None:
    """A name is looked for among 400 patterns as among 10."""
    few, many = (NamePatterns(form.format(n) for n in range(count)) for count in (FEW, MANY))

    assert all(one.fits(form.format(7).replace("*", "x")) for one in (few, many))
    assert not many.fits("else")
    costs = [steps_of(lambda one=one: one.fits("get_7_of_me")) for one in (few, many)]  # type: ignore[misc]
    assert costs[1] <= 2 * costs[0], costs


@given(st.lists(st.text("ab*", min_size=1, max_size=5)), st.text("ab", max_size=6))
def test_patterns_are_those_tried_in_turn(texts: list[str], name: str) -> None:
    """A list of patterns fits a name if any of them does."""
    tried = name != "" and any(Glob.parse(text).matches(name) for text in texts)

    assert NamePatterns(texts).fits(name) == (tried or name in texts)
