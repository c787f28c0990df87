"""Nine ways to confuse a token service, and their nearest kin: each is refused, for its own reason.

Wrong audience, subject, actor, wider scope, a chain cut, replay, an expired subject, another
tenant, no signature.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from authz.core.reason import Reason
from authz.core.revocations import Revocation
from authz.core.sts.errors import OAuthError
from authz.core.sts.outcome import Refuse
from lab.dpop import DpopClient
from lab.issuer import Issuer, sign_json
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    CONFIG,
    HOTEL,
    ID,
    IDP,
    ORCHESTRATOR,
    PARTNER,
    STRANGER,
    STS,
    TRAVEL,
    WEBAPP,
    Service,
    client,
    tenants,
)

ENDPOINT = f"{STS}/token"


@pytest.fixture(scope="module")
def service() -> Service:
    """A service for the confusions that need no other config."""
    return Service()


def _other_audience(s: Service) -> Refuse:
    """A token for another server is no subject token: nobody sent it here."""
    return s.refuse(ORCHESTRATOR, s.token(aud=AT_ORDERS), audience=AT_TRAVEL)


def _other_agents_audience(s: Service) -> Refuse:
    """A token for another agent is good in that agent's rule alone."""
    return s.refuse(ORCHESTRATOR, s.token(aud=AT_TRAVEL), audience=AT_TRAVEL)


def _no_audience(s: Service) -> Refuse:
    """A token for nobody is not for the service either."""
    return s.refuse(ORCHESTRATOR, s.token(aud=None), audience=AT_TRAVEL)


def _id_token_of_another_client(s: Service) -> Refuse:
    """An ID token for a client that is not listed."""
    return s.refuse(ORCHESTRATOR, s.id_token(aud="shop"), ID, audience=AT_TRAVEL)


def _id_token_of_two_clients(s: Service) -> Refuse:
    """An ID token for a client that is not listed, too."""
    token = s.id_token(aud=[WEBAPP, "shop"], azp=WEBAPP)
    return s.refuse(ORCHESTRATOR, token, ID, audience=AT_TRAVEL)


def _own_token_for_another_hop(s: Service) -> Refuse:
    """The orchestrator's token for the travel agent, sent by the hotel agent."""
    return s.refuse(HOTEL, s.chain()[0], audience=AT_ORDERS)


def _agents_own(s: Service) -> Refuse:
    """A subject who is an agent: it acts for itself with its own SVID."""
    return s.refuse(ORCHESTRATOR, s.token(ORCHESTRATOR), audience=AT_TRAVEL)


def _machine(s: Service) -> Refuse:
    """A client's own token shows no person who could delegate."""
    token = s.token("batch", client_id="batch", gty="client-credentials")
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _no_subject(s: Service) -> Refuse:
    """A token without a subject."""
    return s.refuse(ORCHESTRATOR, s.token(sub=None), audience=AT_TRAVEL)


def _forged_origin(s: Service) -> Refuse:
    """A token of our own whose sub_id is another's: the name must follow from it."""
    first = s.issue(ORCHESTRATOR, s.token(), audience=AT_TRAVEL)
    other = {"format": "iss_sub", "iss": IDP, "sub": "bob"}
    token = sign_json(s.own.current, _header(s), {**first.claims, "sub_id": other})
    return s.refuse(TRAVEL, token, audience=AT_HOTEL)


def _no_origin(s: Service) -> Refuse:
    """A token of our own issuer that the service did not make."""
    first = s.issue(ORCHESTRATOR, s.token(), audience=AT_TRAVEL)
    claims = {name: value for name, value in first.claims.items() if name != "sub_id"}
    return s.refuse(TRAVEL, sign_json(s.own.current, _header(s), claims), audience=AT_HOTEL)


def _stranger(s: Service) -> Refuse:
    """A client that no rule lists."""
    return s.refuse(STRANGER, s.token(), audience=AT_TRAVEL)


def _others_may_act(s: Service) -> Refuse:
    """A token that another agent may act by."""
    token = s.token(may_act={"sub": TRAVEL})
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _others_actor_token(s: Service) -> Refuse:
    """An actor token of another agent: the actor is the client."""
    other = s.token(TRAVEL, "x", aud=STS)
    asked: dict[str, Any] = {
        "actor_token": other,
        "actor_token_type": "urn:ietf:params:oauth:token-type:jwt",
    }
    return s.refuse(ORCHESTRATOR, s.token(), audience=AT_TRAVEL, **asked)


