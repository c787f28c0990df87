"""Approvals through the whole core: a call passes with an element of the token that names it."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from authz._pb import ext_authz_pb2 as pb
from lab.config_builder import AT_ALICE, AT_ISSUER, LAB, ConfigBuilder
from lab.mesh import PAYMENTS, TRAVEL
from support import ext_mcp
from support.posts import message
from support.redis_server import RedisServer
from support.stores import aged
from support.world import World, check_request, header_of, reason_of, wait_until

TYPE = "https://corp.example/authz/call"
RESOURCE = "https://mcp.corp.example/trips"
PAGE = "https://approve.corp.example/?id={id}&for={authorization_details}"
RULES = f"""\
- name: small
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/mcp]
  scopes: ["trips:book"]
  mcp: {{tools: [book, list]}}
  when: operation.name == "list" || operation.arguments.amount <= 500
- name: large
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/mcp]
  scopes: ["trips:book"]
  mcp: {{tools: [book]}}
  approval: {{type: "{TYPE}", url: "{PAGE}"}}
- name: listed
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/mcp]
  scopes: ["trips:book"]
  acr_values: [gold]
  mcp: {{tools: [refund]}}
  approval: {{type: "{TYPE}", arguments: [amount], once: false}}
- name: plain
  hosts: [mcp.corp.example]
  methods: [DELETE]
  paths: ["/trips/orders/{{id}}"]
  scopes: []
  approval: {{type: "{TYPE}", arguments: []}}
"""
CHANGES: ConfigBuilder = (
    LAB.with_yaml(("grants", "trips"), RULES)
    .with_routes(
        f"- {{name: trips, paths: [/trips/mcp], protocol: mcp, resource: '{RESOURCE}'}}\n"
        f"- {{name: orders, paths: [/trips/orders/**], resource: '{RESOURCE}'}}\n"
    )
    .with_((*AT_ISSUER, "audiences"), ["https://mcp.corp.example/finance", RESOURCE])
    .with_((*AT_ISSUER, "approval_types"), [TYPE])
    .with_(("agents", TRAVEL, "grants"), ["finance-read", "public", "trips"])
    .with_(("agents", PAYMENTS, "grants"), ["trips"])
    .with_((*AT_ALICE, "grants"), ["finance-read", "public", "trips"])
)
CALL = {"amount": 620, "trip": "T-17"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with rules that ask for approval; no test changes it."""
    with World(tmp_path_factory.mktemp("approvals"), CHANGES) as made:
        yield made


def element(**changes: Any) -> dict[str, Any]:
    """An element that approves the call; None leaves a member out."""
    made = {"type": TYPE, "actions": ["tools/call"], "identifier": "book", "arguments": CALL}
    return {name: value for name, value in (made | changes).items() if value is not None}


def token(world: World, *details: Any, agent: str = TRAVEL, **claims: Any) -> str:
    """Make a token with these elements."""
    held = {"authorization_details": list(details)} if details else {}
    given = {"scope": "trips:book", "aud": RESOURCE, **held, **claims}
    return world.issuer.token(agent, **given)


def called(name: str = "book", arguments: Any = CALL, number: int = 1) -> dict[str, Any]:
    """A call of a tool."""
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def ask(
    world: World, given: str, body: Any = None, version: str = "2025-06-18"
) -> pb.CheckResponse:
    """Ask about a call."""
    body = called() if body is None else body
    return world.check(message(world, body, token=given, mcp_protocol_version=version))


def error_of(answer: pb.CheckResponse) -> dict[str, Any]:
    """The JSON-RPC error of a refusal."""
    found: dict[str, Any] = json.loads(answer.denied_response.body)["error"]
    return found


def test_what_needs_none(world: World) -> None:
    """A call that another rule allows needs no approval, and uses none up."""
    small = called(arguments={"amount": 480})
    given = token(world, element(arguments={"amount": 480}))
    assert [reason_of(ask(world, given, small)) for _ in range(3)] == ["allow"] * 3
    assert reason_of(ask(world, token(world), small)) == "allow"


def test_an_approval_is_for_one_request(world: World) -> None:
    """The call passes with it once; another token's approval of the same call passes again."""
    for _ in range(2):
        given = token(world, element())
        answers = [ask(world, given) for _ in range(3)]
        assert [reason_of(each) for each in answers] == [
            "allow",
            "approval_required",
            "approval_required",
        ]
        assert answers[0].dynamic_metadata["valid_until"] == 0.0
        assert error_of(answers[1])["data"]["authorization_details"][0]["arguments"] == CALL
    record = world.audit_records()[-1]
    assert record["detail"] == "the approval was used before"
    assert record["rule"] == "trips/large"
    assert not record["claims"]
    assert "T-17" not in json.dumps(record)


