"""The examination of a token: all refusals, of which the first is the one that the server gives."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Agent
from authz.core.delegation import IssuerSettings
from authz.core.delegation.authentication import check_authentication
from authz.core.delegation.confirmation import required_bindings
from authz.core.delegation.examination import examine
from authz.core.delegation.faults import collect
from authz.core.delegation.header import check_header, check_kind
from authz.core.delegation.terms import TermsJudge
from authz.core.jose.jws import Jws, parse_compact
from authz.core.reason import Denied
from authz.core.routes import Route, RouteMode
from authz.core.spiffe import SpiffeId
from lab.issuer import b64
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL

NOW: Final = 1_700_000_000
GOOD: Final[dict[str, Any]] = {
    "iss": ISSUER,
    "sub": "alice",
    "aud": AUDIENCE,
    "client_id": "p1",
    "azp": "p1",
    "iat": NOW - 10,
    "exp": NOW + 100,
    "jti": "t",
    "scope": "a",
    "act": {"sub": TRAVEL},
}
VALUES: Final[dict[str, list[Any]]] = {
    "sub": ["alice", None, 7, TRAVEL, "p1", "p1@clients"],
    "aud": [AUDIENCE, [AUDIENCE, "b"], "other", None, 7, "p1"],
    "client_id": ["p1", None, "p2", 7],
    "azp": ["p1", None, "p2", ["p1"]],
    "iat": [NOW - 10, None, "now", NOW + 1000, NOW - 10**6],
    "exp": [NOW + 100, NOW - 100, None, 10**18, NOW + 10**6],
    "nbf": [None, NOW + 1000, "x"],
    "jti": ["t", None, 7],
    "scope": ["a", None, "", ["a"], ["a b"], 7],
    "act": [
        {"sub": TRAVEL},
        None,
        7,
        {"sub": PAYMENTS},
        {"sub": "p1"},
        {"sub": TRAVEL, "act": {"sub": "x", "act": {"sub": "y"}}},
        {"sub": TRAVEL, "cnf": {}},
        {"sub": TRAVEL, "iss": "https://hr.example"},
    ],
    "nonce": [None, "n"],
    "typ": [None, "Bearer", "ID"],
    "status": [None, {}],
    "cnf": [None, {"jkt": "x"}, {"jwk": {}}, 7],
    "gty": [None, "client-credentials"],
    "sid": [None, "s"],
    "acr": [None, "gold"],
}
HEADERS: Final[dict[str, list[Any]]] = {
    "alg": ["ES256", "RS256", "none", None],
    "typ": ["at+jwt", "JWT", None, "logout+jwt", 7],
    "kid": ["k", None, 7, ""],
    "crit": [None, ["x"]],
    "enc": [None, "A128GCM"],
}
ISSUERS: Final = [
    IssuerSettings.model_validate(
        {"issuer": ISSUER, "keys": {"file": "k"}, "audiences": (AUDIENCE, "p1"), **lines}
    )
    for lines in (
        {},
        {"typ": ("JWT", "at+jwt"), "max_actors": 2, "max_lifetime": 1000.0},
        {"typ": ("JWT",), "actor": {"claim": "azp", "map": {"p1": TRAVEL}}},
        {"typ": ("JWT",), "actor": {"claim": ("azp", "client_id"), "map": {"p1": TRAVEL}}},
        {"actors_from": ("other.example",), "proof": "required", "actor": {"map": {"p1": TRAVEL}}},
    )
]
ROUTES: Final = [
    Route(),
    Route(modes=frozenset({RouteMode.AUTONOMOUS})),
    Route(modes=frozenset(RouteMode), audiences=frozenset({AUDIENCE}), acr_values=("gold",)),
]


def changed(values: dict[str, list[Any]], most: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return changes of a few members."""
    picks = [st.tuples(st.just(name), st.sampled_from(of)) for name, of in values.items()]
    return st.lists(st.one_of(picks), max_size=most).map(dict)


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> Jws:
    """Return a token as it is parsed; None leaves a member out."""
    parts = [{n: v for n, v in members.items() if v is not None} for members in (header, claims)]
    texts = [b64(json.dumps(part).encode()) for part in parts]
    return parse_compact(".".join([*texts, "AA"]), 65536)


def by_the_server(jws: Jws, issuer: IssuerSettings, agent: Agent, route: Route) -> Denied | None:
    """Return the first refusal of the pipeline's own steps."""

    def verify() -> None:
        check_kind(jws)
        check_header(jws, issuer)
        TermsJudge([issuer], frozenset()).judge(jws, issuer, agent, route, NOW)
        required_bindings(jws.payload, issuer, route)
        check_authentication(jws.payload, route, NOW)

    return next(iter(collect(verify)), None)


@given(
    changed(HEADERS, 2),
    changed(VALUES, 5),
    st.sampled_from(ISSUERS),
    st.sampled_from(ROUTES),
    st.sampled_from([TRAVEL, PAYMENTS]),
)
def test_the_first_is_the_servers(
    header: dict[str, Any],
    claims: dict[str, Any],
    issuer: IssuerSettings,
    route: Route,
    caller: str,
) -> None:
    """The examination refuses what the server refuses, first for the same, and nothing else."""
    base = {"alg": "ES256", "typ": issuer.typ[0], "kid": "k"}
    jws = unsigned({**base, **header}, {**GOOD, **claims})
    agent = Agent(SpiffeId.parse(caller))
    served = by_the_server(jws, issuer, agent, route)
    found = examine(jws, issuer, agent, route, NOW)
    told = [(fault.reason, fault.detail) for fault in found.faults]

    assert told[:1] == ([] if served is None else [(served.reason, served.detail)])
    assert len(set(told)) == len(told)
    assert served is not None or found.mode is not None


def test_all_at_once() -> None:
    """One token may be wrong in every way, and each is told."""
    claims = {"aud": "other", "exp": NOW - 500, "act": 7, "nonce": "n", "status": {}, "cnf": 7}
    jws = unsigned({"alg": "none", "typ": "JWT", "crit": []}, {**GOOD, **claims})
    faults = examine(jws, ISSUERS[0], Agent(SpiffeId.parse(TRAVEL)), Route(), NOW).faults

    assert [fault.reason.code for fault in faults] == [
        "token_alg",
        "token_crit",
        "token_typ",
        "token_key_unknown",
        "token_typ",
        "token_audience",
        "token_expired",
        "token_claim",
        "token_claim",
        "actor_malformed",
        "cnf_unsupported",
    ]


@pytest.mark.parametrize("audience", [7, True, {}, {"a": 1}, [7], [None]])
def test_an_audience_of_another_form(audience: object) -> None:
    """A fault of a claim is told, though checks of other kinds read the claim too."""
    claims = {**GOOD, "scope": "", "aud": audience}
    jws = unsigned({"alg": "ES256", "typ": "JWT", "kid": "k"}, claims)
    faults = examine(jws, ISSUERS[1], Agent(SpiffeId.parse(TRAVEL)), Route(), NOW).faults

    assert [fault.reason.code for fault in faults] == ["token_claim"]