def _unlisted_current_actor(s: Service) -> Refuse:
    """A token by which another acts already, for a rule of first hops alone."""
    token = s.token(act={"sub": TRAVEL})
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _stolen(s: Service) -> Refuse:
    """A token for the service that is bound to another's certificate."""
    cnf = {"x5t#S256": client(TRAVEL).thumbprint}
    return s.refuse(ORCHESTRATOR, s.token(cnf=cnf), audience=AT_TRAVEL)


def _stolen_dpop(s: Service) -> Refuse:
    """A token for the service bound to another's DPoP key, sent with a proof of one's own."""
    token = s.token(cnf=DpopClient().confirmation)
    proof = DpopClient().proof("", "POST", ENDPOINT, ath=None, iat=int(s.now))
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL, proof=proof)


def _unsupported_key(s: Service) -> Refuse:
    """A token that is bound to a key that nobody can prove."""
    return s.refuse(ORCHESTRATOR, s.token(cnf={"kid": "k"}), audience=AT_TRAVEL)


def _scope_of_nobody(s: Service) -> Refuse:
    """A scope that the rule has, and the agent's grants, but not the subject token."""
    return s.refuse(ORCHESTRATOR, s.token(), audience=AT_TRAVEL, scope="trips:book")


def _scope_of_subject(s: Service) -> Refuse:
    """A scope that the subject token has, but not the rule."""
    token = s.token(scope="bank:pay trips:plan")
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL, scope="bank:pay")


def _scope_of_rule(s: Service) -> Refuse:
    """A scope that subject and rule have, but of the agent's grants only a rule in shadow."""
    token = s.token(scope="trips:book", aud=AT_TRAVEL, act={"sub": ORCHESTRATOR})
    return s.refuse(TRAVEL, token, audience=AT_HOTEL)


def _no_scope(s: Service) -> Refuse:
    """A subject token without scopes gives none."""
    return s.refuse(ORCHESTRATOR, s.token(scope=""), audience=AT_TRAVEL)


def _too_deep(s: Service) -> Refuse:
    """A chain that would be longer than max_actors is not cut to fit."""
    act = {"sub": ORCHESTRATOR, "act": {"sub": "a", "act": {"sub": "b", "act": {"sub": "c"}}}}
    return s.refuse(TRAVEL, s.token(aud=AT_TRAVEL, act=act), audience=AT_HOTEL)


def _no_object(s: Service) -> Refuse:
    """A chain that can't be read to its end."""
    act = {"sub": ORCHESTRATOR, "act": "travel"}
    return s.refuse(TRAVEL, s.token(aud=AT_TRAVEL, act=act), audience=AT_HOTEL)


def _loop(s: Service) -> Refuse:
    """A chain that comes back to the client, which has handed the token on before."""
    act = {"sub": ORCHESTRATOR, "act": {"sub": TRAVEL}}
    return s.refuse(TRAVEL, s.token(aud=AT_TRAVEL, act=act), audience=AT_HOTEL)


def _expired(s: Service) -> Refuse:
    """A subject token that has expired."""
    token = s.token(iat=int(s.now) - 900, exp=int(s.now) - 300)
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _expired_within_the_skew(s: Service) -> Refuse:
    """One that counts for the skew of clocks alone: a token by it would have no time."""
    token = s.token(iat=int(s.now) - 60, exp=int(s.now))
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _old_id_token(s: Service) -> Refuse:
    """An ID token that is older than max_age, whatever its exp says."""
    token = s.id_token(iat=int(s.now) - 700, exp=int(s.now) + 3600)
    return s.refuse(ORCHESTRATOR, token, ID, audience=AT_TRAVEL)


def _client_about_to_expire(s: Service) -> Refuse:
    """A client whose certificate ends now."""
    ending = client(ORCHESTRATOR, expires_at=s.now)
    return s.refuse(ending, s.token(), audience=AT_TRAVEL)


def _other_tenant(s: Service) -> Refuse:
    """A token of an issuer that the service does not know, though its keys are there."""
    times: dict[str, Any] = s.times
    token = s.partner.token("", "alice", "trips:plan", act=None, **times)
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _other_tenants_key(s: Service) -> Refuse:
    """A token that names our identity provider, signed by another tenant's key of the same kid."""
    key, times = Issuer(IDP, STS).current, dict[str, Any](s.times)
    token = s.idp.token("", "alice", "trips:plan", act=None, key=key, **times)
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _unsigned(s: Service) -> Refuse:
    """The algorithm none."""
    parts = token_parts({"alg": "none", "typ": "at+jwt"}, s.idp.claims("", "alice", "x"))
    return s.refuse(ORCHESTRATOR, f"{parts}.", audience=AT_TRAVEL)


