"""Agentgateway's MCP guardrails at both phases: what a request's check leaves to the result's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz._pb import ext_mcp_pb2 as pb
from authz.core.protocols.mcp_methods import METHODS
from lab.config_builder import AT_ISSUER
from lab.dpop import DpopClient
from lab.mesh import PAYMENTS, STRANGER
from support.ext_mcp import CHANGES, PATH, Gateway, names, reason_of, request, response
from support.world import World

TOOLS = {"tools": [{"name": "search"}, {"name": "drop"}]}
BOTH = ["github", "jira"]
# jira may be listened to in full, github's own methods are one that no revision has.
MORE = CHANGES.with_keys(
    ("grants", "finance-read", "listing", "mcp"), "{resources: ['*'], tasks: ['*']}"
).with_items(
    ("grants", "finance-read"),
    """\
- hosts: [github]
  methods: [POST]
  paths: [/mcp]
  scopes: []
  mcp: {methods: [vendor/sync, logging/setLevel], tasks: ["t-*"]}
""",
    before=4,
)
PARAMS: dict[str, Any] = {
    "uri": "repo://open/a",
    "taskId": "t-1",
    "ref": {"type": "ref/prompt", "name": "review"},
    "notifications": {},
}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A core that knows two MCP servers, for tests that change none of it."""
    with World(tmp_path_factory.mktemp("extmcp"), MORE) as world:
        yield Gateway(world)


def strips(message: pb.McpRequest) -> pb.McpRequest:
    """The message, of a gateway that takes the token away itself."""
    message.metadata_context.update({"agentgateway.request": {"strips_token": True}})
    return message


def after(request_: pb.McpRequest, answer: pb.McpRequestResult, result: Any) -> pb.McpResponse:
    """The check of a result: with the headers that the request's check has left."""
    headers = {one.key: one.value.decode() for one in request_.headers}
    headers.update({one.key: one.value.decode() for one in answer.header_mutation.set})
    left = {
        name: value
        for name, value in headers.items()
        if name not in answer.header_mutation.remove and not name.startswith(":")
    }
    message = response(
        request_.method.decode(),
        result,
        token=None,
        targets=[name.decode() for name in request_.service_names],
        headers=left,
    )
    message.metadata_context.update(
        {"agentgateway.before": {"decision_id": answer.metadata["decision_id"]}}
    )
    return message


def test_a_list_at_both_phases(gateway: Gateway) -> None:
    """Where the gateway takes the token away, a list is checked before the servers, and cut."""
    asked = strips(request("tools/list", token=gateway.world.token()))
    answer = gateway.ask(asked)

    assert reason_of(answer) == "pass"
    assert "authorization" not in answer.header_mutation.remove
    assert {"x-agent-chain", "x_agent_id"} <= set(answer.header_mutation.remove)
    assert names(gateway.show(after(asked, answer, TOOLS))) == ["search"]


@pytest.mark.parametrize("agent", [STRANGER, PAYMENTS, None])
def test_a_list_of_who_may_not_ask(gateway: Gateway, agent: str | None) -> None:
    """A list of an agent that may not ask for it is refused before a server sees it."""
    asked = strips(request("tools/list", token=gateway.world.token(), agent=agent, targets=BOTH))

    assert reason_of(gateway.ask(asked)) not in ("pass", "mutated")


@pytest.mark.parametrize("method", ["tools/call", "ping", "initialize", "subscriptions/listen"])
def test_the_token_of_a_call(gateway: Gateway, method: str) -> None:
    """Only a list keeps its token, whatever the gateway says: nothing comes after a call."""
    message = request(method, {"name": "lookup"}, token=gateway.world.token(), targets=["jira"])
    if method == "subscriptions/listen":
        message.ClearField("mcp_request")
    answer = gateway.ask(strips(message))

    assert reason_of(answer) == "pass"
    assert "authorization" in answer.header_mutation.remove


