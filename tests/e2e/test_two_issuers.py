"""Two issuers at once, our token service and a partner's, and nine ways to confuse them.

Alice logs in at the first issuer; the token service makes delegations of that, hop by hop; and the
partner's API gets the partner's token for ours, through a real Envoy. Each confusion is refused
where it can first be known: at the token service, at the server, or in the partner's answer.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from lab import demo_sts, trips
from lab import mesh as lab
from lab.client import Reply
from lab.demo_sts import AT_FIRST, AT_LAST, BALANCE, READ, Hops
from lab.dpop import DpopClient
from lab.issuer import claims_of
from lab.mesh import ORCHESTRATOR, PAYMENTS, TRAVEL
from lab.sts import ASK, DESK, FRONT_END, ID_TOKEN, ISSUER, ask
from lab.table import as_expected, sent
from support.confusions import Confusion, Place, Token, at_server, at_sts, in_answer
from support.forged import altered, unsigned
from support.issued import refused
from support.two_issuers import API, HONEST, ORDERS, PARTNER, UPSTREAM, TwoIssuers, two_issuers

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoIssuers]:
    """The mesh with both issuers."""
    with two_issuers(tmp_path_factory.mktemp("two-issuers")) as running:
        yield running
        running.require_quiet()


def test_the_third_act_of_the_demo(both: TwoIssuers) -> None:
    """Every request of the demo's third act ends as it says."""
    for line in demo_sts.story(both.mesh):
        reply = sent(line)

        assert as_expected(line, reply), (line.what, line.why, reply)


def test_two_tokens_by_a_consent_are_for_one_call(both: TwoIssuers, hops: Hops) -> None:
    """Where a consent is for many tokens, the first call with any of them uses it up for all."""
    trip = {"audience": trips.RESOURCE, "scope": trips.BOOK}
    got = [hops.exchange(TRAVEL, "first", "trips", **trip)]
    assert hops.book("trips", 660).reason == "approval_required"
    demo_sts.consent(both.mesh.sts, hops.approval, "--many-tokens")
    for name in ("one", "other"):
        got.append(hops.exchange_approved())
        hops.tokens[name] = hops.tokens["approved"]

    assert [reply.status for reply in got] == [200, 200, 200]
    assert hops.tokens["one"] != hops.tokens["other"]
    assert [hops.book(name, 660).status for name in ("one", "other", "one")] == [200, 403, 403]


@pytest.fixture
def hops(both: TwoIssuers) -> Hops:
    """Agents with tokens of their own, and a partner that is honest at the beginning."""
    both.endpoint.claims, both.endpoint.members = HONEST, {}
    return both.hops()


def orders(hops: Hops, token: str = "partner", agent: str = TRAVEL) -> Reply:
    """Have an agent call the partner's API."""
    return hops.client(agent).get(ORDERS, hops.tokens[token])


def test_both(both: TwoIssuers, hops: Hops) -> None:
    """The upstream gets the partner's token: for it, of the same person, actors and scope."""
    reply = orders(hops)

    assert (reply.status, reply.reason) == (200, "")
    [(_, value)] = reply.seen_headers("authorization")
    claims = claims_of(value.removeprefix("Bearer "))
    told = {name: claims[name] for name in ("iss", "aud", "sub", "act", "scope")}
    named = {"iss": PARTNER, "aud": UPSTREAM, "sub": "alice"}
    assert told == {**named, "act": AT_LAST, "scope": READ}
    asked = both.endpoint.forms[-1]
    assert asked["subject_token"] == hops.tokens["partner"]


def first(**changes: Any) -> Token:
    """Make an access token of the first issuer, for the travel agent's desk or as changed."""
    claims = {"scope": READ, "aud": DESK} | changes
    agent = claims.pop("agent", ORCHESTRATOR)
    return lambda both, _: both.mesh.issuer.token(agent, **claims)


def held(name: str) -> Token:
    """Take a token of the agents' own."""
    return lambda _, hops: hops.tokens[name]