def _wrong_signature(s: Service) -> Refuse:
    """A signature over other claims."""
    header, _, signature = s.token().split(".")
    _, payload, _ = s.token("bob").split(".")
    return s.refuse(ORCHESTRATOR, f"{header}.{payload}.{signature}", audience=AT_TRAVEL)


def _logout_token(s: Service) -> Refuse:
    """A logout token, sent as the ID token that it looks like."""
    events: dict[str, Any] = {"http://schemas.openid.net/event/backchannel-logout": {}}
    token = s.id_token(events=events, nonce=None)
    return s.refuse(ORCHESTRATOR, token, ID, audience=AT_TRAVEL)


def _access_token_as_id_token(s: Service) -> Refuse:
    """An access token whose audience is a client that is listed."""
    token = s.token(aud=WEBAPP)
    return s.refuse(ORCHESTRATOR, token, ID, audience=AT_TRAVEL)


def _plain_access_token_as_id_token(s: Service) -> Refuse:
    """The same of type JWT, as issuers make them that do not follow RFC 9068."""
    token = s.id_token(scope="trips:plan", nonce=None)
    return s.refuse(ORCHESTRATOR, token, ID, audience=AT_TRAVEL)


def _keycloaks_access_token_as_id_token(s: Service) -> Refuse:
    """The same of an issuer that names the kind in a claim."""
    return s.refuse(ORCHESTRATOR, s.id_token(typ="Bearer"), ID, audience=AT_TRAVEL)


def _unchecked_restriction(s: Service) -> Refuse:
    """A token that is limited to what the service can't pass on."""
    token = s.token(authorization_details=[{"type": "https://corp.example/call"}])
    return s.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL)


def _agent_behind_an_actor(s: Service) -> Refuse:
    """An agent as the subject, for whom another acts already: nobody can become its actor."""
    token = s.token(HOTEL, aud=AT_TRAVEL, act={"sub": ORCHESTRATOR})
    return s.refuse(TRAVEL, token, audience=AT_HOTEL)


def _misspelt_agent(s: Service) -> Refuse:
    """A person whose name a lax reader takes for an agent's."""
    token = s.id_token(sub="SPIFFE://corp.example/ns/agents/sa/hotel")
    return s.refuse(ORCHESTRATOR, token, ID, audience=AT_TRAVEL)


def _misspelt_actor(s: Service) -> Refuse:
    """An earlier actor whose ID is spelt as none is: it could be anybody, also the client."""
    act = {"sub": ORCHESTRATOR, "act": {"sub": TRAVEL.replace("corp", "Corp")}}
    return s.refuse(TRAVEL, s.token(aud=AT_TRAVEL, act=act), audience=AT_HOTEL)


def _id_token_by_another_client(s: Service) -> Refuse:
    """An ID token that another client obtained, though it is for ours."""
    return s.refuse(ORCHESTRATOR, s.id_token(azp="shop"), ID, audience=AT_TRAVEL)


