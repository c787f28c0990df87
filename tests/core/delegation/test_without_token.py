"""An agent without any token acts by its SVID alone where a route says so, and nowhere else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz._pb import ext_authz_pb2 as pb
from authz.config import ConfigError, load_text
from authz.core.decision import Agent, Mode
from authz.core.delegation.without_token import by_svid
from authz.core.routes import Route
from authz.core.spiffe import SpiffeId
from lab.config_builder import AT_PUBLIC_RULE, LAB
from lab.mesh import ISSUER, ORCHESTRATOR, PAYMENTS, RETIRED, STRANGER, TRAVEL
from support.world import World, check_request, header_of, reason_of

DOMAIN = "spiffe://corp.example"
PATHS = "/own/**, /both/**, /bound/**, /strong/**, /fresh/**, /asks/**, /people/**, /scoped/open"
ROUTES = """\
- {name: own, paths: [/own/**, /scoped/**, /aged/**], modes: [autonomous]}
- {name: both, paths: [/both/**], modes: [delegated, autonomous]}
- {name: people, paths: [/people/**]}
- {name: bound, paths: [/bound/**], modes: [autonomous], proof: required}
- {name: strong, paths: [/strong/**], modes: [autonomous], acr_values: [mfa]}
- {name: fresh, paths: [/fresh/**], modes: [autonomous], max_age: 5m}
- {name: asks, paths: [/asks/**], modes: [autonomous], token: required}
- {name: rpc, paths: [/rpc/**], modes: [autonomous], protocol: mcp, bootstrap: [tools/list]}
"""
RULES = """\
- {name: scoped, hosts: ["*"], methods: [GET], paths: [/scoped/**], scopes: [b, a]}
- {name: aged, hosts: ["*"], methods: [GET], paths: [/aged/**], scopes: [], max_token_age: 1h}
- {name: closed, effect: deny, hosts: ["*"], methods: [GET], paths: [/own/closed]}
- {name: tools, hosts: ["*"], methods: [POST], paths: [/rpc/**], scopes: [], mcp: {tools: [look]}}
- {name: pay, hosts: ["*"], methods: [POST], paths: [/rpc/**], scopes: [p], mcp: {tools: [pay]}}
"""
OF_PRINCIPAL = """\
- {name: barred, effect: deny, hosts: ["*"], methods: [GET], paths: [/own/barred]}
- {name: more, hosts: ["*"], methods: [GET], paths: [/more/**, /own/**], scopes: []}
"""
OF_ANYBODY = '- {effect: deny, hosts: ["*"], methods: [GET], paths: [/own/nobody]}'
CHANGES = (
    LAB.with_routes(ROUTES)
    .with_keys(AT_PUBLIC_RULE, f"{{paths: [{PATHS}]}}")
    .with_rules("public", RULES)
    .with_grant("mine", OF_PRINCIPAL)
    .with_grant("anybody", OF_ANYBODY)
    .with_agents(
        f"""\
- {{id: {ORCHESTRATOR}, unrestricted: true}}
- {{id: "{DOMAIN}/ns/agents/sa/other", grants: [public]}}
"""
    )
    .with_principals(f"""\
- {{match: {{issuer: "{DOMAIN}", subjects: ["{TRAVEL}"]}}, grants: [mine]}}
- {{match: {{issuer: "{DOMAIN}"}}, grants: [anybody]}}
- {{match: {{issuer: "{DOMAIN}", subjects: ["{PAYMENTS}"]}}, suspended: true}}
- {{match: {{issuer: {ISSUER}, subjects: ["{TRAVEL}"]}}, grants: [public]}}
""")
)
OTHER = f"{DOMAIN}/ns/agents/sa/other"


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with routes that take an agent's SVID alone, and routes that nearly do."""
    with World(tmp_path_factory.mktemp("bare"), CHANGES) as world:
        yield world


def asked(world: World, agent: str, **changes: Any) -> pb.CheckResponse:
    """Ask as an agent with its own SVID, and without a token."""
    svid = world.authority.issue(agent)
    return world.check(check_request(svid, [], principal=agent, **changes))


ROWS = [
    (TRAVEL, "/own/x", "allow"),
    (OTHER, "/own/x", "allow"),  # no entry of principals has to list it
    (TRAVEL, "/both/x", "token_missing"),
    (TRAVEL, "/people/x", "token_missing"),
    (TRAVEL, "/elsewhere", "token_missing"),
    (TRAVEL, "/bound/x", "token_missing"),
    (TRAVEL, "/strong/x", "token_missing"),
    (TRAVEL, "/fresh/x", "token_missing"),
    (TRAVEL, "/asks/x", "token_missing"),
    (TRAVEL, "/scoped/x", "token_missing"),  # a rule with scopes never fits
    (TRAVEL, "/scoped/open", "allow"),
    (TRAVEL, "/aged/x", "policy_denied"),  # nothing was issued within the hour
    (TRAVEL, "/own/closed", "policy_denied"),
    (TRAVEL, "/own/barred", "policy_denied"),  # a deny of the entry that lists it
    (OTHER, "/own/barred", "allow"),
    (TRAVEL, "/own/nobody", "policy_denied"),  # a deny of an entry for any subject
    (OTHER, "/own/nobody", "policy_denied"),
    (PAYMENTS, "/own/x", "policy_denied"),  # suspended as a principal
    (RETIRED, "/own/x", "agent_suspended"),
    (STRANGER, "/own/x", "agent_unknown"),
    (ORCHESTRATOR, "/own/x", "policy_denied"),  # unrestricted by itself is no rule
]


@pytest.mark.parametrize(("agent", "path", "reason"), ROWS)
def test_the_agents_own_grants_allow(bare: World, agent: str, path: str, reason: str) -> None:
    """Without a token an agent may do what its own rules allow, where a route says so."""
    assert reason_of(asked(bare, agent, path=path)) == reason


def test_the_principals_entry_allows_nothing(bare: World) -> None:
    """An entry of principals takes from an agent without a token, and gives it nothing."""
    request = {"path": "/more/x", "context": {"authz_route": "own"}}

    assert reason_of(asked(bare, TRAVEL, **request)) == "policy_denied"


CREDENTIALS = [
    ({"authorization": "Bearer x"}, "token_malformed"),
    ({"authorization": "Bearer"}, "token_malformed"),
    ({"authorization": "Basic eA=="}, "token_missing"),
    ({"authorization": ""}, "token_missing"),  # a header that somebody sent is no silence
    ({"authorization": "Bearer x,Bearer y"}, "auth_ambiguous"),
    ({"dpop": "x"}, "token_missing"),
    ({"dpop": ""}, "token_missing"),
    ({"cookie": "a=1; Authorization=x"}, "token_missing"),
    ({":path": "/own/x?access_token=x"}, "token_missing"),
]


@pytest.mark.parametrize(("sent", "reason"), CREDENTIALS)
@pytest.mark.parametrize("raw_headers", [False, True])
def test_a_credential_is_never_dropped(
    bare: World, sent: dict[str, str], reason: str, *, raw_headers: bool
) -> None:
    """What could be a credential must be a good one: it does not fall back to the SVID."""
    path = sent.get(":path", "/own/x")
    headers = [(name, value) for name, value in sent.items() if name != ":path"]
    request = check_request(bare.svid, headers, path=path, raw_headers=raw_headers)

    assert reason_of(bare.check(request)) == reason


TOKENS: list[tuple[dict[str, Any], str]] = [
    ({"sub": TRAVEL, "act": None}, "allow"),
    ({}, "actor_not_permitted"),  # a user's: agents act only for themselves
    ({"sub": TRAVEL, "act": None, "exp": 1}, "token_expired"),
    ({"sub": TRAVEL, "act": None, "iss": "https://as.other.example"}, "token_issuer"),
    ({"sub": TRAVEL, "act": None, "aud": "other"}, "token_audience"),
    ({"sub": PAYMENTS, "act": None}, "actor_mismatch"),
    ({"act": None}, "actor_missing"),
]


@pytest.mark.parametrize(("claims", "reason"), TOKENS)
def test_a_token_counts_as_it_is(bare: World, claims: dict[str, Any], reason: str) -> None:
    """A token on such a route is judged as on any other, and refused as there."""
    assert reason_of(bare.ask(bare.token(**claims), path="/own/x")) == reason


def test_what_is_told(bare: World) -> None:
    """Upstream and record have the agent as its own principal, named by its trust domain."""
    answer = asked(bare, TRAVEL, path="/own/told")
    removed = set(answer.ok_response.headers_to_remove)
    record = bare.audit_records()[-1]

    assert header_of(answer, "x-agent-id") == header_of(answer, "x-agent-principal") == TRAVEL
    assert header_of(answer, "x-agent-issuer") == DOMAIN
    assert {"x-agent-scope", "x-agent-chain", "authorization"} <= removed
    assert (record["mode"], record["by_svid"]) == ("autonomous", True)
    assert (record["principal"], record["issuer"]) == (TRAVEL, DOMAIN)
    assert record["actors"] == [{"iss": DOMAIN, "sub": TRAVEL}]
    assert (record["principal_rule"], record["token_id"], record["scopes"]) == ("", "", [])


def test_a_token_is_told_apart(bare: World) -> None:
    """The record of an agent's own token is another than that of its SVID alone."""
    bare.ask(bare.token(sub=TRAVEL, act=None), path="/own/token")
    record = bare.audit_records()[-1]

    assert (record["mode"], record["by_svid"], record["issuer"]) == ("autonomous", False, ISSUER)


def test_the_challenge_names_what_a_token_would_need(bare: World) -> None:
    """Where scopes would help, the challenge names them, without an error (RFC 6750 3.1)."""
    answer = asked(bare, TRAVEL, path="/scoped/x")

    assert answer.denied_response.status.code == 401
    assert header_of(answer, "www-authenticate") == 'Bearer scope="a b"'
    assert bare.audit_records()[-1]["detail"].startswith("no token was sent; public/scoped: ")


def test_where_no_token_would_help_none_is_asked_for(bare: World) -> None:
    """A refusal that no token mends has no challenge."""
    answer = asked(bare, TRAVEL, path="/own/closed")

    assert answer.denied_response.status.code == 403
    assert header_of(answer, "www-authenticate") is None


CALLS = [
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"}}', "allow"),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pay"}}', "token_missing"),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}', "policy_denied"),
    (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', "allow"),
    (b"{", "message_malformed"),
]


@pytest.mark.parametrize(("body", "reason"), CALLS)
def test_messages_are_read_as_ever(bare: World, body: bytes, reason: str) -> None:
    """On a route of messages every call is judged, and none of them is a bootstrap."""
    sent = [
        ("content-type", "application/json"),
        ("content-length", str(len(body))),
        ("x-envoy-auth-partial-body", "false"),
    ]
    request = check_request(bare.svid, sent, method="POST", path="/rpc/mcp", raw_headers=True)
    request.attributes.request.http.raw_body = body

    assert reason_of(bare.check(request)) == reason
    assert bare.audit_records()[-1]["mode"] == "autonomous"


def test_a_revoked_agent_is_refused(tmp_path: Path) -> None:
    """A revocation of the agent counts, also for a decision that was remembered."""
    revoked = tmp_path / "revoked.jsonl"
    revoked.write_text("")
    change = CHANGES.with_section("revocations", f"{{file: '{revoked}'}}")
    with World(tmp_path, change) as world:
        assert reason_of(asked(world, TRAVEL, path="/own/x")) == "allow"
        revoked.write_text(f'{{"agent":"{TRAVEL}"}}\n')
        world.revocations.refresh()

        assert reason_of(asked(world, TRAVEL, path="/own/x")) == "agent_suspended"
        assert reason_of(asked(world, OTHER, path="/own/x")) == "allow"


def test_it_ends_with_the_certificate(bare: World) -> None:
    """An allow is good until the SVID ends."""
    svid = bare.authority.issue(TRAVEL, lifetime_seconds=85)  # of 60 s ago; cache.ttl is 30 s
    answer = bare.check(check_request(svid, [], path="/own/until"))
    until = float(str(answer.dynamic_metadata["valid_until"]))

    assert until == svid.certificate.not_valid_after_utc.timestamp()


def test_without_a_certificate_nothing_but_the_proxy_vouches(tmp_path: Path) -> None:
    """Behind a proxy that sends no certificate, as Istio's, each request's own name counts."""
    changes = CHANGES.with_(("profiles", "default", "certificate"), "optional")
    with World(tmp_path, changes) as world:
        named = check_request(None, [], principal=OTHER, path="/own/x")
        nobody = check_request(None, [], principal="", path="/own/x")

        assert reason_of(world.check(named)) == "allow"
        assert reason_of(world.check(named)) == "allow"
        assert reason_of(world.check(nobody)) == "agent_missing"
        assert {record["agent"] for record in world.audit_records()} == {OTHER, ""}


def test_a_route_without_a_name_takes_no_svid_alone() -> None:
    """Where no route matches, a token is required."""
    assert not Route().takes_svid_alone
    assert by_svid(Agent(SpiffeId.parse(TRAVEL))).mode is Mode.AUTONOMOUS


def test_in_shadow_only_a_rule_lets_it_pass(tmp_path: Path) -> None:
    """A policy in shadow refuses what has no token and no rule: that is how a client learns."""
    with World(tmp_path, CHANGES.with_section("shadow", "true")) as world:
        assert reason_of(asked(world, TRAVEL, path="/own/x")) == "allow"
        assert reason_of(asked(world, TRAVEL, path="/scoped/x")) == "token_missing"
        assert reason_of(asked(world, TRAVEL, path="/own/closed")) == "policy_denied"


OPTIONAL = [
    "modes: [delegated, autonomous]",
    "modes: [autonomous], proof: required",
    "modes: [autonomous], acr_values: [mfa]",
    "modes: [autonomous], max_age: 5m",
    "paths: [/x]",
]


@pytest.mark.parametrize("keys", OPTIONAL)
def test_optional_must_mean_something(bare: World, keys: str) -> None:
    """A route that requires a token anyway can't say that it is optional."""
    route = f"- {{name: z, token: optional, {keys}}}"
    text = bare.config_text.replace("routes:\n", f"routes:\n{route}\n")

    with pytest.raises(ConfigError, match=r"routes\[0\].token: a token is required here"):
        load_text(text.encode(), "t.yaml")


def test_a_trust_domain_vouches_only_if_it_is_trusted(bare: World) -> None:
    """An entry of principals names the trust domain of agents that can call."""
    entry = f'{{match: {{issuer: "{DOMAIN}s"}}, suspended: true}}'
    text = bare.config_text.replace("principals:\n", f"principals:\n- {entry}\n")

    with pytest.raises(ConfigError, match="is not one of the issuers"):
        load_text(text.encode(), "t.yaml")
