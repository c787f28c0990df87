"""Terms of tokens: what is remembered by them decides as if each token were the first one."""

import random
import time
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import msgspec
import pytest

from authz.config import Config, load_text
from authz.core.authorizer import Authorizer
from authz.core.decision import Allow, Decision, Delegation, Deny
from authz.core.delegation.dpop import DpopVerifier, FixedSecret
from authz.core.delegation.terms import OWN_CLAIMS
from authz.core.delegation.verifier import DelegationVerifier
from authz.core.jose.jwk import parse_key_set
from authz.core.jose.key_set import KeySet
from authz.core.policy.policy import Policy
from authz.core.request import Request
from authz.core.revocation_table import Revocations
from authz.core.revocations import Revocation
from authz.edge.header_settings import HeaderSettings
from authz.edge.rendering import Renderer
from authz.edge.response import Responder
from authz.wiring.policy import build_policy
from authz.wiring.snapshot import Lookups, build_authorizer, build_snapshot
from lab.issuer import Issuer
from lab.mesh import AUDIENCE, ISSUER, PAYMENTS, TRAVEL
from support.world import BALANCE, HOST, READ

NOW: Final = int(time.time())
TOKENS: Final = 250  # of each config: half a second
CONFIG: Final = """\
server: {listen: "unix:/nowhere"}
trust_domains: [corp.example]
routes: [{name: finance, paths: [/finance/**]}, {name: own, paths: [/own/**], modes: [autonomous]}]
issuers:
  - issuer: https://as.corp.example
    keys: {file: jwks.json}
    audiences: [https://mcp.corp.example/finance, other]
    typ: [at+jwt, JWT]
    max_lifetime: 1h
    SETTINGS
agents:
  - {id: "spiffe://corp.example/ns/agents/sa/travel", grants: [read]}
  - {id: "spiffe://corp.example/ns/agents/sa/payments", grants: [read]}
principals:
  - {match: {issuer: "https://as.corp.example", subjects: [alice]}, grants: [read]}
  - {match: {issuer: "https://as.corp.example", groups: [readers]}, grants: [read]}
  - match: {issuer: "https://as.corp.example", claims: {LISTED: [j1, 7, "onrtac:2"]}}
    grants: [closed]
grants:
  read: [{hosts: ["*"], methods: [GET], paths: [/**], scopes: ["balance:read"] RULE}]
  closed: [{effect: deny, hosts: ["*"], methods: [GET], paths: [/**]}]
"""
MAPPED: Final = f'actor: {{claim: CLAIM, map: {{travel: "{TRAVEL}", j1: "{TRAVEL}"}}}}'
AGENT: Final = "spiffe://corp.example/ns/agents/sa/{n}vel"
ADDS: Final = ", add_headers: {x-agent-jti: jti}"
# The issuer's settings, the claim that a deny reads, and what the allow has beside its scope.
CONFIGS: Final[Mapping[str, tuple[str, str, str]]] = {
    "plain": ("clock_skew: 5s", "dept", ""),
    "a deny by the id": ("clock_skew: 5s", "jti", ""),
    "a header of the id": ("clock_skew: 5s", "dept", ADDS),
    "an age of tokens": ("clock_skew: 5s", "dept", ", max_token_age: 60s"),
    "scopes in the id": ("scope_claim: jti", "dept", ""),
    "a mapped client": (MAPPED.replace("CLAIM", "client_id"), "dept", ""),
    "a mapped id": (MAPPED.replace("CLAIM", "jti"), "dept", ""),
    "a person by the id": (
        MAPPED.replace("CLAIM", "client_id") + "\n    person_shown_by: {jti: [j1, j2]}",
        "dept",
        "",
    ),
    "a person by how the token was got": (
        MAPPED.replace("CLAIM", "client_id") + "\n    person_shown_by: {jti: ['onrtac:1']}",
        "dept",
        "",
    ),
    "patterns": (
        f'actor: {{claim: [client_id, azp], patterns: {{"{{n}}vel": "{AGENT}"}}}}',
        "dept",
        "",
    ),
}
# What claims may be changed to; None leaves them out.
CHANGES: Final[Mapping[str, list[Any]]] = MappingProxyType(
    {
        "jti": [
            *("j1", "j2", "j3", "", 7, None, "x client_credentials", "j\u00e4", READ, "travel"),
            *("onrtac:1", "onrtac:2", "onrtcc:1", "trrtte:3", "onrtac:", "onrtcc"),
        ],
        "iat": [NOW - 30, NOW - 90, NOW + 3, NOW + 90, NOW - 5000, "x", None, 1.5 + NOW - 30],
        "exp": [NOW + 600, NOW - 3, NOW - 90, NOW + 9999, NOW - 31, True, None],
        "nbf": [None, NOW, NOW + 90, NOW + 700, "x"],
        "sub": ["alice", "bob", TRAVEL, "travel", 5, "5b7c", "5b7c"],
        "aud": [AUDIENCE, "other", ["other"], "nobody", None],
        "scope": [READ, f"{READ} more", "", None, 3],
        "client_id": ["lab-client", "agent-travel", AUDIENCE, None],
        "oid": [None, "5b7c"],
        "groups": [None, "readers", ["readers"], ["a", "readers"], "a,readers", 5],
        "act": [
            {"sub": TRAVEL},
            {"sub": PAYMENTS},
            {"sub": TRAVEL, "act": {"sub": PAYMENTS}},
            {"sub": TRAVEL, "iss": "https://other.example"},
            None,
        ],
        "dept": [None, "j1", 7, 7.0],
        "amr": [None, ["pwd"]],
        "cnf": [None, None, {"x5t#S256": "t"}, {"jkt": "t"}],
        "grant_type": [None, None, "client_credentials"],
    }
)
HEADERS: Final[list[dict[str, Any]]] = [
    {},
    {},
    {"typ": "JWT"},
    {"typ": "JWT", "x": 1},
    {"typ": None},
]


