"""Budgets through the whole core: what is spent, by whom, what is not remembered, what is told."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from authz._pb import ext_authz_pb2 as pb
from authz._pb import ext_mcp_pb2 as pb_mcp
from authz.adapters.budgets import SpendResult
from authz.core.request import Call, CallKind
from lab.config_builder import AT_READ_RULE, LAB, ConfigBuilder
from lab.mesh import PAYMENTS, TRAVEL
from support.ext_mcp import CHANGES, Gateway, call, names, request, response
from support.ext_mcp import reason_of as told
from support.posts import message
from support.world import World, check_request, header_of, reason_of

READ_RULE = "finance-read/0"
TOOLS = {"tools": [{"name": "search"}, {"name": "get_file"}]}


def limited(limit: float, per: str = "agent", **more: Any) -> ConfigBuilder:
    """Return the lab's config with a budget of the rule by which balances are read."""
    budget = {"limit": limit, "per": per, "window": "1h", **more}
    return LAB.with_((*AT_READ_RULE, "budget"), budget)


def outcomes(world: World, count: int, token: str | None = None) -> list[str]:
    """Return what is answered to the same request, several times."""
    token = token or world.token()
    return [reason_of(world.ask(token)) for _ in range(count)]


def counts(world: World) -> dict[tuple[str, SpendResult], int]:
    """Return what became of all spendings."""
    return dict(world.parts.shared.spender.status().counts)


def test_the_cache_does_not_hide_it(tmp_path: Path) -> None:
    """The same request is counted each time: what passed is not remembered, nor is a refusal."""
    with World(tmp_path, limited(3)) as world:
        assert outcomes(world, 5) == ["allow"] * 3 + ["budget_exhausted"] * 2
        assert world.service.status().cache.entries == 0
        assert counts(world) == {
            (READ_RULE, SpendResult.SPENT): 3,
            (READ_RULE, SpendResult.EXHAUSTED): 2,
        }
        records = world.audit_records()
        assert [record["rule"] for record in records] == [READ_RULE] * 5
        assert {record["cache"] for record in records} == {"miss"}


def test_no_proxy_may_cache_it(tmp_path: Path) -> None:
    """The metadata give an allow that counts no time, by whatever clock; others have some."""
    with World(tmp_path, limited(3)) as world:
        token = world.token()
        counted, other = world.ask(token), world.ask(token, path="/public/x")
        assert reason_of(counted) == reason_of(other) == "allow"
        assert counted.dynamic_metadata["valid_until"] == 0.0
        assert other.dynamic_metadata["valid_until"] != 0.0


def test_others_are_remembered_as_before(tmp_path: Path) -> None:
    """A rule without a budget is cached beside others with one, and spends nothing."""
    with World(tmp_path, limited(3)) as world:
        token = world.token()
        for _ in range(3):
            assert reason_of(world.ask(token, path="/public/x")) == "allow"
        assert [record["cache"] for record in world.audit_records()] == ["miss", "hit", "hit"]
        assert not counts(world)


def test_what_the_client_is_told(tmp_path: Path) -> None:
    """A refusal is a 429 with Retry-After, and names neither the rule nor the limit."""
    with World(tmp_path, limited(1)) as world:
        assert outcomes(world, 1) == ["allow"]
        answer = world.ask(world.token())
        assert reason_of(answer) == "budget_exhausted"
        assert answer.denied_response.status.code == 429
        assert 1 <= int(header_of(answer, "retry-after") or "") <= 2 * 3600
        assert READ_RULE not in answer.denied_response.body
        record = world.audit_records()[-1]
        assert record["detail"].startswith(f"{READ_RULE}: its budget has no room")


