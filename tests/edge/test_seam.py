"""The seam between dialects and deciding: checks that were read, and answers not yet written."""

import ast
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

import authz
from authz._pb import ext_authz_pb2 as pb
from authz.core.decision import Agent, Allow, Decision, Delegation, Deny, Permit, Progress
from authz.core.needs import KeyNeeded
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SpiffeId
from authz.edge.agentgateway import McpGuardrails
from authz.edge.agentgateway.writer import request_result
from authz.edge.answered import Answered, DecodedCheck
from authz.edge.bulkhead import Bulkhead
from authz.edge.envoy.reader import read_check
from authz.edge.envoy.writer import ResponseTemplate, check_response
from authz.edge.learning import ANSWER_MARGIN_SECONDS, MAX_ROUNDS, LearnError, Learning
from lab.mesh import TRAVEL
from support.world import World, check_request, reason_of

ID = "a" * 32
AGENT = Agent(SpiffeId.parse(TRAVEL))
DELEGATION = Delegation("https://i", "alice", (), frozenset(), 0.0, 9e9)
ALLOW = Allow(AGENT, DELEGATION, Permit("r", "r"), 9e9)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A core with records of its own."""
    with World(tmp_path) as made:
        yield made


def good_check(world: World) -> DecodedCheck:
    """A check that is allowed, as a dialect's reader gives it."""
    message = check_request(world.svid, [("authorization", f"Bearer {world.token()}")])
    return read_check(world.service.snapshot.inputs, message)


def answer(world: World, check: DecodedCheck, decision_id: str = ID) -> Answered:
    """What is decided."""
    service = world.service
    begun = service.clock.moment()
    args = service.snapshot, check, begun
    known = service.remembered(*args, decision_id)
    decided = known or service.decide(*args, lambda: 60.0, decision_id, may_wait=True)
    assert decided is not None
    return decided


def test_a_check_is_answered_without_any_bytes(world: World) -> None:
    """What was read is decided, recorded once with its id, and remembered."""
    check = good_check(world)
    first, second = answer(world, check), answer(world, check, "b" * 32)
    records = world.audit_records()

    assert first.is_allow
    assert (first.is_hit, second.is_hit) == (False, True)
    assert first.rendered is second.rendered
    assert first.valid_until > world.service.clock.wall()
    assert [record["decision_id"] for record in records] == [ID, "b" * 32]
    assert [record["cache"] for record in records] == ["miss", "hit"]


def test_a_refusal_is_good_for_no_time(world: World) -> None:
    """A refusal tells its reason, and no time for which a proxy may go by it."""
    check = good_check(world)
    nameless = msgspec.structs.replace(check.request, headers=())
    refused = answer(world, msgspec.structs.replace(check, request=nameless))

    assert not refused.is_allow
    assert refused.rendered.reason is Reason.TOKEN_MISSING
    assert refused.valid_until == 0.0


def test_a_fault_is_recorded_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in deciding is a refusal with one record, and nothing is raised."""

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(world.service.snapshot.authorizer.policy, "evaluate", fail)
    refused = answer(world, good_check(world))
    records = world.audit_records()

    assert refused.rendered.reason is Reason.INTERNAL_ERROR
    assert [record["reason"] for record in records] == ["internal_error"]
    assert "secret" not in str(records)


def test_what_cant_be_read_is_recorded_once(world: World) -> None:
    """A dialect that can't read a check has it refused, with one record, and nothing is raised."""
    service = world.service
    refused = service.refuse(ValueError("secret"), service.clock.moment(), ID)
    malformed = world.check(b"\xff")
    records = world.audit_records()

    assert refused.rendered.reason is Reason.INTERNAL_ERROR
    assert reason_of(malformed) == "check_malformed"
    assert [record["reason"] for record in records] == ["internal_error", "check_malformed"]


