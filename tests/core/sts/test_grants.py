"""What a token of the service may do, for how long, and for whose key: the ordinary cases."""

import json
from typing import Any

import pytest

from authz.core.decision import Agent
from authz.core.reason import Denied, Reason
from authz.core.sts.consent import ConsentAsked, ConsentFound, ConsentToCall
from authz.core.sts.errors import OAuthError
from authz.core.sts.outcome import Issue
from lab.dpop import DpopClient
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    CONFIG,
    HOTEL,
    ID,
    IDP,
    ORCHESTRATOR,
    STS,
    TRAVEL,
    WEBAPP,
    Service,
    client,
)

CALL = "https://corp.example/call"
ENDPOINT = f"{STS}/token"
DETAILS = CONFIG.replace(
    "      audiences: [https://travel",
    f"      authorization_details: [{CALL}]\n      audiences: [https://travel",
    1,
).replace(
    "    typ: [at+jwt, JWT]",
    "    typ: [at+jwt, JWT]\n    accept_unchecked: [authorization_details]",
)


class Consents:
    """The consents of one principal to one agent, and what was asked."""

    def __init__(self, until: float, amounts: tuple[object, ...] = ()) -> None:
        """Consent to any scopes, and to calls of these amounts."""
        self._until = until
        self._amounts = amounts
        self.asked: list[ConsentAsked] = []

    def require(self, asked: ConsentAsked, now: float) -> ConsentFound:
        """Return the consent if it is alice's, to the orchestrator."""
        self.asked.append(asked)
        is_hers = (asked.issuer, asked.subject, asked.agent) == (IDP, "alice", ORCHESTRATOR)
        amounts = [each.get("amount") for each in asked.details]
        if not is_hers or now >= self._until or any(one not in self._amounts for one in amounts):
            raise Denied(Reason.APPROVAL_REQUIRED, "no consent")
        calls = [ConsentToCall(f"to-{each}", 1e9 + 0.5, self._until) for each in amounts]
        return ConsentFound("consent-1", self._until, calls=tuple(calls))


def test_lives_no_longer_than_anything_that_it_depends_on() -> None:
    """The end is the first of the service's, the rule's, the subject's, the certificate's."""
    service = Service()

    def end(agent: Agent | str, token: str, audience: str, **rest: Any) -> float:
        issue = service.issue(agent, token, audience=audience, **rest)
        assert issue.claims["exp"] - issue.claims["iat"] == issue.expires_in
        return float(issue.claims["exp"]) - service.now

    assert end(ORCHESTRATOR, service.token(), AT_TRAVEL) == 300
    short = service.token(exp=int(service.now) + 40)
    assert end(ORCHESTRATOR, short, AT_TRAVEL) == 40
    ending = client(ORCHESTRATOR, expires_at=service.now + 7.9)
    assert end(ending, service.token(), AT_TRAVEL) == 7
    assert end(HOTEL, service.chain()[1], AT_ORDERS) == 60
    assert end(ORCHESTRATOR, service.id_token(), AT_TRAVEL, kind=ID) == 300


def test_an_id_token_gives_the_scopes_of_the_rule_and_the_agent() -> None:
    """It has none of its own; those that were asked for narrow them."""
    service = Service()
    whole = service.issue(ORCHESTRATOR, service.id_token(), ID, audience=AT_TRAVEL)
    assert whole.scope == "hotels:book trips:book trips:plan"
    assert whole.claims["auth_time"] == service.now - 5
    assert "nonce" not in whole.claims
    narrow = {"audience": AT_TRAVEL, "scope": "trips:plan"}
    assert service.issue(ORCHESTRATOR, service.id_token(), ID, **narrow).scope == "trips:plan"
    plain = service.id_token(header={"typ": None}, azp=WEBAPP, iat=int(service.now) - 500)
    service.issue(ORCHESTRATOR, plain, ID, audience=AT_TRAVEL)


