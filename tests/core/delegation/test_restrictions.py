"""What restricts a token and is not checked refuses it, and an act beside a mapped claim counts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from authz.core.delegation.settings import Unchecked
from lab.config_builder import AT_ALICE, AT_ISSUER, AT_READ_RULE, LAB
from lab.issuer import b64, sign_raw
from lab.mesh import ISSUER, ORCHESTRATOR, PAYMENTS, TRAVEL
from support.world import READ, World, check_request, header_of, reason_of

STATUS = {"status_list": {"idx": 0, "uri": "https://as.corp.example/statuslists/1"}}
DETAILS = [{"type": "payment_initiation", "actions": ["initiate"]}]
CLAIMS: list[tuple[str, Any]] = [
    ("status", STATUS),
    ("status", {}),
    ("status", "active"),
    ("authorization_details", DETAILS),
    ("authorization_details", []),
    ("crit", ["x"]),
    ("cdnicrit", "exp"),
    ("cdniip", "192.0.2.1"),
    ("cdniuc", "regex:.*"),
    ("exi", 60),
    ("htm", "GET"),
    ("htu", "https://mcp.corp.example/finance/balance"),
]
DESCRIBING: dict[str, Any] = {
    "client_profile": "ai_agent",
    "acr": "1",
    "amr": ["pwd"],
    "may_act": {"sub": PAYMENTS},
    "allowed-origins": ["https://app.corp.example"],
    "realm_access": {"roles": ["x"]},
    "xms_cc": ["cp1"],
    "Status": "x",
}


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core whose operator takes every restriction unchecked."""
    names = ", ".join(Unchecked.__args__)  # type: ignore[attr-defined]
    changes = LAB.with_keys(AT_ISSUER, f"accept_unchecked: [{names}]")
    with World(tmp_path_factory.mktemp("lax"), changes) as world:
        yield world


@pytest.mark.parametrize(("name", "value"), CLAIMS)
def test_a_restriction_that_nobody_checks_refuses(
    shared_world: World, lax: World, name: str, value: Any
) -> None:
    """What takes something from a token refuses it, unless the issuer's settings say otherwise."""
    assert reason_of(shared_world.ask(shared_world.token(**{name: value}))) == "token_claim"
    assert name in shared_world.audit_records()[-1]["detail"]
    assert reason_of(lax.ask(lax.token(**{name: value}))) == "allow"


@pytest.mark.parametrize("name", DESCRIBING)
def test_what_only_describes_is_passed_over(shared_world: World, name: str) -> None:
    """An unknown claim that restricts nothing is no reason to refuse (RFC 7519 section 4)."""
    token = shared_world.token(**{name: DESCRIBING[name]})

    assert reason_of(shared_world.ask(token)) == "allow"


PROFILES: list[tuple[Any, str]] = [
    ("ai_agent", "allow"),
    ("service", "allow"),
    ("ai_agent service", "allow"),
    ("user", "token_claim"),
    ("device", "token_claim"),
    ("browser_app", "token_claim"),
    ("ai_agent user", "token_claim"),
    ("something_new", "token_claim"),
    ("", "token_claim"),
    (" ", "token_claim"),
    (None, "allow"),
    (["ai_agent"], "token_claim"),
    ({}, "token_claim"),
    (1, "token_claim"),
]


@pytest.mark.parametrize(("profile", "reason"), PROFILES)
def test_the_profile_of_the_actor(
    shared_world: World, lax: World, profile: Any, reason: str
) -> None:
    """The current actor calls by mutual TLS: a token that says it is no agent is refused."""
    act = {"sub": TRAVEL} | ({} if profile is None else {"sub_profile": profile})

    assert reason_of(shared_world.ask(shared_world.token(act=act))) == reason
    assert reason_of(lax.ask(lax.token(act=act))) == "allow"


def test_an_actor_that_is_held_to_a_key(shared_world: World, lax: World) -> None:
    """A key of the current actor that nobody checks is no key that may be missing."""
    act = {"sub": TRAVEL, "cnf": {"jkt": "A" * 43}}

    assert reason_of(shared_world.ask(shared_world.token(act=act))) == "cnf_unsupported"
    assert reason_of(lax.ask(lax.token(act=act))) == "allow"


def test_earlier_actors_are_history(shared_world: World) -> None:
    """What describes or restricted an earlier actor decides nothing (RFC 8693 section 4.1)."""
    earlier = {"sub": "web", "sub_profile": "user", "cnf": {"jkt": "x"}, "exp": 1}

    answer = shared_world.ask(shared_world.token(act={"sub": TRAVEL, "act": earlier}))
    assert reason_of(answer) == "allow"


@pytest.mark.parametrize("other", [{"kid2": "x"}, {"x5t": "x"}, {"jkt#S512": "x"}, {"": None}])
def test_an_unknown_binding_beside_a_known_one(
    shared_world: World, lax: World, other: dict[str, Any]
) -> None:
    """A token may be bound to more than we can check: then what we can is not enough."""
    for world, reason in ((shared_world, "cnf_unsupported"), (lax, "allow")):
        own = b64(world.svid.certificate.fingerprint(hashes.SHA256()))

        assert reason_of(world.ask(world.token(cnf={"x5t#S256": own}))) == "allow"
        assert reason_of(world.ask(world.token(cnf={"x5t#S256": own} | other))) == reason
        assert reason_of(world.ask(world.token(cnf=other))) == "cnf_unsupported"


