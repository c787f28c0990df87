"""The real gateway asks as the recorded questions have it, which ``make test`` answers.

``AUTHZ_RECORD=FILE`` writes the real questions there, as ``tests/support/data/agentgateway.json``
has them.
"""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from support.agentgateway.recorded import question_of, recorded, shape_of
from support.agentgateway.rig import Rig

RECORD = "AUTHZ_RECORD"
# Methods whose params or result depend on the SDK and the servers, not on the gateway.
FREE = {"tools/call", "prompts/get", "resources/read"}


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
    questions = [question_of(exchange, token) for exchange in rig.recorder.taken()]
    write(questions, mode)
    known = {comparable(question) for question in recorded()}

    assert len(questions) > len(FREE)
    assert [one for one in questions if comparable(one) not in known] == []


def comparable(question: dict[str, Any]) -> tuple[object, ...]:
    """A question's shape, without what is not the gateway's."""
    shape = shape_of(question)
    is_list = question["rpc"] == "CheckResponse"
    return shape if not is_list and question["method"] not in FREE else shape._replace(members=())


def write(questions: list[dict[str, Any]], mode: str) -> None:
    """Write the questions to the file that the environment names, beside those of other modes."""
    if RECORD not in os.environ:
        return
    path = Path(os.environ[RECORD])
    known = json.loads(path.read_text())["questions"] if path.exists() else []
    new = [{"about": f"the SDK's client, {mode}", **question} for question in questions]
    path.write_text(json.dumps({"questions": known + new}, indent=1) + "\n")