def test_id_tokens_are_refused_unless_they_are_configured() -> None:
    """Without id_tokens none is accepted, and without the rule's naming the client none is."""
    lines = f"  id_tokens: [{{issuer: {IDP}, client_ids: [{WEBAPP}]}}]\n"
    without = Service(CONFIG.replace(lines, ""))
    refused = without.refuse(ORCHESTRATOR, without.id_token(), ID, audience=AT_TRAVEL)
    assert refused.reason is Reason.TOKEN_TYP
    unnamed = Service(CONFIG.replace(f"      subject_audiences: [{WEBAPP}]\n", ""))
    refused = unnamed.refuse(ORCHESTRATOR, unnamed.id_token(), ID, audience=AT_TRAVEL)
    assert refused.reason is Reason.TOKEN_AUDIENCE


def test_an_unrestricted_agent_has_the_scopes_of_rule_and_subject() -> None:
    """No grant of its own limits it."""
    service = Service(CONFIG.replace("    grants: [travel]", "    unrestricted: true"))
    first = service.token(aud=AT_TRAVEL, act={"sub": ORCHESTRATOR}, scope="trips:book other")
    assert service.issue(TRAVEL, first, audience=AT_HOTEL).scope == "trips:book"


def test_a_rule_without_scopes_gives_a_token_without() -> None:
    """That is meant, and no answer names a scope; a scope that is asked for is refused."""
    service = Service(
        CONFIG.replace(
            "scopes: [trips:plan, trips:book, hotels:book]\n    - name", "scopes: []\n    - name"
        )
    )
    issue = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL)
    assert "scope" not in issue.claims
    assert "scope" not in issue.answer("token")
    refused = service.refuse(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, scope="trips:plan")
    assert refused.error is OAuthError.INVALID_SCOPE