@pytest.mark.parametrize(
    ("per", "shared"),
    [
        ("agent", {("travel", "bob")}),
        ("principal", {("payments", "alice")}),
        ("pair", set()),
    ],
)
def test_whose_it_is(tmp_path: Path, per: str, shared: set[tuple[str, str]]) -> None:
    """A budget is shared by an agent's principals, by a principal's agents, or by nobody."""
    more = limited(1, per).with_principals("""\
- match: {issuer: https://as.corp.example, subjects: [bob]}
  grants: [finance-read]
""")
    with World(tmp_path, more) as world:
        svids = {"travel": world.svid, "payments": world.authority.issue(PAYMENTS)}
        agents = {"travel": TRAVEL, "payments": PAYMENTS}

        def ask(agent: str, subject: str) -> str:
            token = world.issuer.token(agents[agent], scope="balance:read", sub=subject)
            headers = [("authorization", f"Bearer {token}")]
            sent = check_request(svids[agent], headers, principal=agents[agent])
            return reason_of(world.check(sent))

        assert ask("travel", "alice") == "allow"
        for other in (("travel", "bob"), ("payments", "alice"), ("payments", "bob")):
            # The last of them shares with one that has just spent, or is refused itself.
            expected = {"budget_exhausted"} if other in shared else {"allow"}
            if other == ("payments", "bob") and per != "pair":
                expected = {"budget_exhausted"}
            assert {ask(*other)} == expected


def test_a_rule_without_a_budget_comes_first(tmp_path: Path) -> None:
    """Grants add up: whoever also holds a rule without a budget spends nothing."""
    also = limited(1).with_items(
        ("grants", "finance-read"),
        """\
- {name: free, hosts: ["*"], methods: [GET], paths: [/finance/**], scopes: []}
""",
        before=1,
    )
    with World(tmp_path, also) as world:
        assert outcomes(world, 3) == ["allow"] * 3
        assert not counts(world)


def test_unrestricted_takes_no_budget_away(tmp_path: Path) -> None:
    """A rule's budget counts also where an entry of the same side is unrestricted."""
    wide = limited(1).with_(("agents", TRAVEL, "unrestricted"), True)
    with World(tmp_path, wide) as world:
        assert outcomes(world, 2) == ["allow", "budget_exhausted"]


def test_what_another_step_refuses_spends_nothing(tmp_path: Path) -> None:
    """Only what is otherwise allowed is counted."""
    with World(tmp_path, limited(1)) as world:
        assert outcomes(world, 1, world.token(scope="other")) == ["scope"]
        assert reason_of(world.ask()) == "token_missing"
        assert outcomes(world, 1) == ["allow"]


def test_many_threads_at_once(tmp_path: Path) -> None:
    """Of many requests at once exactly as many pass as the limit says."""
    with World(tmp_path, limited(100)) as world, ThreadPoolExecutor(8) as pool:
        token = world.token()
        answers = list(pool.map(lambda _: reason_of(world.ask(token)), range(300)))
        assert answers.count("allow") == 100
        assert answers.count("budget_exhausted") == 200


def test_a_budget_in_shadow(tmp_path: Path) -> None:
    """It is counted, and refuses nothing: what it would have refused is recorded and counted."""
    with World(tmp_path, limited(2, shadow=True)) as world:
        assert outcomes(world, 3) == ["allow"] * 3
        records = world.audit_records()
        noted = {"by": "rule", "decision": "deny", "reason": "budget_exhausted", "rule": READ_RULE}
        assert [record["shadows"] for record in records] == [[], [], [noted]]
        assert counts(world)[READ_RULE, SpendResult.SHADOW_EXHAUSTED] == 1


def test_a_policy_in_shadow(tmp_path: Path) -> None:
    """A whole policy in shadow refuses nothing by its budgets either, and notes it."""
    with World(tmp_path, limited(1).with_(("shadow",), True)) as world:
        assert outcomes(world, 2) == ["allow"] * 2
        shadows = [record["shadows"] for record in world.audit_records()]
        assert [[note["by"] for note in notes] for notes in shadows] == [[], ["policy"]]


def test_a_rule_in_shadow_spends_nothing(tmp_path: Path) -> None:
    """A rule in shadow is left out of the decision, and so is its budget."""
    watched = LAB.with_rules(
        "finance-read",
        """\
- name: watched
  hosts: ["*"]
  methods: ["*"]
  paths: ["/**"]
  scopes: []
  shadow: true
  budget: {limit: 1, per: agent, window: 1h}
""",
    )
    with World(tmp_path, watched) as world:
        assert outcomes(world, 3) == ["allow"] * 3
        assert not counts(world)


def test_a_candidate_spends_nothing(tmp_path: Path) -> None:
    """The budgets of a candidate policy are not spent, and refuse nothing."""
    with World(tmp_path) as world:
        candidate = world.configure(limited(1))
        world.parts.reconfigure(world.config, candidate)
        assert outcomes(world, 3) == ["allow"] * 3
        assert not counts(world)


