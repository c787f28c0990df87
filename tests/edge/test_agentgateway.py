"""Agentgateway's MCP guardrails: calls are checked before they are made."""

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz._pb import ext_mcp_pb2 as pb
from authz.core.reason import Reason
from authz.edge.agentgateway.reader import BEFORE, REQUEST, read_request, read_response
from authz.edge.agentgateway.writer import request_result, response_refused
from authz.edge.answered import UNREADABLE, Answered
from authz.edge.identity_headers import HeaderShape
from authz.edge.inputs import RequestInputs
from authz.edge.methods import EXT_MCP
from authz.edge.rendering import RenderedDecision
from authz.edge.response import Response
from lab.dpop import DpopClient
from lab.issuer import Issuer, JwksServer
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, RETIRED, STRANGER, TRAVEL, Server
from support.ext_mcp import CHANGES, PATH, Gateway, call, names, reason_of, request, response
from support.world import World

TOOLS = {"tools": [{"name": "search"}, {"name": "write"}, {"name": "get_file"}, {"name": "drop"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A core that knows two MCP servers, for tests that change none of it."""
    with World(tmp_path_factory.mktemp("extmcp"), CHANGES) as world:
        yield Gateway(world)


@pytest.mark.parametrize(
    ("tool", "expected"),
    [("search", "pass"), ("get_file", "pass"), ("drop", "policy_denied"), ("write", "scope")],
)
def test_calls(gateway: Gateway, tool: str, expected: str) -> None:
    """A tool may be called when a rule names it, and the token's scope is enough."""
    assert call(gateway, tool) == expected


def test_who_is_what_the_gateway_says(gateway: Gateway) -> None:
    """The agent is the one of the metadata; without one, or one unknown, all is refused."""
    token = gateway.world.token()

    assert call(gateway, "search", agent=None) == "agent_missing"
    assert call(gateway, "search", agent="CN=travel") == "agent_invalid"
    assert call(gateway, "search", agent=PAYMENTS) == "actor_mismatch"
    assert call(gateway, "search", agent=STRANGER, token=token) != "pass"
    assert call(gateway, "search", agent=RETIRED, token=token) != "pass"


def test_no_header_is_an_identity(tmp_path: Path) -> None:
    """What a client writes into x-forwarded-client-cert makes it nobody."""
    forged = f"By=spiffe://corp.example/ns/gateways/sa/edge;URI={TRAVEL}"
    trusted = ["spiffe://corp.example/ns/gateways/sa/*"]
    profile = {"identity": "xfcc", "trusted_proxies": trusted}
    with World(tmp_path, CHANGES.with_(("profiles", "default"), profile)) as world:
        headers = [("x-forwarded-client-cert", forged)]

        assert call(Gateway(world), "search", headers=headers) == "agent_missing"


def test_for_whom_is_the_token(gateway: Gateway) -> None:
    """The delegation token stands in the headers, once, and is checked as ever."""
    token = gateway.world.token()
    doubled = [("authorization", f"Bearer {token}")]

    assert call(gateway, "search", token=None) == "token_missing"
    assert call(gateway, "search", token="a.b.c") == "token_malformed"
    assert call(gateway, "search", headers=doubled) == "auth_ambiguous"
    assert call(gateway, "search", token=gateway.world.token(sub="mallory")) == "policy_denied"
    assert call(gateway, "search", path=f"/mcp?access_token={token}") == "auth_ambiguous"


def test_a_target_is_the_host(gateway: Gateway) -> None:
    """What is allowed at one target is not allowed at another, nor at several with another."""
    assert call(gateway, "search", targets=["jira"]) != "pass"
    assert call(gateway, "lookup", targets=["jira"]) == "pass"
    assert call(gateway, "search", targets=["github", "jira"]) != "pass"
    assert call(gateway, "search", targets=["jira", "github"]) != "pass"
    assert call(gateway, "search", targets=["github", "github"]) == "pass"


@pytest.mark.parametrize(
    "target", ["", "GitHub", "github:80", "github/x", "github\n", "gith\u00fcb"]
)
def test_what_is_no_target(gateway: Gateway, target: str) -> None:
    """A target's name that is none is refused, and never taken for a similar one."""
    assert call(gateway, "search", targets=[target]) == "path_ambiguous"
    assert call(gateway, "search", targets=["github", target]) == "path_ambiguous"


def test_no_target_or_too_many(gateway: Gateway) -> None:
    """Without a target nothing is allowed, and with more than would be decided neither."""
    assert call(gateway, "search", targets=[]) == "path_ambiguous"
    assert call(gateway, "search", targets=["github"] * 65) == "path_ambiguous"


def test_a_target_that_no_route_has(gateway: Gateway) -> None:
    """Where no route says that messages are MCP, a rule for plain requests allows none."""
    assert call(gateway, "search", targets=["elsewhere"]) == "body_uninspectable"


def test_the_path_is_the_clients(gateway: Gateway) -> None:
    """Rules and routes see the path at which the client came."""
    assert call(gateway, "search", path="/other") == "policy_denied"
    assert call(gateway, "search", path=None) == "policy_denied"
    assert call(gateway, "search", path="/mcp/../mcp") == "path_ambiguous"
    assert call(gateway, "search", headers=[(":path", "/mcp")]) == "path_ambiguous"


def test_several_targets_of_a_session(gateway: Gateway) -> None:
    """What goes to all targets is allowed when it is at each."""
    token = gateway.world.token()
    both = request("initialize", token=token, targets=["github", "jira"])
    one_unknown = request("initialize", token=token, targets=["github", "elsewhere"])

    assert reason_of(gateway.ask(both)) == "pass"
    assert reason_of(gateway.ask(one_unknown)) == "body_uninspectable"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (b'{"name":"drop","name":"search"}', "message_malformed"),
        (b'{"name":"search"},"method":"ping"', "message_malformed"),
        (b'{"name":"search"},"id":2', "message_malformed"),
        (b'{"name":"search"},"x":2', "message_invalid"),
        (b'{"name":"search"}}{"a":1', "message_malformed"),
        (b'{"name":"search"', "message_malformed"),
        (b'{"name":"search","arguments":{"a":NaN}}', "message_malformed"),
        (b'{"name":"search\xff"}', "message_malformed"),
        (b'["search"]', "message_params"),
        (b'{"name":["search"]}', "message_params"),
        (b'{"Name":"search"}', "message_params"),
        (b'{"name":"search","Name":"drop"}', "message_params"),
        (b"null", "message_params"),
        (b"", "message_malformed"),
        (None, "message_params"),
        (b'{"name":"search","arguments":' + b"[" * 99 + b"]" * 99 + b"}", "message_malformed"),
        (b'{"name":"search","arguments":{"a":"' + b"x" * 300_000 + b'"}}', "body_truncated"),
    ],
)
def test_params_that_two_readers_read_otherwise(
    gateway: Gateway, params: bytes | None, expected: str
) -> None:
    """Params without one certain meaning are refused, and none end early and go on."""
    message = request("tools/call", params, token=gateway.world.token())

    assert reason_of(gateway.ask(message)) == expected


@pytest.mark.parametrize(
    "method", [b"", b"tools/call\xff", b"tools/call\x00", b"Tools/Call", b"x" * 9999]
)
def test_methods_that_are_none(gateway: Gateway, method: bytes) -> None:
    """A method that is no known name is refused."""
    message = request("tools/call", {"name": "search"}, token=gateway.world.token())
    message.method = method

    assert reason_of(gateway.ask(message)).startswith(("message_", "method_", "policy_"))


def test_arguments(gateway: Gateway) -> None:
    """Conditions read a call's arguments; a tool that depends on them is in no list."""
    token = gateway.world.token()
    prices = [{"price": 100.0}, {"price": 900.0}, {}]
    asked = [
        gateway.ask(request("tools/call", {"name": "book", "arguments": one}, token=token))
        for one in prices
    ]
    listed = gateway.show(response("tools/list", {"tools": [{"name": "book"}]}, token=token))

    assert [reason_of(one) == "pass" for one in asked] == [True, False, False]
    assert names(listed) == []


def test_requests_share_their_headers(gateway: Gateway) -> None:
    """Remembered requests of one token hold it once, as they do for Envoy."""
    inputs, token = gateway.world.service.snapshot.inputs, gateway.world.token()
    messages = [request("tools/call", {"name": name}, token=token) for name in ("search", "drop")]
    held = [
        read_request(inputs, pb.McpRequest.FromString(message.SerializeToString()), "0" * 32)
        .checks["github"]
        .request.headers
        for message in messages
    ]

    assert held[0]
    assert held[0] is held[1]


def test_what_the_clients_http_says_of_its_body(gateway: Gateway) -> None:
    """Headers about the client's body, and names as the client has them, are of no account."""
    headers = [
        ("content-length", "5"),
        ("content-encoding", "gzip"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "github_search"),
    ]

    assert call(gateway, "search", headers=headers) == "pass"


METADATA = "https://mcp.corp.example/.well-known/oauth-protected-resource/finance"


@pytest.mark.parametrize(
    ("tool", "sub", "expected"),
    [
        ("search", "", {"resource_metadata": METADATA}),
        ("write", "alice", {"resource_metadata": METADATA, "scope": "repo:write"}),
        ("drop", "alice", {}),
    ],
)
def test_a_challenge_in_the_message(
    gateway: Gateway, tool: str, sub: str, expected: dict[str, str]
) -> None:
    """Where HTTP would have a challenge, the error says where to get which token; else nothing."""
    token = gateway.world.token(sub=sub) if sub else None
    answer = gateway.ask(request("tools/call", {"name": tool}, token=token))
    data = json.loads(answer.error.mcp_error)["data"]

    assert {name: data[name] for name in data if name not in ("reason", "decision_id")} == expected


def test_notifications(gateway: Gateway) -> None:
    """A notification has no id, and is part of a session."""
    message = request("notifications/initialized", token=gateway.world.token())

    assert reason_of(gateway.ask(message)) == "pass"


def test_a_token_is_in_no_metadata() -> None:
    """The client's request, as a result's metadata has it, is no metadata of the check."""
    inputs = RequestInputs(frozenset(), (REQUEST, BEFORE, "agentgateway.source"))
    asked = read_response(inputs, response("tools/list", TOOLS, token="secret"), "id")
    request = asked.checks["github"].request

    assert [name for name, _ in request.metadata] == ["agentgateway.source"]
    assert request.path == "/mcp"


def test_headers_for_the_target(gateway: Gateway) -> None:
    """An allow sets the identity headers, takes away the client's own ones and the token."""
    answer = gateway.ask(request("tools/call", {"name": "search"}, token=gateway.world.token()))
    mutation = answer.header_mutation
    set_names = [header.key for header in mutation.set]
    values = {header.key: header.value.decode() for header in mutation.set}

    assert reason_of(answer) == "pass"
    assert values["x-agent-id"] == TRAVEL
    assert values["x-agent-principal"] == "alice"
    assert values["x-agent-decision-id"] == answer.metadata["decision_id"]
    assert {"authorization", "x-agent-chain", "x_agent_id"} <= set(mutation.remove)
    assert not set(set_names) & set(mutation.remove)
    assert len(set_names) == len(set(set_names))
    assert answer.metadata["decision"] == "allow"
    assert answer.metadata["rule"] == "finance-read/github"


@pytest.mark.parametrize(
    "name",
    ["x.agent.principal", "x_agent.principal", "x-agent!principal", "x'agent+principal",
     "x~agent-principal", "xagentprincipal", "x--agent-principal", "author_ization",
     "x-agent-roles", "x.agent.roles"],
)  # fmt: skip
def test_headers_that_a_server_takes_for_ours(gateway: Gateway, name: str) -> None:
    """What a client sends under another spelling of our names is taken away."""
    headers = [(name, "mallory"), ("x-agents", "1"), ("accept", "*/*")]
    message = request(
        "tools/call", {"name": "search"}, token=gateway.world.token(), headers=headers
    )
    answer = gateway.ask(message)

    assert reason_of(answer) == "pass"
    assert name in answer.header_mutation.remove
    assert not {"x-agents", "accept"} & set(answer.header_mutation.remove)


def test_headers_for_several_targets(gateway: Gateway) -> None:
    """Several targets get the headers that each of them would."""
    message = request("ping", token=gateway.world.token(), targets=["github", "jira"])
    answer = gateway.ask(message)

    assert reason_of(answer) == "pass"
    assert {"x-agent-id", "x-agent-principal", "x-agent-decision-id"} <= {
        header.key for header in answer.header_mutation.set
    }


def test_a_proof_is_for_one_check(gateway: Gateway) -> None:
    """A DPoP proof is good for one check of one call, whatever its targets, and no other."""
    client = DpopClient()
    token = gateway.world.token(cnf=client.confirmation)
    proof = client.proof(token, "POST", f"https://mcp.corp.example{PATH}")
    headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
    message = request("ping", token=None, headers=headers, targets=["github", "jira"])
    first = gateway.ask(message)

    assert reason_of(first) == "pass"
    assert {"authorization", "dpop"} <= set(first.header_mutation.remove)
    assert reason_of(gateway.ask(message)) == "dpop_proof"


def answered(
    headers: tuple[tuple[str, str], ...] = (),
    removed: tuple[str, ...] = (),
    reason: Reason | None = None,
) -> Answered:
    """An answer that says so of one target."""
    shape = HeaderShape(tuple(name for name, _ in headers), removed)
    response = Response(reason, tuple(value for _, value in headers), ("",) * 10, shape)
    return Answered(UNREADABLE, RenderedDecision(response, b"", reason), "a" * 32)


def test_headers_that_targets_do_not_share() -> None:
    """What only one of several targets would get, or what one would not, goes to none."""
    same = ("x-agent-id", "a")
    first = answered((same, ("x-tier", "gold"), ("x-one", "1"), ("x-gone", "3")))
    second = answered(
        (same, ("x-tier", "basic"), ("x-two", "2"), ("x-gone", "3")), ("x-gone", "authorization")
    )
    mutation = request_result([first, second]).header_mutation

    assert [(one.key, one.value) for one in mutation.set] == [("x-agent-id", b"a")]
    assert set(mutation.remove) == {"x-tier", "x-one", "x-two", "x-gone", "authorization"}


def test_codes(gateway: Gateway) -> None:
    """A refusal has agentgateway's code of its kind, and nothing that would be done on a pass."""
    token = gateway.world.token()
    answers = [
        gateway.ask(request("tools/call", {"name": "drop"}, token=token)),
        gateway.ask(request("tools/call", b"{", token=token)),
        gateway.ask(request("tools/call", {"name": "get_x"}, token=token), deadline=0.0),
    ]

    assert [answer.error.code for answer in answers] == [
        pb.AuthorizationError.PERMISSION_DENIED,
        pb.AuthorizationError.INVALID,
        pb.AuthorizationError.RESOURCE_EXHAUSTED,
    ]
    assert not any(answer.HasField("header_mutation") for answer in answers)


def test_one_record_for_each_check(tmp_path: Path) -> None:
    """A call and a list leave a record each, for each target, with the id that the answer has."""
    with World(tmp_path, CHANGES) as world:
        gateway = Gateway(world)
        token = world.token()
        answer = gateway.ask(request("tools/call", {"name": "search"}, token=token))
        gateway.show(response("tools/list", TOOLS, token=token))
        gateway.ask(request("ping", token=token, targets=["github", "jira"]))
        gateway.ask(request("ping", token=token, targets=["elsewhere", "github"]))
        gateway.show(response("tools/list", b"{}", token=token))
        gateway.ask(b"\xff")
        called, listed, first, second, refused, odd, broken = world.audit_records()

        assert called["decision_id"] == answer.metadata["decision_id"]
        assert (called["host"], called["path"], called["protocol"]) == ("github", "/mcp", "mcp")
        assert called["calls"] == [{"method": "tools/call", "kind": "tool", "name": "search"}]
        assert (called["agent"], called["principal"]) == (TRAVEL, "alice")
        assert [call["method"] for call in listed["calls"]] == ["tools/list"]
        assert (first["host"], second["host"]) == ("github", "jira")
        assert first["decision_id"] == second["decision_id"]
        assert (refused["host"], refused["reason"]) == ("elsewhere", "body_uninspectable")
        assert (odd["reason"], odd["agent"]) == ("body_uninspectable", TRAVEL)
        assert broken["reason"] == "check_malformed"


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_message(gateway: Gateway, data: bytes) -> None:
    """Whatever bytes come, there is an answer with a result, and it is no allow."""
    assert reason_of(gateway.ask(data)) not in ("pass", "mutated")
    assert gateway.show(data).WhichOneof("result") is not None


def test_no_answer_is_no_allow() -> None:
    """No answer at all, or a refusal among several, is written as a refusal."""
    whole = answered()
    refused = answered(reason=Reason.SCOPE)

    assert request_result([whole]).WhichOneof("result") == "pass"
    for answers in ([], [refused], [whole, refused], [refused, whole]):
        assert request_result(answers).WhichOneof("result") == "error"
        assert response_refused(answers).WhichOneof("result") == "error"


def test_over_grpc(tmp_path: Path) -> None:
    """A server answers both methods on its one port, beside ext_authz."""
    issuer = Issuer(ISSUER, AUDIENCE)
    jwks = JwksServer(issuer)
    server = Server(tmp_path, "authz", f"{jwks.url}/jwks", changes=CHANGES)
    try:
        server.wait_ready()
        token = issuer.token(TRAVEL, scope="balance:read")
        with grpc.insecure_channel(f"unix:{server.socket}") as channel:
            ask = channel.unary_unary(
                f"/{EXT_MCP}/CheckRequest",
                pb.McpRequest.SerializeToString,
                pb.McpRequestResult.FromString,
            )
            show = channel.unary_unary(
                f"/{EXT_MCP}/CheckResponse",
                pb.McpResponse.SerializeToString,
                pb.McpResponseResult.FromString,
            )
            allowed = ask(request("tools/call", {"name": "search"}, token=token), timeout=60)
            denied = ask(request("tools/call", {"name": "drop"}, token=token), timeout=60)
            nobody = ask(request("tools/call", {"name": "search"}, token=None), timeout=60)
            listed = show(response("tools/list", TOOLS, token=token), timeout=60)
    finally:
        server.process.stop()
        jwks.close()

    assert reason_of(allowed) == "pass"
    assert [reason_of(one) for one in (denied, nobody)] == ["policy_denied", "token_missing"]
    assert names(listed) == ["search", "get_file"]
