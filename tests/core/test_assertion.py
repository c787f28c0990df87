"""The claims of an assertion: they say no more than the decision, and never confuse who is who."""

import json
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from authz.core.assertion import ASSERTION_TYPE, assertion_claims
from authz.core.decision import Actor, Agent, Delegation, Mode
from authz.core.delegation.settings import is_other_kind
from authz.core.spiffe import SpiffeId
from authz.core.upstream_token import Upstream, UpstreamToken

AGENT: Final = "spiffe://corp.example/ns/agents/sa/travel"
NAMES: Final = st.sampled_from(
    ["alice", "bob", 'a"b', "", AGENT, "spiffe://corp.example/ns/agents/sa/other", "Ж 名", "x y"]
)
ISSUERS: Final = st.sampled_from(["https://as.corp.example", "https://other.example", ""])
ACTORS: Final = st.builds(Actor, ISSUERS, NAMES)
SCOPES: Final = st.frozensets(st.sampled_from(["a", "b", "c:d", "é"]))
DELEGATIONS: Final = st.builds(
    Delegation,
    issuer=ISSUERS,
    subject=NAMES,
    actors=st.lists(ACTORS, max_size=6).map(tuple),
    scopes=SCOPES,
    issued_at=st.just(0.0),
    expires_at=st.just(9e9),
    mode=st.sampled_from(list(Mode)),
    claims=st.just({"email": "alice@corp.example", "act": {"sub": "forged"}}),
)


def of_words(delegation: Delegation, scopes: set[str] | None) -> dict[str, Any]:
    """What the docs say of the claims, one claim at a time."""
    said: dict[str, Any] = {"aud": "https://up.example", "txn": "d" * 32, "req_wl": AGENT}
    said["tctx"] = {"route": "r"}
    if delegation.mode in ("autonomous", "bootstrap"):
        said["sub"] = AGENT
        said["sub_id"] = {"format": "uri", "uri": AGENT}
    else:
        said["sub"] = delegation.subject
        said["sub_id"] = {
            "format": "iss_sub",
            "iss": delegation.issuer,
            "sub": delegation.subject,
        }
        at: dict[str, Any] = {"sub": AGENT}
        said["act"] = at
        for actor in list(delegation.actors)[1:]:
            at["act"] = {"sub": actor.subject}
            at = at["act"]
            if actor.subject[:9] != "spiffe://":
                at["iss"] = actor.issuer
    left = [scope for scope in delegation.scopes if scopes is None or scope in scopes]
    if left:
        said["scope"] = " ".join(sorted(left))
    return said


@given(DELEGATIONS, st.none() | SCOPES)
def test_the_claims_are_those_of_the_docs(
    delegation: Delegation, scopes: frozenset[str] | None
) -> None:
    """Every claim is as the docs say, and there is no other claim; JSON keeps all of it."""
    upstream = Upstream(UpstreamToken.ASSERT, "r", "https://up.example", scopes)
    agent = Agent(SpiffeId.parse(AGENT))

    claims = assertion_claims(agent, delegation, upstream, "d" * 32)

    assert claims == of_words(delegation, None if scopes is None else set(scopes))
    assert json.loads(json.dumps(claims)) == claims


@given(DELEGATIONS, DELEGATIONS)
def test_two_principals_are_never_the_same(one: Delegation, other: Delegation) -> None:
    """The principal is unique by sub_id: equal only if issuer and subject are, or nobody's."""
    upstream, agent = Upstream(UpstreamToken.ASSERT, "r", "u"), Agent(SpiffeId.parse(AGENT))

    first, second = (assertion_claims(agent, each, upstream, "d") for each in (one, other))

    if first["sub_id"] == second["sub_id"] and "act" in first:
        assert (one.issuer, one.subject) == (other.issuer, other.subject)


def test_its_type_is_never_an_access_token() -> None:
    """No issuer's settings can make a delegation token of an assertion, in either long form."""
    assert is_other_kind(ASSERTION_TYPE)
    assert is_other_kind("application/" + ASSERTION_TYPE.upper())