@pytest.mark.parametrize("dialect", ["envoy", "agentgateway"])
def test_the_log_names_no_message_of_another_dialect(
    world: World, caplog: pytest.LogCaptureFixture, dialect: str
) -> None:
    """Bytes that can't be decoded are told of in the same words, whoever sent them."""
    guardrails = McpGuardrails(world.service)
    method = world.authorization if dialect == "envoy" else guardrails.check_request
    assert isinstance(method.begin(b"\xff"), bytes)

    assert [one.message for one in caplog.records] == [
        "a call sent bytes that are not a message of its method"
    ]


def test_where_nothing_can_be_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the record fails there is an answer: the last resort, which is a refusal."""

    def fail(*_: object) -> None:
        raise OSError

    check = good_check(world)
    assert answer(world, check).is_allow
    monkeypatch.setattr(world.service._audit, "append", fail)

    assert answer(world, check).rendered.reason is Reason.INTERNAL_ERROR
    told = pb.CheckResponse.FromString(check_response(answer(world, check)))
    assert reason_of(told) == "internal_error"
    assert told.dynamic_metadata["decision_id"] == ID


def test_one_remembered_decision_for_both_dialects(world: World) -> None:
    """Whichever dialect asked first, each tells the one entry in its own words, in any order."""
    check = good_check(world)
    answers = [answer(world, check, f"{number:032}") for number in range(4)]
    assert [one.is_hit for one in answers] == [False, True, True, True]
    gateway_first = request_result([answers[0]])
    envoy = pb.CheckResponse.FromString(check_response(answers[1]))
    gateway = request_result([answers[2]])
    again = pb.CheckResponse.FromString(check_response(answers[3]))

    def of_gateway(result: Any) -> dict[str, str]:
        return {one.key: one.value.decode() for one in result.header_mutation.set}

    def of_envoy(told: pb.CheckResponse) -> dict[str, str]:
        return {one.header.key: one.header.value for one in told.ok_response.headers}

    for headers, number in (
        (of_gateway(gateway_first), 0),
        (of_envoy(envoy), 1),
        (of_gateway(gateway), 2),
        (of_envoy(again), 3),
    ):
        assert headers.pop("x-agent-decision-id") == f"{number:032}"
        assert headers == {k: v for k, v in of_envoy(envoy).items() if "decision" not in k}
    assert set(gateway.header_mutation.remove) == set(envoy.ok_response.headers_to_remove)
    assert gateway.metadata["cache"] == again.dynamic_metadata["cache"] == "hit"


def test_a_call_of_several_targets_is_good_as_long_as_all_are(world: World) -> None:
    """The gateway is told the earliest end of the answers for its targets, in whichever order."""
    told = answer(world, good_check(world))
    soon = msgspec.structs.replace(told, valid_until=told.valid_until - 5)

    for answers in ([told, soon], [soon, told]):
        assert request_result(answers).metadata["valid_until"] == soon.valid_until


def test_another_dialects_encoding_is_made_anew(world: World) -> None:
    """What another dialect kept with a decision is never taken for Envoy's bytes."""
    answered = answer(world, good_check(world))
    answered.rendered.encoded = b"another dialect's"

    assert reason_of(pb.CheckResponse.FromString(check_response(answered))) == "allow"
    assert isinstance(answered.rendered.encoded, ResponseTemplate)


class Learns:
    """A learner that tells what it was asked."""

    name = "keys"
    max_seconds = 2.0

    def __init__(self, result: Callable[[], bool] = lambda: True) -> None:
        """Take what comes of it."""
        self.asked: list[tuple[str, float]] = []
        self._result = result

    def learn(self, need: KeyNeeded, seconds: float) -> bool:
        """Note it."""
        self.asked.append((need.key_id, seconds))
        return self._result()


def needing(key_id: str) -> Deny:
    """A refusal that names a need."""
    denied = Denied(Reason.TOKEN_KEY_UNKNOWN, "no key", needs=KeyNeeded("https://i", key_id))
    return Progress(agent=AGENT).refuse(denied)


def improved(
    learner: Learns,
    again: Callable[[], Decision] = lambda: ALLOW,
    remaining: float | None = 60.0,
    bulkhead: Bulkhead | None = None,
) -> Decision:
    """What comes of a refusal that needs a key."""
    learning = Learning({KeyNeeded: learner}, bulkhead or Bulkhead(4, nullcontext))
    return learning.improve(needing("k"), again, lambda: remaining)