ACTOR = f"actor: {{claim: azp, map: {{p1: '{TRAVEL}', p2: '{PAYMENTS}'}}}}"
MAPPED = LAB.with_keys(AT_ISSUER, f"{{{ACTOR}, max_actors: 2}}").with_keys(AT_READ_RULE, "via: []")


def chain(*subjects: str) -> dict[str, Any]:
    """An act claim of these actors, the current one first."""
    first, *others = subjects
    return {"sub": first} | ({"act": chain(*others)} if others else {})


BESIDE: list[tuple[Any, str]] = [
    (chain(TRAVEL), "allow"),
    (chain("p1"), "allow"),
    ({"sub": "p1", "iss": ISSUER}, "allow"),
    ({"sub": TRAVEL, "iss": "spiffe://corp.example"}, "allow"),
    (chain("p2"), "actor_mismatch"),
    (chain(PAYMENTS), "actor_mismatch"),
    (chain("P1"), "actor_mismatch"),
    (chain("5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"), "actor_mismatch"),
    (chain(PAYMENTS, TRAVEL), "actor_mismatch"),
    ({"sub": "p1", "iss": "https://other.example"}, "actor_mismatch"),
    ({"sub": "p1", "iss": "spiffe://corp.example"}, "actor_mismatch"),
    ({"sub": TRAVEL, "iss": "https://other.example"}, "actor_mismatch"),
    (chain(TRAVEL, "a"), "policy_denied"),
    (chain("p1", "a"), "policy_denied"),
    (chain("p1", "a", "b"), "chain_too_deep"),
    (chain("p1", "a", "b", "c"), "chain_too_deep"),
    (chain(PAYMENTS, "a", "b"), "chain_too_deep"),
    ([], "actor_malformed"),
    ("p1", "actor_malformed"),
    ({}, "actor_malformed"),
    ({"sub": "p1", "act": None}, "actor_malformed"),
    ({"sub": "p1", "sub_profile": "user"}, "token_claim"),
    ({"sub": "p1", "cnf": {"jkt": "x"}}, "cnf_unsupported"),
]


@pytest.fixture(scope="module")
def azp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An issuer whose azp is mapped, and rules that want nobody before the agent."""
    with World(tmp_path_factory.mktemp("azp"), MAPPED) as world:
        yield world


@pytest.mark.parametrize(("act", "reason"), BESIDE)
def test_act_counts_beside_a_mapped_claim(azp: World, act: Any, reason: str) -> None:
    """Where a token has act, it names the agent as the mapped claim does, and its chain counts."""
    assert reason_of(azp.ask(azp.token(azp="p1", act=act))) == reason


def test_null_is_no_act(azp: World) -> None:
    """An act that is null is malformed, and not one that is left out."""
    key = azp.issuer.current
    header = {"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"}
    claims = azp.issuer.claims(TRAVEL, "alice", READ, azp="p1") | {"act": None}
    token = sign_raw(key, json.dumps(header).encode(), json.dumps(claims).encode())

    assert reason_of(azp.ask(token)) == "actor_malformed"


def test_the_chain_of_a_mapped_token_is_told(azp: World) -> None:
    """The record has the earlier actors that act names beside the mapped claim."""
    azp.ask(azp.token(azp="p1", act=chain("p1", ORCHESTRATOR)))
    actors = [actor["sub"] for actor in azp.audit_records()[-1]["actors"]]

    assert actors == [TRAVEL, ORCHESTRATOR]
    answer = azp.ask(azp.token(azp="p1", act=chain("p1")))
    assert header_of(answer, "x-agent-id") == TRAVEL


LONG = f"spiffe://corp.example/{'a' * (2048 - len('spiffe://corp.example/'))}"


def test_spiffe_ids_of_every_good_length(tmp_path: Path) -> None:
    """SPIFFE IDs of up to 2,048 bytes are agents, actors and principals (SPIFFE-ID section 2.3)."""
    changes = (
        LAB.with_agents(f"- id: {LONG}\n  grants: [finance-read]\n")
        .with_((*AT_ALICE, "match", "subjects"), ["alice", LONG])
        .with_routes("[{name: own, modes: [autonomous]}]")
    )
    with World(tmp_path, changes) as world:
        svid = world.authority.issue(LONG)
        for claims, route in (
            ({"act": {"sub": LONG}}, "finance"),
            ({"act": {"sub": LONG, "act": {"sub": LONG[:-1]}}}, "finance"),
            ({"sub": LONG, "act": None}, "own"),
        ):
            headers = [("authorization", f"Bearer {world.token(**claims)}")]
            request = check_request(svid, headers, principal=LONG, context={"authz_route": route})

            assert reason_of(world.check(request)) == "allow"
