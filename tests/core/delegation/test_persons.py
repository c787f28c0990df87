"""Is a person behind a token? A client's own is never taken for a user's (RFC 9700 4.15)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authz.config import ConfigError, load_text
from lab.config_builder import AT_ISSUER, AT_READ_RULE, LAB, ConfigBuilder
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL
from support.world import World, header_of, reason_of

UUID = "5b7c1f5e-0f64-4c8e-9b0d-6d5f0a3e1c77"
CLIENT = "travel-client"
SIGNED_IN = 1_700_000_000  # auth_time
AUTHENTIK = "goauthentik.io/providers/oauth2/default"  # acr
PRINCIPALS = f"""\
- match: {{issuer: {ISSUER}}}
  grants: [finance-read]
- match: {{issuer: {ISSUER}, subjects: ["{UUID}", "{CLIENT}", "{CLIENT}@clients"]}}
  grants: [finance-read]
"""
ROUTES = """\
- {name: both, paths: [/both/**], modes: [delegated, autonomous]}
- {name: own, paths: [/own/**], modes: [autonomous]}
"""


def config(actor: str) -> ConfigBuilder:
    """Change the lab's config: an issuer that names agents so, whose every subject may read."""
    return (
        LAB.with_principals(PRINCIPALS)
        .with_routes(ROUTES)
        .with_((*AT_READ_RULE, "paths"), ["/**"])
        .with_keys(AT_ISSUER, f"{{typ: [JWT, at+jwt], actor: {actor}}}")
    )


def mapped(claim: str = "azp") -> ConfigBuilder:
    """Change it likewise, where a claim is mapped."""
    return config(f"{{claim: {claim}, map: {{{CLIENT}: '{TRAVEL}', other: '{PAYMENTS}'}}}}")


@pytest.fixture(scope="module")
def azp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An issuer without act, and with azp."""
    with World(tmp_path_factory.mktemp("azp"), mapped()) as world:
        yield world


@pytest.fixture(scope="module")
def act(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An issuer with act."""
    with World(tmp_path_factory.mktemp("act"), config("{claim: act}")) as world:
        yield world


def plain(world: World, /, **claims: Any) -> str:
    """A token as issuers before RFC 9068 make it, of the travel client and without act."""
    base = {"client_id": None, "jti": None, "act": None, "azp": CLIENT}
    return world.token(header={"typ": "JWT"}, **base | claims)


GRANT = "urn:ietf:params:oauth:grant-type"
CC = {"grants": ["x", ["client_credentials"]]}
# By issuer: what a user's token has there, and one of the client alone.
USERS: dict[str, dict[str, Any]] = {
    "RFC 9068, signed in": {"sub": UUID, "auth_time": SIGNED_IN},
    "OIDC, signed in by password": {"sub": UUID, "amr": ["pwd"]},
    "Keycloak": {"sub": UUID, "typ": "Bearer", "sid": "s-1", "preferred_username": "alice"},
    "Auth0": {"sub": "auth0|65a1b2"},
    "Auth0, by another's account": {"sub": "google-oauth2|1055"},
    "Auth0, a profile": {"sub": "65a1b2", "sub_profile": "user"},
    "Entra ID, delegated": {"sub": "dRTK7Kus-2MQbunK0z8pCjz4VYx", "oid": "o-1", "scp": "Read"},
    "Entra ID, idtyp": {"sub": UUID, "idtyp": "user"},
    "Entra ID, an agent for a user": {"sub": UUID, "oid": "o", "scp": "Read", "xms_sub_fct": "1"},
    "Okta": {"sub": "00u1x9", "cid": CLIENT, "uid": "00u1x9"},
    "Cognito": {"sub": UUID, "token_use": "access", "username": "alice"},
    "UAA": {"sub": UUID, "grant_type": "authorization_code"},
    "PingAM": {"sub": "(usr!alice)", "grant_type": "authorization_code"},
    "WSO2": {"sub": UUID, "aut": "APPLICATION_USER"},
    "Oracle": {"sub": UUID, "sub_type": "user"},
    "a name": {"sub": "alice"},
    "a name of two": {"sub": "Alice.Smith"},
    "a name as in the audience": {"sub": "corp.example"},
    "an e-mail address": {"sub": "alice.smith@corp.example"},
    "authentik": {"sub": UUID, "auth_time": SIGNED_IN, "amr": ["pwd"], "acr": AUTHENTIK},
    "authentik, a session": {
        "sub": UUID,
        "sid": "s",
        "preferred_username": "a-b",
        "acr": AUTHENTIK,
    },
    "FusionAuth": {"sub": UUID, "gty": ["authorization_code", "refresh_token"]},
    "Supabase": {"sub": UUID, "amr": [{"method": "password", "timestamp": SIGNED_IN}]},
    "Entra ID, an agent for them": {"sub": UUID, "oid": "o", "scp": "R", "xms_act_fct": "3 9 11"},
    "an agent that has its token by a client's grant": {
        "sub": "auth0|65a1b2",
        "act": {"sub": TRAVEL, "gty": "client-credentials"},
        "may_act": {"sub": TRAVEL, "grant_type": "client_credentials"},
    },
    "a text about credentials": {"sub": "alice", "note": "has client and user credentials"},
    "a name like no client": {"sub": "Walter.Clint"},
    "Keycloak, by how it got the token": {"sub": UUID, "jti": "onrtac:7"},
    "Keycloak, a device's": {"sub": UUID, "jti": "trltdg:7"},
    "Entra ID, whose oid is the sub": {"sub": UUID, "oid": UUID, "scp": "Read"},
}
CLIENTS_OWN: dict[str, dict[str, Any]] = {
    "its id": {"sub": CLIENT},
    "Keycloak": {"sub": UUID, "preferred_username": f"service-account-{CLIENT}", "acr": "1"},
    "Keycloak, with a session": {
        "sub": UUID,
        "sid": "s-1",
        "auth_time": SIGNED_IN,
        "preferred_username": f"service-account-{CLIENT}",
    },
    "Auth0": {"sub": f"{CLIENT}@clients", "gty": "client-credentials"},
    "Auth0, without gty": {"sub": f"{CLIENT}@clients"},
    "its id, in capitals": {"sub": CLIENT.upper(), "auth_time": SIGNED_IN},
    "Keycloak, which writes small": {
        "sub": UUID,
        "client_id": "Reports-Nightly",
        "preferred_username": "service-account-reports-nightly",
    },
    "gty alone": {"sub": UUID, "gty": "client-credentials"},
    "gty in a list": {"sub": UUID, "gty": ["client_credentials"], "amr": ["pwd"]},
    "Entra ID": {"sub": UUID, "idtyp": "app", "oid": UUID, "roles": ["Read"], "scp": "Read"},
    "Okta": {"sub": CLIENT, "cid": CLIENT},
    "Cognito": {
        "sub": CLIENT,
        "client_id": CLIENT,
        "token_use": "access",
        "auth_time": SIGNED_IN,
    },
    "UAA": {"sub": UUID, "grant_type": "client_credentials", "auth_time": SIGNED_IN},
    "UAA, in capitals": {"sub": UUID, "grant_type": "CLIENT_CREDENTIALS"},
    "PingAM": {"sub": f"(age!{CLIENT})", "auth_time": SIGNED_IN},
    "WSO2": {"sub": UUID, "aut": "APPLICATION", "auth_time": SIGNED_IN},
    "Entra ID v1": {"sub": "app-7", "appid": "app-7"},
    "another claim of its id": {"sub": "c-9", "client_id": "c-9"},
    "Keycloak's older claim": {"sub": "c-9", "clientId": "c-9"},
    "a grant in camel case": {"sub": UUID, "grantType": "ClientCredentials", "amr": ["pwd"]},
    "a grant of two words": {"sub": UUID, "gty": "Client Credentials", "auth_time": SIGNED_IN},
    "a grant among others": {"sub": UUID, "gty": "client_credentials refresh", "amr": ["pwd"]},
    "a grant as a URN": {"sub": UUID, "gty": f"{GRANT}:client_credentials", "amr": ["pwd"]},
    "a grant in an object": {"sub": UUID, "auth": [{"by": {"client-credentials": 1}}, CC]},
    "Okta, of its own uid": {"sub": "0oa1", "cid": "0oa2", "uid": "0oa2"},
    "Cognito, its name": {"sub": UUID, "token_use": "access", "username": CLIENT},
    "UAA, its name": {"sub": UUID, "user_name": f"Service-Account-{CLIENT}", "amr": ["pwd"]},
    "Passport": {"sub": "c-9", "aud": [AUDIENCE, "c-9"], "auth_time": SIGNED_IN},
    "Keycloak, by its address": {"sub": UUID, "clientAddress": "10.0.0.7", "sid": "s"},
    "Keycloak, by its host": {
        "sub": UUID,
        "clientHost": "h",
        "preferred_username": "a",
        "sid": "s",
    },
    "Keycloak, by how it got the token": {"sub": UUID, "jti": "trrtcc:7", "amr": ["pwd"]},
    "Keycloak, an exchange of nobody's session": {"sub": UUID, "jti": "trltte:7", "sid": "s"},
    "Entra ID, an app by its oid": {"sub": UUID, "oid": UUID, "auth_time": SIGNED_IN},
}
NO_PERSONS = "OTHER payments travels travelclient reporter scheduler cronjobs serviceaccount"
UNCLEAR: dict[str, dict[str, Any]] = {
    "authentik, a service account": {"sub": "9f2c", "auth_time": SIGNED_IN, "acr": AUTHENTIK},
    "AD FS, an app": {"sub": "a-1", "auth_time": "2020-02-13T11:28:23.862Z"},
    "a time that is none": {"sub": UUID, "auth_time": True},
    "methods that are none": {"sub": UUID, "amr": ["", None]},
    "Entra ID, facets in a list": {"sub": UUID, "oid": "o", "scp": "R", "xms_sub_fct": [9, "13"]},
    "Entra ID, one facet": {"sub": UUID, "oid": "o", "scp": "R", "xms_sub_fct": 13},
    "another client, in capitals": {"sub": "OTHER", "auth_time": SIGNED_IN},
    "another client, by its name": {"sub": UUID, "username": "other", "token_use": "access"},
    "another client's account": {"sub": UUID, "upn": "service-account-OTHER", "amr": ["pwd"]},
    "Kubernetes, a node": {"sub": "system:node:n1", "auth_time": SIGNED_IN},
    "a client's connection": {"sub": "client|7"},
    "a machine's connection": {"sub": "m2m-users|7"},
    **{f"the name {name}": {"sub": name} for name in NO_PERSONS.split()},
    "an id that was made": {"sub": UUID},
    "a number": {"sub": "283746501928374"},
    "a name with digits": {"sub": "u0007"},
    "a name with a hyphen": {"sub": "reports-nightly"},
    "a machine's word": {"sub": "travel.service"},
    "the client's word": {"sub": "travel"},
    "the agent's word": {"sub": "Travel"},
    "an address of the client": {"sub": "client@corp.example"},
    "acr, which clients have too": {"sub": UUID, "acr": "1"},
    "a session, which clients may have": {"sub": UUID, "sid": "s-1"},
    "a scope claim, which clients may have": {"sub": UUID, "scp": ["Read"]},
    "empty evidence": {"sub": UUID, "amr": [], "auth_time": 0, "uid": "", "cid": CLIENT},
    "null evidence": {"sub": UUID, "username": None, "token_use": "access"},
    "another client": {"sub": "other", "auth_time": SIGNED_IN},
    "another client of Auth0": {"sub": "other@clients", "amr": ["pwd"]},
    "another service account": {
        "sub": UUID,
        "sid": "s",
        "preferred_username": "service-account-other",
    },
    "Entra ID, an app's oid where scopes are delegated": {"sub": UUID, "oid": UUID, "scp": ""},
    "Keycloak, a context that users and clients have": {"sub": UUID, "jti": "onrtrt:1"},
    "Keycloak, an exchange, of whomever": {"sub": UUID, "jti": "onrtte:1"},
    "Keycloak, a context of users in a jti that is not at its beginning": {
        "sub": UUID,
        "jti": "x:onrtac:1",
    },
    "an agent's profile": {"sub": UUID, "sub_profile": "ai_agent", "auth_time": SIGNED_IN},
    "a service's profile": {"sub": "alice", "sub_profile": "service"},
    "two profiles": {"sub": "alice", "sub_profile": "user ai_agent"},
    "a profile in a list": {"sub": "alice", "sub_profile": ["user"]},
    "a device": {"sub": UUID, "idtyp": "device", "auth_time": SIGNED_IN},
    "Entra ID, an agent identity": {"sub": UUID, "oid": "o", "scp": "R", "xms_sub_fct": "9 3 11"},
    "Entra ID, an agent's account": {"sub": UUID, "oid": "o", "scp": "R", "xms_sub_fct": "13"},
    "another agent": {"sub": PAYMENTS, "auth_time": SIGNED_IN},
    "Kubernetes": {"sub": "system:serviceaccount:agents:travel", "kubernetes.io": {}},
    "Google": {"sub": "1055", "email": "x@p.iam.gserviceaccount.com", "amr": ["x"]},
    "authentik": {"sub": "9f2c", "preferred_username": "ak-x-client_credentials", "sid": "s"},
    "a repository": {"sub": "repo:corp/app:ref:refs/heads/main"},
    "Oracle": {"sub": UUID, "sub_type": "client", "auth_time": SIGNED_IN},
}


@pytest.mark.parametrize("name", USERS)
def test_a_users_token_is_delegated(azp: World, name: str) -> None:
    """What issuers give to users alone shows that a person let the mapped agent act."""
    assert reason_of(azp.ask(plain(azp, **USERS[name]))) == "allow"
    assert azp.audit_records()[-1]["mode"] == "mapped"


@pytest.mark.parametrize("name", CLIENTS_OWN)
def test_a_clients_own_token_is_no_users(azp: World, name: str) -> None:
    """A client's own token is refused where a principal is wanted, whatever else it has."""
    assert reason_of(azp.ask(plain(azp, **CLIENTS_OWN[name]))) == "principal_required"


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_shows_no_person_is_nobodys(azp: World, name: str) -> None:
    """A mapped token that shows no person is refused, though it is not known to be a client's."""
    token = plain(azp, **UNCLEAR[name])

    assert reason_of(azp.ask(token)) == "principal_required"
    detail = azp.audit_records()[-1]["detail"]
    assert "a person is behind it" in detail or "is a machine's" in detail
    assert reason_of(azp.ask(token, path="/both/x")) == "principal_required"
    assert reason_of(azp.ask(token, path="/own/x")) == "actor_not_permitted"


@pytest.mark.parametrize("name", CLIENTS_OWN)
def test_a_clients_own_token_is_autonomous(azp: World, name: str) -> None:
    """Where agents act for themselves a client's own token does, for principals that are listed."""
    claims = CLIENTS_OWN[name]
    is_listed = claims["sub"] in (UUID, CLIENT, f"{CLIENT}@clients")
    for path in ("/own/x", "/both/x"):
        answer = azp.ask(plain(azp, **claims), path=path)

        assert reason_of(answer) == ("allow" if is_listed else "policy_denied")
        assert azp.audit_records()[-1]["mode"] == "autonomous"


def test_another_agents_token_is_refused_first(azp: World) -> None:
    """Whose token it is comes before what kind it is."""
    token = plain(azp, azp="other", sub=UUID, gty="client-credentials")

    assert reason_of(azp.ask(token)) == "actor_mismatch"


IN_ACT: list[tuple[dict[str, Any], str, str]] = [
    ({"sub": "alice"}, "allow", "act"),
    ({"sub": UUID}, "allow", "act"),
    ({"sub": PAYMENTS}, "allow", "act"),  # a machine may delegate, if its issuer says so
    ({"sub": "orchestrator", "sub_profile": "service"}, "allow", "act"),
    ({"sub": CLIENT, "client_id": CLIENT}, "principal_required", "autonomous"),
    ({"sub": CLIENT, "azp": CLIENT}, "principal_required", "autonomous"),
    ({"sub": CLIENT, "cid": CLIENT}, "principal_required", "autonomous"),
    ({"sub": f"{CLIENT}@clients", "azp": CLIENT}, "principal_required", "autonomous"),
    ({"sub": UUID, "gty": "client-credentials"}, "principal_required", "autonomous"),
    ({"sub": UUID, "idtyp": "app"}, "principal_required", "autonomous"),
    (
        {"sub": UUID, "azp": CLIENT, "preferred_username": f"service-account-{CLIENT}"},
        "principal_required",
        "autonomous",
    ),
]


@pytest.mark.parametrize(("claims", "reason", "mode"), IN_ACT)
def test_with_act_a_clients_own_token_is_no_delegation(
    act: World, claims: dict[str, Any], reason: str, mode: str
) -> None:
    """A token whose subject is its client is the client's own, though it names an actor."""
    assert reason_of(act.ask(act.token(**claims))) == reason
    answer = act.ask(act.token(**claims), path="/both/x")

    assert reason_of(answer) == "allow"
    assert act.audit_records()[-1]["mode"] == mode
    assert header_of(answer, "x-agent-principal") == claims["sub"]


def test_a_clients_own_token_has_no_chain(act: World) -> None:
    """An agent that acts for itself does so through nobody else."""
    chain = {"sub": TRAVEL, "act": {"sub": PAYMENTS}}
    token = act.token(sub=CLIENT, client_id=CLIENT, act=chain)

    assert reason_of(act.ask(token, path="/own/x")) == "actor_not_permitted"


def test_a_client_alone_is_not_the_caller(act: World) -> None:
    """Without act nothing ties a client to the caller, whatever the route allows."""
    token = act.token(sub=CLIENT, client_id=CLIENT, act=None)

    assert reason_of(act.ask(token, path="/own/x")) == "actor_missing"


SHOWN_BY = "person_shown_by: {kind: [human, staff], verified: ['*']}"
SHOWN: list[tuple[dict[str, Any], str]] = [
    ({"kind": "human"}, "allow"),
    ({"kind": ["x", "staff"]}, "allow"),
    ({"verified": True}, "allow"),
    ({"verified": 1}, "allow"),
    ({"kind": "Human"}, "principal_required"),
    ({"kind": "robot"}, "principal_required"),
    ({"kind": {"human": 1}}, "principal_required"),
    ({"verified": False}, "principal_required"),
    ({"verified": ""}, "principal_required"),
    ({"auth_time": SIGNED_IN}, "principal_required"),  # not what the operator said
    ({"sub": "alice"}, "principal_required"),
    ({"kind": "human", "gty": "client-credentials"}, "principal_required"),
    ({"kind": "human", "sub": "other"}, "principal_required"),
    ({"kind": "human", "sub_profile": "ai_agent"}, "principal_required"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An issuer of which the operator says what shows a person."""
    with World(tmp_path_factory.mktemp("told"), mapped().with_keys(AT_ISSUER, SHOWN_BY)) as world:
        yield world


@pytest.mark.parametrize(("claims", "reason"), SHOWN)
def test_the_operator_says_what_shows_a_person(
    told: World, claims: dict[str, Any], reason: str
) -> None:
    """Then that alone counts; and what marks a machine's token refuses it all the same."""
    assert reason_of(told.ask(plain(told, **{"sub": UUID} | claims))) == reason


def test_a_mapped_subject_is_the_client(tmp_path: Path) -> None:
    """Where sub itself is mapped, as for service accounts, every token is the client's own."""
    with World(tmp_path, mapped("sub")) as world:
        token = plain(world, sub=CLIENT, azp=None, auth_time=SIGNED_IN)

        assert reason_of(world.ask(token)) == "principal_required"
        assert reason_of(world.ask(token, path="/own/x")) == "allow"


def test_a_mapped_claim_names_the_client(tmp_path: Path) -> None:
    """Whatever claim is mapped, a subject that is made of its value is the client's own."""
    with World(tmp_path, mapped("app")) as world:
        token = plain(world, app=CLIENT, azp=None, sub=f"{CLIENT}@clients", auth_time=SIGNED_IN)

        assert reason_of(world.ask(token)) == "principal_required"
        assert reason_of(world.ask(token, path="/own/x")) == "allow"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("person_shown_by: {kind: [x]}", "act itself says who"),
        ("person_shown_by: {}", "person_shown_by"),
        ("accept_unchecked: [exp]", "accept_unchecked"),
    ],
)
def test_settings_are_checked(shared_world: World, keys: str, message: str) -> None:
    """What shows a person goes with a mapped claim; only restrictions can be left unchecked."""
    text = LAB.with_keys(AT_ISSUER, keys).edit(shared_world.config_text)
    with pytest.raises(ConfigError, match=message):
        load_text(text.encode(), "f.yaml")


def test_an_empty_list_shows_nobody(shared_world: World) -> None:
    """A claim without values is a mistake, not a claim of any value."""
    changes = mapped().with_keys(AT_ISSUER, "person_shown_by: {kind: []}")
    text = changes.edit(shared_world.config_text)
    with pytest.raises(ConfigError, match="an empty list shows nobody"):
        load_text(text.encode(), "f.yaml")
