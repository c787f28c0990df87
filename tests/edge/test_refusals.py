"""Refusals say the same whoever refuses: a rule, the decision point, or what may be used once."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from authz._pb import ext_authz_pb2 as pb
from authz.core.decision import Agent, Progress
from authz.core.reason import Denied, Reason
from authz.core.request import MessageProtocol
from authz.core.spiffe import SpiffeId
from authz.edge.challenge import challenge_for
from authz.edge.refusal import build_body
from lab.config_builder import LAB
from lab.dpop import DpopClient
from lab.mesh import TRAVEL
from support.jwks_server import ScriptedServer, answer
from support.world import BALANCE, HOST, READ, World, check_request, header_of, reason_of

URI = f"https://{HOST}{BALANCE}"
METADATA = (
    'resource_metadata="https://mcp.corp.example/.well-known/oauth-protected-resource/finance"'
)
JSON = "application/json"
# A rule in shadow that would deny, and a route that tells policy's refusals in the message.
CHANGES = (
    LAB.with_items(
        ("grants", "finance-read"),
        "[{effect: deny, shadow: true, name: no, hosts: ['*'], methods: ['*'], paths: [/**]}]",
        before=1,
    )
    .with_routes("""\
- {name: told, paths: [/told], protocol: mcp, refusals: message}
- {name: plain, paths: [/plain], protocol: mcp}
""")
    .with_rules(
        "finance-read",
        """\
- {hosts: ['*'], methods: [POST], paths: [/told, /plain], scopes: [], mcp: {tools: [search]}}
""",
    )
)
SHADOWS = [{"by": "rule", "decision": "deny", "reason": "policy_denied", "rule": "finance-read/no"}]


@contextmanager
def asked(folder: Path, said: bytes = b'{"decision":false}') -> Iterator[World]:
    """A world whose decision point says this."""
    point = ScriptedServer(answer(said, content_type=JSON))
    pdp = f"{{url: '{point.url}', insecure: true, timeout: 2s}}"
    try:
        with World(folder, CHANGES.with_section("pdp", pdp)) as world:
            yield world
    finally:
        point.close()


@pytest.fixture
def shadowed(tmp_path: Path) -> Iterator[World]:
    """A world without a decision point."""
    with World(tmp_path, CHANGES) as world:
        yield world


def proven(world: World, token: str, proof: str) -> pb.CheckResponse:
    """The answer to a request with a proof; each is another request."""
    headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
    return world.check(check_request(world.svid, headers))


def told(world: World, tool: str, path: str = "/told") -> pb.CheckResponse:
    """The answer to a call of a tool."""
    body = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"%b"}}' % tool.encode()
    headers = [
        ("authorization", f"Bearer {world.token()}"),
        ("content-type", JSON),
        ("content-length", str(len(body))),
        ("x-envoy-auth-partial-body", "false"),
    ]
    message = check_request(world.svid, headers, method="POST", path=path)
    message.attributes.request.http.raw_body = body
    message.attributes.request.http.size = len(body)
    return world.check(message)


def test_a_used_proof_is_challenged_as_all_are(shadowed: World) -> None:
    """The 401 for a used proof says where to get a token, and what proofs may be, as others do."""
    client = DpopClient()
    token = shadowed.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)
    answers = [proven(shadowed, token, proof) for _ in range(2)]
    answers.append(proven(shadowed, token, client.proof(token, "POST", URI)))
    challenges = [header_of(one, "www-authenticate") for one in answers]

    assert [reason_of(one) for one in answers] == ["allow", "dpop_proof", "dpop_proof"]
    assert challenges[1] == challenges[2]
    assert METADATA in str(challenges[1])


def test_a_used_proof_keeps_what_was_established(shadowed: World) -> None:
    """The record of a used proof has the rule that allowed, and what rules in shadow would say."""
    client = DpopClient()
    token = shadowed.token(cnf=client.confirmation)
    proof = client.proof(token, "GET", URI)
    answers = [proven(shadowed, token, proof) for _ in range(2)]
    allowed, refused = shadowed.audit_records()
    metrics = generate_latest(shadowed.registry).decode()

    assert reason_of(answers[1]) == "dpop_proof"
    assert answers[1].dynamic_metadata["shadow"] == "rule:deny"
    assert refused["shadows"] == allowed["shadows"] == SHADOWS
    assert refused["rule"] == allowed["rule"] == "finance-read/1"
    assert (refused["agent"], refused["principal"]) == (TRAVEL, "alice")
    assert refused["by_policy"] is False  # another policy would not have changed it
    assert 'authz_shadow_decisions_total{by="rule",decision="deny"} 2.0' in metrics


def test_a_full_store_keeps_what_was_established(tmp_path: Path) -> None:
    """Our own 503 for a proof that can't be remembered says whose it was, too."""
    with World(tmp_path, CHANGES.with_section("replay", "{entries: 1}")) as world:
        client = DpopClient()
        token = world.token(cnf=client.confirmation)
        for _ in range(2):
            proven(world, token, client.proof(token, "GET", URI))
        refused = world.audit_records()[-1]

    assert (refused["reason"], refused["shadows"]) == ("overloaded", SHADOWS)
    assert (refused["agent"], refused["principal"]) == (TRAVEL, "alice")


