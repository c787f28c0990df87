"""Budgets in policy: their settings, which rule's is spent, what a call costs, and whose it is."""

import json
from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config import ConfigError, load_text
from authz.core.decision import Mode, Permit, ShadowBy, Spending
from authz.core.policy.budget import Cost, CostError, joined
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.policy import Policy
from authz.core.policy.settings import RuleSettings
from authz.core.policy.shadow import ShadowedPolicy
from authz.core.request import Call, CallKind, MessageProtocol, Operation
from lab.config_builder import AT_READ_RULE, LAB
from support.rule_keys import policy, question, rule
from support.verbs import config_text

GOOD: dict[str, Any] = {"limit": 10, "per": "agent", "window": "1h"}
BUDGET = {"limit": 10.0, "per": "agent", "window": 60.0}


def spent(policy_: Policy, **how: Any) -> tuple[Spending, ...]:
    """Return what an allow spends."""
    outcome = policy_.evaluate(question(**how)).outcome
    assert isinstance(outcome, Permit)
    return outcome.spendings


def limited(name: str = "limited", **changes: Any) -> RuleSettings:
    """Return a rule with a budget."""
    return rule(name=name, budget={**BUDGET, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": 0}, "budget.limit: must be more than 0, and at most 1000000000"),
        ({"limit": -1}, "budget.limit"),
        ({"limit": 10**10}, "budget.limit"),
        ({"limit": True}, "budget.limit"),
        ({"limit": "10"}, "budget.limit"),
        ({"limit": 1.0000001}, "may have 6 decimals at most"),
        ({"limit": 0.5}, "a call costs 1, so less allows none"),
        ({"limit": float("nan")}, "budget.limit"),
        ({"limit": float("inf")}, "budget.limit"),
        ({"per": "team"}, "budget.per: must be 'agent', 'principal' or 'pair'"),
        ({"window": "0s"}, "budget.window"),
        ({"window": "400d"}, "budget.window"),
        ({"window": 60}, "a duration must be a whole number and a unit"),
        ({"cost": "sum"}, "only calls have operation.arguments: name the calls in mcp"),
        ({"cost": "$.sum"}, "members are named by a JSON Pointer (RFC 6901): write /sum"),
        ({"cost": ""}, "budget.cost"),
        ({"when_away": "serve"}, "budget.when_away: must be 'deny' or 'local'"),
        ({"burst": 3}, "budget.burst: unknown key"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], words: str) -> None:
    """A budget that can't be meant is refused, with words on what would be right."""
    text = LAB.with_((*AT_READ_RULE, "budget"), GOOD | changes).edit(config_text())
    with pytest.raises(ConfigError) as refused:
        load_text(text.encode(), "authz.yaml")
    assert words in "\n".join(refused.value.lines())


@pytest.mark.parametrize("missing", ["limit", "per", "window"])
def test_settings_that_are_missing(missing: str) -> None:
    """Nothing that says how much is allowed has a default."""
    budget = {key: value for key, value in GOOD.items() if key != missing}
    text = LAB.with_((*AT_READ_RULE, "budget"), budget).edit(config_text())
    with pytest.raises(ConfigError, match=missing):
        load_text(text.encode(), "authz.yaml")


def test_a_deny_has_no_budget() -> None:
    """A budget limits an allow."""
    with pytest.raises(ValueError, match="budget limits an allow"):
        rule(effect="deny", budget=BUDGET)


def test_which_rule_is_spent() -> None:
    """The first without a budget is taken; else one in shadow; else the first."""
    assert not spent(policy((limited(), rule(name="free"))))
    assert [s.rule for s in spent(policy((limited("x"), limited("y"))))] == ["a/x"]
    found = spent(policy((limited("x"), limited("y", shadow=True))))
    assert [(s.rule, s.shadow) for s in found] == [("a/y", ShadowBy.RULE)]
    unmet = rule(name="other", scopes=("no",))
    assert [s.rule for s in spent(policy((unmet, limited("x"))))] == ["a/x"]


def test_both_sides_spend() -> None:
    """The budgets of both rules are spent."""
    assert [s.rule for s in spent(policy((limited(),), (limited(),)))] == ["a/limited", "p/limited"]


def test_a_policy_in_shadow_enforces_none() -> None:
    """All of its budgets are in shadow."""
    outcome = ShadowedPolicy(policy((limited(),))).evaluate(question()).outcome
    assert isinstance(outcome, Permit)
    assert [s.shadow for s in outcome.spendings] == [ShadowBy.POLICY]


def test_a_remembered_permit_spends_too() -> None:
    """The permit that is kept for a caller has the budget, each time."""
    subject, asked = policy((limited(),)), question()
    outcomes = [subject.evaluate(asked).outcome for _ in range(3)]
    assert all(isinstance(one, Permit) and len(one.spendings) == 1 for one in outcomes)


def keys_of(per: str, **how: Any) -> bytes:
    """Return whose budget a request spends."""
    return spent(policy((limited(per=per),)), **how)[0].key


def test_whose_it_is() -> None:
    """Principals differ where they have a budget each; a request of nobody is the agent's."""
    for per, is_one in (("agent", True), ("principal", False), ("pair", False)):
        assert (keys_of(per) == keys_of(per, subject="bob")) is is_one
    assert len({keys_of(per) for per in ("agent", "principal", "pair")}) == 3
    assert keys_of("principal") != keys_of("principal", mode=Mode.BOOTSTRAP, subject="")


def test_what_names_a_budget() -> None:
    """Another name, window or owner is another budget; another limit is the same one's."""
    key = keys_of("agent")
    same = spent(policy((limited(limit=99.0),)))[0]
    assert (same.key, same.limit) == (key, 99_000_000)
    for other in (limited("new"), limited(window=61.0), limited(per="pair")):
        assert spent(policy((other,)))[0].key != key


def cost_of(value: object, limit: int = 10**15) -> int:
    """Return what a call costs whose argument has a value."""
    arguments = json.dumps({"a": {"b": value}}).encode()
    call = Call("tools/call", CallKind.TOOL, "pay", arguments=arguments)
    return Cost("/a/b", limit).in_call(call)


@given(st.integers(0, 10**9) | st.floats(0, 1e9))
def test_a_cost_is_never_less(value: float) -> None:
    """A cost in millionths is what was written, rounded up: never less, and less than one more."""
    written = Fraction(repr(value)) * 1_000_000
    assert cost_of(value) == ceil(written)


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | st.floats(max_value=-0.0, allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(JSON)
def test_what_is_no_cost(value: object) -> None:
    """Nothing but a number that is not negative is a cost."""
    with pytest.raises(CostError):
        cost_of(value)


@pytest.mark.parametrize("arguments", [b"", b"[]", b"{}", b"{", b'{"a":1}', b'{"a":{"b":NaN}}'])
def test_arguments_without_a_cost(arguments: bytes) -> None:
    """Arguments that have none, or can't be read, cost nothing certain."""
    with pytest.raises(CostError):
        Cost("/a/b", 10).in_call(Call("tools/call", arguments=arguments))
    with pytest.raises(CostError):
        Cost("/a/b", 10).in_call(None)


def test_a_cost_above_the_limit() -> None:
    """What no window could hold is no cost either."""
    assert cost_of(10, 10_000_000) == 10_000_000
    with pytest.raises(CostError):
        cost_of(10.000001, 10_000_000)


def test_calls_of_a_batch_are_added_up() -> None:
    """Each budget is spent once for all calls, and of each as much as they cost together."""
    paid = rule(budget={**BUDGET, "cost": "sum"}, mcp={"tools": ("pay",)}, name="pay")
    asked = question()
    queries = [_paying(asked, number) for number in (1, 2.5, 0.25)]
    mcp = rule(mcp={"tools": ("*",)})
    outcome = evaluate_all(policy((paid,), (mcp,)), queries).outcome
    assert isinstance(outcome, Permit)
    assert [(s.rule, s.cost) for s in outcome.spendings] == [("a/pay", 3_750_000)]


def _paying(asked: Any, amount: float) -> Any:
    arguments = json.dumps({"sum": amount}).encode()
    call = Call("tools/call", CallKind.TOOL, "pay", arguments=arguments)
    operation = Operation("POST", "h", ("x",), protocol=MessageProtocol.MCP, call=call)
    return msgspec.structs.replace(asked, operation=operation)


def test_joined_keeps_what_differs() -> None:
    """Budgets of other keys stay apart."""
    one = Spending("r", b"1", 1, 10, 60.0)
    other = Spending("r", b"2", 2, 10, 60.0)
    assert [(s.key, s.cost) for s in joined([one, other, one])] == [(b"1", 2), (b"2", 2)]