CONFUSIONS: dict[Callable[[Service], Refuse], Reason] = {
    _other_audience: Reason.TOKEN_AUDIENCE,
    _other_agents_audience: Reason.TOKEN_AUDIENCE,
    _no_audience: Reason.TOKEN_AUDIENCE,
    _id_token_of_another_client: Reason.TOKEN_AUDIENCE,
    _id_token_of_two_clients: Reason.TOKEN_AUDIENCE,
    _own_token_for_another_hop: Reason.TOKEN_AUDIENCE,
    _id_token_by_another_client: Reason.TOKEN_AUDIENCE,
    _agents_own: Reason.PRINCIPAL_REQUIRED,
    _agent_behind_an_actor: Reason.PRINCIPAL_REQUIRED,
    _misspelt_agent: Reason.PRINCIPAL_REQUIRED,
    _misspelt_actor: Reason.ACTOR_MALFORMED,
    _machine: Reason.PRINCIPAL_REQUIRED,
    _no_subject: Reason.TOKEN_CLAIM,
    _forged_origin: Reason.TOKEN_CLAIM,
    _no_origin: Reason.TOKEN_CLAIM,
    _stranger: Reason.POLICY_DENIED,
    _others_may_act: Reason.ACTOR_NOT_PERMITTED,
    _others_actor_token: Reason.ACTOR_MISMATCH,
    _unlisted_current_actor: Reason.ACTOR_NOT_PERMITTED,
    _stolen: Reason.CNF_MISMATCH,
    _stolen_dpop: Reason.CNF_MISMATCH,
    _unsupported_key: Reason.CNF_UNSUPPORTED,
    _scope_of_nobody: Reason.SCOPE,
    _scope_of_subject: Reason.SCOPE,
    _scope_of_rule: Reason.SCOPE,
    _no_scope: Reason.SCOPE,
    _too_deep: Reason.CHAIN_TOO_DEEP,
    _no_object: Reason.ACTOR_MALFORMED,
    _loop: Reason.ACTOR_NOT_PERMITTED,
    _expired: Reason.TOKEN_EXPIRED,
    _expired_within_the_skew: Reason.TOKEN_EXPIRED,
    _old_id_token: Reason.TOKEN_EXPIRED,
    _client_about_to_expire: Reason.TOKEN_EXPIRED,
    _other_tenant: Reason.TOKEN_ISSUER,
    _other_tenants_key: Reason.TOKEN_KEY_UNKNOWN,
    _unsigned: Reason.TOKEN_ALG,
    _wrong_signature: Reason.TOKEN_SIGNATURE,
    _logout_token: Reason.TOKEN_TYP,
    _access_token_as_id_token: Reason.TOKEN_TYP,
    _plain_access_token_as_id_token: Reason.TOKEN_TYP,
    _keycloaks_access_token_as_id_token: Reason.TOKEN_TYP,
    _unchecked_restriction: Reason.TOKEN_CLAIM,
}
_ERRORS = {Reason.SCOPE: OAuthError.INVALID_SCOPE}


@pytest.mark.parametrize("confusion", CONFUSIONS, ids=lambda each: each.__name__)
def test_refused(confusion: Callable[[Service], Refuse], service: Service) -> None:
    """The confusion is refused for its reason, and told as the error that RFC 8693 has for it."""
    refused = confusion(service)

    assert refused.reason is CONFUSIONS[confusion], refused.detail
    is_unlisted = confusion is _stranger
    error = OAuthError.UNAUTHORIZED_CLIENT if is_unlisted else OAuthError.INVALID_REQUEST
    assert refused.error is _ERRORS.get(refused.reason, error)


def test_one_time_tokens_are_used_up() -> None:
    """A one-time subject token, and a DPoP proof, are named for the caller to mark; no other is."""
    once = Service(CONFIG.replace("typ: [at+jwt, JWT]", "typ: [at+jwt, JWT]\n    one_time: true"))
    token = once.token()
    first, second = (once.issue(ORCHESTRATOR, token, audience=AT_TRAVEL) for _ in range(2))
    assert len(first.uses) == 1
    assert first.uses == second.uses  # the same mark: the caller refuses the second
    assert first.uses[0].kind.reason is Reason.TOKEN_USED
    other = once.issue(ORCHESTRATOR, once.token(), audience=AT_TRAVEL)
    assert other.uses != first.uses

    plain = Service()
    assert plain.issue(ORCHESTRATOR, plain.token(), audience=AT_TRAVEL).uses == ()


def test_two_tenants_alices_stay_two() -> None:
    """With two issuers the same subject has two names, and no subject can be written to be another.

    The claims of a tenant are passed on for it alone.
    """
    service = Service(tenants("corp:", "partner:"))
    names = {}
    for issuer in (service.idp, service.partner):
        for subject in ("alice", "corp.alice", "corp:alice"):
            given: dict[str, Any] = {**service.times, "act": None}
            token = issuer.token("", subject, "trips:plan", groups=["admins"], acr="gold", **given)
            if subject == "corp:alice":  # not a person's name; by an ID token it may be one
                assert isinstance(service.ask(ORCHESTRATOR, token, audience=AT_TRAVEL), Refuse)
                continue
            claims = service.issue(ORCHESTRATOR, token, audience=AT_TRAVEL).claims
            names[issuer.url, subject] = claims["sub"]
            assert claims["sub_id"] == {"format": "iss_sub", "iss": issuer.url, "sub": subject}
            assert ("groups" in claims) == (issuer is service.idp)
            assert "acr" not in claims  # whose "gold" would it be
    assert len(set(names.values())) == len(names)
    assert names[PARTNER, "alice"] == "partner:alice"