def test_the_current_actor_narrows_its_own_token() -> None:
    """The chain stays as it is, and nothing of it is lost; the rule must list the agent in via."""
    config = CONFIG.replace(
        "    - name: second",
        f"""    - name: narrower
      agents: [{TRAVEL}]
      via: [{TRAVEL}]
      audiences: [{AT_HOTEL}]
      scopes: [hotels:book]
    - name: second""",
    )
    service = Service(config)
    act = {"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}
    issue = service.issue(TRAVEL, service.token(act=act), audience=AT_HOTEL)
    assert issue.claims["act"] == act
    assert issue.facts.rule == "narrower"


def test_a_loop_is_accepted_where_the_config_says_so() -> None:
    """The chain then has the agent twice: it is the history, and is not shortened."""
    service = Service(CONFIG.replace("  rules:\n", "  loops: accept\n  rules:\n"))
    act = {"sub": ORCHESTRATOR, "act": {"sub": TRAVEL}}
    issue = service.issue(TRAVEL, service.token(aud=AT_TRAVEL, act=act), audience=AT_HOTEL)
    assert issue.claims["act"] == {"sub": TRAVEL, "act": act}


def test_a_mapped_claim_names_the_current_actor_too() -> None:
    """An agent that azp names acts already: it needs via, and stays in the chain."""
    mapped = (
        f"    actor: {{claim: azp, map: {{orch-client: {ORCHESTRATOR}}}}}\n    typ: [at+jwt, JWT]"
    )
    service = Service(CONFIG.replace("    typ: [at+jwt, JWT]", mapped))
    by_agent = service.token(aud=AT_TRAVEL, azp="orch-client")
    issue = service.issue(TRAVEL, by_agent, audience=AT_HOTEL)
    assert issue.claims["act"] == {"sub": TRAVEL, "act": {"sub": ORCHESTRATOR}}
    first_hop = service.token(azp="orch-client")
    refused = service.refuse(HOTEL, first_hop, audience=AT_ORDERS)
    assert refused.reason is Reason.ACTOR_NOT_PERMITTED
    by_app = service.token(azp="some-web-app")
    assert service.issue(ORCHESTRATOR, by_app, audience=AT_TRAVEL).claims["act"] == {
        "sub": ORCHESTRATOR
    }


def test_rules_are_for_the_principals_that_they_name() -> None:
    """By the issuer's name or by ours; anybody else is refused."""
    for match in (f"{{issuer: {IDP}, subjects: [bob]}}", f"{{issuer: {STS}, groups: [board]}}"):
        config = CONFIG.replace(
            "      agents: [", f"      principals: [{match}]\n      agents: [", 1
        )
        with_groups = config.replace(
            "  id_tokens:", f"  subjects: [{{issuer: {IDP}, claims: [groups]}}]\n  id_tokens:"
        )
        service = Service(with_groups)
        service.issue(ORCHESTRATOR, service.token("bob", groups=["board"]), audience=AT_TRAVEL)
        refused = service.refuse(ORCHESTRATOR, service.token(), audience=AT_TRAVEL)
        assert refused.reason is Reason.ACTOR_NOT_PERMITTED


def test_bound_to_the_certificate_a_dpop_key_or_both() -> None:
    """Without bind there is no cnf, unless a proof is sent; the answer then says DPoP."""
    service = Service()
    unbound = Service(CONFIG.replace("  rules:\n", "  bind: none\n  rules:\n"))
    holder = DpopClient()
    for each, certificate in ((service, True), (unbound, False)):
        proof = holder.proof("", "POST", ENDPOINT, ath=None, iat=int(each.now))
        cnf: dict[str, str] = {"x5t#S256": client(ORCHESTRATOR).thumbprint} if certificate else {}
        plain = each.issue(ORCHESTRATOR, each.token(), audience=AT_TRAVEL)
        assert (plain.claims.get("cnf", {}), plain.token_type) == (cnf, "Bearer")
        proven = each.issue(ORCHESTRATOR, each.token(), audience=AT_TRAVEL, proof=proof)
        assert proven.claims["cnf"] == cnf | holder.confirmation
        assert proven.token_type == "DPoP"
        assert [use.kind.reason for use in proven.uses] == [Reason.DPOP_PROOF]


@pytest.mark.parametrize(
    "changes",
    [
        {"htm": "GET"},
        {"htu": f"{STS}/other"},
        {"htu": "https://sts.other.example/token"},
        {"iat": 1},
        {"jti": None},
        {"header": {"typ": "jwt"}},
    ],
)
def test_a_proof_must_be_for_this_request(changes: dict[str, Any]) -> None:
    """A proof of another request, or an invalid one, refuses it with DPoP's own error."""
    service = Service()
    given = {"ath": None, "iat": int(service.now), **changes}
    uri = given.pop("htu", ENDPOINT)
    method = given.pop("htm", "POST")
    proof = DpopClient().proof("", method, uri, **given)
    refused = service.refuse(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, proof=proof)
    assert (refused.reason, refused.error) == (Reason.DPOP_PROOF, OAuthError.INVALID_DPOP_PROOF)


def test_a_nonce_is_asked_for_where_the_config_says_so() -> None:
    """The refusal has a nonce, and a proof with it is accepted."""
    service = Service("token: {dpop: {nonce: required}}\n" + CONFIG)
    holder = DpopClient()
    given: dict[str, Any] = {"ath": None, "iat": int(service.now)}
    asked: dict[str, Any] = {"audience": AT_TRAVEL}
    proof = holder.proof("", "POST", ENDPOINT, **given)
    refused = service.refuse(ORCHESTRATOR, service.token(), proof=proof, **asked)
    assert refused.error is OAuthError.USE_DPOP_NONCE
    nonce = dict(refused.headers)["dpop-nonce"]
    proof = holder.proof("", "POST", ENDPOINT, nonce=nonce, **given)
    service.issue(ORCHESTRATOR, service.token(), proof=proof, **asked)


def test_the_holder_of_a_bound_token_may_exchange_it() -> None:
    """One for the service must be its own; one for its own URL was proven when it came."""
    service = Service()
    own = service.token(cnf={"x5t#S256": client(ORCHESTRATOR).thumbprint})
    service.issue(ORCHESTRATOR, own, audience=AT_TRAVEL)
    holder = DpopClient()
    proof = holder.proof("", "POST", ENDPOINT, ath=None, iat=int(service.now))
    bound = service.token(cnf=holder.confirmation)
    service.issue(ORCHESTRATOR, bound, audience=AT_TRAVEL, proof=proof)
    first, _ = service.chain()  # bound to the orchestrator, for the travel agent
    service.issue(TRAVEL, first, audience=AT_HOTEL)


def test_an_actor_token_must_be_the_clients_own() -> None:
    """Its own token for the service changes nothing; one for another audience is refused."""
    service = Service(
        CONFIG.replace("    typ: [at+jwt, JWT]", "    typ: [at+jwt, JWT]\n    one_time: true")
    )
    jwt: dict[str, Any] = {
        "actor_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "audience": AT_TRAVEL,
    }
    own = service.token(ORCHESTRATOR, "x", aud=STS)
    issue = service.issue(ORCHESTRATOR, service.token(), actor_token=own, **jwt)
    assert issue.claims["act"] == {"sub": ORCHESTRATOR}
    assert len(issue.uses) == 2  # both are of an issuer of one-time tokens
    other = service.token(ORCHESTRATOR, "x", aud=AT_TRAVEL)
    refused = service.refuse(ORCHESTRATOR, service.token(), actor_token=other, **jwt)
    assert refused.reason is Reason.TOKEN_AUDIENCE


def test_consent_is_required_where_the_rule_says_so() -> None:
    """Nobody's, another's and an ended consent refuse; the token ends with the consent at last."""
    config = CONFIG.replace(
        "      scopes: [trips", "      consent: required\n      scopes: [trips", 1
    )
    without = Service(config)
    refused = without.refuse(ORCHESTRATOR, without.token(), audience=AT_TRAVEL)
    assert (refused.reason, refused.error) == (
        Reason.APPROVAL_REQUIRED,
        OAuthError.CONSENT_REQUIRED,
    )
    consents = Consents(without.now + 60)
    service = Service(config, consents=consents)
    issue = service.issue(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, scope="trips:plan")
    assert issue.facts.consent == "consent-1"
    assert issue.consent == ConsentFound("consent-1", without.now + 60)
    assert issue.claims["exp"] == without.now + 60
    assert consents.asked[-1] == ConsentAsked(
        IDP, "alice", ORCHESTRATOR, (AT_TRAVEL,), frozenset({"trips:plan"})
    )
    refused = service.refuse(ORCHESTRATOR, service.token("bob"), audience=AT_TRAVEL)
    assert refused.reason is Reason.APPROVAL_REQUIRED
    later = service.refuse(ORCHESTRATOR, service.token(), audience=AT_TRAVEL, now=service.now + 60)
    assert later.reason is Reason.APPROVAL_REQUIRED


def test_authorization_details_need_consent_to_that_call() -> None:
    """They are in the token and in the answer, with the consent's name and times."""
    service = Service(DETAILS, consents=Consents(2e9 * 2, (500,)))
    asked = '[{"type": "https://corp.example/call", "amount": 500}]'
    named = [named_call(500)]
    issue, again = _detailed(service, asked), _detailed(service, asked)
    assert issue.claims["authorization_details"] == named
    assert issue.answer("token")["authorization_details"] == named
    assert again.claims["authorization_details"] == named  # so that both approve one call
    refused = service.refuse(
        ORCHESTRATOR,
        service.token(),
        audience=AT_TRAVEL,
        authorization_details='[{"type": "https://corp.example/call", "amount": 501}]',
    )
    assert refused.error is OAuthError.CONSENT_REQUIRED
    assert refused.words == "the principal has not consented to this"


def test_a_subject_tokens_details_are_never_lost() -> None:
    """All of them are passed on, or those asked for; others, and 1 for true, are refused."""
    service = Service(DETAILS, consents=Consents(2e9 * 2, (1, 2)))
    held: list[dict[str, Any]] = [{"type": CALL, "amount": 1}, {"type": CALL, "amount": 2}]
    token = service.token(authorization_details=held)
    issue = service.issue(ORCHESTRATOR, token, audience=AT_TRAVEL)
    assert issue.claims["authorization_details"] == [named_call(1), named_call(2)]
    assert _detailed(
        service, '[{"amount": 2, "type": "https://corp.example/call"}]', token
    ).details == (named_call(2),)
    for amount in ("3", "true"):
        asked = f'[{{"type": "{CALL}", "amount": {amount}}}]'
        refused = service.refuse(
            ORCHESTRATOR, token, audience=AT_TRAVEL, authorization_details=asked
        )
        assert refused.error is OAuthError.INVALID_DETAILS
    for kind in ("payment", [CALL], {CALL: 1}, None):
        unlisted = service.token(authorization_details=[{"type": kind}])
        refused = service.refuse(ORCHESTRATOR, unlisted, audience=AT_TRAVEL)
        assert refused.error is OAuthError.INVALID_DETAILS


@pytest.mark.parametrize("own", [{"jti": "mine", "iat": 1, "exp": 2}, {"jti": "x"}, {"exp": 2}])
def test_no_client_names_its_approval(own: dict[str, Any]) -> None:
    """A name or an end of the client's own would be an approval more for each token."""
    service = Service(DETAILS, consents=Consents(2e9 * 2, (500,)))
    asked = json.dumps([{"type": CALL, "amount": 500, **own}])
    refused = service.refuse(
        ORCHESTRATOR, service.token(), audience=AT_TRAVEL, authorization_details=asked
    )
    assert refused.error is OAuthError.INVALID_DETAILS


def test_a_name_in_the_subject_token_stays() -> None:
    """What is good for one use is good for the same use in each token made of it, by consent."""
    service = Service(DETAILS, consents=Consents(2e9 * 2, (1,)))
    own = {"jti": "theirs", "iat": 10, "exp": 4_000_000_000}
    token = service.token(authorization_details=[{"type": CALL, "amount": 1, **own}])
    asked = json.dumps([{"type": CALL, "amount": 1, **own}])
    for issue in (
        service.issue(ORCHESTRATOR, token, audience=AT_TRAVEL),
        _detailed(service, asked, token),
    ):
        assert issue.details == ({"type": CALL, "amount": 1, **own},)
    half = service.token(authorization_details=[{"type": CALL, "amount": 1, "jti": "theirs"}])
    unnamed = json.dumps([{"type": CALL, "amount": 1}])
    for given, form in ((token, unnamed), (half, None)):
        refused = service.refuse(
            ORCHESTRATOR, given, audience=AT_TRAVEL, authorization_details=form
        )
        assert refused.error is OAuthError.INVALID_DETAILS


def named_call(amount: int) -> dict[str, Any]:
    """An element as it is in a token: a call of this amount, named by the consent to it."""
    own = {"jti": f"to-{amount}", "iat": 1_000_000_000, "exp": 4_000_000_000}
    return {"type": CALL, "amount": amount, **own}


def test_approvals_of_a_subject_token_go_on_only_if_asked_for() -> None:
    """They add to what it may be used for: the next agent gets none that nobody consented to."""
    config = DETAILS.replace(
        "accept_unchecked: [authorization_details]", f"approval_types: [{CALL}]"
    )
    service = Service(config, consents=Consents(2e9 * 2, (1,)))
    token = service.token(authorization_details=[{"type": CALL, "amount": 7}])
    issue = service.issue(ORCHESTRATOR, token, audience=AT_TRAVEL)
    assert "authorization_details" not in issue.claims
    assert _detailed(service, f'[{{"type": "{CALL}", "amount": 1}}]', token).details
    asked = f'[{{"type": "{CALL}", "amount": 7}}]'
    refused = service.refuse(ORCHESTRATOR, token, audience=AT_TRAVEL, authorization_details=asked)
    assert refused.error is OAuthError.CONSENT_REQUIRED


def _detailed(service: Service, details: str, token: str = "") -> Issue:
    asked: dict[str, Any] = {"audience": AT_TRAVEL, "authorization_details": details}
    return service.issue(ORCHESTRATOR, token or service.token(), **asked)


def test_claims_are_passed_on_as_listed_through_the_whole_chain() -> None:
    """Listed ones alone; one that the token says is elsewhere refuses it."""
    config = CONFIG.replace(
        "  id_tokens:", f"  subjects: [{{issuer: {IDP}, claims: [groups]}}]\n  id_tokens:"
    )
    service = Service(config)
    token = service.token(groups=["board"], roles=["chair"], acr="gold", auth_time=5)
    first = service.issue(ORCHESTRATOR, token, audience=AT_TRAVEL)
    second = service.issue(TRAVEL, service.sign(first), audience=AT_HOTEL)
    for issue in (first, second):
        held = {name: issue.claims.get(name) for name in ("groups", "roles", "acr", "auth_time")}
        assert held == {"groups": ["board"], "roles": None, "acr": "gold", "auth_time": 5}
        assert issue.claims["sub_id"] == {"format": "iss_sub", "iss": IDP, "sub": "alice"}
    elsewhere: dict[str, Any] = {
        "_claim_names": {"groups": "src"},
        "_claim_sources": {"src": {"endpoint": "x"}},
    }
    refused = service.refuse(ORCHESTRATOR, service.token(**elsewhere), audience=AT_TRAVEL)
    assert refused.reason is Reason.TOKEN_CLAIM


def test_a_token_that_no_server_would_take_is_not_made() -> None:
    """Its claims would make it longer than token.max_bytes."""
    config = "token: {max_bytes: 2000}\n" + CONFIG.replace(
        "  id_tokens:", f"  subjects: [{{issuer: {IDP}, claims: [groups]}}]\n  id_tokens:"
    )
    service = Service(config)
    service.issue(ORCHESTRATOR, service.token(groups=["a"]), audience=AT_TRAVEL)
    refused = service.refuse(ORCHESTRATOR, service.token(groups=["a" * 900]), audience=AT_TRAVEL)
    assert refused.reason is Reason.TOKEN_TOO_LARGE


def test_needs_are_told_to_the_caller() -> None:
    """An unknown key may just have been published: the caller can fetch it and ask again."""
    service = Service()
    service.idp.rotate()
    refused = service.refuse(ORCHESTRATOR, service.token(), audience=AT_TRAVEL)
    assert refused.reason is Reason.TOKEN_KEY_UNKNOWN
    assert refused.needs is not None
    assert refused.needs.issuer == IDP


def test_own_faults_are_told_as_unavailable() -> None:
    """Keys that can't be had are no fault of the client's: 503, and nothing is issued."""
    service = Service()
    refused = service.refuse(
        ORCHESTRATOR, service.token(), audience=AT_TRAVEL, now=service.now + 2e6
    )
    assert (refused.error, refused.error.http_status) == (OAuthError.UNAVAILABLE, 503)


def test_nothing_of_a_request_is_shown() -> None:
    """No repr of requests and subjects has a token or a claim in it; nor has a refusal's detail."""
    service = Service()
    token = service.token("al1ce-the-principal")
    refused = service.refuse(TRAVEL, token, audience=AT_HOTEL)
    assert "al1ce" not in refused.detail
    assert token not in repr(refused)
