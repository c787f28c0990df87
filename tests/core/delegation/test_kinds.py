"""Kinds of tokens: access tokens only, whatever an issuer calls them; issuers without act."""

from collections.abc import Iterator
from typing import Any

import pytest

from authz.config import ConfigError, load_text
from authz.core.delegation.settings import OTHER_KINDS
from lab.config_builder import AT_ISSUER, LAB
from lab.mesh import AUDIENCE, PAYMENTS, TRAVEL
from support.world import READ, World, reason_of

TYP_JWT = LAB.with_keys(AT_ISSUER, "typ: [JWT, at+jwt]")
SCP = LAB.with_keys(AT_ISSUER, "{scope_claim: scp, typ: [JWT]}")
AZP = LAB.with_keys(AT_ISSUER, f"actor: {{claim: azp, map: {{p1: '{TRAVEL}', p2: '{PAYMENTS}'}}}}")
ACT_ISSUERS = LAB.with_keys(AT_ISSUER, "actor: {issuers: ['https://hr.corp.example']}")


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core that takes plain JWTs of its issuer."""
    with World(tmp_path_factory.mktemp("legacy"), TYP_JWT) as world:
        yield world


@pytest.mark.parametrize("typ", sorted(OTHER_KINDS))
def test_other_kinds_are_no_access_tokens(legacy: World, typ: str) -> None:
    """A token that says that it is of another kind is refused, whoever made it."""
    for spelling in (typ, f"application/{typ}", typ.upper()):
        for changes in ({}, {"iss": "https://unknown.example"}, {"iss": None}):
            token = legacy.token(header={"typ": spelling}, **changes)

            assert reason_of(legacy.ask(token)) == "token_typ"


@pytest.mark.parametrize("typ", ["txntoken+jwt", "application/dpop+jwt", "OAuth-ID-JAG+jwt"])
def test_no_config_can_take_another_kind(shared_world: World, typ: str) -> None:
    """An issuer's typ can't name another kind of token."""
    text = LAB.with_((*AT_ISSUER, "typ"), [typ]).edit(shared_world.config_text)
    with pytest.raises(ConfigError, match="another kind of token"):
        load_text(text.encode(), "f.yaml")


PLAIN: list[tuple[dict[str, Any], str]] = [
    ({}, "allow"),
    ({"client_id": None, "jti": None}, "allow"),
    ({"typ": "Bearer"}, "allow"),
    ({"token_use": "access"}, "allow"),
    ({"nonce": "n"}, "token_typ"),
    ({"at_hash": "x"}, "token_typ"),
    ({"c_hash": "x"}, "token_typ"),
    ({"scope": None}, "token_typ"),
    # API and client may be one registration, as the config says by listing it; an ID token's
    # audience is its client too, but it has no scopes
    ({"client_id": AUDIENCE}, "allow"),
    ({"client_id": None, "azp": AUDIENCE}, "allow"),
    ({"client_id": AUDIENCE, "aud": [AUDIENCE]}, "allow"),
    ({"client_id": AUDIENCE, "scope": None}, "token_typ"),
    ({"client_id": AUDIENCE, "scope": ""}, "token_typ"),
    ({"client_id": AUDIENCE, "scope": []}, "token_typ"),
    ({"client_id": None, "cid": AUDIENCE, "scope": ""}, "token_typ"),
    # whichever of the claims names the client
    ({"client_id": "shop", "azp": AUDIENCE, "scope": ""}, "token_typ"),
    ({"client_id": {}, "azp": [], "appid": AUDIENCE, "scope": ""}, "token_typ"),
    ({"client_id": AUDIENCE, "aud": [AUDIENCE, AUDIENCE], "scope": ""}, "token_typ"),
    ({"client_id": AUDIENCE, "aud": [AUDIENCE, "shop"], "scope": ""}, "scope"),
    # Cognito's tokens have a client in place of an audience
    ({"aud": None, "client_id": AUDIENCE}, "allow"),
    ({"aud": None, "client_id": AUDIENCE, "scope": None}, "token_typ"),
    ({"aud": None}, "token_audience"),
    ({"aud": [], "client_id": AUDIENCE}, "token_audience"),
    ({"aud": None, "client_id": None, "azp": AUDIENCE}, "token_audience"),
    ({"aud": None, "client_id": {"a": AUDIENCE}}, "token_claim"),
    ({"aud": None, "client_id": [AUDIENCE]}, "token_claim"),
    # of what only looks like an ID token a wrong audience is told first
    ({"client_id": "shop", "aud": "shop"}, "token_audience"),
    ({"client_id": None, "azp": "shop", "aud": ["shop"]}, "token_audience"),
    ({"scope": None, "aud": "shop"}, "token_audience"),
    ({"nonce": "n", "aud": "shop"}, "token_typ"),
    ({"token_use": "id", "aud": "shop"}, "token_typ"),
    ({"typ": "ID"}, "token_typ"),
    ({"typ": "Refresh"}, "token_typ"),
    ({"typ": ["Bearer"]}, "token_typ"),
    ({"token_use": "id"}, "token_typ"),
    ({"events": {}}, "token_typ"),
    ({"status_list": {}}, "token_typ"),
    ({"token_introspection": {}}, "token_typ"),
    ({"req_wl": "w"}, "token_typ"),
    ({"tctx": {}}, "token_typ"),
    ({"htm": "GET"}, "token_typ"),
    ({"wth": "x"}, "token_typ"),
]


@pytest.mark.parametrize(("changes", "reason"), PLAIN)
def test_plain_jwts(legacy: World, changes: dict[str, Any], reason: str) -> None:
    """A plain JWT is an access token only if it looks like one, and like nothing else."""
    token = legacy.token(header={"typ": "JWT"}, **changes)

    assert reason_of(legacy.ask(token)) == reason


def test_a_typed_access_token_may_have_more_claims(legacy: World) -> None:
    """A token that says its kind is believed: a nonce makes no ID token of an at+jwt."""
    assert reason_of(legacy.ask(legacy.token(nonce="n"))) == "allow"


SCOPES: list[tuple[Any, str]] = [
    ([READ], "allow"),
    ([READ, "x"], "allow"),
    (READ, "allow"),
    (f"x {READ}", "allow"),
    ([f"x {READ}"], "token_claim"),
    ([READ, 1], "token_claim"),
    ({"a": READ}, "token_claim"),
    (f"x  {READ}", "token_claim"),
    ([], "scope"),
    (None, "token_typ"),
]


@pytest.fixture(scope="module")
def scp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core whose issuer writes scopes to scp, as Okta and Entra do."""
    with World(tmp_path_factory.mktemp("scp"), SCP) as world:
        yield world