def test_revocations_count_by_either_name() -> None:
    """What is revoked of the issuer's principal, or of ours, of the client, or of an actor."""
    revoked: tuple[tuple[Revocation, Reason], ...] = (
        (Revocation(issuer=IDP, subject="alice"), Reason.TOKEN_REVOKED),
        (Revocation(issuer=STS, subject="alice"), Reason.TOKEN_REVOKED),
        (Revocation(agent=TRAVEL), Reason.AGENT_SUSPENDED),
        (Revocation(agent=ORCHESTRATOR), Reason.ACTOR_NOT_PERMITTED),
        (Revocation(issuer=STS, token_id="jti-0"), Reason.TOKEN_REVOKED),
        (Revocation(issuer=IDP, before=datetime.now(UTC).replace(year=2100)), Reason.TOKEN_REVOKED),
        (Revocation(everything=True), Reason.STOPPED),
    )
    whole = Service()
    first = whole.issue(ORCHESTRATOR, whole.token(), audience=AT_TRAVEL)
    for entry, reason in revoked:
        service = Service(revoked=(entry,))
        token = sign_json(service.own.current, _header(service), first.claims)
        refused = service.refuse(TRAVEL, token, audience=AT_HOTEL)
        assert refused.reason is reason, entry
    bystander = Service(revoked=(Revocation(issuer=IDP, subject="bob"), Revocation(agent=HOTEL)))
    token = sign_json(bystander.own.current, _header(bystander), first.claims)
    bystander.issue(TRAVEL, token, audience=AT_HOTEL)


def test_suspended_parties_get_nothing() -> None:
    """A suspended client, principal, or earlier actor, though a server may only record the last."""
    suspended = {
        f"  - id: {ORCHESTRATOR}\n": (ORCHESTRATOR, Reason.AGENT_SUSPENDED),
        f"  - match: {{issuer: {IDP}}}\n": (ORCHESTRATOR, Reason.POLICY_DENIED),
    }
    for line, (agent, reason) in suspended.items():
        service = Service(CONFIG.replace(line, line + "    suspended: true\n"))
        assert service.refuse(agent, service.token(), audience=AT_TRAVEL).reason is reason
    line = f"  - id: {ORCHESTRATOR}\n"
    service = Service(CONFIG.replace(line, line + "    suspended: true\n"))
    token = service.token(aud=AT_TRAVEL, act={"sub": ORCHESTRATOR})
    refused = service.refuse(TRAVEL, token, audience=AT_HOTEL)
    assert refused.reason is Reason.ACTOR_NOT_PERMITTED


def test_policy_must_grant_the_principal_something() -> None:
    """A principal without an entry, or with denies alone, gets no token; nor an unknown agent."""
    alone = CONFIG.replace(f"  - match: {{issuer: {STS}}}\n    grants: [everything]\n", "")
    none = Service(
        alone.replace(f"match: {{issuer: {IDP}}}", f"match: {{issuer: {IDP}, subjects: [bob]}}")
    )
    assert (
        none.refuse(ORCHESTRATOR, none.token(), audience=AT_TRAVEL).reason is Reason.POLICY_DENIED
    )
    none.issue(ORCHESTRATOR, none.token("bob"), audience=AT_TRAVEL)
    denied = "  denies:\n    - {effect: deny, hosts: ['*'], methods: ['*'], paths: ['/**']}\nsts:\n"
    denies = Service(alone.replace("sts:\n", denied, 1).replace("[everything]", "[denies]"))
    refused = denies.refuse(ORCHESTRATOR, denies.token(), audience=AT_TRAVEL)
    assert refused.reason is Reason.POLICY_DENIED
    unknown = Service(CONFIG.replace(f"agents: [{ORCHESTRATOR}]", f"agents: [{STRANGER}]"))
    refused = unknown.refuse(STRANGER, unknown.token(), audience=AT_TRAVEL)
    assert (refused.reason, refused.error) == (
        Reason.AGENT_UNKNOWN,
        OAuthError.UNAUTHORIZED_CLIENT,
    )


def _header(service: Service) -> dict[str, str]:
    key = service.own.current
    return {"alg": key.algorithm, "kid": key.key_id, "typ": "at+jwt"}


def token_parts(header: object, claims: object) -> str:
    """Return the first two parts of a compact JWS."""
    parts = (urlsafe_b64encode(json.dumps(part).encode()) for part in (header, claims))
    return b".".join(part.rstrip(b"=") for part in parts).decode()