MCP = LAB.with_routes("""\
- {name: trips, paths: [/trips/mcp], protocol: mcp}
- {name: quiet, paths: [/quiet/mcp], protocol: mcp, refusals: message}
""").with_rules(
    "finance-read",
    """\
- name: calls
  hosts: ["*"]
  methods: ["*"]
  paths: [/trips/mcp, /quiet/mcp]
  scopes: []
  mcp: {tools: [search]}
  budget: {limit: 3, per: pair, window: 1h}
- name: orders
  hosts: ["*"]
  methods: ["*"]
  paths: [/trips/mcp]
  scopes: []
  mcp: {tools: [order]}
  budget: {limit: 10.5, per: agent, window: 1d, cost: /order/sum}
- name: tried
  hosts: ["*"]
  methods: ["*"]
  paths: [/trips/mcp]
  scopes: []
  mcp: {tools: [try]}
  budget: {limit: 10, per: agent, window: 1d, cost: sum, shadow: true}
""",
)


@pytest.fixture
def mcp(tmp_path: Path) -> Iterator[World]:
    """A core with budgets of an MCP server's tools."""
    with World(tmp_path, MCP) as world:
        yield world


def tool(name: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
    """Return the call of a tool."""
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def ask(world: World, body: Any, **how: Any) -> pb.CheckResponse:
    """Ask about a message."""
    return world.check(message(world, body, **how))


def test_what_an_mcp_rule_brings_along_is_free(mcp: World) -> None:
    """Sessions and lists spend nothing of a budget of tools."""
    for method in ("initialize", "tools/list", "ping"):
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
        assert reason_of(ask(mcp, body)) == "allow"
    assert not counts(mcp)
    assert [reason_of(ask(mcp, tool("search"))) for _ in range(4)][2:] == [
        "allow",
        "budget_exhausted",
    ]


def test_a_batch_spends_for_each_call(mcp: World) -> None:
    """A batch is spent as a whole, or not at all."""
    assert reason_of(ask(mcp, [tool("search", 1), tool("search", 2)])) == "allow"
    assert reason_of(ask(mcp, [tool("search", 1), tool("search", 2)])) == "budget_exhausted"
    assert reason_of(ask(mcp, tool("search"))) == "allow"


def test_a_batch_of_more_than_the_whole_budget(mcp: World) -> None:
    """It is refused without words on when to try again, since no wait would help."""
    answer = ask(mcp, [tool("search", number) for number in range(4)])
    assert reason_of(answer) == "budget_exhausted"
    assert header_of(answer, "retry-after") is None


def test_the_json_rpc_error(mcp: World) -> None:
    """An MCP client reads the code of a refusal, the reason, and when to try again."""
    answers = [ask(mcp, tool("search")) for _ in range(4)]
    assert answers[3].denied_response.status.code == 429
    error = json.loads(answers[3].denied_response.body)["error"]
    assert (error["code"], error["data"]["reason"]) == (-32001, "budget_exhausted")
    assert str(error["data"]["retry_after"]) == header_of(answers[3], "retry-after")


def test_refusals_by_message(mcp: World) -> None:
    """A route that refuses by message tells it with HTTP status 200, as other words of policy."""
    answers = [ask(mcp, tool("search"), path="/quiet/mcp") for _ in range(4)]
    assert reason_of(answers[3]) == "budget_exhausted"
    assert answers[3].denied_response.status.code == 200


ORDERS: list[tuple[list[Any], list[str]]] = [
    ([10.5], ["allow"]),
    ([10.500001], ["policy_denied"]),
    ([10, 0.5, 0.0000001], ["allow", "allow", "budget_exhausted"]),
    ([10.4, 0.09999999], ["allow", "allow"]),
    ([0, 0, 10.5], ["allow"] * 3),
    ([1e1, 0.1, 0.2, 0.2, 0.000001], ["allow"] * 4 + ["budget_exhausted"]),
    (["1"], ["policy_denied"]),
    ([True], ["policy_denied"]),
    ([None], ["policy_denied"]),
    ([[1]], ["policy_denied"]),
    ([-1], ["policy_denied"]),
    ([-0.0], ["policy_denied"]),  # as -1e-400 is read
    ([1e30], ["policy_denied"]),
]


@pytest.mark.parametrize(("sums", "expected"), ORDERS)
def test_costs(mcp: World, sums: list[Any], expected: list[str]) -> None:
    """A cost is counted in millionths, rounded up; what is not an amount is refused."""
    assert [reason_of(ask(mcp, tool("order", order={"sum": one}))) for one in sums] == expected


@pytest.mark.parametrize(
    "body",
    [
        tool("order"),
        tool("order", order=7),
        tool("order", sum=1),
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "order"}},
    ],
)
def test_costs_that_are_missing(mcp: World, body: Any) -> None:
    """A call that does not say its cost is not allowed."""
    assert reason_of(ask(mcp, body)) == "policy_denied"
    assert not counts(mcp)