def test_what_the_client_is_told(world: World) -> None:
    """The element to ask for, by the body and the error that OAuth has for it."""
    answer = ask(world, token(world))

    assert reason_of(answer) == "approval_required"
    assert answer.denied_response.status.code == 403
    challenge = header_of(answer, "www-authenticate") or ""
    assert challenge.startswith('Bearer error="insufficient_authorization_details", ')
    error = error_of(answer)
    asked = {**element(), "locations": [RESOURCE]}
    assert error["code"] == -32001
    assert error["data"]["authorization_details"] == [asked]
    assert error["data"]["authorization_details_types_required"] == {"allOf": [TYPE]}
    assert "elicitations" not in error["data"]
    # What is told is what passes.
    assert reason_of(ask(world, token(world, *error["data"]["authorization_details"]))) == "allow"


def test_a_page_to_open(world: World) -> None:
    """Clients of MCP 2025-11-25 are sent to the page, by an error that they read: HTTP 200."""
    answer = ask(world, token(world), version="2025-11-25")

    error = error_of(answer)
    assert (answer.denied_response.status.code, error["code"]) == (200, -32042)
    (asked,) = error["data"]["elicitations"]
    assert asked["mode"] == "url"
    assert asked["elicitationId"] == error["data"]["decision_id"]
    assert asked["url"].startswith(f"https://approve.corp.example/?id={asked['elicitationId']}&")
    assert "%22amount%22%3A620" in asked["url"]
    assert asked["message"] == "tools/call book needs your approval."
    for version in ("2026-07-28", "2025-03-26"):
        headers = {"mcp_method": "tools/call", "mcp_name": "book"}
        newer = message(
            world, called(), token=token(world), mcp_protocol_version=version, **headers
        )
        assert error_of(world.check(newer))["code"] != -32042


def test_plain_requests(world: World) -> None:
    """A request without a message is approved by its method and its path."""
    named = {"actions": ["DELETE"], "identifier": "/trips/orders/7", "arguments": None}
    given = token(world, element(**named))

    def delete(path: str, given: str) -> pb.CheckResponse:
        headers = [("authorization", f"Bearer {given}")]
        return world.check(check_request(world.svid, headers, method="DELETE", path=path))

    assert reason_of(delete("/trips/orders/8", given)) == "approval_required"
    refused = delete("/trips/orders/7", token(world))
    body = json.loads(refused.denied_response.body)
    assert header_of(refused, "content-type") == "application/json"
    assert header_of(refused, "cache-control") == "no-store"
    assert body["error"] == "insufficient_authorization_details"
    assert body["authorization_details"] == [{**element(**named), "locations": [RESOURCE]}]
    assert [reason_of(delete("/trips/orders/7", given)) for _ in range(2)] == [
        "allow",
        "approval_required",
    ]


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("another tool", {"identifier": "cancel"}),
    ("another method", {"actions": ["prompts/get"]}),
    ("another resource", {"locations": ["https://mcp.corp.example/other"]}),
    ("fewer arguments", {"arguments": {"amount": 620}}),
    ("more arguments", {"arguments": {**CALL, "seat": 1}}),
    ("no arguments", {"arguments": None}),
    ("another amount", {"arguments": {**CALL, "amount": 621}}),
    ("an amount in text", {"arguments": {**CALL, "amount": "620"}}),
    ("a list of amounts", {"arguments": {**CALL, "amount": [620]}}),
    ("an amount within", {"arguments": {**CALL, "amount": {"is": 620}}}),
    ("null", {"arguments": {**CALL, "amount": None}}),
    ("arguments in text", {"arguments": json.dumps(CALL)}),
    ("a further member", {"privileges": ["admin"]}),
    ("a member that narrows", {"not_after": 1}),
    ("an approval that has ended", {"jti": "a", "iat": 1, "exp": 2}),
    ("times without a name", {"iat": 1, "exp": 2**40}),
    ("an approval for ever", {"jti": "a", "iat": 1, "exp": 2**40}),
    ("a name without times", {"jti": "a"}),
    ("no actions", {"actions": []}),
    ("actions in text", {"actions": "tools/call"}),
    ("locations in text", {"locations": RESOURCE}),
    ("no identifier", {"identifier": None}),
]


