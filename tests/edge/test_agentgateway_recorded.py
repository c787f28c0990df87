"""Agentgateway's questions, in every shape in which it asks them, get the answer that is due."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from authz._pb import ext_mcp_pb2 as pb
from authz.core.protocols.mcp_methods import METHODS
from lab.mesh import TRAVEL
from support.agentgateway.recorded import CERTIFICATE, DECISION_ID, TOKEN, message_of, recorded
from support.ext_mcp import CHANGES, Gateway, reason_of
from support.world import World

QUESTIONS = recorded()
FORGED = {"x-agent-id", "x.agent.id"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A core that knows two MCP servers."""
    with World(tmp_path_factory.mktemp("recorded"), CHANGES) as world:
        yield Gateway(world)


def asked(gateway: Gateway, question: dict[str, Any]) -> pb.McpRequestResult | pb.McpResponseResult:
    """The answer to a question with a good token and certificate."""
    values = {
        TOKEN: gateway.world.token(),
        DECISION_ID: "0" * 32,
        CERTIFICATE: gateway.world.svid.certificate_pem,
    }
    message = message_of(question, values)
    if isinstance(message, pb.McpRequest):
        return gateway.ask(message)
    return gateway.show(message)


@pytest.mark.parametrize(
    "question", QUESTIONS, ids=[f"{at}-{one['method']}" for at, one in enumerate(QUESTIONS)]
)
def test_every_shape(gateway: Gateway, question: dict[str, Any]) -> None:
    """Each question is answered as its entry says: passed, cut to these names, or refused."""
    answer = asked(gateway, question)

    assert reason_of(answer) == question["answer"]
    if isinstance(answer, pb.McpResponseResult):
        if "names" in question:
            (items,) = (v for v in json.loads(answer.mutated).values() if isinstance(v, list))
            left = [one.get("uri", one.get("uriTemplate", one["name"])) for one in items]
            assert left == question["names"]
        return
    removed, written = set(answer.header_mutation.remove), answer.header_mutation.set
    if question["answer"] == "pass":
        listed = METHODS[question["method"]].listed
        assert ("authorization" in removed) is (listed is None)  # kept for the result's check
        assert {one.key: one.value for one in written}["x-agent-id"].decode() == TRAVEL
        sent = {name for name, _ in question["headers"]}
        assert (FORGED & sent) <= removed | {one.key for one in written}


def test_each_method_is_there() -> None:
    """The file has a question for each method that the gateway asks about before a call."""
    before = {one["method"] for one in QUESTIONS if one["rpc"] == "CheckRequest"}

    assert before == {
        "initialize", "server/discover", "ping", "logging/setLevel", "subscriptions/listen",
        "tools/list", "prompts/list", "resources/list", "resources/templates/list",
        "tools/call", "prompts/get", "resources/read",
    }  # fmt: skip