def test_two_spellings_of_a_cost(mcp: World) -> None:
    """A cost that servers may read in two ways is refused."""
    twice = tool("order", order={"sum": 1})
    text = json.dumps(twice).replace('"sum": 1', '"sum": 1, "sum": 9')
    assert reason_of(ask(mcp, text.encode())) == "message_malformed"
    text = json.dumps(twice).replace('"sum": 1', '"sum": 1, "SUM": 9')
    assert reason_of(ask(mcp, text.encode())) != "allow"


def test_a_cost_in_shadow(mcp: World) -> None:
    """A budget in shadow refuses no call that does not say its cost: it notes that."""
    assert reason_of(ask(mcp, tool("try"))) == "allow"
    assert reason_of(ask(mcp, tool("try", sum=10))) == "allow"
    notes = [len(record["shadows"]) for record in mcp.audit_records()]
    assert notes == [1, 0]


def test_arguments_are_read_only_for_costs(mcp: World) -> None:
    """Only the calls of rules with a cost have their arguments read, and so in the cache's key."""
    messages = mcp.service.snapshot.inputs.messages
    assert messages is not None
    reads = messages.reads_arguments
    kinds = {
        name: reads(Call("tools/call", CallKind.TOOL, name))
        for name in ("search", "order", "try", "other")
    }
    assert kinds == {"search": False, "order": True, "try": True, "other": False}


BUDGETED = CHANGES.with_(
    ("grants", "finance-read", "github", "budget"), {"limit": 2, "per": "agent", "window": "1h"}
)


def test_both_phases_of_a_gateway_spend_once(tmp_path: Path) -> None:
    """The gateway asks before a call and after it, and cuts lists: only calls spend."""
    with World(tmp_path, BUDGETED) as world:
        gateway, token = Gateway(world), world.token()
        for _ in range(3):
            assert told(gateway.ask(request("tools/list", token=token))) == "pass"
            shown = gateway.show(response("tools/list", TOOLS, token=token))
            assert told(shown) in {"pass", "mutated"}
        assert not counts(world)

        for _ in range(2):
            assert call(gateway, "search") == "pass"
            after = response("tools/call", {"content": []}, token=token)
            assert told(gateway.show(after)) == "pass"
        refused = gateway.ask(request("tools/call", {"name": "search"}, token=token))
        assert told(refused) == "budget_exhausted"
        assert refused.error.code == pb_mcp.AuthorizationError.RESOURCE_EXHAUSTED
        assert json.loads(refused.error.mcp_error)["data"]["retry_after"] > 0
        # What it has no room for is still listed: it may have some again.
        shown = gateway.show(response("tools/list", TOOLS, token=token))
        assert told(shown) == "pass" or names(shown) == ["search", "get_file"]


def test_a_method_checked_after_the_call_too(tmp_path: Path) -> None:
    """A method that only a rule knows is decided at both phases, and spends at the first alone."""
    own = BUDGETED.with_(("grants", "finance-read", "github", "mcp", "methods"), ["vendor/sync"])
    with World(tmp_path, own) as world:
        gateway, token = Gateway(world), world.token()
        for _ in range(2):
            assert told(gateway.ask(request("vendor/sync", {}, token=token))) == "pass"
            assert told(gateway.show(response("vendor/sync", {}, token=token))) == "pass"
        assert told(gateway.ask(request("vendor/sync", {}, token=token))) == "budget_exhausted"
