"""The two steps of an answer: at once where it is remembered, else decided, perhaps with a wait."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from authz._pb import ext_authz_pb2 as pb
from authz._pb import ext_mcp_pb2
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from authz.edge.agentgateway import McpGuardrails
from authz.edge.methods import Method, Undecided
from lab.config_builder import LAB
from lab.dpop import DpopClient
from lab.mesh import TRAVEL
from support import ext_mcp
from support.jwks_server import ScriptedServer, answer
from support.world import BALANCE, HOST, READ, World, check_request, reason_of

SOON = 60.0


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A core with records of its own."""
    with World(tmp_path) as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[World]:
    """A core that an agentgateway asks."""
    with World(tmp_path, ext_mcp.CHANGES) as made:
        yield made


def remaining() -> float:
    """Enough time."""
    return SOON


def asked(world: World, token: str) -> bytes:
    """A check for the balance."""
    message = check_request(world.svid, [("authorization", f"Bearer {token}")])
    return message.SerializeToString()


def begun(method: Method, data: bytes) -> Undecided:
    """What a first step leaves, which did not answer."""
    first = method.begin(data)
    assert not isinstance(first, bytes)
    return first


def said(data: object) -> str:
    """The reason of Envoy's answer."""
    assert isinstance(data, bytes)
    return reason_of(pb.CheckResponse.FromString(data))


def told(world: World) -> list[tuple[str, str]]:
    """What the records say."""
    return [(record["reason"], record["cache"]) for record in world.audit_records()]


def test_what_is_new_is_decided_without_a_wait(world: World) -> None:
    """A check with a known key needs nobody else, and is then answered in its first step."""
    data = asked(world, world.token())

    assert said(begun(world.authorization, data).decide(remaining, may_wait=False)) == "allow"
    assert said(world.authorization.begin(data)) == "allow"
    assert told(world) == [("", "miss"), ("", "hit")]


def test_what_cant_be_read_is_answered_at_once(world: World) -> None:
    """Bytes that are no message are refused in the first step, whichever method they came for."""
    guardrails = McpGuardrails(world.service)

    assert said(world.authorization.begin(b"\xff")) == "check_malformed"
    for method in (guardrails.check_request, guardrails.check_response):
        assert isinstance(method.begin(b"\xff"), bytes)
    assert told(world) == [("check_malformed", "miss")] * 3


def test_a_key_that_may_be_learned_takes_a_wait(world: World) -> None:
    """An unknown key is not asked for where nothing may wait, and that leaves no record."""
    waiting = begun(world.authorization, asked(world, world.token(header={"kid": "new"})))
    fetches = world.jwks.fetches

    assert waiting.decide(remaining, may_wait=False) is None
    assert waiting.decide(remaining, may_wait=False) is None
    assert world.jwks.fetches == fetches
    assert told(world) == []
    assert said(waiting.decide(remaining, may_wait=True)) == "token_key_unknown"
    assert told(world) == [("token_key_unknown", "miss")]
    assert world.jwks.fetches == fetches + 1


def test_a_decision_point_takes_a_wait(tmp_path: Path) -> None:
    """It is asked in the second step alone, and only about what the rules allow."""
    point = ScriptedServer(answer(b'{"decision":true}', content_type="application/json"))
    section = f"{{url: '{point.url}', insecure: true, timeout: 2s}}"
    with World(tmp_path, LAB.with_section("pdp", section)) as world:
        allowed = begun(world.authorization, asked(world, world.token()))
        refused = begun(world.authorization, asked(world, world.token(aud="https://else")))

        assert allowed.decide(remaining, may_wait=False) is None
        assert said(refused.decide(remaining, may_wait=False)) == "token_audience"
        assert not point.requests
        assert said(allowed.decide(remaining, may_wait=True)) == "allow"
        assert len(point.requests) == 1
        assert told(world) == [("token_audience", "miss"), ("", "miss")]
    point.close()


def test_a_wait_for_a_thread_is_not_lost(world: World) -> None:
    """What another check has decided meanwhile is taken from memory."""
    data = asked(world, world.token())
    first, second = begun(world.authorization, data), begun(world.authorization, data)

    assert said(first.decide(remaining, may_wait=True)) == "allow"
    assert said(second.decide(remaining, may_wait=True)) == "allow"
    assert told(world) == [("", "miss"), ("", "hit")]


def test_a_change_between_the_steps_counts(world: World) -> None:
    """The second step goes by the revocations of its own time, remembered decisions or not."""
    data = asked(world, world.token())
    new, known = begun(world.authorization, data), begun(world.authorization, data)
    assert said(begun(world.authorization, data).decide(remaining, may_wait=False)) == "allow"
    world.revocations.file.current = Revocations((Revocation(agent=TRAVEL),))
    world.revocations.generation += 1

    assert said(new.decide(remaining, may_wait=False)) == "agent_suspended"
    assert said(known.decide(remaining, may_wait=True)) == "agent_suspended"


def test_a_proof_is_used_once_in_either_way(world: World) -> None:
    """A single-use proof is looked up in memory: the second request with it is refused at once."""
    client = DpopClient()
    token = world.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", f"https://{HOST}{BALANCE}")
    headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
    data = check_request(world.svid, headers).SerializeToString()
    steps = [begun(world.authorization, data) for _ in range(2)]

    assert [said(one.decide(remaining, may_wait=False)) for one in steps] == ["allow", "dpop_proof"]


def test_targets_are_recorded_once(gateway: World) -> None:
    """Of a call to several targets those that are remembered wait for the others, each once."""
    method = McpGuardrails(gateway.service).check_request
    token = gateway.token(scope=READ)
    alone = ext_mcp.request("tools/list", token=token, targets=["github"])
    both = ext_mcp.request("tools/list", token=token, targets=["github", "jira"])
    assert begun(method, alone.SerializeToString()).decide(remaining, may_wait=False)
    first = begun(method, both.SerializeToString())
    assert told(gateway) == [("", "miss"), ("", "hit")]

    assert first.decide(remaining, may_wait=False)
    assert told(gateway) == [("", "miss"), ("", "hit"), ("", "miss")]
    assert isinstance(method.begin(both.SerializeToString()), bytes)


def test_a_list_is_cut_where_there_is_time(gateway: World) -> None:
    """To judge each item of a list takes long: that is never done by a thread that may not wait."""
    method = McpGuardrails(gateway.service).check_response
    tools = {"tools": [{"name": "search"}, {"name": "drop"}]}
    shown = ext_mcp.response("tools/list", tools, token=gateway.token()).SerializeToString()
    first = begun(method, shown)

    assert first.decide(remaining, may_wait=False) is None
    assert told(gateway) == []
    result = first.decide(remaining, may_wait=True)
    assert isinstance(result, bytes)
    assert b"drop" not in ext_mcp_pb2.McpResponseResult.FromString(result).mutated
    assert told(gateway) == [("", "miss")]