def test_the_token_of_a_list_that_nobody_strips(gateway: Gateway) -> None:
    """Without the gateway's word a list's token is taken away; its result is then refused."""
    asked = request("tools/list", token=gateway.world.token())
    answer = gateway.ask(asked)

    assert "authorization" in answer.header_mutation.remove
    assert reason_of(gateway.show(after(asked, answer, TOOLS))) == "token_missing"


def test_a_client_is_not_the_gateway(gateway: Gateway) -> None:
    """No header of a client says that the gateway strips tokens, or names an earlier check."""
    headers = [("strips_token", "true"), ("agentgateway.request", '{"strips_token": true}')]
    answer = gateway.ask(request("tools/list", token=gateway.world.token(), headers=headers))

    assert "authorization" in answer.header_mutation.remove


def test_a_proof_at_both_phases(gateway: Gateway) -> None:
    """A DPoP proof is good for a list and its result, and not for another's result."""
    client = DpopClient()
    token = gateway.world.token(cnf=client.confirmation)
    proof = client.proof(token, "POST", f"https://mcp.corp.example{PATH}")
    headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
    asked = strips(request("tools/list", token=None, headers=headers, targets=BOTH))
    answer = gateway.ask(asked)
    shown = after(asked, answer, {"tools": [{"name": "github_search"}]})

    assert reason_of(answer) == "pass"
    assert reason_of(gateway.show(shown)) == "pass"
    for odd in ("0" * 32, "", "x", str(answer.metadata["decision_id"]).upper()):
        shown.metadata_context.update({"agentgateway.before": {"decision_id": odd}})
        assert reason_of(gateway.show(shown)) == "dpop_proof"


def test_a_one_time_token_at_both_phases(tmp_path: Path) -> None:
    """A token for one request is good for a call of both targets and its result, and no other."""
    with World(tmp_path, MORE.with_((*AT_ISSUER, "one_time"), True)) as world:
        gateway = Gateway(world)
        token = world.token()
        asked = strips(request("tools/list", token=token, targets=BOTH))
        answer = gateway.ask(asked)
        shown = after(asked, answer, {"tools": [{"name": "github_search"}]})

        assert reason_of(answer) == "pass"
        assert reason_of(gateway.show(shown)) == "pass"
        assert reason_of(gateway.ask(asked)) == "token_used"
        shown.metadata_context.update({"agentgateway.before": {"decision_id": "0" * 32}})
        assert reason_of(gateway.show(shown)) == "token_used"


def test_a_list_of_several_targets(gateway: Gateway) -> None:
    """A list goes on when one target allows it; it is refused when none does."""
    token = gateway.world.token()

    def asked(method: str, *targets: str) -> str:
        return reason_of(gateway.ask(request(method, token=token, targets=targets)))

    assert asked("prompts/list", "github", "jira") == "pass"
    assert asked("prompts/list", "jira", "github") == "pass"
    assert asked("prompts/list", "jira") == "policy_denied"
    assert asked("prompts/list", "jira", "elsewhere") == "policy_denied"
    assert asked("tools/list", "github", "elsewhere", "GitHub") == "pass"
    assert asked("ping", "github", "elsewhere") == "body_uninspectable"


def test_a_list_is_cut_by_target(gateway: Gateway) -> None:
    """What a target has that refuses the list is not in it; where all refuse there is none."""
    token = gateway.world.token()
    prompts = {"prompts": [{"name": f"{target}_review"} for target in ("github", "jira", "x")]}

    def shown(*targets: str, **described: Any) -> pb.McpResponseResult:
        return gateway.show(
            response("prompts/list", prompts, token=token, targets=targets, **described)
        )

    assert names(shown("github", "jira"), "prompts") == ["github_review"]
    assert names(shown("jira", "github"), "prompts") == ["github_review"]
    assert reason_of(shown("jira", "elsewhere")) == "policy_denied"
    # With no target in the names each may be the one that has it, also the one that refuses.
    assert names(shown("github", "jira", prefixed=False), "prompts") == []


