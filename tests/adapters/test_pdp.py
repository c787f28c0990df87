"""The external decision point: both must allow, and nothing but a clear yes is one."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from prometheus_client import generate_latest

from authz.adapters import circuit_breaker, shared_calls
from authz.adapters.circuit_breaker import CircuitBreaker, CircuitBreakers, CircuitOpenError
from authz.adapters.pdp import BreakerSettings, PdpSettings
from authz.adapters.pdp.client import AuthzenClient, PdpError, PdpResult
from authz.adapters.pdp.evaluation import PdpPermit, build_evaluation, is_asked, read_answer
from authz.config import ConfigError, load_text
from authz.core.decision import Actor, Agent, Allow, Delegation, Mode, Permit
from authz.core.reason import Denied
from authz.core.request import Call, CallKind, MessageProtocol, Operation
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from authz.core.spiffe import SpiffeId
from authz.review.config_check.file_checks import file_problems
from lab.ca import Authority
from lab.config_builder import AT_ISSUER, LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.issuer import MADE
from lab.mesh import ISSUER, ORCHESTRATOR, PAYMENTS, TRAVEL, Mesh
from support.canary import anchors, leaks
from support.jwks_server import Behaviour, ScriptedServer, answer, held, raw
from support.world import BALANCE, READ, World, check_request, header_of, reason_of
from support.world import PATIENCE_SECONDS as SECONDS
from support.world import wait_until as until

SECRET = "pdp-s3cret-t0ken"
JSON = "application/json"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
YES = answer(b'{"decision":true}', content_type=JSON)
NO = answer(b'{"decision":false}', content_type=JSON)
GET_BALANCE = Operation("GET", "mcp.corp.example", ("finance", "balance"))


def says(
    body: str | bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Behaviour:
    """A decision point that answers with this body."""
    data = body if isinstance(body, bytes) else body.encode()
    return answer(data, status, JSON, headers)


@pytest.fixture
def pdp() -> Iterator[ScriptedServer]:
    """A decision point that says yes."""
    running = ScriptedServer(YES)
    yield running
    running.close()


def settings(server: ScriptedServer, **changes: Any) -> PdpSettings:
    """Settings that ask the server, in no hurry."""
    return patient(PdpSettings(**{"url": server.url, "insecure": True, **changes}))


def patient(given: PdpSettings) -> PdpSettings:
    """Wait longer than an operator may say: on a busy machine all answers are slow."""
    return given.model_copy(update={"timeout": SECONDS})


@contextmanager
def asking(
    folder: Path, server: ScriptedServer, more: str = "", changes: ConfigBuilder = LAB
) -> Iterator[World]:
    """A world whose allows the server has to confirm; ``more`` is said in its ``pdp:``."""
    section = f"{{url: '{server.url}', insecure: true{more}}}"
    with World(folder, changes.with_section("pdp", section)) as world:
        point = point_of(world)
        point._settings = patient(point._settings)
        yield world


def point_of(world: World) -> AuthzenClient:
    """Whom it asks."""
    point = world.service.snapshot.decision_point
    assert isinstance(point, AuthzenClient)
    return point


MCP = LAB.with_routes("[{name: tools, paths: [/mcp], protocol: mcp}]").with_rules(
    "finance-read",
    "[{hosts: ['*'], methods: [POST], paths: [/mcp], scopes: [], mcp: {tools: ['*']}}]",
)
EXACT = LAB.with_((*AT_ISSUER, "clock_skew"), "0s")


def an_allow(agent: str = TRAVEL, **changes: Any) -> Allow:
    """What our own steps may have said."""
    values: dict[str, Any] = {
        "issuer": ISSUER,
        "subject": "alice",
        "actors": (Actor(ISSUER, agent), Actor(ISSUER, ORCHESTRATOR)),
        "scopes": frozenset({"b", "a"}),
        "issued_at": 0.0,
        "expires_at": 2000.0,
        "token_id": "the-jti",
        "claims": {"groups": ["g2", 7, "g1"], "roles": "root", "email": "a@corp.example"},
        **changes,
    }
    grant = Permit("finance-read/0", "finance-read/1")
    return Allow(Agent(SpiffeId.parse(agent)), Delegation(**values), grant, 2000.0)


def refused(ask: Callable[[], object]) -> tuple[str, str]:
    """The reason and the detail of a refusal."""
    with pytest.raises(Denied) as caught:
        ask()
    return caught.value.reason.code, caught.value.detail


def confirm(
    point: AuthzenClient, allow: Allow, path: str = "balance", seconds: float = inf
) -> float:
    """Ask about a path, at the time 1000; until when the allow is good then."""
    operation = Operation("GET", "h", ("finance", path))
    return point.confirm(allow, operation, "an-id", now=1000.0, seconds=seconds).valid_until


def is_cut_off(point: AuthzenClient | CircuitBreaker) -> bool:
    """Whether it is not asked now."""
    return point.is_open if isinstance(point, CircuitBreaker) else point.status().is_cut_off


# What is asked


def test_the_question() -> None:
    """It has the principal, the operation, the agent, its chain and our rules; and nothing more."""
    assert json.loads(build_evaluation(an_allow(), GET_BALANCE)) == {
        "subject": {
            "type": "identity",
            "id": "alice",
            "properties": {
                "issuer": ISSUER,
                "scopes": ["a", "b"],
                "groups": ["g2", "g1"],
            },
        },
        "action": {"name": "GET"},
        "resource": {
            "type": "http",
            "id": "mcp.corp.example/finance/balance",
            "properties": {"host": "mcp.corp.example", "path": "/finance/balance"},
        },
        "context": {
            "agent": TRAVEL,
            "mode": "act",
            "chain": [{"iss": ISSUER, "sub": TRAVEL}, {"iss": ISSUER, "sub": ORCHESTRATOR}],
            "rules": {"agent": "finance-read/0", "principal": "finance-read/1"},
        },
    }


def test_the_question_about_a_slash_in_a_name() -> None:
    """Where a route accepts a slash in a name, the question has no path of another resource."""
    named, two = (
        json.loads(build_evaluation(an_allow(), Operation("GET", "h", path)))["resource"]
        for path in (("public/x",), ("public", "x"))
    )

    assert named["id"] == "h/public%2Fx"
    assert named["properties"]["path"] == "/public%2Fx"
    assert two["properties"]["path"] == "/public/x"


def test_the_question_of_nobodys_agent() -> None:
    """An agent that acts for nobody yet is the subject itself: an id is never empty."""
    allow = an_allow(subject="", issuer="", actors=(), mode=Mode.BOOTSTRAP)

    assert json.loads(build_evaluation(allow, GET_BALANCE))["subject"]["id"] == TRAVEL


CALLS = [
    (Call("tools/call", CallKind.TOOL, "search"), {"type": "tool", "id": "search"}),
    (Call("resources/read", CallKind.RESOURCE, "a://b"), {"type": "resource", "id": "a://b"}),
    (Call("tools/list"), {"type": "mcp_server", "id": "mcp.corp.example/mcp"}),
    (Call("initialize"), {"type": "mcp_server", "id": "mcp.corp.example/mcp"}),
]


@pytest.mark.parametrize(("call", "resource"), CALLS)
def test_the_question_about_a_call(call: Call, resource: dict[str, str]) -> None:
    """Of a message it is asked by method and target, or by the server where there is none."""
    operation = Operation(
        "POST", "mcp.corp.example", ("mcp",), protocol=MessageProtocol.MCP, call=call
    )
    question = json.loads(build_evaluation(an_allow(), operation))

    assert question["action"] == {"name": call.method}
    where = {"host": "mcp.corp.example", "path": "/mcp"}
    assert question["resource"] == {**resource, "properties": where}


UNASKED = [
    Call("ping"),
    Call("notifications/initialized"),
    Call("", CallKind.RESPONSE),
    Call("", CallKind.STREAM),
    Call("", CallKind.SESSION),
]


@pytest.mark.parametrize("call", UNASKED, ids=str)
def test_what_keeps_a_session_going_is_not_asked_about(call: Call) -> None:
    """Pings, notifications, responses and streams are nothing to decide on."""
    assert not is_asked(Operation("POST", "h", ("mcp",), protocol=MessageProtocol.MCP, call=call))
    assert is_asked(Operation("POST", "h", ("mcp",)))
    assert is_asked(
        Operation("POST", "h", ("mcp",), protocol=MessageProtocol.MCP, call=Call("notify/all"))
    )


def test_each_call_of_a_batch_is_asked_about(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A batch stands only when the decision point allows every call in it."""
    messages = [
        {"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": name}}
        for n, name in enumerate(("first", "second"))
    ]
    body = json.dumps(messages).encode()
    with asking(tmp_path, pdp, "", MCP) as world:
        headers = [
            ("authorization", f"Bearer {world.token()}"),
            ("content-type", "application/json"),
            ("content-length", str(len(body))),
            ("x-envoy-auth-partial-body", "false"),
        ]
        request = check_request(world.svid, headers, method="POST", path="/mcp")
        http = request.attributes.request.http
        http.raw_body, http.size = body, len(body)

        assert reason_of(world.check(request)) == "allow"
    names = [json.loads(asked)["resource"]["id"] for asked in pdp.bodies]
    assert names == ["first", "second"]