@pytest.mark.parametrize(("name", "changes"), OTHERS, ids=[name for name, _ in OTHERS])
def test_approvals_of_something_else(world: World, name: str, changes: dict[str, Any]) -> None:
    """What does not name this very call approves nothing."""
    assert reason_of(ask(world, token(world, element(**changes)))) == "approval_required", name


@pytest.mark.parametrize("written", ["620", "620.0", "6.2e2", "62E1", "0.62e+3"])
def test_forms_of_a_number(world: World, written: str) -> None:
    """A number is the same however the agent writes it, as JSON libraries write it anew."""
    body = json.dumps(called()).replace("620", written).encode()
    assert reason_of(ask(world, token(world, element()), body)) == "allow"


@pytest.mark.parametrize(
    "arguments",
    [
        '{"amount":620,"trip":"T-17","amount":9000}',
        '{"amount":620,"trip":"T-17","Amount":9000}',
        '{"amount":620,"trip":"T-17","am\\u006funt":9000}',
        '{"amount":620.0000001,"trip":"T-17"}',
        '{"amount":true,"trip":"T-17"}',
        '{"amount":620,"trip":"T\\u201017"}',
        '{"amount":[620],"trip":"T-17"}',
        '{"amount":620,"trip":"T-17","x":null}',
        '{"Amount":620,"trip":"T-17"}',
        "[]",
        "null",
        '"x"',
    ],
)
def test_other_arguments(world: World, arguments: str) -> None:
    """What the server may read as other arguments is refused."""
    body = json.dumps(called(arguments="X")).replace('"X"', arguments).encode()
    assert reason_of(ask(world, token(world, element()), body)) != "allow"


def test_the_same_text_escaped(world: World) -> None:
    """An escape is another spelling of the same text, for every reader."""
    body = json.dumps(called()).replace("T-17", "\\u0054-17").encode()
    assert reason_of(ask(world, token(world, element()), body)) == "allow"


def test_of_two_elements_each_is_used(world: World) -> None:
    """A token may approve several calls; each once."""
    other = {**CALL, "amount": 700}
    given = token(world, element(), element(arguments=other), element())
    bodies = [called(), called(arguments=other), called(), called(arguments=other)]
    reasons = [reason_of(ask(world, given, body)) for body in bodies]
    assert reasons == ["allow", "allow", "approval_required", "approval_required"]


def test_an_approval_that_outlives_its_token(world: World) -> None:
    """With its own jti, it is the same approval in each token, also if it is written otherwise."""
    now = int(time.time())
    own = {"jti": "consent-1", "iat": now - 60, "exp": now + 3600}
    first = token(world, element(**own))
    second = token(world, element(**own, locations=[RESOURCE]))
    assert [reason_of(ask(world, each)) for each in (first, second)] == [
        "allow",
        "approval_required",
    ]


def test_a_batch_is_not_approved_by_one(world: World) -> None:
    """Two calls need two approvals, and are refused as a whole."""
    twice = [called(number=1), called(number=2)]
    both = [called(number=1), called(arguments={**CALL, "amount": 700}, number=2)]
    given = token(world, element(), element(arguments={**CALL, "amount": 700}))

    assert reason_of(ask(world, given, twice, "2025-03-26")) == "approval_required"
    assert reason_of(ask(world, given, both, "2025-03-26")) == "allow"
    assert reason_of(ask(world, given, both, "2025-03-26")) == "approval_required"


def test_another_agents_approval(world: World) -> None:
    """A token is bound to its agent, and so is what it approves."""
    given = token(world, element(), agent=PAYMENTS)
    assert reason_of(ask(world, given)) == "actor_mismatch"


def test_scope_and_authentication_come_first(world: World) -> None:
    """People are asked only for what nothing else refuses; the challenge says how to sign in."""
    refund = called("refund", {"amount": 5})
    named = {"identifier": "refund", "arguments": {"amount": 5}}
    assert reason_of(ask(world, token(world, scope="x"), refund)) == "scope"
    assert reason_of(ask(world, token(world), refund)) == "step_up"
    answer = ask(world, token(world, acr="gold"), refund)
    assert reason_of(answer) == "approval_required"
    assert 'acr_values="gold"' in (header_of(answer, "www-authenticate") or "")
    assert reason_of(ask(world, token(world, element(**named)), refund)) == "step_up"


