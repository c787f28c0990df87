"""The real gateway asks as the recorded questions have it, which ``make test`` answers.

``AUTHZ_RECORD_TO=FILE`` writes the real questions there, in the form of
``tests/support/data/agentgateway.json``, without the answers that are due.
"""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from support.agentgateway.raw_mcp import Session
from support.agentgateway.recorded import question_of, recorded, shape_of
from support.agentgateway.rig import Rig

RECORD = "AUTHZ_RECORD_TO"
# Methods whose params or result depend on the SDK and the servers, not on the gateway.
FREE = {"tools/call", "prompts/get", "resources/read"}
BY_HAND: list[tuple[str, Any]] = [
    ("ping", None),
    ("logging/setLevel", {"level": "debug"}),
    ("tools/call", {"name": "github_search"}),
    ("tools/call", {"name": "github_search", "arguments": {}, "task": {"ttl": 1000}}),
    ("tools/call", {"name": "jira_remove", "arguments": {}}),
    ("prompts/get", {"name": "github_leak", "arguments": {"code": "1"}}),
]


async def used(client: Client) -> None:
    """Everything that the gateway asks about."""
    await client.list_tools()
    await client.list_prompts()
    resources = (await client.list_resources()).resources
    await client.list_resource_templates()
    await client.call_tool("github_search", {})
    await client.read_resource(str(resources[0].uri))
    await client.get_prompt("github_review", {"code": "1"})
    with suppress(MCPError):
        await client.call_tool("github_delete_repo", {})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_questions(rig: Rig, mode: str) -> None:
    """Methods, targets, phases and metadata are those of the recorded questions."""
    token = rig.token()
    rig.recorder.taken()

    async def run() -> None:
        async with rig.connected(mode, token) as client:
            await used(client)

    asyncio.run(run())
    questions = taken(rig, token, f"the SDK's client, {mode}")

    assert len(questions) > len(FREE)
    assert_known(questions)


def test_questions_by_hand(rig: Rig) -> None:
    """Messages written by hand are asked about as recorded, the odd ones too."""
    token = rig.token()
    rig.recorder.taken()
    begun = Session(rig.client(), token).begin()
    for method, params in BY_HAND:
        begun.post(method, params)
    questions = taken(rig, token, "by hand")

    assert [one["method"] for one in questions] == ["initialize", *(m for m, _ in BY_HAND)]
    assert_known(questions)


def taken(rig: Rig, token: str, about: str) -> list[dict[str, Any]]:
    """What the gateway asked since the last time, written down if that is wanted."""
    questions = [question_of(exchange, token) for exchange in rig.recorder.taken()]
    write(questions, about)
    return questions


def assert_known(questions: list[dict[str, Any]]) -> None:
    """Fail with the questions that have no recorded one of their shape."""
    known = {comparable(question) for question in recorded()}
    assert [one for one in questions if comparable(one) not in known] == []


def comparable(question: dict[str, Any]) -> tuple[object, ...]:
    """A question's shape, without what is not the gateway's."""
    shape = shape_of(question)
    is_list = question["rpc"] == "CheckResponse"
    return shape if not is_list and question["method"] not in FREE else shape._replace(members=())


def write(questions: list[dict[str, Any]], about: str) -> None:
    """Write the questions to the file that the environment names, beside those of other modes."""
    if RECORD not in os.environ:
        return
    path = Path(os.environ[RECORD])
    known = json.loads(path.read_text())["questions"] if path.exists() else []
    new = [{"about": about, **question} for question in questions]
    path.write_text(json.dumps({"questions": known + new}, indent=1) + "\n")