def narrow(both: TwoIssuers, hops: Hops) -> str:
    """Give the travel agent a token without the scope that it will ask for."""
    del both
    hops.exchange(ORCHESTRATOR, "login", "narrow", scope=ASK)
    return hops.tokens["narrow"]


def elsewhere(both: TwoIssuers, hops: Hops) -> str:
    """Give the travel agent a token for the partner's API with the scope of another service."""
    del both
    hops.exchange(TRAVEL, "first", "elsewhere", audience=API, scope=trips.BOOK)
    return hops.tokens["elsewhere"]


def proven_twice(both: TwoIssuers, hops: Hops) -> Reply:
    """Send the proof of a request that was answered again (RFC 9449 section 11.1)."""
    client = both.mesh.sts.client(hops.svid(TRAVEL))
    proof = DpopClient().proof("", "POST", f"{ISSUER}/token", ath=None)
    form = {"proof": proof, "audience": API, "scope": READ}
    hops.tokens["asked"] = hops.tokens["first"]
    assert ask(client, hops.tokens["asked"], **form).status == 200
    return ask(client, hops.tokens["asked"], **form)


def stolen(both: TwoIssuers, hops: Hops) -> Reply:
    """Use a token with another certificate of its own agent."""
    return both.mesh.agent(TRAVEL).get(ORDERS, hops.tokens["partner"])


def echoed(both: TwoIssuers, hops: Hops) -> Reply:
    """Have the partner answer with the token that it got."""
    both.endpoint.members = {"access_token": hops.tokens["partner"]}
    return orders(hops)


def times(issued: int, ends: int) -> dict[str, Any]:
    """Return iat and exp, in seconds from now on."""
    now = int(time.time())
    return {"iat": now + issued, "exp": now + ends}


INVALID: Final = "invalid_request"
OTHERS: Final = "https://other.example"
CONFUSIONS: Final[dict[str, Confusion]] = {
    "audience: a token for another service, as subject": at_sts(
        INVALID, "token_audience", first(aud=lab.AUDIENCE)
    ),
    "audience: a login at another client": at_sts(
        INVALID, "token_audience", lambda both, _: both.mesh.issuer.id_token("other"), kind=ID_TOKEN
    ),
    "audience: a login at another agent's client": at_sts(
        INVALID, "token_audience", held("login"), kind=ID_TOKEN
    ),
    "audience: the desk's token at the partner's API": at_server(
        "token_audience", held("first"), agent=ORCHESTRATOR
    ),
    "audience: the partner's token for another": in_answer("its aud does not", aud=OTHERS),
    "subject: an agent's own token": at_sts(INVALID, "principal_required", first(subject=PAYMENTS)),
    "subject: somebody who was granted nothing": at_server(
        "policy_denied", first(agent=TRAVEL, aud=lab.AUDIENCE, subject="mallory"), BALANCE
    ),
    "subject: the partner's token for bob": in_answer("its sub is not", sub="bob"),
    "actor: may_act names another": at_sts(
        INVALID, "actor_not_permitted", first(may_act={"sub": PAYMENTS})
    ),
    "actor: another agent's token": at_server("actor_mismatch", held("partner"), agent=PAYMENTS),
    "actor: the partner's token of another agent": in_answer(
        "current actor", act={"sub": PAYMENTS, "act": AT_FIRST}
    ),
    "scope: more than the subject token has": at_sts("invalid_scope", "scope", narrow),
    "scope: of another service": at_server("scope", elsewhere),
    "scope: the partner's token with more": in_answer(
        "scopes that were not asked for", scope=f"{READ} payments:write"
    ),
    "chain: the token of an agent that nobody handed on": at_sts(
        INVALID, "actor_not_permitted", first(agent=TRAVEL)
    ),
    "chain: cut, with the signature of the whole": at_server(
        "token_signature", lambda _, hops: altered(hops.tokens["partner"], act={"sub": TRAVEL})
    ),
    "chain: the partner's token without the first": in_answer(
        "its earlier actors", act={"sub": TRAVEL}
    ),
    "chain: the partner's token without any": in_answer("no act", act=None),
    "replay: a proof at the token service": Confusion(
        Place.STS, "invalid_dpop_proof", "dpop_proof", proven_twice
    ),
    "replay: a token with another certificate": Confusion(
        Place.SERVER, "cnf_mismatch", "cnf_mismatch", stolen
    ),
    "replay: the client's own token as the answer": Confusion(
        Place.ANSWER, "exchange_unavailable", "own token", echoed
    ),
    "expired: a login of an hour ago": at_sts(
        INVALID,
        "token_expired",
        lambda both, _: both.mesh.issuer.id_token(FRONT_END, **times(-3600, -3000)),
        kind=ID_TOKEN,
    ),
    "expired: an access token as subject": at_sts(
        INVALID, "token_expired", first(**times(-3600, -60))
    ),
    "expired: at the server": at_server(
        "token_expired",
        lambda both, _: both.mesh.issuer.token(TRAVEL, scope=READ, **times(-3600, -60)),
        BALANCE,
    ),
    "expired: the partner's token": in_answer("its exp has passed", exp=1),
    "tenant: the partner's alice as subject": at_sts(
        INVALID, "token_issuer", lambda both, _: both.own.token(ORCHESTRATOR, scope=READ, aud=DESK)
    ),
    "tenant: the partner's alice at its API": at_server(
        "policy_denied", lambda both, _: both.own.token(TRAVEL, scope=READ)
    ),
    "tenant: the partner's answer by another issuer": in_answer(
        "its iss is another", iss=lab.ISSUER
    ),
    "unsigned: as subject": at_sts(
        INVALID, "token_alg", lambda both, hops: unsigned(claims_of(first()(both, hops)))
    ),
    "unsigned: at the server": at_server(
        "token_alg", lambda _, hops: unsigned(claims_of(hops.tokens["partner"]))
    ),
    "unsigned: the partner's answer": in_answer(
        "its alg", {"access_token": unsigned({"iss": PARTNER, "sub": "alice", "aud": UPSTREAM})}
    ),
}


