"""Assertions for upstreams, from the check to the answer: set by us alone, on every route."""

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from prometheus_client import generate_latest

from authz._pb import ext_authz_pb2 as pb
from authz.adapters.assertions.assertions import Assertions
from authz.core.reason import Reason
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from lab.config_builder import AT_READ_RULE, LAB, ConfigBuilder
from lab.dpop import DpopClient
from lab.mesh import TRAVEL, sample_of
from support.ext_mcp import Gateway
from support.ext_mcp import request as mcp_request
from support.jwks_server import ScriptedServer
from support.jwks_server import answer as scripted
from support.signing import pem
from support.world import BALANCE, READ, World, check_request, header_of, reason_of

ISSUER: Final = "https://authz.corp.example"
HEADER: Final = "x-agent-assertion"
MCP: Final = "https://mcp.corp.example/finance"
ROUTES: Final = f"""\
- {{name: named, paths: [/finance/named/**], resource: "{MCP}", upstream_token: assert,
    assertion: {{audience: ledger, scopes: [balance:read]}}}}
- {{name: cut, paths: [/finance/cut/**], resource: "{MCP}", upstream_token: strip}}
- {{name: kept, paths: [/finance/kept/**], resource: "{MCP}", upstream_token: forward}}
- {{name: own, paths: [/public/**], modes: [autonomous], token: optional, upstream_token: assert,
    assertion: {{audience: public}}}}
"""
PATHS: Final = {
    "finance": BALANCE,
    "named": "/finance/named/a",
    "cut": "/finance/cut/a",
    "kept": "/finance/kept/a",
}
# Each character that a header's name may have, between the words; and other cases.
SPELLINGS: Final = tuple(
    f"x{first}agent{second}assertion" for first, second in itertools.product("-_.~!+|'", repeat=2)
)


