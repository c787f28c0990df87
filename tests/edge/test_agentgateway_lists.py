"""Agentgateway's MCP guardrails: lists are cut to what may be called."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from authz.edge.agentgateway.list_filter import MAX_ITEMS, MAX_LIST_BYTES
from lab.mesh import PAYMENTS
from support.ext_mcp import CHANGES, Gateway, call, names, reason_of, response
from support.world import PATIENCE_SECONDS, World

TOOLS = {"tools": [{"name": "search"}, {"name": "write"}, {"name": "get_file"}, {"name": "drop"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A core that knows two MCP servers, for tests that change none of it."""
    with World(tmp_path_factory.mktemp("extmcp"), CHANGES) as world:
        yield Gateway(world)


def test_tools_that_may_be_called(gateway: Gateway) -> None:
    """A list has what this agent may call for this principal with this token, in its order."""
    result = TOOLS | {"nextCursor": "p2", "_meta": {"n": 1.5}}
    narrow = gateway.show(response("tools/list", result, token=gateway.world.token()))
    wide = gateway.world.token(scope="balance:read repo:write")
    more = gateway.show(response("tools/list", result, token=wide))

    assert names(narrow) == ["search", "get_file"]
    assert json.loads(narrow.mutated) | {"tools": 0} == result | {"tools": 0}
    assert names(more) == ["search", "write", "get_file"]


def test_a_stopped_tool_is_not_listed(tmp_path: Path) -> None:
    """A tool that is stopped leaves the lists, and so do all when everything is."""
    with World(tmp_path, CHANGES) as world:
        gateway = Gateway(world)
        token = world.token()
        for entry, left in (
            (Revocation(tool="search"), ["get_file"]),
            (Revocation(agent="spiffe://corp.example/other"), ["search", "get_file"]),
        ):
            world.revocations.file.current = Revocations((entry,))
            world.revocations.generation += 1
            assert names(gateway.show(response("tools/list", TOOLS, token=token))) == left
        world.revocations.file.current = Revocations((Revocation(everything=True),))
        world.revocations.generation += 1
        assert reason_of(gateway.show(response("tools/list", TOOLS, token=token))) == "stopped"


def test_a_list_that_needs_no_cut(gateway: Gateway) -> None:
    """A list of nothing but what may be called passes as it is."""
    shown = response("tools/list", {"tools": [{"name": "search"}]}, token=gateway.world.token())

    assert reason_of(gateway.show(shown)) == "pass"


def test_other_lists(gateway: Gateway) -> None:
    """Resources, their templates and prompts are cut by what reads them."""
    token = gateway.world.token()
    resources = {"resources": [{"uri": "repo://open/a"}, {"uri": "repo://closed/a"}]}
    templates = {"resourceTemplates": [{"uriTemplate": u} for u in ("repo://open/x/{f}", "{+all}")]}
    prompts = {"prompts": [{"name": "review"}, {"name": "leak"}]}

    shown = gateway.show(response("resources/list", resources, token=token))
    assert names(shown, "resources", "uri") == ["repo://open/a"]
    shown = gateway.show(response("resources/templates/list", templates, token=token))
    assert names(shown, "resourceTemplates", "uriTemplate") == ["repo://open/x/{f}"]
    shown = gateway.show(response("prompts/list", prompts, token=token))
    assert names(shown, "prompts") == ["review"]


def test_lists_of_several_targets(gateway: Gateway) -> None:
    """In a list of several targets an item is judged at the target that its name begins with."""
    token = gateway.world.token()
    listed = ["github_search", "jira_search", "jira_lookup", "github_lookup", "search", "x_search"]
    message = response(
        "tools/list",
        {"tools": [{"name": name} for name in listed]},
        token=token,
        targets=["github", "jira"],
    )
    # With prefixMode never each target may be the one that has it.
    never = response(
        "tools/list",
        {"tools": [{"name": "search"}, {"name": "lookup"}]},
        token=token,
        targets=["github", "jira"],
        prefixed=False,
    )
    always = response(
        "tools/list", {"tools": [{"name": "github_search"}]}, token=token, prefixed=True
    )

    assert names(gateway.show(message)) == ["github_search", "jira_lookup"]
    assert names(gateway.show(never)) == []
    assert reason_of(gateway.show(always)) == "pass"


def test_resources_of_several_targets(gateway: Gateway) -> None:
    """A resource has its target in front of the URI, one of ui:// behind the scheme."""
    uris = ["github+repo://open/a", "jira+repo://open/a", "repo://open/a"]
    uris += ["ui://github+open/a", "ui://jira+open/a", "github+ui://open/a"]
    message = response(
        "resources/list",
        {"resources": [{"uri": uri} for uri in uris]},
        token=gateway.world.token(),
        targets=["github", "jira"],
        prefixed=True,
    )
    left = ["github+repo://open/a", "ui://github+open/a", "github+ui://open/a"]

    # jira's rule allows no resources/list, so that nothing of it is left.
    assert names(gateway.show(message), "resources", "uri") == left
    del message.service_names[1]
    assert names(gateway.show(message), "resources", "uri") == left


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"token": None}, "token_missing"),
        ({"agent": None}, "agent_missing"),
        ({"agent": PAYMENTS}, "actor_mismatch"),
        ({"path": None}, "policy_denied"),
        ({"targets": ["jira"]}, "mutated"),
        ({"targets": []}, "path_ambiguous"),
        ({"targets": ["elsewhere"]}, "body_uninspectable"),
    ],
)
def test_who_may_list(gateway: Gateway, changes: dict[str, Any], expected: str) -> None:
    """A list is for whom it may be asked by: of another it is refused as a whole."""
    message = response("tools/list", TOOLS, **{"token": gateway.world.token(), **changes})

    assert reason_of(gateway.show(message)) == expected


