"""RFC 8693, clause by clause: what each asks of the token service, and what the service does."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from authz.core.sts.errors import OAuthError
from authz.core.sts.request import GRANT_TYPE
from support.token_service import (
    ACCESS,
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    HOTEL,
    ID,
    JWT,
    ORCHESTRATOR,
    STRANGER,
    STS,
    TRAVEL,
    Service,
)

TRIP = "urn:ietf:params:oauth:token-type:"
Refused = tuple[dict[str, Any], OAuthError]


@pytest.fixture(scope="module")
def service() -> Service:
    """A service for all clauses."""
    return Service()


# Parameters of a request for the orchestrator, and the error of a request with them.
REFUSED: dict[str, Refused] = {
    "2.1 grant_type is required": ({"grant_type": ""}, OAuthError.INVALID_REQUEST),
    "2.1 grant_type is that of token exchange": (
        {"grant_type": "client_credentials"},
        OAuthError.UNSUPPORTED_GRANT_TYPE,
    ),
    "2.1 resource is an absolute URI": (
        {"audience": "", "resource": "/travel"},
        OAuthError.INVALID_TARGET,
    ),
    "2.1 resource has no fragment": (
        {"audience": "", "resource": f"{AT_TRAVEL}#here"},
        OAuthError.INVALID_TARGET,
    ),
    "2.1 scope is a list of words": (
        {"scope": "trips:plan  hotels:book"},
        OAuthError.INVALID_SCOPE,
    ),
    "2.1 subject_token is required": ({"subject_token": ""}, OAuthError.INVALID_REQUEST),
    "2.1 subject_token_type is required": ({"subject_token_type": ""}, OAuthError.INVALID_REQUEST),
    "2.1 actor_token_type is required with actor_token": (
        {"actor_token": "a.b.c"},
        OAuthError.INVALID_REQUEST,
    ),
    "2.1 actor_token_type must not be sent without actor_token": (
        {"actor_token_type": f"{TRIP}jwt"},
        OAuthError.INVALID_REQUEST,
    ),
    "2.1 a token type that is not supported": (
        {"subject_token_type": f"{TRIP}saml2"},
        OAuthError.INVALID_REQUEST,
    ),
    "2.1 a refresh token is never issued": (
        {"requested_token_type": f"{TRIP}refresh_token"},
        OAuthError.INVALID_REQUEST,
    ),
    "2.1 nor is an ID token": (
        {"requested_token_type": f"{TRIP}id_token"},
        OAuthError.INVALID_REQUEST,
    ),
    "2.1.1 all targets must be served by one token": (
        {"more": [("audience", AT_ORDERS)]},
        OAuthError.INVALID_TARGET,
    ),
    "2.1.1 also one by audience and one by resource": (
        {"resource": AT_HOTEL},
        OAuthError.INVALID_TARGET,
    ),
    "2.2.2 a target that policy does not serve": (
        {"audience": AT_HOTEL},
        OAuthError.INVALID_TARGET,
    ),
    "2.2.2 a scope that can't be granted": ({"scope": "bank:pay"}, OAuthError.INVALID_SCOPE),
    "2.2.2 a subject token that is invalid": (
        {"subject_token": "a.b.c"},
        OAuthError.INVALID_REQUEST,
    ),
    "RFC 6749 3.2 no parameter twice": (
        {"more": [("scope", "trips:plan"), ("scope", "hotels:book")]},
        OAuthError.INVALID_REQUEST,
    ),
    "RFC 6749 3.2 even if it has no value": (
        {"more": [("grant_type", "")]},
        OAuthError.INVALID_REQUEST,
    ),
    "RFC 9396 5 authorization_details that are no JSON": (
        {"authorization_details": "[{"},
        OAuthError.INVALID_DETAILS,
    ),
    "RFC 9396 5 or of a type that no rule lists": (
        {"authorization_details": '[{"type": "https://corp.example/call"}]'},
        OAuthError.INVALID_DETAILS,
    ),
}


@pytest.mark.parametrize("clause", REFUSED)
def test_refused(clause: str, service: Service) -> None:
    """A request that a clause forbids has the clause's error, status 400, and no rule's name."""
    changes, error = REFUSED[clause]
    asked = {"audience": AT_TRAVEL, **changes}
    token = asked.pop("subject_token", None)

    refused = service.refuse(ORCHESTRATOR, service.token() if token is None else token, **asked)

    assert (refused.error, refused.error.http_status) == (error, 400)
    assert refused.answer().keys() == {"error", "error_description"}
    assert "first" not in refused.words
    assert re.fullmatch(r"[\x20\x21\x23-\x5B\x5D-\x7E]+", refused.words)  # RFC 6749 section 5.2


def test_a_client_is_told_what_is_wrong_with_its_form(service: Service) -> None:
    """A token read from a file with its line end is the usual mistake; nothing of it is quoted."""
    refused = service.refuse(ORCHESTRATOR, service.token() + "\n", audience=AT_TRAVEL)

    assert refused.words == "subject_token is too long, or has characters that no token has"


def _kept(service: Service) -> None:
    """Section 1.1, delegation: the subject stays who it is, and the agent is named as the actor."""
    claims = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL).claims
    assert (claims["sub"], claims["act"]) == ("alice", {"sub": ORCHESTRATOR})


def _answer(service: Service) -> None:
    """Section 2.2.1: all members of the answer, with their values."""
    issue = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL)
    assert issue.answer("token") == {
        "access_token": "token",
        "issued_token_type": f"{TRIP}access_token",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "hotels:book trips:plan",
    }
    json.dumps(issue.answer("token"))


def _told(service: Service) -> None:
    """Section 2.2.1: the scope is told, above all if it is less than what was asked for."""
    more = "trips:plan trips:book bank:pay"
    issue = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, scope=more)
    assert issue.answer("token")["scope"] == issue.claims["scope"] == "trips:plan"


def _as_jwt(service: Service) -> None:
    """Section 3: a token asked for as a JWT is told as such, and is the same."""
    asked: dict[str, Any] = {"audience": AT_TRAVEL, "requested_token_type": JWT.value}
    issue = service.issue(ORCHESTRATOR, service.token(), **asked)
    assert issue.answer("token")["issued_token_type"] == JWT.value
    assert issue.claims["aud"] == AT_TRAVEL


def _by_jwt(service: Service) -> None:
    """Section 3: a subject token may be sent as a JWT, and an ID token as an ID token."""
    service.issue(ORCHESTRATOR, service.token(), JWT, audience=AT_TRAVEL)
    service.issue(ORCHESTRATOR, service.id_token(), ID, audience=AT_TRAVEL)
    service.refuse(ORCHESTRATOR, service.id_token(), JWT, audience=AT_TRAVEL)
    service.refuse(ORCHESTRATOR, service.id_token(), ACCESS, audience=AT_TRAVEL)
    service.refuse(ORCHESTRATOR, service.token(), ID, audience=AT_TRAVEL)


def _two_targets(service: Service) -> None:
    """Section 2.1.1: targets that one rule serves are all in aud, each once."""
    more = [("audience", STS), ("resource", AT_TRAVEL)]
    issue = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, more=more)
    assert issue.claims["aud"] == [AT_TRAVEL, STS]


def _no_target(service: Service) -> None:
    """Section 2.1: without a target, policy's only one; with several, none is guessed."""
    refused = service.refuse(ORCHESTRATOR, service.token())
    assert refused.error is OAuthError.INVALID_TARGET
    _, second = service.chain()
    assert service.issue(HOTEL, second).claims["aud"] == AT_ORDERS