def test_how_it_is_asked(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A POST of JSON with our bearer token and the decision's id; no part of the agent's token."""
    (tmp_path / "token").write_text(f"{SECRET}\n")
    with asking(tmp_path, pdp, f", token_file: '{tmp_path}/token'") as world:
        token = world.token(jti="the-token-id", groups=["readers"])
        decision_id = header_of(world.ask(token), "x-agent-decision-id")
        assert reason_of(world.ask(token, path="/finance/a%20b?secret=1")) == "allow"
    (path, head), (_, second) = pdp.requests
    sent = b"".join(pdp.bodies)

    assert path == "/jwks"
    assert head["authorization"] == f"Bearer {SECRET}"
    assert head["content-type"] == head["accept"] == JSON
    assert head["x-request-id"] == decision_id
    assert head["x-request-id"] != second["x-request-id"]
    assert json.loads(pdp.bodies[0])["subject"]["properties"]["groups"] == ["readers"]
    assert json.loads(pdp.bodies[1])["resource"]["properties"]["path"] == "/finance/a b"
    assert b"the-token-id" not in sent
    assert b"secret" not in sent
    assert not leaks(sent + repr(pdp.requests).encode(), anchors(MADE))


# What is a yes


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-2, 2) | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["decision", "context", "obligations", "x"]), inner)
        ),
    )
)
def test_only_a_clear_yes_is_one(value: Any) -> None:
    """Of any JSON, an object whose decision is true, without obligations, and nothing else."""
    is_yes = isinstance(value, dict) and value.get("decision") is True
    context = value.get("context", {}) if is_yes else None
    is_yes = isinstance(context, dict) and context.get("obligations", []) == []
    is_yes = is_yes and value.get("obligations", []) == []
    body = json.dumps(value).encode()

    if is_yes:
        assert isinstance(read_answer(body), PdpPermit)
    else:
        assert refused(lambda: read_answer(body))[0] in {"policy_denied", "pdp_unavailable"}


@pytest.mark.parametrize(
    "body",
    [
        '{"decision":true}',
        ' {"decision" : true , "extra": 1} \n',
        '{"decision":true,"context":{}}',
        '{"decision":true,"context":{"obligations":[],"reason_user":{"en":"fine"}}}',
    ],
)
def test_a_yes(body: str) -> None:
    """Members that are not known change nothing (section 6.2); an empty list binds to nothing."""
    assert isinstance(read_answer(body.encode()), PdpPermit)


@pytest.mark.parametrize(
    ("context", "detail"),
    [
        ({}, ""),
        ({"id": "rule-7/b"}, ": rule-7/b"),
        ({"id": 7}, ""),
        ({"id": 7, "reason": "resource not found"}, ": resource not found"),
        ({"id": "1", "reason": "night"}, ": 1"),
        ({"id": "x" * 65}, ""),
        ({"id": "two\nlines"}, ""),
        ({"id": "\u2028"}, ""),
        ({"obligations": [{"id": "1", "type": "step-up"}]}, ""),
        ("text", ""),
        (None, ""),
    ],
)
def test_a_no(context: Any, detail: str) -> None:
    """A no is one whatever comes with it; a short plain id of its reason goes to the operator."""
    body = json.dumps({"decision": False, "context": context}).encode()

    assert refused(lambda: read_answer(body)) == (
        "policy_denied",
        f"the decision point denied it{detail}",
    )


@pytest.mark.parametrize("context", ["[]", "null", '"yes"', "true", '[{"obligations":[]}]'])
def test_a_yes_with_an_odd_context(context: str) -> None:
    """What a yes is bound to can't be read from a context that is no object: it is no answer."""
    body = f'{{"decision":true,"context":{context}}}'.encode()

    assert refused(lambda: read_answer(body))[0] == "pdp_unavailable"


OBLIGED = "policy_denied"
DOWN = "pdp_unavailable"
HOSTILE: list[tuple[str, Behaviour]] = [
    # A clear no.
    ("policy_denied", NO),
    ("policy_denied", says('{"decision":false,"context":{"id":"0","reason_admin":{"en":"x"}}}')),
    # A yes that binds us to something.
    (OBLIGED, says('{"decision":true,"context":{"obligations":[{"id":"1","type":"step-up"}]}}')),
    (OBLIGED, says('{"decision":true,"context":{"obligations":{}}}')),
    (OBLIGED, says('{"decision":true,"context":{"obligations":null}}')),
    (OBLIGED, says('{"decision":true,"context":{"obligations":"none"}}')),
    (OBLIGED, says('{"decision":true,"context":{"obligations":[[]]}}')),
    (OBLIGED, says('{"decision":true,"context":{"obligations":false}}')),
    (OBLIGED, says('{"decision":true,"context":{"obligations":0}}')),
    (OBLIGED, says('{"decision":true,"obligations":[{"id":"1","type":"step-up"}]}')),
    (OBLIGED, says('{"decision":true,"obligations":null,"context":{"obligations":[]}}')),
    # No clear answer.
    (DOWN, says('{"decision":true,"context":[]}')),
    (DOWN, says('{"decision":true,"context":null}')),
    (DOWN, says('{"decision":"true"}')),
    (DOWN, says('{"decision":1}')),
    (DOWN, says('{"decision":[true]}')),
    (DOWN, says('{"decision":null}')),
    (DOWN, says('{"Decision":true}')),
    (DOWN, says('{"decision":true,"decision":false}')),
    (DOWN, says('{"decision":true,"decision":true}')),
    (DOWN, says('{"evaluations":[{"decision":true}]}')),
    (DOWN, says('[{"decision":true}]')),
    (DOWN, says("true")),
    (DOWN, says("{}")),
    (DOWN, says("")),
    (DOWN, says('{"decision":true} {"decision":true}')),
    (DOWN, says('{"decision":true}x')),
    (DOWN, says('{"decision":true')),
    (DOWN, says('{"decision":True}')),
    (DOWN, says('{"decision":true,"x":NaN}')),
    (DOWN, says('{"decision":true,"x":' + "[" * 17 + "]" * 17 + "}")),
    (DOWN, says('{"decision":true,"x":' + "[" * 9000 + "]" * 9000 + "}")),
    (DOWN, says('\ufeff{"decision":true}')),
    (DOWN, says('{"decision":true}'.encode("utf-16"))),
    (DOWN, says(b'{"decision":true,"x":"\xff"}')),
    (DOWN, says('{"decision":true,"x":"' + "a" * 70_000 + '"}')),
    (DOWN, says('{"decision":true}' + " " * 10_000_000)),
    # Not the status of an answer.
    (DOWN, says('{"decision":true}', 201)),
    (DOWN, says("", 204)),
    (DOWN, says('{"decision":true}', 206)),
    (DOWN, says('{"decision":true}', 301, {"location": "/yes"})),
    (DOWN, says('{"decision":true}', 307, {"location": "/yes"})),
    (DOWN, says('{"decision":true}', 400)),
    (DOWN, says('{"decision":true}', 401)),
    (DOWN, says('{"decision":true}', 403)),
    (DOWN, says('{"decision":true}', 404)),
    (DOWN, says('{"decision":true}', 500)),
    (DOWN, says('{"decision":true}', 503)),
    # Not JSON, by its head.
    (DOWN, answer(b'{"decision":true}', content_type="text/html")),
    (DOWN, answer(b'{"decision":true}', content_type="application/jsonp")),
    (DOWN, says('{"decision":true}', headers={"content-encoding": "gzip"})),
    # Not HTTP, or not the whole of it.
    (DOWN, raw()),
    (DOWN, raw(b'{"decision":true}')),
    (DOWN, raw(b"HTTP/1.1 200 OK\r\n")),
    (DOWN, raw(HEAD + b'content-length: 99\r\n\r\n{"decision":true}')),
    (DOWN, raw(HEAD + b'transfer-encoding: chunked\r\n\r\nzz\r\n{"decision":true}\r\n0\r\n\r\n')),
    (DOWN, raw(HEAD + b'transfer-encoding: chunked\r\n\r\n11\r\n{"decision":true}')),
    (DOWN, raw(HEAD + b"\r\n", *[b" " * 4096] * 2000)),
]
# A byte at a time, in the head and in the body, for longer than a test may take.
SLOW = [
    raw(HEAD, b"x: ", *[b"y"] * 10_000, pause_seconds=0.05),
    raw(HEAD, b"content-length: 50000\r\n\r\n", *[b" "] * 10_000, pause_seconds=0.05),
    raw(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 10_000, pause_seconds=0.05),
]


@pytest.mark.parametrize(
    ("reason", "behaviour"), [pytest.param(*case, id=str(at)) for at, case in enumerate(HOSTILE)]
)
def test_anything_else_is_no_allow(pdp: ScriptedServer, reason: str, behaviour: Behaviour) -> None:
    """No other answer allows, and each has its reason."""
    pdp.serve(behaviour)
    pdp.paths["/yes"] = YES
    point = AuthzenClient(settings(pdp))
    code, detail = refused(lambda: confirm(point, an_allow()))

    assert code == reason, detail
    assert pdp.fetches == 1
    until(lambda: not point._calls)


@pytest.mark.parametrize("behaviour", SLOW, ids=["head", "body", "interim"])
def test_slow_answers(pdp: ScriptedServer, behaviour: Behaviour) -> None:
    """None takes longer than the timeout: neither who waits for it nor the call."""
    pdp.serve(behaviour)
    point = AuthzenClient(settings(pdp).model_copy(update={"timeout": 0.3}))

    assert refused(lambda: confirm(point, an_allow()))[0] == DOWN
    until(lambda: not point._calls)


def test_the_right_certificate_only(tmp_path: Path) -> None:
    """Over TLS it must be who the URL says, by a CA that we trust."""
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    server = ScriptedServer(YES, authority.issue(dns=("localhost",)))
    try:
        good = settings(server, ca_file=str(authority.path), insecure=False)
        assert confirm(AuthzenClient(good), an_allow())
        by_number = server.url.replace("localhost", "127.0.0.1")
        for changes in (
            {"url": by_number},
            {"ca_file": str(stranger.path)},
            {"ca_file": None},
        ):
            point = AuthzenClient(good.model_copy(update=changes))
            reason, detail = refused(partial(confirm, point, an_allow()))
            assert (reason, "certificate" in detail) == ("pdp_unavailable", True), detail
        server.use(authority.issue(dns=("localhost",), starts_in_seconds=-9, lifetime_seconds=1))
        assert refused(lambda: confirm(AuthzenClient(good), an_allow()))[0] == "pdp_unavailable"
        assert server.fetches == 1
    finally:
        server.close()


@pytest.mark.parametrize("host", ["169.254.169.254", "[fd00:ec2::254]", "0.0.0.0", "no.invalid"])
def test_where_no_decision_point_is(host: str) -> None:
    """Metadata addresses and names that lead nowhere are not connected to."""
    point = AuthzenClient(PdpSettings(url=f"http://{host}/access", insecure=True))

    assert refused(lambda: confirm(point, an_allow(), seconds=0.15))[0] == "pdp_unavailable"


# Whom it is asked about, and what is remembered


def test_a_yes_is_remembered(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A remembered allow is answered without another call."""
    with asking(tmp_path, pdp) as world:
        token = world.token()
        answers = [world.ask(token) for _ in range(3)]

        assert [reason_of(one) for one in answers] == ["allow"] * 3
        assert [one.dynamic_metadata["cache"] for one in answers] == ["miss", "hit", "hit"]
        assert pdp.fetches == 1
        assert reason_of(world.ask(token, path="/finance/other")) == "allow"
        assert pdp.fetches == 2


def test_it_can_only_take_away(tmp_path: Path, pdp: ScriptedServer) -> None:
    """What our own steps refuse is refused, and never asked about."""
    with asking(tmp_path, pdp) as world:
        good = world.token()
        asked = [
            world.ask(),
            world.ask("x.y.z"),
            world.ask(good + "x"),
            world.ask(good, path="/forbidden"),
            world.ask(good, path="//"),
            world.ask(world.token(scope="")),
            world.ask(good, principal=PAYMENTS),
            world.check(b"\xff"),
        ]

        assert "allow" not in [reason_of(one) for one in asked]
        assert pdp.fetches == 0


def test_a_no_is_remembered_shortly(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A no is a 403 without a why, with one for the operator; and holds for deny_ttl."""
    pdp.serve(says('{"decision":false,"context":{"id":"night"}}'))
    with asking(tmp_path, pdp) as world:
        token = world.token()
        first = world.ask(token)
        assert reason_of(first) == reason_of(world.ask(token)) == "policy_denied"
        assert first.denied_response.status.code == 403
        assert "night" not in first.denied_response.body
        assert pdp.fetches == 1
        (record, _) = world.audit_records()
        assert record["detail"] == "the decision point denied it: night"
        assert (record["agent"], record["principal"]) == (TRAVEL, "alice")
        pdp.serve(YES)
        until(lambda: reason_of(world.ask(token)) == "allow")


def test_a_failure_is_not_remembered(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A 503, and the next try may succeed."""
    pdp.serve(says("", 500))
    with asking(tmp_path, pdp) as world:
        token = world.token()
        first = world.ask(token)
        assert reason_of(first) == "pdp_unavailable"
        assert first.denied_response.status.code == 503
        pdp.serve(YES)
        assert reason_of(world.ask(token)) == "allow"
        assert world.audit_records()[0]["detail"] == "the decision point: status 500"


def test_what_is_remembered_outlives_it(tmp_path: Path, pdp: ScriptedServer) -> None:
    """While it is down, remembered decisions are answered as ever, and new ones refused."""
    with asking(tmp_path, pdp) as world:
        token = world.token()
        assert reason_of(world.ask(token)) == "allow"
        pdp.close()
        for number in range(10):
            assert reason_of(world.ask(token)) == "allow"
            assert reason_of(world.ask(token, path=f"/finance/{number}")) == "pdp_unavailable"


def test_ttl(tmp_path: Path, pdp: ScriptedServer) -> None:
    """The allow ends after ttl, if not before; with 0s it is asked each time."""
    with asking(tmp_path / "a", pdp, ", ttl: 7s") as world:
        metadata = world.ask(world.token()).dynamic_metadata
        assert 5 < float(str(metadata["valid_until"])) - time.time() <= 7
    with asking(tmp_path / "b", pdp, ", ttl: 0s") as world:
        token = world.token()
        before = pdp.fetches
        assert {reason_of(world.ask(token)) for _ in range(3)} == {"allow"}
        assert pdp.fetches == before + 3


def test_an_allow_is_never_prolonged(pdp: ScriptedServer) -> None:
    """Only the end of an allow may change, and only to an earlier one."""
    point = AuthzenClient(settings(pdp))
    allow = an_allow()

    confirmed = point.confirm(allow, GET_BALANCE, "an-id", now=1000.0, seconds=inf)
    assert confirmed == structs.replace(allow, valid_until=1030.0)
    assert confirm(point, structs.replace(allow, valid_until=1010.0)) == 1010.0


def test_a_proof_is_not_used_up(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A one-time proof is good once more after a failure, and of its allow nothing is kept."""
    pdp.serve(says("", 500))
    with asking(tmp_path, pdp) as world:
        client = DpopClient()
        token = world.token(cnf=client.confirmation)
        proof = client.proof(token, "GET", f"https://mcp.corp.example{BALANCE}")
        message = check_request(world.svid, [("authorization", f"DPoP {token}"), ("dpop", proof)])
        assert reason_of(world.check(message)) == "pdp_unavailable"
        pdp.serve(YES)
        assert reason_of(world.check(message)) == "allow"
        message.attributes.request.http.id = "another"
        assert reason_of(world.check(message)) == "dpop_proof"


# Time


def test_deadline_within_the_callers(
    tmp_path: Path, pdp: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check is answered before its caller gives up, and asks nothing when that is too near."""
    gate = threading.Event()
    pdp.serve(held(gate, YES))
    with asking(tmp_path, pdp) as world:
        token = world.token()
        message = check_request(world.svid, [("authorization", f"Bearer {token}")])
        given: list[float] = []
        ask = point_of(world).confirm

        def note(*args: Any, seconds: float, **options: Any) -> Allow:
            given.append(seconds)
            return ask(*args, seconds=seconds, **options)

        monkeypatch.setattr(point_of(world), "confirm", note)
        assert reason_of(world.check(message, 1.0)) == "pdp_unavailable"
        assert 0.0 < given[0] < 1.0
        until(lambda: pdp.fetches == 1)
        assert reason_of(world.check(message, 0.04)) == "pdp_unavailable"
        assert pdp.fetches == 1
        gate.set()


def test_what_is_revoked_during_the_wait_is_refused(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A yes that comes after the revocation is none."""
    gate = threading.Event()
    with asking(tmp_path, pdp) as world, ThreadPoolExecutor(1) as pool:
        pdp.serve(held(gate, YES))
        revoked = pool.submit(world.ask, world.token())
        until(lambda: pdp.fetches == 1)
        world.revocations.file.current = Revocations((Revocation(agent=TRAVEL),))
        world.revocations.generation += 1
        gate.set()
        assert reason_of(revoked.result(SECONDS)) == "agent_suspended"
        assert world.audit_records()[-1]["decision"] == "deny"


def test_what_ended_during_the_wait_is_refused(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A yes that comes after the token's end is none."""
    gate = threading.Event()
    with asking(tmp_path, pdp, changes=EXACT) as world, ThreadPoolExecutor(1) as pool:
        pdp.serve(held(gate, YES))
        end = int(time.time()) + 2
        token = world.token(exp=end, iat=end - 60)
        answer = pool.submit(world.ask, token)
        until(lambda: pdp.fetches == 1)
        until(lambda: reason_of(world.ask(token, path="/forbidden")) == "token_expired")
        gate.set()
        assert reason_of(answer.result(SECONDS)) == "token_expired"


def test_without_a_deadline(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A caller without a deadline waits for timeout."""
    pdp.serve(held(threading.Event(), YES))
    section = f"{{url: '{pdp.url}', insecure: true, timeout: 100ms}}"
    with World(tmp_path, LAB.with_section("pdp", section)) as world:
        message = check_request(world.svid, [("authorization", f"Bearer {world.token()}")])
        assert reason_of(world.check(message, None)) == "pdp_unavailable"


def test_equal_questions_share_a_call(pdp: ScriptedServer) -> None:
    """Twenty who ask the same at once cause one call; another question causes its own."""
    gate = threading.Event()
    pdp.serve(held(gate, YES))
    counted: list[str] = []
    point = AuthzenClient(settings(pdp), lambda result, _: counted.append(result))
    with ThreadPoolExecutor(21) as pool:
        # Other tokens of the same principal and rights: other delegations, the same question.
        same = [pool.submit(confirm, point, an_allow(token_id=str(n))) for n in range(20)]
        until(lambda: counted.count("shared") == 19)
        other = pool.submit(confirm, point, an_allow(), "other")
        until(lambda: pdp.fetches == 2)
        gate.set()
        assert all(one.result(SECONDS) for one in [*same, other])

    assert pdp.fetches == 2
    assert sorted(counted) == ["allow"] * 2 + ["shared"] * 19
    assert set(counted) < set(PdpResult)
    assert not point._calls


def test_who_shares_a_call_has_a_deadline_of_his_own(pdp: ScriptedServer) -> None:
    """The one whose question began the call may leave first; and nobody holds that against it."""
    gate = threading.Event()
    pdp.serve(held(gate, YES))
    point = AuthzenClient(settings(pdp, breaker=BreakerSettings(failures=1)))
    with ThreadPoolExecutor(1) as pool:
        assert "in time" in refused(lambda: confirm(point, an_allow(), seconds=0.01))[1]
        patient = pool.submit(confirm, point, an_allow())
        until(lambda: pdp.fetches == 1)
        gate.set()
        assert patient.result(SECONDS)

    assert pdp.fetches == 1
    assert not point.status().is_cut_off


def test_a_slow_one_takes_no_threads_away(tmp_path: Path, pdp: ScriptedServer) -> None:
    """With every place to wait taken, remembered decisions are answered, and more are refused."""
    gate = threading.Event()
    limits = LAB.with_keys(("server",), "{max_waiting: 8, threads: 2}")
    with asking(tmp_path, pdp, changes=limits) as world:
        pool = world.parts.pool
        token, other = world.token(), world.issuer.token(PAYMENTS, scope=READ)
        svids = {TRAVEL: world.svid, PAYMENTS: world.authority.issue(PAYMENTS)}
        assert reason_of(world.ask(token)) == "allow"
        pdp.serve(held(gate, YES))
        answers: list[str] = []

        def ask(agent: str, text: str, path: str) -> None:
            headers = [("authorization", f"Bearer {text}")]
            message = check_request(svids[agent], headers, path=path, principal=agent)
            answers.append(reason_of(world.check(message)))

        for number in range(4):
            pool.submit(ask, TRAVEL, token, f"/finance/{number}")
            pool.submit(ask, PAYMENTS, other, f"/finance/{number}")
        until(lambda: world.parts.bulkhead.status().waiting == 8)
        for _ in range(10):
            pool.submit(ask, TRAVEL, token, BALANCE)
        pool.submit(ask, TRAVEL, token, "/finance/more")
        until(lambda: len(answers) == 11)
        assert sorted(answers) == ["allow"] * 10 + ["overloaded"]
        gate.set()
        until(lambda: len(answers) == 19)
        assert set(answers[11:]) == {"allow"}


def test_calls_are_bounded(pdp: ScriptedServer) -> None:
    """So many calls are under way at most, and half of them about one agent."""
    gate = threading.Event()
    pdp.serve(held(gate, YES))
    counted: list[str] = []
    point = AuthzenClient(settings(pdp), lambda result, _: counted.append(result))
    for number in range(shared_calls.MAX_CALLS_OF_ONE):
        assert "in time" in refused(partial(confirm, point, an_allow(), str(number), 1e-4))[1]

    assert "too many" in refused(lambda: confirm(point, an_allow(), "more"))[1]
    assert "in time" in refused(lambda: confirm(point, an_allow(PAYMENTS), "0", 1e-4))[1]
    gate.set()
    until(lambda: not point._calls)
    assert counted.count("refused") == 1
    assert set(counted) < set(PdpResult)


# The breakers


def test_an_agent_cuts_off_itself_alone(pdp: ScriptedServer) -> None:
    """Whatever its questions do to the decision point, those of others are asked."""
    point = AuthzenClient(settings(pdp, breaker=BreakerSettings(failures=2)))
    pdp.serve(says("", 500))
    for number in range(2):
        assert "500" in refused(partial(confirm, point, an_allow(), str(number)))[1]
    assert "failed too often" in refused(lambda: confirm(point, an_allow(), "more"))[1]
    assert point.status().is_cut_off

    pdp.serve(YES)
    assert confirm(point, an_allow(PAYMENTS))
    assert "failed too often" in refused(lambda: confirm(point, an_allow(), "more"))[1]


def test_failing_agents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many the first is asked again."""
    monkeypatch.setattr(circuit_breaker, "MAX_FAILING", 2)
    breakers = CircuitBreakers(1, 5.0)
    for agent in ("a", "b", "c"):
        breakers.failed(agent, 0.0)
    breakers.admit("a", 1.0)
    for agent in ("b", "c"):
        with pytest.raises(CircuitOpenError):
            breakers.admit(agent, 1.0)
    for agent in ("b", "c"):
        breakers.answered(agent)
    assert not breakers.is_open


def test_breaker_opens_after_failures_in_a_row() -> None:
    """An answer in between begins the count anew."""
    breaker = CircuitBreaker(3, 5.0)
    for outcome in "ffaffaff":
        breaker.admit(0.0)
        breaker.failed(0.0) if outcome == "f" else breaker.answered()
        assert not is_cut_off(breaker)
    breaker.failed(0.0)
    assert is_cut_off(breaker)


def test_breaker_probes() -> None:
    """Open: nobody. After the pause: one, and nobody else until it ends, which closes or opens."""
    breaker = CircuitBreaker(1, 5.0)
    breaker.failed(10.0)
    for moment in (10.0, 14.9):
        with pytest.raises(CircuitOpenError):
            breaker.admit(moment)
    breaker.admit(15.0)
    with pytest.raises(CircuitOpenError):
        breaker.admit(1e9)
    assert is_cut_off(breaker)
    breaker.failed(16.0)
    with pytest.raises(CircuitOpenError):
        breaker.admit(20.9)
    breaker.admit(21.0)
    breaker.answered()
    assert not is_cut_off(breaker)
    breaker.admit(21.0)
    breaker.admit(21.0)


@given(
    limit=st.integers(1, 4),
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "answer", "fail", "wait"]), st.integers(1, 9))
    ),
)
def test_breaker_against_a_model(limit: int, steps: list[tuple[str, int]]) -> None:
    """It is open after so many failures in a row only, and lets one call through after a pause."""
    breaker, now, row, under_way, opened_at, probes = CircuitBreaker(limit, 5.0), 0.0, 0, 0, -inf, 0
    for step, seconds in steps:
        if step == "wait":
            now += seconds
        elif step == "ask":
            was_open = breaker.is_open
            try:
                breaker.admit(now)
            except CircuitOpenError:
                assert was_open
                assert now < opened_at + 5.0 or probes
                continue
            under_way += 1
            if was_open:
                assert now >= opened_at + 5.0
                assert not probes
                probes += 1
        elif under_way:
            under_way -= 1
            if step == "answer":
                breaker.answered()
                row = probes = 0
            else:
                breaker.failed(now)
                row += 1
                if row >= limit:
                    opened_at, probes = now, 0
        assert breaker.is_open == (row >= limit)


def test_cut_off_and_back(pdp: ScriptedServer) -> None:
    """After so many failures it is left alone; then one question tries, and all may ask again."""
    pdp.serve(says("", 503))
    counted: list[str] = []
    breaker = BreakerSettings(failures=3, pause=300.0)
    point = AuthzenClient(settings(pdp, breaker=breaker), lambda result, _: counted.append(result))
    for number in range(10):
        assert refused(partial(confirm, point, an_allow(), str(number)))[0] == "pdp_unavailable"
    assert pdp.fetches == 3
    assert is_cut_off(point)
    assert "is not asked for now" in refused(lambda: confirm(point, an_allow()))[1]
    gate = threading.Event()
    pdp.serve(held(gate, YES))
    of_agent = point._breakers._failing[TRAVEL]
    assert of_agent._probe_at is not None
    of_agent._probe_at -= 300.0  # so long ago
    with ThreadPoolExecutor(1) as pool:
        probe = pool.submit(confirm, point, an_allow())
        until(lambda: pdp.fetches == 4)
        assert "is not asked for now" in refused(lambda: confirm(point, an_allow(), "other"))[1]
        gate.set()
        assert probe.result(SECONDS)
    assert not is_cut_off(point)
    assert confirm(point, an_allow(), "other")
    assert counted == ["failure"] * 3 + ["cut_off"] * 8 + ["cut_off", "allow", "allow"]
    assert set(counted) < set(PdpResult)


@pytest.mark.parametrize(
    ("behaviour", "is_failure"),
    [
        (says("", 500), True),
        (says("", 429), True),
        (says("", 200), True),
        (raw(), True),
        (says("", 400), False),
        (says("", 403), False),
        (NO, False),
        (says('{"decision":true,"context":{"obligations":[1]}}'), False),
    ],
    ids=["500", "429", "garbage", "dropped", "400", "403", "no", "obliged"],
)
def test_what_counts_against_it(
    pdp: ScriptedServer,
    behaviour: Behaviour,
    is_failure: bool,  # noqa: FBT001 - a parameter
) -> None:
    """A no, or an error about the one question, does not cut it off from other agents."""
    pdp.serve(behaviour)
    point = AuthzenClient(settings(pdp, breaker=BreakerSettings(failures=2)))
    for number in range(2):
        refused(partial(confirm, point, an_allow(), str(number)))

    assert is_cut_off(point) == is_failure


def test_a_system_without_threads(pdp: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no thread can be had the question is refused, and nothing of it stays."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    point = AuthzenClient(settings(pdp))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert refused(lambda: confirm(point, an_allow()))[0] == "pdp_unavailable"
    assert not point._calls
    assert confirm(point, an_allow())


# Settings, metrics, reloads


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{url: 'http://pdp.example/access/v1/evaluation'}", "plain http"),
        ("{url: 'https://pdp.example'}", "evaluation endpoint"),
        ("{url: 'https://pdp.example/'}", "evaluation endpoint"),
        ("{url: 'https://u:p@pdp.example/a'}", "without user"),
        ("{url: 'ftp://pdp.example/a'}", "https:// URL"),
        ("{url: 'https://pdp.example/a', timeout: 0s}", "must be at least"),
        ("{url: 'https://pdp.example/a', ca: x}", "unknown key"),
        ("{url: 'https://pdp.example/a', breaker: {failures: 0}}", "must be at least"),
        ("{}", "url: is required"),
    ],
)
def test_bad_settings(shared_world: World, section: str, words: str) -> None:
    """A section that can't be meant is an error with its line."""
    text = f"{shared_world.config_text}pdp: {section}\n"
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "test.yaml")
    (line,) = caught.value.lines()

    assert line.startswith(f"test.yaml:{len(text.splitlines())}: ")
    assert words in line