def test_a_header_that_came_twice(gateway: Gateway) -> None:
    """The metadata has a list for a header that came twice; two tokens are ambiguous there too."""
    token = f"Bearer {gateway.world.token()}"

    def shown(value: Any) -> str:
        headers = {"Authorization": value}
        return reason_of(gateway.show(response("tools/list", TOOLS, token=None, headers=headers)))

    assert shown([token]) == shown(token) == "mutated"
    assert shown([token, token]) == "auth_ambiguous"
    assert shown({"a": token}) == shown(7) == "token_missing"


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"tools":null}',
        b'{"tools":{}}',
        b'{"tools":["search"]}',
        b'{"tools":[{}]}',
        b'{"tools":[{"name":1}]}',
        b'{"tools":[{"name":""}]}',
        b'{"tools":[{"name":"search","name":"drop"}]}',
        b'{"tools":[{"name":"search","Name":"drop"}]}',
        b'{"tools":[],"Tools":[{"name":"drop"}]}',
        b'{"tools":[],"tools":[{"name":"drop"}]}',
        b'{"tools":[]}{"tools":[{"name":"drop"}]}',
        b'{"tools":[{"name":"\xff"}]}',
        b'{"tools":[{"name":"\\ud800"}]}',
        b'{"tools":[{"name":"search","x":NaN}]}',
        b'{"tools":[{"name":"search","x":' + b"[" * 99 + b"]" * 99 + b"}]}",
        json.dumps({"tools": [{"name": "x" * 3000}]}).encode(),
    ],
)
def test_odd_lists(gateway: Gateway, result: bytes) -> None:
    """A list that could be read in two ways, or not at all, is refused as a whole."""
    message = response("tools/list", result, token=gateway.world.token())

    assert reason_of(gateway.show(message)) == "body_uninspectable"


def test_huge_lists(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has bounds in items, bytes and values; one within them is cut."""
    # A busy machine may take long for a list; its own bound in time has a test of its own.
    monkeypatch.setattr("authz.edge.agentgateway.target_checks.MAX_LIST_SECONDS", PATIENCE_SECONDS)
    token = gateway.world.token()

    def shown(count: int, text: str = "", **more: Any) -> str:
        tools = [{"name": f"get_{number}", "d": text, **more} for number in range(count)]
        tools[-1:] = [{"name": "drop"}]
        return reason_of(gateway.show(response("tools/list", {"tools": tools}, token=token)))

    assert shown(MAX_ITEMS) == "mutated"
    assert shown(MAX_ITEMS + 1) == "body_truncated"
    assert shown(11, "x" * (MAX_LIST_BYTES // 10)) == "body_truncated"
    assert shown(100, y=[0] * 1000) == "body_truncated"


def test_a_list_that_is_late(gateway: Gateway) -> None:
    """A list for whose items the time is too short is refused, and never shown in part."""
    token = gateway.world.token()
    message = response("tools/list", TOOLS, token=token)
    assert reason_of(gateway.show(message)) == "mutated"  # and the list's own decision remembered

    assert reason_of(gateway.show(message, deadline=0.001)) == "overloaded"


def test_a_list_that_takes_long(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list has a bound in time of its own, whether or not the gateway has a deadline."""
    token = gateway.world.token()
    message = response("tools/list", TOOLS, token=token)
    assert reason_of(gateway.show(message)) == "mutated"  # and the list's own decision remembered

    monkeypatch.setattr("authz.edge.agentgateway.target_checks.MAX_LIST_SECONDS", 0.0)
    assert reason_of(gateway.show(message)) == "overloaded"
    assert reason_of(gateway.show(message, deadline=None)) == "overloaded"


def test_other_results(gateway: Gateway) -> None:
    """Results of unknown methods, and of what is no method, are refused as the requests are."""
    for method in ("Tools/list", "secrets/list"):
        odd = response(method, TOOLS, token=gateway.world.token())
        assert reason_of(gateway.show(odd)) == "method_unknown"
    for method in ("tools/list ", ""):
        odd = response(method, TOOLS, token=gateway.world.token())
        assert reason_of(gateway.show(odd)) == "message_invalid"


NAMES = st.sampled_from(
    [
        "search",
        "write",
        "drop",
        "book",
        "lookup",
        "get_",
        "get_file",
        "Search",
        "github_search",
        "*",
    ]
)


@settings(max_examples=60, deadline=None)
@given(listed=st.lists(st.one_of(NAMES, st.text(min_size=1, max_size=8)), max_size=8))
def test_what_is_left_may_be_called(gateway: Gateway, listed: list[str]) -> None:
    """What is left of a list is a part of it in its order, and each of it may be called."""
    token = gateway.world.token()
    tools = [{"name": name, "n": number} for number, name in enumerate(listed)]
    raw = json.dumps({"tools": tools}).encode()
    answer = gateway.show(response("tools/list", raw, token=token))
    kind = answer.WhichOneof("result")
    left = (
        tools
        if kind == "pass"
        else json.loads(answer.mutated)["tools"]
        if kind == "mutated"
        else []
    )

    assert left == [tool for tool in tools if tool in left]
    assert all(call(gateway, str(tool["name"]), token=token) == "pass" for tool in left)
    if kind != "error":
        gone = [tool["name"] for tool in tools if tool not in left]
        assert all(call(gateway, str(name), token=token) != "pass" for name in gone)