def _chain(service: Service) -> None:
    """Section 4.1: the new actor is outermost, and the earlier ones stand within, all of them."""
    _, second = service.chain()
    act = service.issue(HOTEL, second).claims["act"]
    assert act == {"sub": HOTEL, "act": {"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}}


def _foreign_actor(service: Service) -> None:
    """Section 4.1: an actor is its iss and sub together, where its sub alone is not unique."""
    acts = {"sub": ORCHESTRATOR, "act": {"sub": "batch-7"}}
    token = service.token(aud=AT_TRAVEL, act=acts)
    act = service.issue(TRAVEL, token, audience=AT_HOTEL).claims["act"]
    assert act["act"]["act"] == {"sub": "batch-7", "iss": service.idp.url}


def _client(service: Service) -> None:
    """Section 4.3: client_id is the client that asked; so is RFC 9068's."""
    claims = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL).claims
    assert claims["client_id"] == ORCHESTRATOR


def _may_act(service: Service) -> None:
    """Section 4.4: only the party that may_act names may become the actor."""
    for named in ({"sub": ORCHESTRATOR}, {"sub": ORCHESTRATOR, "iss": "spiffe://corp.example"}):
        token = service.token(may_act=named)
        issue = service.issue(ORCHESTRATOR, token, audience=AT_TRAVEL)
        assert "may_act" not in issue.claims  # it was about this hop
    others: tuple[Any, ...] = (
        *({"sub": TRAVEL}, {"sub": ORCHESTRATOR, "iss": "https://other.example"}, {}, ""),
        *({"sub": ORCHESTRATOR, "email": "a@b"}, [{"sub": ORCHESTRATOR}], ORCHESTRATOR, {"sub": 1}),
    )
    for other in others:
        token = service.token(may_act=other)
        refused = service.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)
        assert refused.error is OAuthError.INVALID_REQUEST


def _client_that_may_not(service: Service) -> None:
    """RFC 6749 5.2: a client that no rule lists may not use this grant type at all."""
    refused = service.refuse(STRANGER, service.token(), audience=AT_TRAVEL)
    assert refused.error is OAuthError.UNAUTHORIZED_CLIENT


def _unknown_parameters(service: Service) -> None:
    """RFC 6749 3.2: unknown parameters are ignored, and those without a value count as left out."""
    more = [("shoe_size", "44"), ("scope", "")]
    service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, more=more)


def _claims(service: Service) -> None:
    """RFC 9068 2.2: the claims that an access token must have, of whole seconds."""
    issue = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, now=service.now + 0.9)
    assert {"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} <= issue.claims.keys()
    assert issue.claims["iat"] == service.now
    assert issue.claims["exp"] == service.now + 300 == issue.facts.expires_at


CLAUSES: tuple[Callable[[Service], None], ...] = (
    *(_kept, _answer, _told, _as_jwt, _by_jwt, _two_targets, _no_target, _chain, _foreign_actor),
    *(_client, _may_act, _client_that_may_not, _unknown_parameters, _claims),
)


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_clause(clause: Callable[[Service], None], service: Service) -> None:
    """The service does what the clause says."""
    clause(service)


def test_the_grant_type_is_that_of_the_standard() -> None:
    """Section 2.1 names it."""
    assert GRANT_TYPE == "urn:ietf:params:oauth:grant-type:token-exchange"