def test_files_are_checked(
    tmp_path: Path, pdp: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``authz check`` reads the CA and the token; an error shows neither."""
    monkeypatch.setattr("authz.adapters.files.STABLE_SECONDS", 0.0)  # nobody writes them meanwhile
    bad = {
        "": "must hold a bearer token",
        f"{SECRET} {SECRET}": "must hold a bearer token",
        f"{SECRET}\r\nx: y": "must hold a bearer token",
        f"{SECRET}é": "must hold a bearer token",
    }
    with World(tmp_path) as world:
        for text, words in bad.items():
            (tmp_path / "token").write_text(text)
            given = settings(pdp, token_file=str(tmp_path / "token"))
            ((place, said),) = file_problems(world.config.model_copy(update={"pdp": given}))
            assert place == ("pdp",)
            assert words in said
            assert SECRET not in said
        for name in ("token_file", "ca_file"):
            given = settings(pdp, url="https://pdp.example/a", **{name: str(tmp_path / "none")})
            ((place, said),) = file_problems(world.config.model_copy(update={"pdp": given}))
            assert place == ("pdp", name)
            assert "can't be read: No such file" in said
        (tmp_path / "token").write_text("not PEM")
        given = settings(pdp, url="https://pdp.example/a", ca_file=str(tmp_path / "token"))
        with pytest.raises(PdpError, match="ca_file"):
            AuthzenClient(given)


def test_metrics(tmp_path: Path, pdp: ScriptedServer) -> None:
    """Each question is counted by what became of it, each call by its time."""
    with asking(tmp_path, pdp) as world:
        token = world.token()
        world.ask(token)
        pdp.serve(NO)
        world.ask(token, path="/finance/1")
        pdp.serve(raw())
        world.ask(token, path="/finance/2")
        text = generate_latest(world.registry).decode()

    for result, count in {"allow": 1, "deny": 1, "failure": 1, "shared": 0, "cut_off": 0}.items():
        assert f'authz_pdp_calls_total{{result="{result}"}} {count}.0' in text
    assert "authz_pdp_duration_seconds_count 3.0" in text
    assert "authz_pdp_breaker_open 0.0" in text


@pytest.mark.e2e
def test_through_envoy_and_a_reload(tmp_path: Path, pdp: ScriptedServer) -> None:
    """A client gets the decision point's no; a changed one counts from the reload on."""
    with Mesh(tmp_path) as mesh:
        server, client = mesh.servers[0], mesh.agent(TRAVEL)
        token = mesh.issuer.token(TRAVEL, scope=READ)
        assert client.get(BALANCE, token).status == 200
        pdp.serve(NO)
        server.write_config(LAB.with_(("pdp",), {"url": pdp.url, "insecure": True}))
        until(lambda: client.get(BALANCE, token).reason == "policy_denied")
        assert json.loads(pdp.bodies[0])["context"]["agent"] == TRAVEL
        pdp.paths["/b"] = YES
        server.write_config(LAB.with_(("pdp",), {"url": f"{pdp.base}/b", "insecure": True}))
        until(lambda: client.get(BALANCE, token).status == 200)
        assert server.metric('authz_pdp_calls_total{result="deny"}') >= 1
        assert server.metric('authz_pdp_calls_total{result="allow"}') >= 1
        assert server.metric("authz_pdp_breaker_open") == 0
        pdp.paths["/b"] = says("", 500)
        for number in range(5):
            assert client.get(f"/finance/{number}", token).status == 503
        assert server.metric("authz_pdp_breaker_open") == 1
        assert client.get(BALANCE, token).status == 200