def test_listed_arguments_for_many_requests(world: World) -> None:
    """Those that the rule lists must be there and equal; others are free; and it may be cached."""
    named = {"identifier": "refund", "arguments": {"amount": 5}}
    given = token(world, element(**named), acr="gold")

    def refund(arguments: Any) -> str:
        return reason_of(ask(world, given, called("refund", arguments)))

    assert refund({"amount": 5, "why": "late"}) == refund({"amount": 5}) == "allow"
    assert refund({"amount": 6}) == "approval_required"
    assert refund({"why": "late"}) == "policy_denied"  # no approval could name what is not there
    assert refund({"amount": 5}) == "allow"
    assert world.audit_records()[-1]["cache"] == "hit"


@pytest.mark.parametrize(
    "details",
    [
        "x",
        {"type": TYPE},
        [{"type": "payment_initiation"}],
        [{"type": TYPE}, {"type": "other"}],
        [{}],
        [TYPE],
        [{"type": [TYPE]}],
        [None],
        [{"type": TYPE}] * 17,
    ],
)
def test_details_that_may_restrict(world: World, details: Any) -> None:
    """Types that no issuer is known to approve by may restrict the token, which is refused."""
    given = token(world, authorization_details=details)
    assert reason_of(ask(world, given, called(arguments={"amount": 1}))) == "token_claim"


def test_without_a_name_to_use_up(tmp_path: Path) -> None:
    """An approval in a token without jti can't be used once, and approves nothing."""
    with World(tmp_path, CHANGES.with_((*AT_ISSUER, "typ"), ["at+jwt", "JWT"])) as world:
        given = world.issuer.token(
            TRAVEL,
            scope="trips:book",
            aud=RESOURCE,
            jti=None,
            authorization_details=[element()],
            header={"typ": "JWT"},
        )
        assert reason_of(ask(world, given)) == "approval_required"
        assert "no jti" in world.audit_records()[-1]["detail"]


def test_a_policy_in_shadow_uses_none(tmp_path: Path) -> None:
    """In shadow nothing is refused, and no approval is taken."""
    with World(tmp_path, CHANGES.with_(("shadow",), True)) as world:
        given = token(world, element())
        assert [reason_of(ask(world, given)) for _ in range(2)] == ["allow"] * 2
        assert reason_of(ask(world, token(world))) == "allow"
        assert world.audit_records()[-1]["shadows"][0]["reason"] == "approval_required"


MORE = CHANGES.with_rules(
    "trips",
    f"""\
- name: task
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/a2a]
  scopes: []
  a2a: {{methods: [GetTask], tasks: ["*"]}}
  approval: {{type: "{TYPE}", arguments: []}}
- name: model
  hosts: [mcp.corp.example]
  methods: [POST]
  paths: [/trips/v1/chat/completions]
  scopes: []
  models: {{names: [big]}}
  approval: {{type: "{TYPE}", arguments: [max_tokens]}}
""",
).with_routes(
    f"- {{name: a2a, paths: [/trips/a2a], protocol: a2a, resource: '{RESOURCE}'}}\n"
    f"- {{name: models, paths: [/trips/v1/**], protocol: openai, resource: '{RESOURCE}'}}\n"
)


def test_other_protocols(tmp_path: Path) -> None:
    """A2A's error and OpenAI's have the element to ask for, which passes once."""
    task = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t-1"}}
    model = {"model": "big", "max_tokens": 9000, "messages": [{"role": "user", "content": "x"}]}
    with World(tmp_path, MORE) as world:
        for body, path in ((task, "/trips/a2a"), (model, "/trips/v1/chat/completions")):
            refused = world.check(message(world, body, path=path, token=token(world)))
            assert reason_of(refused) == "approval_required"
            told = json.loads(refused.denied_response.body)
            data = told["error"]["data"] if path.endswith("a2a") else told
            given = token(world, *data["authorization_details"])
            reasons = [
                reason_of(world.check(message(world, body, path=path, token=given)))
                for _ in range(2)
            ]
            assert reasons == ["allow", "approval_required"]
        assert data["authorization_details"][0]["arguments"] == {"max_tokens": 9000}
        more = message(world, {**model, "max_tokens": 9001}, path=path, token=token(world, *[]))
        assert reason_of(world.check(more)) == "approval_required"


def test_refusals_are_not_shared(world: World) -> None:
    """A refusal names the arguments of its own call, and none is remembered."""
    given = token(world)
    amounts = [621, 622, 621]
    told = [
        error_of(ask(world, given, called(arguments={"amount": amount})))["data"]
        for amount in amounts
    ]
    assert [data["authorization_details"][0]["arguments"]["amount"] for data in told] == amounts
    assert len({data["decision_id"] for data in told}) == len(amounts)
    assert world.audit_records()[-1]["cache"] == "miss"