def test_what_is_learned_is_decided_again() -> None:
    """Once the need was learned the request is decided anew; if not, the first refusal stays."""
    assert improved(Learns()) is ALLOW
    assert improved(Learns(lambda: False)) == needing("k")


@pytest.mark.parametrize(
    ("remaining", "seconds"), [(None, 2.0), (60.0, 2.0), (1.0, 1.0 - ANSWER_MARGIN_SECONDS), (0, 0)]
)
def test_a_learner_has_the_callers_deadline(remaining: float | None, seconds: float) -> None:
    """It may take what the caller waits, less a margin, and no longer than its own maximum."""
    learner = Learns()
    improved(learner, remaining=remaining)

    assert learner.asked == [("k", seconds)]


def test_a_learner_that_fails_leaves_the_refusal(caplog: pytest.LogCaptureFixture) -> None:
    """The first refusal stays, says why, and one line is logged; no text of other libraries."""

    def refused() -> bool:
        raise LearnError("no answer in time")

    def broken() -> bool:
        raise RuntimeError("secret")

    for result, words in ((refused, "no answer in time"), (broken, "RuntimeError")):
        caplog.clear()
        decision = improved(Learns(result))
        assert isinstance(decision, Deny)
        assert (decision.reason, decision.agent) == (Reason.TOKEN_KEY_UNKNOWN, AGENT)
        assert decision.detail.startswith("no key; ")
        assert decision.detail.endswith(words)
        assert len(caplog.records) == 1
        assert "secret" not in caplog.text + decision.detail


def test_who_finds_no_place_to_wait_is_refused() -> None:
    """With half of the places taken by one agent another check of it is refused as overload."""
    bulkhead = Bulkhead(2, nullcontext)
    with bulkhead.waiting(TRAVEL):
        learner = Learns()
        decision = improved(learner, bulkhead=bulkhead)
    assert isinstance(decision, Deny)
    assert decision.reason is Reason.OVERLOADED
    assert "wait for keys" in decision.detail
    assert not learner.asked
    assert improved(learner, bulkhead=bulkhead) is ALLOW


def test_a_wait_gives_its_place_back() -> None:
    """Whatever comes of a wait, its place is free afterwards."""
    bulkhead = Bulkhead(2, nullcontext)

    def broken() -> bool:
        assert bulkhead.status().waiting == 1
        raise RuntimeError

    improved(Learns(broken), bulkhead=bulkhead)

    assert bulkhead.status().waiting == 0


def test_rounds_are_bounded() -> None:
    """A need is learned once, and ever new needs end in the last refusal."""
    same = Learns()
    assert improved(same, again=lambda: needing("k")) == needing("k")
    assert len(same.asked) == 1
    ever_new = Learns()
    numbers = iter(range(100))
    last = improved(ever_new, again=lambda: needing(str(next(numbers))))
    assert len(ever_new.asked) == MAX_ROUNDS
    assert last == needing(str(MAX_ROUNDS - 1))


def test_a_need_that_nobody_learns() -> None:
    """Without a learner for it the refusal stays."""
    learning = Learning({}, Bulkhead(2, nullcontext))

    assert learning.improve(needing("k"), lambda: ALLOW, lambda: None) == needing("k")


def test_refusals_have_one_maker() -> None:
    """Nothing but Progress.refuse makes a Deny: no other module calls it."""
    makers = []
    for path in sorted(Path(authz.__path__[0]).rglob("*.py")):
        tree = ast.parse(path.read_text())
        named = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module == "authz.core.decision"
            for alias in node.names
            if alias.name == "Deny"
        }
        if path.parts[-2:] == ("core", "decision.py"):
            named = {"Deny"}
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        makers += [path.name for call in calls if isinstance(call, ast.Name) and call.id in named]
        makers += [
            path.name
            for call in calls
            if isinstance(call, ast.Attribute) and ast.unparse(call).endswith("decision.Deny")
        ]

    assert makers == ["decision.py"]
