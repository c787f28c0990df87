"""The service against an independent model of scope, audience and chain, for any request.

The model knows the rules as sets, and nothing of ``authz``.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.sts.outcome import Issue, Outcome
from lab.issuer import Issuer
from support.token_service import (
    AT_HOTEL,
    AT_ORDERS,
    AT_TRAVEL,
    HOTEL,
    ORCHESTRATOR,
    STRANGER,
    STS,
    TRAVEL,
    Service,
    tenants,
)

AGENTS = (ORCHESTRATOR, TRAVEL, HOTEL, STRANGER)
AUDIENCES = (AT_TRAVEL, AT_HOTEL, AT_ORDERS, STS)
SCOPES = ("trips:plan", "trips:book", "hotels:book", "bank:pay")
EVERY = frozenset(SCOPES[:3])
# By agent: for which tokens, of which current actors, to which audiences, with which scopes, and
# which scopes the agent's own grants name.
RULES: dict[str, tuple[set[str], set[str], set[str], frozenset[str], frozenset[str]]] = {
    ORCHESTRATOR: ({STS}, set(), {AT_TRAVEL, STS}, EVERY, EVERY),
    TRAVEL: ({STS, AT_TRAVEL}, {ORCHESTRATOR}, {AT_HOTEL}, EVERY, EVERY - {"trips:book"}),
    HOTEL: (
        {STS, AT_HOTEL},
        {TRAVEL},
        {AT_ORDERS},
        frozenset({"hotels:book"}),
        frozenset({"hotels:book"}),
    ),
}
SERVICE = Service()


def model(
    agent: str, held: set[str], audiences: list[str], chain: list[str], asked: tuple[Any, Any]
) -> tuple[list[str], frozenset[str], list[str]] | None:
    """Return audiences, scopes and chain of the token; None if there is none."""
    if agent not in RULES:
        return None
    subject_audiences, via, rule_audiences, rule_scopes, own = RULES[agent]
    targets, scopes = asked
    targets = list(dict.fromkeys(targets)) or (
        list(rule_audiences) if len(rule_audiences) == 1 else []
    )
    earlier = chain[1:] if chain[:1] == [agent] else chain
    if not subject_audiences & set(audiences) or (chain and chain[0] not in via):
        return None
    if not targets or not set(targets) <= rule_audiences:
        return None
    if agent in earlier or len(earlier) + 1 > 4:
        return None
    granted = held & rule_scopes & own & (set(SCOPES) if scopes is None else set(scopes))
    return (targets, frozenset(granted), [agent, *earlier]) if granted else None


_requests = st.fixed_dictionaries(
    {
        "agent": st.sampled_from(AGENTS),
        "held": st.sets(st.sampled_from(SCOPES)),
        "audiences": st.lists(st.sampled_from(AUDIENCES), min_size=1, max_size=2),
        "chain": st.lists(st.sampled_from([*AGENTS, "batch"]), max_size=4),
        "targets": st.lists(st.sampled_from(AUDIENCES), max_size=2),
        "scopes": st.none() | st.sets(st.sampled_from(SCOPES), min_size=1),
    }
)


@settings(max_examples=150, deadline=None)
@given(_requests)
def test_as_the_model(drawn: dict[str, Any]) -> None:
    """The service issues exactly what the model says, and never anything that the model refuses."""
    asked = (drawn["targets"], drawn["scopes"])
    expected = model(drawn["agent"], drawn["held"], drawn["audiences"], drawn["chain"], asked)

    outcome = _ask(drawn)

    if expected is None:
        assert not isinstance(outcome, Issue), outcome.claims
        return
    assert isinstance(outcome, Issue), (outcome.reason, outcome.detail)
    targets, scopes, chain = expected
    claims = outcome.claims
    assert claims["aud"] == (targets if len(targets) > 1 else targets[0])
    assert frozenset(claims["scope"].split(" ")) == scopes <= drawn["held"]
    assert _chain(claims["act"]) == chain


def _ask(drawn: dict[str, Any]) -> Outcome:
    """Ask the service what was drawn."""
    chain, scopes = drawn["chain"], drawn["scopes"]
    act: Any = None
    for name in reversed(chain):
        act = {"sub": name, **({"act": act} if act else {})}
    token = SERVICE.token(scope=" ".join(sorted(drawn["held"])), aud=drawn["audiences"], act=act)
    more = [("audience", target) for target in drawn["targets"]]
    return SERVICE.ask(drawn["agent"], token, more=more, scope=" ".join(sorted(scopes or ())))


def _chain(act: dict[str, Any]) -> list[str]:
    found = [act["sub"]]
    while "act" in act:
        act = act["act"]
        found.append(act["sub"])
    return found


@settings(max_examples=60, deadline=None)
@given(_requests, st.lists(_requests, max_size=2))
def test_a_chain_only_ever_narrows(first: dict[str, Any], later: list[dict[str, Any]]) -> None:
    """Whatever is asked for, hop after hop: less scope, an end no later, and a chain that grows."""
    outcome = _ask(first)
    held, chain = first["held"], len(first["chain"])
    for drawn in later:
        if not isinstance(outcome, Issue):
            return
        scopes = frozenset(outcome.scope.split())
        actors = len(_chain(outcome.claims["act"]))
        assert scopes <= held
        assert actors >= chain
        held, chain = scopes, actors
        more = [("audience", target) for target in drawn["targets"]]
        outcome = SERVICE.ask(drawn["agent"], SERVICE.sign(outcome), more=more)


_subjects = st.text(st.sampled_from("ab:/|.~"), min_size=1, max_size=5)
_TENANTS = Service(tenants("a:", "ab:"))


@settings(max_examples=60, deadline=None)
@given(_subjects, _subjects)
def test_no_two_principals_have_one_name(ours: str, theirs: str) -> None:
    """However users of two issuers are called, their names in our tokens differ."""
    assert _name(_TENANTS.idp, ours) != _name(_TENANTS.partner, theirs)


def _name(issuer: Issuer, subject: str) -> str:
    """Return how an issuer's user is called; an agent acts already, so no person need be shown."""
    times: dict[str, Any] = _TENANTS.times
    token = issuer.token(ORCHESTRATOR, subject, "trips:plan", aud=AT_TRAVEL, **times)
    return str(_TENANTS.issue(TRAVEL, token, audience=AT_HOTEL).claims["sub"])