class Keys:
    """An issuer's keys, which never change."""

    generation = 0

    def __init__(self, issuer: Issuer) -> None:
        """Take them as they are."""
        keys, refused = parse_key_set(issuer.jwks(), frozenset({"ES256"}))
        self._set = KeySet(keys, refused, NOW, NOW + 1e6)

    def get(self, _: str) -> KeySet | None:
        """Return them."""
        return self._set


@cache
def signer() -> Issuer:
    """The issuer of all tokens here."""
    return Issuer(ISSUER, AUDIENCE)


def config_of(name: str = "plain") -> Config:
    """One of the configs."""
    settings, listed, rule = CONFIGS[name]
    text = CONFIG.replace("SETTINGS", settings).replace("LISTED", listed).replace("RULE", rule)
    return load_text(text.encode(), "t")


def pipeline(config: Config, policy: Policy, unread: frozenset[str], *revoked: str) -> Authorizer:
    """The steps, which take tokens as of the same terms that differ in ``unread`` alone."""
    proofs = DpopVerifier(config.token.dpop, FixedSecret(b"s" * 32))
    verifier = DelegationVerifier(config.token, config.issuers, Keys(signer()), proofs, unread)
    revocations = Revocations(tuple(Revocation(issuer=ISSUER, token_id=jti) for jti in revoked))
    return build_authorizer(config, verifier, revocations, policy)


def remembering(config: Config, *revoked: str) -> Authorizer:
    """The steps as the server builds them."""
    policy = build_policy(config)
    return pipeline(config, policy, OWN_CLAIMS - policy.reads.claims, *revoked)


def request(token: str, path: str = BALANCE, agent: str = TRAVEL) -> Request:
    """A request with a token."""
    return Request("GET", HOST, path, (("authorization", f"Bearer {token}"),), agent)