@pytest.mark.parametrize(("value", "reason"), SCOPES)
def test_scopes_of_another_claim(scp: World, value: Any, reason: str) -> None:
    """Another claim than scope may be a list too; each item is one scope."""
    token = scp.token(header={"typ": "JWT"}, scp=value)

    assert reason_of(scp.ask(token)) == reason


def test_a_list_of_scopes_may_be_in_scope_too(shared_world: World) -> None:
    """RFC 8693 section 4.2 has a string there; Duende, Spring and others write a list."""
    assert reason_of(shared_world.ask(shared_world.token(scope=[READ]))) == "allow"
    assert reason_of(shared_world.ask(shared_world.token(scope=[READ, 7]))) == "token_claim"


@pytest.fixture(scope="module")
def azp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core whose issuer has no act, and names the agent by azp."""
    with World(tmp_path_factory.mktemp("azp"), AZP) as world:
        yield world


MAPPED: list[tuple[dict[str, Any], str]] = [
    ({"azp": "p1"}, "allow"),
    ({"azp": "p2"}, "actor_mismatch"),
    ({"azp": "p3"}, "actor_not_permitted"),
    ({"azp": None}, "actor_missing"),
    ({"azp": ["p1"]}, "actor_malformed"),
    ({"azp": "p1", "may_act": {"sub": PAYMENTS}}, "allow"),
    ({"azp": "p1", "sub": "p1"}, "principal_required"),  # the client's own token
    ({"azp": "p1", "sub": TRAVEL}, "principal_required"),
    ({"azp": "p2", "sub": "p1"}, "actor_mismatch"),
]


@pytest.mark.parametrize(("changes", "reason"), MAPPED)
def test_mapped_actors(azp: World, changes: dict[str, Any], reason: str) -> None:
    """An issuer without act has its own claim mapped to agents, by exact value."""
    assert reason_of(azp.ask(azp.token(**{"act": None, **changes}))) == reason


def test_mapped_is_told_in_audit(azp: World) -> None:
    """Audit tells an actor that was mapped from one that the token names."""
    azp.ask(azp.token(act=None, azp="p1", jti="told"))

    assert azp.audit_records()[-1]["mode"] == "mapped"


@pytest.fixture(scope="module")
def act_issuers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core that knows actors of another issuer too."""
    with World(tmp_path_factory.mktemp("act_issuers"), ACT_ISSUERS) as world:
        yield world


ACTOR_ISSUERS: list[tuple[Any, str, str]] = [
    ("https://as.corp.example", "allow", "allow"),
    ("spiffe://corp.example", "allow", "allow"),
    ("https://hr.corp.example", "allow", "actor_mismatch"),
    ("https://as.corp.example/", "actor_mismatch", "actor_mismatch"),
    ("spiffe://partner.example", "actor_mismatch", "actor_mismatch"),
    ("", "actor_malformed", "actor_malformed"),
    (1, "actor_malformed", "actor_malformed"),
    (None, "actor_malformed", "actor_malformed"),
]


@pytest.mark.parametrize(("issuer", "with_setting", "without"), ACTOR_ISSUERS)
def test_an_actor_is_an_issuer_and_a_subject(
    act_issuers: World, shared_world: World, issuer: Any, with_setting: str, without: str
) -> None:
    """The same sub under another iss is another actor."""
    for world, reason in ((act_issuers, with_setting), (shared_world, without)):
        token = world.token(act={"iss": issuer, "sub": TRAVEL})

        assert reason_of(world.ask(token)) == reason


@pytest.mark.parametrize(
    "claim", ["sub", "email", "azp", "preferred_username", "nonce", "groups", "roles"]
)
def test_no_claim_of_id_tokens_holds_scopes(shared_world: World, claim: str) -> None:
    """Every ID token would have scopes then."""
    text = LAB.with_((*AT_ISSUER, "scope_claim"), claim).edit(shared_world.config_text)
    with pytest.raises(ConfigError, match=r"issuers\[0\].scope_claim: ID tokens have this claim"):
        load_text(text.encode(), "f.yaml")