def test_uris_have_their_target_in_any_mode(gateway: Gateway) -> None:
    """With prefixMode never the gateway still puts the target in front of URIs."""
    resources = {"resources": [{"uri": f"{t}+repo://closed/a"} for t in ("github", "jira")]}
    message = response(
        "resources/list", resources, token=gateway.world.token(), targets=BOTH, prefixed=False
    )

    assert names(gateway.show(message), "resources", "uri") == ["jira+repo://closed/a"]


def test_a_fault_of_ours_is_no_cut(gateway: Gateway) -> None:
    """A list for which there is no time at one of the targets is refused, and not shown in part."""
    token = gateway.world.token()
    message = response("tools/list", TOOLS, token=token, targets=BOTH)

    assert reason_of(gateway.show(message, deadline=0.0)) == "overloaded"
    asked = request("tools/list", token=token, targets=BOTH)
    assert reason_of(gateway.ask(asked, deadline=0.0)) == "overloaded"


def test_records_of_a_list_of_several_targets(tmp_path: Path) -> None:
    """Each target leaves its record, also after one that refuses."""
    with World(tmp_path, MORE) as world:
        gateway = Gateway(world)
        gateway.ask(request("prompts/list", token=world.token(), targets=["jira", "github"]))
        records = [(one["host"], one["decision"]) for one in world.audit_records()]

    assert records == [("jira", "deny"), ("github", "allow")]


@pytest.mark.parametrize("method", [*METHODS, "vendor/sync"])
def test_what_passes_as_a_request_has_a_result(gateway: Gateway, method: str) -> None:
    """A result is refused only where its request is: a server's deed is never told as undone."""
    token = gateway.world.token()
    params = PARAMS | {"name": "review" if method == "prompts/get" else "search"}
    asked = reason_of(gateway.ask(request(method, params, token=token)))
    listed = METHODS[method].listed if method in METHODS else None
    result = {listed.member: []} if listed else {"content": [{"type": "text"}]}
    shown = reason_of(gateway.show(response(method, result, token=token)))

    assert (asked, shown) == ("pass", "pass")


def test_results_are_judged_by_the_table_of_requests(gateway: Gateway) -> None:
    """Of a known method a result passes whoever asked; of others it goes by the rules."""
    for method, known in METHODS.items():
        shown = gateway.show(response(method, b"anything", token=None, agent=None))
        assert (reason_of(shown) == "pass") is (known.listed is None)
    token = gateway.world.token()
    for method, expected in (("vendor/sync", "pass"), ("vendor/other", "method_unknown")):
        assert reason_of(gateway.ask(request(method, token=token))) == expected
        assert reason_of(gateway.show(response(method, {}, token=token))) == expected


def test_tasks_are_listed_by_id(gateway: Gateway) -> None:
    """A list of tasks is cut to those that the agent may ask for."""
    tasks = {"tasks": [{"taskId": "t-1"}, {"taskId": "u-1"}]}
    shown = gateway.show(response("tasks/list", tasks, token=gateway.world.token()))

    assert [one["taskId"] for one in json.loads(shown.mutated)["tasks"]] == ["t-1"]


def test_listening_to_what_is_not_shown(gateway: Gateway) -> None:
    """Agentgateway never shows what is listened to: who may listen to anything may do so."""
    token = gateway.world.token()

    def asked(target: str, params: Any = None) -> str:
        message = request("subscriptions/listen", params, token=token, targets=[target])
        return reason_of(gateway.ask(message))

    assert asked("jira") == "pass"
    assert asked("github") == "policy_denied"
    assert asked("elsewhere") == "body_uninspectable"
    # Where it is shown it counts, and what is none is refused.
    assert (
        asked("github", {"notifications": {"resourceSubscriptions": ["repo://open/a"]}}) == "pass"
    )
    assert asked("jira", {}) == "message_params"