def token(header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A token, good but for the changes."""
    usual: dict[str, Any] = {"iat": NOW - 30, "exp": NOW + 600, "jti": "j1", "scope": READ}
    usual["client_id"] = "travel"
    return signer().token(TRAVEL, header=header, **usual | changes)


def allow(authorizer: Authorizer, *args: Any, **changes: Any) -> Allow:
    """The allow of a good token with changes."""
    decision = authorizer.decide(request(token(*args, **changes)), NOW)
    assert isinstance(decision, Allow), decision
    return decision


def drawn(r: random.Random) -> Request:
    """A request like others, but for one or two claims, or its header, agent or path."""
    names = r.sample(list(CHANGES), r.choice([0, 1, 1, 2]))
    changes = {name: r.choice(CHANGES[name]) for name in sorted({*names, "jti", "iat"})}
    path = r.choice([BALANCE, BALANCE, "/finance/other", "/own/x", "/elsewhere"])
    agent = r.choice([TRAVEL, TRAVEL, PAYMENTS])
    return request(token(r.choice(HEADERS), **changes), path, agent)


def all_of(decision: Decision, render: Callable[[Decision], Any]) -> tuple[object, ...]:
    """All that a decision says, and the answer and the record that tell it."""
    rendered = render(decision)
    delegation = decision.delegation
    told = (
        None
        if delegation is None
        else [getattr(delegation, name) for name in Delegation.__struct_fields__ if name != "terms"]
    )
    values = {name: getattr(decision, name) for name in type(decision).__struct_fields__}
    values.update(delegation=told, progress=None)
    shown = [repr(part) for part in rendered.response.metadata.items()]
    return (values, shown, rendered.response.headers, rendered.response.removed, rendered.audit)


@pytest.mark.drawn
@pytest.mark.parametrize("name", CONFIGS)
def test_terms_decide_as_the_first_token_does(name: str) -> None:
    """Whichever tokens came before, a token is decided, answered and recorded as if none had."""
    config, r = config_of(name), random.Random(7)
    known = remembering(config)
    responder = Responder(HeaderSettings(), ("authorization",), ("ES256",), ("x-agent-jti",))
    claims = build_policy(config).reads.claims
    renderer = Renderer(responder, "v", claims)
    reasons = set()
    for _ in range(TOKENS):
        asked = drawn(r)
        fresh = pipeline(config, build_policy(config), frozenset())
        expected = fresh.decide(asked, NOW)
        anew = Renderer(responder, "v", claims).render

        assert all_of(known.decide(asked, NOW), renderer.render) == all_of(expected, anew)
        reasons.add(expected.reason.code if isinstance(expected, Deny) else "allow")
    assert len(reasons) >= 5
    assert "allow" in reasons


def terms_of(decision: Allow) -> object:
    """The terms of an allow's token."""
    return decision.delegation.terms


def test_tokens_of_the_same_terms() -> None:
    """Tokens that differ in ids and times share their terms; and each is recorded as itself."""
    known = remembering(config_of())
    first = allow(known, jti="j1", exp=NOW + 600)
    other = allow(known, jti="j2", iat=NOW - 20, nbf=NOW - 10, exp=NOW + 900)

    assert terms_of(first) is terms_of(other)
    assert (other.delegation.token_id, other.delegation.issued_at) == ("j2", NOW - 20)
    assert other.delegation.claims["jti"] == "j2"
    assert (first.valid_until, other.valid_until) == (NOW + 600, NOW + 900)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": ["a"]},
        {"dept": 8},
        {"scope": f"{READ} more"},
        {"aud": "other"},
        {"act": {"sub": TRAVEL, "act": {"sub": PAYMENTS}}},
        {"header": {"typ": "JWT"}},
        {"unknown": {"jti": "j2"}},
    ],
    ids=str,
)
def test_tokens_of_other_terms(change: dict[str, Any]) -> None:
    """A token that says anything else has terms of its own."""
    known = remembering(config_of())
    assert terms_of(allow(known)) is not terms_of(allow(known, **change))


@pytest.mark.parametrize("name", ["a deny by the id", "a header of the id"])
def test_ids_that_policy_reads(name: str) -> None:
    """An id that a rule or an entry reads is part of the terms."""
    known = remembering(config_of(name))
    assert terms_of(allow(known, jti="j2")) is not terms_of(allow(known, jti="j3"))
    assert terms_of(allow(known, jti="j2")) is terms_of(allow(known, jti="j2", exp=NOW + 99))


def test_ids_that_a_candidate_reads() -> None:
    """A candidate policy decides by the id of each token, even if no other policy reads it."""
    keys: Any = Keys(signer())
    candidate = config_of("a deny by the id")
    snapshot = build_snapshot(config_of(), Lookups(keys), Revocations(), candidate=candidate)
    shadows = [allow(snapshot.authorizer, jti=jti).shadows for jti in ("j2", "j1", "j3")]

    assert [bool(noted) for noted in shadows] == [False, True, False]


def test_what_is_never_remembered() -> None:
    """A known token's terms save another neither its signature, nor its times, nor a revocation."""
    known = remembering(config_of(), "gone")
    allow(known)
    head, payload, _ = token(jti="j2").split(".")
    forged = f"{head}.{payload}.{token().rpartition('.')[2]}"
    asked = [forged, token(jti="gone"), token(exp=NOW - 31), token(jti=""), token(iat=NOW - 4000)]
    decisions = [known.decide(request(text), NOW) for text in asked]

    assert [one.reason.code for one in decisions if isinstance(one, Deny)] == [
        "token_signature",
        "token_revoked",
        "token_expired",
        "token_claim",
        "token_lifetime",
    ]


def test_terms_show_nothing() -> None:
    """Neither terms nor what a token says of itself shows in a log line."""
    terms = terms_of(allow(remembering(config_of())))
    assert repr(terms) == "Terms()"
    assert isinstance(terms, msgspec.Struct)