@pytest.mark.parametrize("what", CONFUSIONS)
def test_confused(both: TwoIssuers, hops: Hops, what: str) -> None:
    """A confusion is refused at its place, for its reason, and no upstream hears of it."""
    confusion = CONFUSIONS[what]
    before = both.mesh.upstream.requests

    reply = confusion.send(both, hops)

    assert reply.reason == confusion.error, reply
    assert both.mesh.upstream.requests == before
    if confusion.place is Place.STS:
        assert refused(both.mesh.sts, hops.tokens["asked"])["reason"] == confusion.why
        return
    record = both.record(reply)
    assert record["reason"] == confusion.error
    if confusion.place is Place.ANSWER:
        assert confusion.why in record["detail"]
    else:
        assert not both.asked_about(hops.tokens["partner"])


def test_what_upstreams_get_is_no_token_here(both: TwoIssuers, hops: Hops) -> None:
    """An upstream can't act by what it got: neither the partner's token nor an assertion."""
    hops.exchange(TRAVEL, "first", "finance", scope=READ, audience=lab.AUDIENCE)
    [(_, exchanged)] = orders(hops).seen_headers("authorization")
    [(_, assertion)] = hops.balance(TRAVEL, "finance").seen_headers("x-agent-assertion")
    service = both.mesh.sts.client(hops.svid(TRAVEL))

    for token, reason in ((exchanged[7:], "token_audience"), (assertion, "token_typ")):
        assert hops.client(TRAVEL).get(BALANCE, token).reason == reason
        assert ask(service, token, audience=API).reason == INVALID
        assert refused(both.mesh.sts, token)["reason"] == reason


def test_nobody_was_cut_off(hops: Hops) -> None:
    """After all of these the partner still exchanges the token of an honest call."""
    assert orders(hops).status == 200