def test_a_large_call(world: World) -> None:
    """An answer does not repeat arguments without end, and a URL still less."""
    for size, is_told in ((4000, True), (40_000, False)):
        body = called(arguments={"amount": 620, "note": "x" * size})
        answer = ask(world, token(world), body, "2025-11-25")
        data = error_of(answer)["data"]
        assert ("authorization_details" in data) is is_told
        assert data["authorization_details_types_required"] == {"allOf": [TYPE]}
        assert (answer.denied_response.status.code, "elicitations" in data) == (403, False)


def test_a_retry_of_the_proxy(world: World) -> None:
    """The same HTTP request passes again, and no other one."""
    given = token(world, element())
    check = message(world, called(), token=given)
    attributes = check.attributes.request
    attributes.http.id, attributes.time.seconds = "1", 1000
    assert [reason_of(world.check(check)) for _ in range(2)] == ["allow"] * 2
    attributes.http.id = "2"
    assert reason_of(world.check(check)) == "approval_required"


def test_both_sides_ask(tmp_path: Path) -> None:
    """Rules of the agent and the principal may ask for two types: a token needs both."""
    other = f"{TYPE}/of-principals"
    strict = RULES.replace(TYPE, other)
    changes = (
        CHANGES.with_yaml(("grants", "strict"), strict)
        .with_((*AT_ALICE, "grants"), ["strict"])
        .with_((*AT_ISSUER, "approval_types"), [TYPE, other])
    )
    with World(tmp_path, changes) as world:
        first, second = element(), element(type=other)
        for details in ((), (first,), (second,)):
            data = error_of(ask(world, token(world, *details)))["data"]
            asked = data["authorization_details"]
            assert {each["type"] for each in asked} == {TYPE, other}
        given = token(world, *asked)
        assert [reason_of(ask(world, given)) for _ in range(2)] == ["allow", "approval_required"]


def test_over_two_servers_with_one_store(tmp_path: Path) -> None:
    """Of many requests at once to both, with one approval in several tokens, one passes."""
    with RedisServer() as redis:
        store = {"url": redis.url, "insecure": True, "namespace": "approvals", "timeout": "5s"}
        shared = CHANGES.with_(("store",), store).with_(("revocations",), {"when_away": "serve"})
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        with World(tmp_path / "a", shared) as one, World(tmp_path / "b", shared) as two:
            two.issuer.keys.update(one.issuer.keys)
            worlds = [one, two]
            stores = [each.parts.shared.store for each in worlds]
            wait_until(lambda: not any(store.status().is_away for store in stores))
            aged(redis, "approvals")
            own = {"jti": "a", "iat": int(time.time()), "exp": int(time.time()) + 600}
            given = [token(each, element(**own)) for each in worlds]
            with ThreadPoolExecutor(2) as pool:
                asked = [pool.submit(ask, worlds[n % 2], given[n % 2]) for n in range(12)]
                reasons = Counter(reason_of(each.result()) for each in asked)
    assert reasons == {"allow": 1, "approval_required": 11}


def test_behind_agentgateways_guardrails(tmp_path: Path) -> None:
    """The gateway passes the element to ask for on, and the approved call once."""
    rule = f"""\
- name: approved
  hosts: [github]
  methods: [POST]
  paths: [/mcp]
  scopes: []
  mcp: {{tools: [merge]}}
  approval: {{type: "{TYPE}", url: "https://approve.corp.example/{{id}}"}}
"""
    changes = ext_mcp.CHANGES.with_rules("finance-read", rule)
    with World(tmp_path, changes.with_((*AT_ISSUER, "approval_types"), [TYPE])) as world:
        gateway = ext_mcp.Gateway(world)
        asked = {"name": "merge", "arguments": {"number": 7}}

        def ask(*details: Any) -> Any:
            held = {"authorization_details": list(details)} if details else {}
            given = world.token(**held)
            versions = [("mcp-protocol-version", "2025-11-25")]
            sent = ext_mcp.request("tools/call", asked, token=given, headers=versions)
            return [gateway.ask(sent) for _ in range(2)]

        error = json.loads(ask()[0].error.mcp_error)
        assert error["code"] == -32001  # it does not say which version its client speaks
        assert error["data"]["authorization_details"][0]["arguments"] == {"number": 7}
        answers = ask(*error["data"]["authorization_details"])
        assert [ext_mcp.reason_of(each) for each in answers] == ["pass", "approval_required"]