def changes_of(folder: Path, section: str = "", *, routes: str = ROUTES) -> ConfigBuilder:
    """The lab's config with assertions, by a key in the folder."""
    key = folder / "key.pem"
    if not key.exists():
        key.write_bytes(pem())
    given = f"issuer: {ISSUER}, keys: [{{file: {key}}}], insecure: true{section}"
    return (
        LAB.with_section("assertions", f"{{{given}}}")
        .with_(("routes", "finance", "upstream_token"), "assert")
        .with_routes(routes)
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with routes of all kinds, for tests that change none of it."""
    folder = tmp_path_factory.mktemp("asserting")
    with World(folder, changes_of(folder)) as running:
        yield running


def verified(world: World, answer: pb.CheckResponse, audience: str = MCP) -> dict[str, Any]:
    """The claims of an answer's assertion, verified as an upstream does, by the published keys."""
    assert reason_of(answer) == "allow"
    text = header_of(answer, HEADER)
    assert text is not None
    (signer,) = filter(None, [world.parts.assertion_keys.signer])
    keys = jwt.PyJWKSet.from_json(signer.jwks().decode())
    key = keys[jwt.get_unverified_header(text)["kid"]]
    assert jwt.get_unverified_header(text)["typ"] == "authz-assertion+jwt"
    claims: dict[str, Any] = jwt.decode(
        text, key, ["ES256"], audience=audience, issuer=world_issuer(world)
    )
    return claims


def world_issuer(world: World) -> str:
    """The issuer of the config in force."""
    assertions = world.service.snapshot.assertions
    assert isinstance(assertions, Assertions)
    return assertions._issuer


def test_an_allow_has_an_assertion_of_the_decision(world: World) -> None:
    """It names principal, chain, agent, scope and decision; the token itself is stripped.

    A cached decision, and another path of the same route, have the very same assertion.
    """
    chain = {"sub": TRAVEL, "act": {"sub": "spiffe://corp.example/ns/agents/sa/orchestrator"}}
    token = world.token(act=chain, scope=f"{READ} payments:write")
    first = world.ask(token)
    claims = verified(world, first)
    again, other = world.ask(token), world.ask(token, path=BALANCE + "/x")
    record, *later = world.audit_records()[-3:]

    assert claims["sub_id"] == {
        "format": "iss_sub",
        "iss": "https://as.corp.example",
        "sub": "alice",
    }
    assert (claims["sub"], claims["req_wl"], claims["act"]) == ("alice", TRAVEL, chain)
    assert claims["scope"].split() == sorted([READ, "payments:write"])
    assert claims["tctx"] == {"route": "finance"}
    assert claims["txn"] == record["decision_id"] == first.dynamic_metadata["decision_id"]
    assert "authorization" in first.ok_response.headers_to_remove
    assert again.dynamic_metadata["cache"] == "hit"
    assert other.dynamic_metadata["cache"] == "miss"
    assert header_of(again, HEADER) == header_of(other, HEADER) == header_of(first, HEADER)
    for each in (record, *later):
        assert each["upstream"] == {"gets": "assert", "id": claims["txn"], "audience": MCP}
    assert sample_of(
        generate_latest(world.registry).decode(), 'authz_assertions_total{result="signed"}'
    )


def test_a_route_says_for_whom_and_how_much(world: World) -> None:
    """The audience is the route's own, and the scope no wider than the route and the decision."""
    wide = world.ask(world.token(scope=f"{READ} payments:write"), path=PATHS["named"])

    claims = verified(world, wide, "ledger")

    assert (claims["aud"], claims["scope"]) == ("ledger", READ)
    with pytest.raises(jwt.InvalidAudienceError):
        verified(world, wide)


def test_tokens_have_assertions_of_their_own(world: World) -> None:
    """Another principal or another scope never gets an assertion that was signed before."""
    tokens = [
        world.token(),
        world.token(sub="carol", groups=["readers"]),
        world.token(scope=f"{READ} x"),
    ]
    claims = [verified(world, world.ask(token)) for token in (*tokens, *tokens)]

    assert [each["sub"] for each in claims] == ["alice", "carol", "alice"] * 2
    assert [each["scope"] for each in claims] == [READ, READ, f"{READ} x"] * 2


@pytest.mark.parametrize("raw", [False, True], ids=["map", "raw"])
@pytest.mark.parametrize("route", PATHS)
def test_no_client_can_send_one(world: World, route: str, *, raw: bool) -> None:
    """On every route, cached or not, each spelling that came is overwritten or removed."""
    token = world.token()
    for name in (*SPELLINGS, HEADER.upper() if raw else HEADER):
        headers = [("authorization", f"Bearer {token}"), (name, "forged")]
        request = check_request(world.svid, headers, path=PATHS[route], raw_headers=raw)
        for answer in (world.check(request), world.check(request)):
            assert reason_of(answer) == "allow"
            ok = answer.ok_response
            if name.lower() != HEADER or route in ("cut", "kept"):
                assert name.lower() in ok.headers_to_remove, name
            else:
                (ours,) = [one for one in ok.headers if one.header.key == HEADER]
                assert ours.header.value != "forged"
                overwrites = pb.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
                assert ours.append_action == overwrites
        kept = [one.header.key for one in ok.headers]
        assert (HEADER in kept) is (route not in ("cut", "kept"))


def test_autonomous_agents(world: World) -> None:
    """An agent by its SVID alone is the subject itself, without an actor and without scopes."""
    claims = verified(world, world.ask(path="/public/a"), "public")

    assert claims["sub"] == claims["req_wl"] == TRAVEL
    assert claims["sub_id"] == {"format": "uri", "uri": TRAVEL}
    assert {"act", "scope"}.isdisjoint(claims)


def test_a_proof_is_stripped_with_its_token(world: World) -> None:
    """A request with a proof is never cached, and gets the assertion of its terms."""
    client = DpopClient()
    token = world.token(cnf=client.confirmation)
    seen = set()
    for _ in range(2):
        proof = client.proof(token, "GET", "https://mcp.corp.example" + BALANCE)
        headers = [("authorization", f"DPoP {token}"), ("dpop", proof)]
        answer = world.check(check_request(world.svid, headers))
        seen.add(header_of(answer, HEADER))
        assert verified(world, answer)["sub"] == "alice"
        assert {"authorization", "dpop"} <= {*answer.ok_response.headers_to_remove}
    assert len(seen) == 1


def test_no_assertion_names_a_refused_decision(tmp_path: Path) -> None:
    """What was signed for a request that a later step refused is not given to the next request."""
    budget = {"limit": 1, "per": "agent", "window": "1h"}
    free = "- {hosts: ['*'], methods: [GET], paths: [/finance/free], scopes: []}"
    changes = changes_of(tmp_path).with_((*AT_READ_RULE, "budget"), budget)
    with World(tmp_path, changes.with_rules("finance-read", free)) as world:
        token, other = world.token(), world.token(scope=f"{READ} more")
        first = verified(world, world.ask(token))
        refused = world.ask(other)
        last = verified(world, world.ask(other, path="/finance/free"))
        records = {each["decision_id"]: each for each in world.audit_records() if "path" in each}

    assert reason_of(refused) == "budget_exhausted"
    assert {records[each["txn"]]["decision"] for each in (first, last)} == {"allow"}


def test_no_assertion_names_a_decision_refused_after_a_wait(tmp_path: Path) -> None:
    """Nor is what was signed given further, if its token was revoked while the decision waited."""

    def revoke(handler: BaseHTTPRequestHandler) -> None:
        revoked = Revocation(issuer="https://as.corp.example", token_id="revoked")
        world.revocations.file.current = Revocations((revoked,))
        world.revocations.generation += 1
        allows(handler)

    allows = scripted(b'{"decision":true}', content_type="application/json")
    point = ScriptedServer(revoke)
    section = f"{{url: '{point.url}', insecure: true, timeout: 2s}}"
    with (
        closing(point),
        World(tmp_path, changes_of(tmp_path).with_section("pdp", section)) as world,
    ):
        refused = world.ask(world.token(jti="revoked"))
        claims = verified(world, world.ask(world.token(jti="good")))
        records = {each["decision_id"]: each for each in world.audit_records() if "path" in each}

    assert reason_of(refused) == "token_revoked"
    assert records[claims["txn"]]["decision"] == "allow"


def test_no_answer_is_cached_for_longer(tmp_path: Path) -> None:
    """Neither our cache nor a proxy's keeps an allow beyond the half of the assertion's life."""
    changes = changes_of(tmp_path, ", lifetime: 10s").with_section("cache", "{ttl: 300s}")
    with World(tmp_path, changes) as world:
        answer = world.ask(world.token())
        claims = verified(world, answer)
        (entry,) = world.service.snapshot.cache._entries._young.values()

    assert claims["exp"] - claims["iat"] == 10
    assert entry.valid_until == answer.dynamic_metadata["valid_until"] == claims["iat"] + 5


@pytest.mark.parametrize("how", ["no signer", "broken"])
def test_without_a_signature_there_is_no_allow(tmp_path: Path, how: str) -> None:
    """If it can't be signed the request is refused, and asked anew: never a silent strip."""

    class Broken:
        def sign(self, typ: str, claims: dict[str, Any]) -> str:
            raise RuntimeError(typ, claims)

    with World(tmp_path, changes_of(tmp_path)) as world:
        good = world.service.snapshot
        token = world.token()
        broken = None if how == "no signer" else Assertions(Broken(), ISSUER, HEADER, 60.0)
        world.service.snapshot = dataclasses.replace(good, assertions=broken)
        refused = [world.ask(token), world.ask(token)]
        stripped = world.ask(token, path=PATHS["cut"])
        world.service.snapshot = good

        assert {reason_of(answer) for answer in refused} == {Reason.INTERNAL_ERROR.code}
        assert {answer.dynamic_metadata["cache"] for answer in refused} == {"miss"}
        assert reason_of(stripped) == "allow"
        assert verified(world, world.ask(token))


def test_a_reload_changes_what_is_signed(tmp_path: Path) -> None:
    """The next request has the new issuer, key, audience and header; remembered ones are gone."""
    with World(tmp_path, changes_of(tmp_path)) as world:
        token = world.token()
        first = world.ask(token)
        before = verified(world, first)
        (tmp_path / "next.pem").write_bytes(pem())
        given = (
            f"issuer: https://other.example, keys: [{{file: {tmp_path}/next.pem}}], insecure: true"
        )
        world.parts.reconfigure(
            world.configure(
                changes_of(tmp_path)
                .without(("assertions",))
                .with_section("assertions", f"{{{given}}}")
                .with_(("routes", "finance", "assertion"), {"audience": "new"})
            )
        )
        second = world.ask(token)
        after = verified(world, second, "new")
        world.parts.reconfigure(world.configure(changes_of(tmp_path, ", header: x-decision")))
        third = world.ask(token)
        world.parts.reconfigure(world.configure(LAB))
        last = world.ask(token)

    assert (before["iss"], after["iss"]) == (ISSUER, "https://other.example")
    assert header_of(third, "x-decision") is not None
    assert header_of(third, HEADER) is None
    assert {"x_decision", "x-decision"} & {*third.ok_response.headers_to_remove} == {"x_decision"}
    assert reason_of(last) == "allow"
    assert header_of(last, HEADER) is None


def test_behind_agentgateway(tmp_path: Path) -> None:
    """Its dialect sets the header, and removes forged spellings; targets that differ get none."""
    changes = (
        changes_of(
            tmp_path,
            routes="""\
- {name: github, hosts: [github], protocol: mcp, upstream_token: assert, bootstrap: [initialize],
    resource: "https://mcp.corp.example/finance"}
- {name: jira, hosts: [jira], protocol: mcp, resource: "https://mcp.corp.example/finance"}
""",
        )
        .with_(("profiles", "default"), {"identity": "metadata"})
        .with_rules(
            "finance-read",
            "- {hosts: ['*'], methods: [POST], paths: [/**], scopes: [], mcp: {tools: [find]}}\n"
            "- {hosts: ['*'], methods: [POST], paths: [/**], scopes: [],"
            " mcp: {methods: [initialize]}}",
        )
    )
    forged = [("x_agent_assertion", "forged"), (HEADER, "forged")]
    with World(tmp_path, changes) as world:
        gateway = Gateway(world)
        for targets in (("github",), ("jira",), ("github", "jira")):
            for _ in range(2):
                call = mcp_request(
                    "tools/call",
                    {"name": "find"},
                    token=world.token(),
                    targets=targets,
                    headers=forged,
                )
                mutation = gateway.ask(call).header_mutation
                values = [one.value for one in mutation.set if one.key == HEADER]
                assert len(values) == (targets == ("github",))
                assert (HEADER in mutation.remove) is (targets != ("github",))
                assert "x_agent_assertion" in mutation.remove
                assert b"forged" not in values
        start = mcp_request("initialize", {}, token=None)
        (text,) = [one.value for one in gateway.ask(start).header_mutation.set if one.key == HEADER]

    claims = jwt.decode(text.decode(), options={"verify_signature": False})
    assert claims["sub"] == claims["req_wl"] == TRAVEL
    assert {"act", "scope"}.isdisjoint(claims)


def test_a_profiles_word_comes_first(tmp_path: Path) -> None:
    """Through a profile that strips or forwards no route asserts, and a forged copy is removed."""
    changes = (
        changes_of(tmp_path)
        .with_profile("strips", "{upstream_token: strip}")
        .with_profile("forwards", "{upstream_token: forward}")
    )
    with World(tmp_path, changes) as world:
        headers = [("authorization", f"Bearer {world.token()}"), (HEADER, "forged")]
        for profile, removed in (("strips", {"authorization", HEADER}), ("forwards", {HEADER})):
            context = {"authz_profile": profile}
            answer = world.check(check_request(world.svid, headers, context=context))
            assert reason_of(answer) == "allow"
            assert header_of(answer, HEADER) is None
            assert {"authorization", HEADER} & {*answer.ok_response.headers_to_remove} == removed
        assert verified(world, world.check(check_request(world.svid, headers)))
