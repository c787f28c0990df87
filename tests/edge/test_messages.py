"""Messages in the pipeline: who may call which tool, how a refusal is told, what is remembered."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from authz._pb import ext_authz_pb2 as pb
from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.posts import PATH, message
from support.world import World, check_request, header_of, reason_of

CHANGES = (
    LAB.with_profile("filtered", "{mcp_metadata: envoy.filters.http.mcp}")
    .with_routes("""\
- {name: trips, paths: [/trips/mcp], protocol: mcp, resource: "https://mcp.corp.example/finance"}
- {name: quiet, paths: [/quiet/mcp], protocol: mcp, refusals: message}
- {name: lean, paths: [/lean/mcp], protocol: mcp, trust_mcp_headers: true}
- {name: boot, paths: [/boot/mcp], protocol: mcp, bootstrap: [initialize, tools/list]}
- {name: helper, paths: [/helper], protocol: a2a}
- {name: llm, paths: [/v1/**], protocol: openai}
""")
    .with_rules(
        "finance-read",
        """\
- name: search
  hosts: ["*"]
  methods: ["*"]
  paths: [/trips/mcp, /quiet/mcp, /lean/mcp, /boot/mcp]
  scopes: []
  mcp: {tools: [search, "get_*"], resources: ["trips://policy/**"]}
- name: write
  hosts: ["*"]
  methods: [POST]
  paths: [/trips/mcp]
  scopes: ["trips:write"]
  mcp: {tools: [write]}
- name: book
  hosts: ["*"]
  methods: [POST]
  paths: [/trips/mcp, /lean/mcp]
  scopes: []
  mcp: {tools: [book]}
  when: operation.arguments.price <= 500.0
- {name: everything, hosts: ["*"], methods: ["*"], paths: [/**], scopes: []}
- name: ask
  hosts: ["*"]
  methods: ["*"]
  paths: [/helper]
  scopes: []
  a2a: {methods: [SendMessage]}
- name: model
  hosts: ["*"]
  methods: [POST]
  paths: [/v1/**]
  scopes: []
  models: {names: ["small-*"]}
""",
    )
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with routes of every protocol."""
    with World(tmp_path_factory.mktemp("told"), CHANGES) as world:
        yield world


def call(name: str, arguments: Any = None, **members: Any) -> dict[str, Any]:
    """A tool call."""
    params = {"name": name, "arguments": arguments or {}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params, **members}


def ask(world: World, body: Any, **how: Any) -> pb.CheckResponse:
    """What is said of it."""
    return world.check(message(world, body, **how))


def error_of(answer: pb.CheckResponse) -> Any:
    """The JSON of a refusal's body."""
    assert header_of(answer, "content-type") == "application/json"
    return json.loads(answer.denied_response.body)


LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
CALLS: list[tuple[Any, str]] = [
    (call("search"), "allow"),
    (call("get_price"), "allow"),
    (call("delete"), "policy_denied"),
    (call("Search"), "policy_denied"),
    (call("write"), "scope"),
    (call("book", {"price": 500}), "allow"),
    (call("book", {"price": 500.5}), "policy_denied"),
    (call("book", {"price": "1"}), "policy_denied"),
    (call("book"), "policy_denied"),
    (LIST, "allow"),
    ({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}, "allow"),
    ({"jsonrpc": "2.0", "method": "notifications/initialized"}, "allow"),
    ({"jsonrpc": "2.0", "id": 1, "result": {}}, "allow"),
    ({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "trips://policy/a"}},
     "allow"),
    ({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "trips://a/policy"}},
     "policy_denied"),
    ({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "search"}},
     "policy_denied"),
    ({"jsonrpc": "2.0", "id": 1, "method": "tools/erase", "params": {}}, "method_unknown"),
    ([call("search"), call("get_x", id=2)], "allow"),
    ([call("search"), call("delete", id=2)], "policy_denied"),
    (b"{", "message_malformed"),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', "message_malformed"),
    ({"id": 1, "method": "tools/list"}, "message_invalid"),
    (call("search", []) | {"params": {"name": "search", "arguments": []}}, "message_params"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), CALLS, ids=lambda value: str(value)[-40:])
def test_calls(told: World, body: Any, reason: str) -> None:
    """What is in the message decides, and nothing else on its route."""
    assert reason_of(ask(told, body)) == reason


def test_a_rule_without_the_key_allows_nothing_there(told: World) -> None:
    """A rule about all paths is none about messages; nor one about tools about plain requests."""
    token = told.token()

    assert reason_of(told.ask(token, path="/plain")) == "allow"
    assert reason_of(ask(told, call("delete"))) == "policy_denied"


def test_a_refusal_is_an_error_with_the_requests_id(told: World) -> None:
    """A client finds its request, the code and the reason; the challenge has every scope."""
    answer = ask(told, call("write", id='a"\u00fc'))

    assert answer.denied_response.status.code == 403
    error = error_of(answer)
    assert (error["jsonrpc"], error["id"]) == ("2.0", 'a"\u00fc')
    assert error["error"]["code"] == -32001
    assert error["error"]["data"]["reason"] == "scope"
    assert error["error"]["data"]["decision_id"] == answer.dynamic_metadata["decision_id"]
    assert "trips:write" in error["error"]["message"]
    challenge = header_of(answer, "www-authenticate") or ""
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="trips:write"' in challenge
    assert "resource_metadata=" in challenge


CODES: list[tuple[Any, int, int]] = [
    (b"{", 400, -32700),
    ({"id": 1, "method": "x"}, 400, -32600),
    ({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}}, 400, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "tools/erase"}, 403, -32601),
    (call("delete"), 403, -32001),
]


@pytest.mark.parametrize(("body", "status", "code"), CODES)
def test_codes(told: World, body: Any, status: int, code: int) -> None:
    """Statuses and codes are those of the reason."""
    answer = ask(told, body)

    assert answer.denied_response.status.code == status
    assert error_of(answer)["error"]["code"] == code


def test_header_mismatch(told: World) -> None:
    """A header that says something else than the body is HeaderMismatch (MCP 2026-07-28)."""
    answer = ask(told, call("search"), mcp_method="tools/list")

    assert reason_of(answer) == "mcp_header_mismatch"
    assert (error_of(answer)["id"], error_of(answer)["error"]["code"]) == (1, -32020)


def test_a_batch_is_refused_as_a_whole(told: World) -> None:
    """Each request of a refused batch has its answer; notifications have none."""
    batch = [call("search"), {"jsonrpc": "2.0", "method": "notifications/x"}, call("delete", id=2)]
    answers = error_of(ask(told, batch))

    assert [one["id"] for one in answers] == [1, 2]
    assert {one["error"]["data"]["reason"] for one in answers} == {"policy_denied"}


def test_without_a_token(told: World) -> None:
    """The 401 says where to get one, and why, in JSON-RPC; whatever the body is."""
    for body in (call("search"), b"{"):
        answer = ask(told, body, token=None)
        assert reason_of(answer) == "token_missing"
        assert answer.denied_response.status.code == 401
        assert "resource_metadata=" in (header_of(answer, "www-authenticate") or "")
        assert error_of(answer)["error"]["data"]["reason"] == "token_missing"


def test_the_record_says_who_and_what(told: World) -> None:
    """Records have the caller of an unreadable message, and calls without their arguments."""
    ask(told, b"{")
    ask(told, call("book", {"price": 777_777}))
    unread, booked = told.audit_records()[-2:]

    assert (unread["agent"], unread["principal"]) == (TRAVEL, "alice")
    assert (unread["protocol"], unread["calls"]) == ("mcp", [])
    assert booked["calls"] == [{"method": "tools/call", "kind": "tool", "name": "book"}]
    assert "777777" not in json.dumps(booked)


URIS = [
    ("trips://policy/a", {"name": "trips://policy/a"}),
    ("trips://policy/a?token=s#f", {"name": "trips://policy/a", "is_cut": True}),
    ("trips://me:secret@policy/a", {"name": "trips://policy/a", "is_cut": True}),
    ("urn:trips?secret", {"name": "urn:trips", "is_cut": True}),
]


@pytest.mark.parametrize(("uri", "recorded"), URIS)
def test_a_record_holds_no_secret_of_a_uri(told: World, uri: str, recorded: Any) -> None:
    """User, query and fragment of a resource's URI are in no record, nor in its detail."""
    read = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": uri}}
    ask(told, read)
    record = told.audit_records()[-1]

    assert record["calls"] == [{"method": "resources/read", "kind": "resource", **recorded}]
    assert "secret" not in json.dumps(record)


def test_what_is_remembered(told: World) -> None:
    """Ids are no part of a decision, nor are arguments that no rule reads."""
    token = told.token()

    def cache(body: Any) -> str:
        return str(ask(told, body, token=token).dynamic_metadata["cache"])

    assert cache(call("search", {"a": 1})) == "miss"
    assert cache(call("search", {"a": 2}, id="other")) == "hit"
    assert cache(call("get_price")) == "miss"
    assert cache(call("book", {"price": 1})) == "miss"
    assert cache(call("book", {"price": 2})) == "miss"
    assert cache(call("book", {"price": 2}, id=9)) == "hit"
    assert reason_of(ask(told, call("book", {"price": 501}), token=token)) == "policy_denied"


def test_a_remembered_refusal_has_each_requests_id(told: World) -> None:
    """An answer from memory is the answer to this request."""
    token = told.token()
    ids = [error_of(ask(told, call("delete", id=n), token=token))["id"] for n in (1, "b", 3)]

    assert ids == [1, "b", 3]


def test_refusals_by_message(told: World) -> None:
    """A route may tell what policy refuses with HTTP 200; it stays a refusal, and 401 a 401."""
    refused = ask(told, call("delete"), path="/quiet/mcp")
    nobody = ask(told, call("search"), path="/quiet/mcp", token=None)

    assert refused.status.code != 0
    assert refused.denied_response.status.code == 200
    assert error_of(refused)["id"] == 1
    assert nobody.denied_response.status.code == 401


def lean(world: World, **headers: str | None) -> str:
    """What is said of a message without a body."""
    length = {"content_length": None, "x_envoy_auth_partial_body": None}
    return reason_of(ask(world, b"", path="/lean/mcp", **length, **headers))


def test_headers_alone(told: World) -> None:
    """Headers stand for the body where the version has servers compare, and arguments for none."""
    new, old = "2026-07-28", "2025-11-25"
    named = {"mcp_method": "tools/call", "mcp_name": "search"}

    assert lean(told, mcp_protocol_version=new, **named) == "allow"
    assert lean(told, mcp_protocol_version=old, **named) == "mcp_untrusted_headers"
    assert lean(told, mcp_protocol_version=new, mcp_method="tools/call", mcp_name="book") == (
        "policy_denied"
    )
    assert lean(told, mcp_protocol_version=new, mcp_method="tools/call", mcp_name="delete") == (
        "policy_denied"
    )


def test_headers_alone_are_nothing_elsewhere(told: World) -> None:
    """Without the route's word a message without its body is not read."""
    answer = ask(
        told,
        b"",
        content_length=None,
        x_envoy_auth_partial_body=None,
        mcp_protocol_version="2026-07-28",
        mcp_method="tools/call",
        mcp_name="search",
    )

    assert reason_of(answer) == "body_uninspectable"


def test_the_filters_metadata(told: World) -> None:
    """Under a profile that trusts it the MCP filter's word stands for a body that is not sent."""
    from google.protobuf.struct_pb2 import Struct  # noqa: PLC0415 - only here

    said = Struct()
    said.update({"method": "tools/call", "id": 4, "params": {"name": "search"}})
    request = message(told, b"", content_length="99", x_envoy_auth_partial_body=None)
    metadata = request.attributes.metadata_context.filter_metadata
    metadata["envoy.filters.http.mcp"] = said.SerializeToString()
    plain = reason_of(told.check(request))
    request.attributes.context_extensions["authz_profile"] = "filtered"
    trusted = told.check(request)

    assert plain == "body_uninspectable"
    assert reason_of(trusted) == "allow"


def test_streams_and_sessions(told: World) -> None:
    """GET opens a stream and DELETE ends a session; a WebSocket is neither, and PUT nothing."""
    headers = [("authorization", f"Bearer {told.token()}")]

    def reason(method: str, *further: tuple[str, str]) -> str:
        return reason_of(
            told.check(check_request(told.svid, [*headers, *further], method=method, path=PATH))
        )

    assert reason("GET") == "allow"
    assert reason("DELETE") == "allow"
    assert reason("GET", ("upgrade", "websocket")) == "body_uninspectable"
    assert reason("PUT") == "message_invalid"


def test_other_protocols(told: World) -> None:
    """A2A and model calls go by their own keys, and are refused in their own words."""
    send = {"jsonrpc": "2.0", "id": 5, "method": "message/send", "params": {"message": {}}}
    cancel = {"jsonrpc": "2.0", "id": 5, "method": "tasks/cancel", "params": {"id": "t"}}
    small, large = ({"model": f"{size}-1", "messages": []} for size in ("small", "large"))
    chat = "/v1/chat/completions"

    assert reason_of(ask(told, send, path="/helper")) == "allow"
    refused = error_of(ask(told, cancel, path="/helper"))
    assert (refused["id"], refused["error"]["code"]) == (5, 403)
    assert reason_of(ask(told, small, path=chat)) == "allow"
    assert error_of(ask(told, large, path=chat))["error"]["code"] == "policy_denied"


A2A_CODES: list[tuple[Any, str, int, int]] = [
    (b"{", "message_malformed", 400, -32700),
    ({"id": 1, "method": "GetTask"}, "message_invalid", 400, -32600),
    ([], "message_invalid", 400, -32600),
    (b"", "body_uninspectable", 403, -32600),
    (b"x" * 300_000, "body_truncated", 413, -32600),
    ({"jsonrpc": "2.0", "id": 1, "method": "tasks/erase"}, "method_unknown", 403, -32601),
    ({"jsonrpc": "2.0", "id": 1, "method": "GetTask"}, "message_params", 400, -32602),
    ({"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}, "policy_denied", 403, 403),
]


@pytest.mark.parametrize(("body", "reason", "status", "code"), A2A_CODES)
def test_codes_of_a2a(told: World, body: Any, reason: str, status: int, code: int) -> None:
    """A2A has JSON-RPC's standard codes (9.5); a refusal has one outside of its reserved range."""
    answer = ask(told, body, path="/helper")

    assert reason_of(answer) == reason
    assert answer.denied_response.status.code == status
    assert error_of(answer)["error"]["code"] == code


def test_codes_of_a2a_without_a_message(told: World) -> None:
    """What is wrong with us is an internal error, and what with the token the status."""
    list_tasks = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}
    late = told.check(message(told, list_tasks, path="/helper"), deadline=0.0)
    nobody = ask(told, list_tasks, path="/helper", token=None)

    assert (reason_of(late), error_of(late)["error"]["code"]) == ("overloaded", -32603)
    assert (reason_of(nobody), error_of(nobody)["error"]["code"]) == ("token_missing", 401)


def test_a_message_on_no_route_is_a_plain_request(told: World) -> None:
    """Where no route names a protocol nothing is read, and no key about tools fits."""
    assert reason_of(ask(told, call("search"), path="/elsewhere")) == "allow"
    assert told.audit_records()[-1]["protocol"] == ""


def test_a_limit_of_the_proxy(told: World) -> None:
    """A body that fills the proxy's named limit may be cut; a limit that is no number fits none."""
    for limit, reason in (("1024", "allow"), ("10", "body_truncated"), ("x", "body_truncated")):
        request = message(told, call("search"))
        request.attributes.context_extensions["authz_max_request_bytes"] = limit
        assert reason_of(told.check(request)) == reason