def test_the_decision_points_no_is_told_as_a_rules(tmp_path: Path) -> None:
    """On a route with refusals: message both are HTTP 200, elsewhere 403; both are refusals."""
    with asked(tmp_path) as world:
        answers = {
            (path, tool): told(world, tool, path)
            for path in ("/told", "/plain")
            for tool in ("search", "other")
        }
        details = [record["detail"] for record in world.audit_records()]

    assert {reason_of(one) for one in answers.values()} == {"policy_denied"}
    assert all(one.status.code != 0 for one in answers.values())
    statuses = {key: one.denied_response.status.code for key, one in answers.items()}
    assert statuses == {
        ("/told", "search"): 200,
        ("/told", "other"): 200,
        ("/plain", "search"): 403,
        ("/plain", "other"): 403,
    }
    assert details.count("the decision point denied it") == 2


@pytest.mark.parametrize(
    ("said", "reason"), [(b'{"decision":false}', "policy_denied"), (b"{}", "pdp_unavailable")]
)
def test_the_decision_points_no_keeps_what_was_established(
    tmp_path: Path, said: bytes, reason: str
) -> None:
    """Its no, and its silence, are recorded with the rule that allowed and with the shadows."""
    with asked(tmp_path, said) as world:
        refused = world.ask(world.token(scope=READ))
        record = world.audit_records()[-1]

    assert reason_of(refused) == record["reason"] == reason
    assert (record["rule"], record["shadows"]) == ("finance-read/1", SHADOWS)
    assert record["by_policy"] is False  # another policy would not have changed it
    assert refused.dynamic_metadata["rule"] == "finance-read/1"


def test_a_refusal_is_what_was_established() -> None:
    """A refusal has all that is known when it comes; rules in question speak for themselves."""
    agent = Agent(SpiffeId.parse(TRAVEL))
    progress = Progress(
        parameters=(("resource_metadata", "https://m"),), refuses_by_message=True, agent=agent
    )
    scope = progress.refuse(Denied(Reason.SCOPE, parameters=(("scope", "a"),), rule="g/nearest"))
    progress.rule, progress.is_by_dpop = "g/allowed", True
    later = progress.refuse(Denied(Reason.POLICY_DENIED, "no"))

    assert scope.parameters == (("scope", "a"), ("resource_metadata", "https://m"))
    assert (scope.by_message, scope.rule, scope.scheme) == (False, "g/nearest", "Bearer")
    assert (later.by_message, later.rule, later.scheme) == (True, "g/allowed", "DPoP")
    assert scope.agent is later.agent is agent


def test_refusals_of_a_flood_are_rendered_once(shadowed: World) -> None:
    """They are the same for all, but for the protocol; a refusal that knows more is its own."""
    renderer = shadowed.service.snapshot.renderer

    def rendered(reason: Reason, protocol: MessageProtocol = MessageProtocol.NONE) -> object:
        deny = Progress().refuse(Denied(reason, "as it is"))
        return renderer.render(deny, protocol)

    for reason in (Reason.OVERLOADED, Reason.CHECK_MALFORMED):
        assert rendered(reason) is rendered(reason)
        assert rendered(reason) is not rendered(reason, MessageProtocol.MCP)
    assert rendered(Reason.OVERLOADED) is not rendered(Reason.CHECK_MALFORMED)
    assert rendered(Reason.INTERNAL_ERROR) is not rendered(Reason.INTERNAL_ERROR)
    agent = Agent(SpiffeId.parse(TRAVEL))
    known = Progress(agent=agent).refuse(Denied(Reason.OVERLOADED, "as it is"))
    assert b"sa/travel" in renderer.render(known).audit


TOLD = {"resource_metadata": METADATA.split('"')[1]}
_WHERE: tuple[tuple[str, str], ...] = tuple(TOLD.items())


@pytest.mark.parametrize(
    ("denied", "expected"),
    [
        (Denied(Reason.TOKEN_MISSING), TOLD),
        (Denied(Reason.TOKEN_MISSING, parameters=(("scope", "a b"),)), TOLD | {"scope": "a b"}),
        (Denied(Reason.SCOPE, parameters=(("scope", "a"),)), TOLD | {"scope": "a"}),
        (Denied(Reason.STEP_UP, parameters=(("max_age", "60"),)), TOLD | {"max_age": "60"}),
        (Denied(Reason.POLICY_DENIED), {}),
        (Denied(Reason.POLICY_DENIED, parameters=(("scope", "a"),)), {}),
        (Denied(Reason.OVERLOADED), {}),
    ],
)
@pytest.mark.parametrize("protocol", [MessageProtocol.MCP, MessageProtocol.A2A])
def test_the_message_has_what_the_challenge_has(
    denied: Denied, expected: dict[str, str], protocol: MessageProtocol
) -> None:
    """The error's data say where to get which token, where the challenge does and nowhere else."""
    deny = Progress(parameters=_WHERE).refuse(denied)
    data = json.loads(build_body(deny, protocol, "an-id").error)["data"]
    challenge = challenge_for(deny)

    assert data == {"reason": denied.reason.code, "decision_id": "an-id", **expected}
    assert all(f'{name}="{value}"' in challenge for name, value in expected.items())
    assert bool(challenge) is bool(expected)
