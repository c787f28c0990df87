"""Each part that decides reads what it declares, and nothing else; all lists of inputs follow."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from reading import WatchedClaims, WatchedRequest, only, only_claims

from authz.core.decision import Actor, Agent, Delegation, Grant
from authz.core.policy import (
    AgentSettings,
    Case,
    ConditionSettings,
    Policy,
    PrincipalMatch,
    PrincipalSettings,
    RuleSettings,
)
from authz.core.policy.claim_match import HeldClaims
from authz.core.policy.principal_entry import PrincipalEntry, compiled
from authz.core.policy.requirements import Requirement
from authz.core.policy.rules import Rule, RuleSet
from authz.core.policy.time_windows import WindowSettings
from authz.core.reads import NOTHING, Reads, UndeclaredReadError
from authz.core.reason import Denied
from authz.core.request import Call, Operation, Request
from authz.core.spiffe import SpiffeId

AGENT, EARLIER, ISSUER = "spiffe://td/agent", "spiffe://td/earlier", "https://issuer.example"
CONDITIONS = ConditionSettings(headers=("x-env", "x-team"), claims=("level", "org"))
BOTH = Reads(headers=frozenset(CONDITIONS.headers), claims=frozenset(CONDITIONS.claims))
NOW = 1_800_000_000.0


def _name(value: object) -> str:
    return str(value) if isinstance(value, dict) else "reads"


def of_headers(*names: str) -> Reads:
    """Headers are read."""
    return Reads(headers=frozenset(names))


def of_claims(*names: str) -> Reads:
    """Claims are read."""
    return Reads(claims=frozenset(names))


def when(text: str) -> dict[str, Any]:
    """A rule's condition."""
    return {"when": text}


# By the key of a rule: what else the rule has with it, and what it then reads.
KEYS: dict[str, list[tuple[dict[str, Any], Reads]]] = {
    "scopes": [({"scopes": ("a",)}, NOTHING)],
    "headers": [
        ({"headers": {"x-env": ("prod",)}}, of_headers("x-env")),
        ({"headers": {"x-env": ("*",), "x-team": ("a", "b")}}, of_headers("x-env", "x-team")),
        ({"headers": {"x-env": ("prod",)}, "effect": "deny"}, of_headers("x-env")),
    ],
    "during": [
        ({"during": (WindowSettings(not_after=datetime.fromtimestamp(NOW + 7.5, UTC)),)}, NOTHING)
    ],
    "max_actors": [({"max_actors": 1}, NOTHING)],
    "max_token_age": [({"max_token_age": 60.0}, NOTHING)],
    "acr_values": [({"acr_values": ("gold",)}, of_claims("acr"))],
    "max_age": [
        ({"max_age": 60.0}, of_claims("auth_time")),
        ({"max_age": 60.0, "acr_values": ("gold",)}, of_claims("acr", "auth_time")),
    ],
    "via": [({"via": (EARLIER,)}, NOTHING), ({"via": (EARLIER,), "effect": "deny"}, NOTHING)],
    "when": [
        (when("delegation.depth < 2"), NOTHING),
        (when('claims.level == "gold"'), of_claims("level", "org")),
        ({**when('claims.level == "gold"'), "effect": "deny"}, of_claims("level", "org")),
        (when('request.headers["x-env"] == "prod"'), of_headers("x-env", "x-team")),
        (when('"org" in claims || size(request.headers) > 1'), BOTH),
    ],
    "add_headers": [
        ({"add_headers": {"x-agent-dept": "dept"}}, of_claims("dept")),
        ({"add_headers": {"x-agent-dept": "/org/dept"}}, of_claims("org")),
    ],
    "mcp": [({"mcp": {"tools": ("pay",)}}, NOTHING), ({"mcp": {"tools": ("*",)}}, NOTHING)],
    "a2a": [({"a2a": {"methods": ("SendMessage",), "skills": ("pay",)}}, NOTHING)],
    "models": [
        ({"models": {"names": ("m",)}}, NOTHING),
        ({"models": {"names": ("m",)}, "effect": "deny"}, NOTHING),
    ],
}
# What says nothing of a request, or is found by an index and stands in every Request.
NOT_ASKED = {"name", "description", "owner", "effect", "shadow", "hosts", "methods", "paths"}
EXAMPLES = [example for examples in KEYS.values() for example in examples]
# By the key of a match likewise.
MATCHES: dict[str, list[tuple[dict[str, Any], Reads]]] = {
    "issuer": [({}, NOTHING)],
    "subjects": [({"subjects": ("alice", "spiffe://td/*")}, NOTHING)],
    "groups": [({"groups": ("a", "b")}, of_claims("groups"))],
    "roles": [({"roles": ("a",), "groups": ("a",)}, of_claims("groups", "roles"))],
    "claims": [({"claims": {"dept": ("a", 1), "/org/dept": (True,)}}, of_claims("dept", "org"))],
}
MATCHED = [example for examples in MATCHES.values() for example in examples]


def rule(keys: Mapping[str, Any]) -> RuleSettings:
    """A rule of everything with these keys."""
    scopes = {} if keys.get("effect") == "deny" else {"scopes": ()}
    return RuleSettings(**{"hosts": ("*",), "methods": ("*",), "paths": ("/**",), **scopes, **keys})


def entry_of(match: Mapping[str, Any]) -> PrincipalEntry:
    """An entry that gives and takes."""
    settings = PrincipalSettings(match=PrincipalMatch(issuer=ISSUER, **match), grants=("g",))
    return compiled(0, settings, RuleSet([Rule.of("g/0", rule({"effect": "deny"}), CONDITIONS)]))


HEADERS = ("x-env", "x-team", "x-other", "authorization", "dpop", "x-forwarded-client-cert")
CLAIMS = ("acr", "auth_time", "level", "org", "dept", "groups", "roles", "other")
_values = st.sampled_from(["prod", "a", "a,prod", "gold", "b"])
_claim: st.SearchStrategy[object] = st.sampled_from(
    ["gold", "a", NOW - 1, NOW - 99, {"dept": "a"}, ["a", "b"], {}, None, True]
)
_marks: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{}, {}, {"hasgroups": True}, {"_claim_names": {"level": "s"}}]
)
_calls = [
    Call("tools/call", "tool", "pay"),
    Call("tools/call", "tool", ""),
    Call("SendMessage", "skill", "pay"),
    Call("chat/completions", "model", "m"),
]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Requests with any of the headers."""
    headers = draw(st.dictionaries(st.sampled_from(HEADERS), _values))
    return Request("GET", "h", "/x", tuple(sorted(headers.items())))


@st.composite
def delegations(draw: st.DrawFn) -> Delegation:
    """Delegations with any of the claims."""
    claims = {**draw(st.dictionaries(st.sampled_from(CLAIMS), _claim)), **draw(_marks)}
    actors = (Actor(ISSUER, AGENT), Actor(ISSUER, EARLIER))[: draw(st.integers(1, 2))]
    scopes = frozenset(draw(st.sets(st.sampled_from("ab"))))
    subject = draw(st.sampled_from(["alice", "spiffe://td/x"]))
    return Delegation(ISSUER, subject, actors, scopes, NOW - 30, NOW + 600, claims=claims)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Plain operations, and calls of each protocol."""
    protocol = draw(st.sampled_from(["", "mcp", "a2a", "openai"]))
    call = draw(st.sampled_from(_calls)) if protocol else None
    return Operation("GET", "h", ("x",), protocol=protocol, call=call)


def question(request: Request, delegation: Delegation, operation: Operation, reads: Reads) -> Case:
    """A question to who declares these reads."""
    case = Case(Agent(SpiffeId.parse(AGENT)), delegation, operation, request, NOW)
    case.declared = reads
    return case


def classes_of(base: type) -> set[str]:
    """The product's classes of a kind that are no kind themselves, by name."""
    found = set()
    below = [base]
    while below:
        cls = below.pop()
        below += cls.__subclasses__()
        if cls.__module__.startswith("authz.") and not getattr(cls, "__abstractmethods__", None):
            found.add(cls.__qualname__)
    return found


def fields(settings: type[BaseModel]) -> set[str]:
    """The keys of a section."""
    return set(settings.model_fields)


def test_every_rule_key_has_an_example() -> None:
    """A new rule key, requirement class or key of a match is tested here, or this fails."""
    assert set(KEYS) | NOT_ASKED == fields(RuleSettings)
    assert not set(KEYS) & NOT_ASKED
    assert set(MATCHES) == fields(PrincipalMatch)
    made = {
        type(one).__qualname__ for keys, _ in EXAMPLES for one in compiled_rule(keys).requirements
    }
    assert made == classes_of(Requirement)


def compiled_rule(keys: Mapping[str, Any]) -> Rule:
    """The rule with these keys."""
    return Rule.of("g/0", rule(keys), CONDITIONS)


@pytest.mark.parametrize(("keys", "reads"), EXAMPLES, ids=_name)
def test_what_rules_declare(keys: dict[str, Any], reads: Reads) -> None:
    """A rule declares the headers and claims that its keys name, and no others."""
    assert compiled_rule(keys).reads == reads


@pytest.mark.parametrize(("match", "reads"), MATCHED, ids=_name)
def test_what_matches_declare(match: dict[str, Any], reads: Reads) -> None:
    """A match declares the claims that it names, and no others."""
    assert entry_of(match).reads == reads


@pytest.mark.parametrize(("keys", "_"), EXAMPLES, ids=_name)
@settings(max_examples=40)
@given(requests(), delegations(), operations())
def test_requirements_read_what_they_declare(
    keys: dict[str, Any],
    _: Reads,
    request_: Request,
    delegation: Delegation,
    operation: Operation,
) -> None:
    """A requirement looks for nothing that it does not declare, and nothing else changes it.

    Conditions alone are shown all that the config lists for them.
    """
    rule_ = compiled_rule(keys)
    for one in rule_.requirements:
        watched = WatchedRequest.of(request_)
        claims = WatchedClaims(dict(delegation.claims))
        full = msgspec.structs.replace(delegation, claims=claims)
        case = question(watched, full, operation, one.reads)
        answer = one.miss(case), one.steady_until(case)
        shown = CONDITIONS.reads if "when" in keys else NOTHING

        assert watched.looked_for <= one.reads.headers
        assert claims.looked_for <= (one.reads | shown).claims
        less = only_claims(delegation, one.reads)
        again = question(only(request_, one.reads), less, operation, one.reads)
        assert (one.miss(again), one.steady_until(again)) == answer
    claims = WatchedClaims(dict(delegation.claims))
    given_ = dict(rule_.added_headers.values(claims))
    assert claims.looked_for <= rule_.added_headers.reads.claims
    assert bool(given_) <= ("add_headers" in keys)


@pytest.mark.parametrize(("match", "_"), MATCHED, ids=_name)
@settings(max_examples=40)
@given(delegations())
def test_matches_read_what_they_declare(
    match: dict[str, Any], _: Reads, delegation: Delegation
) -> None:
    """A match looks for no claim that it does not declare, and no other claim changes it."""
    entry = entry_of(match)
    claims = WatchedClaims(dict(delegation.claims))
    full = msgspec.structs.replace(delegation, claims=claims)
    counted = entry.counted(full, HeldClaims(claims))
    less = only_claims(delegation, entry.reads)

    assert claims.looked_for <= entry.reads.claims
    assert entry.counted(less, HeldClaims(less.claims)) is counted


def outcome_of(policy: Policy, case: Case) -> object:
    """What a policy says, to be compared."""
    try:
        outcome = policy.judge(case).outcome
    except Denied as denied:
        outcome = denied
    return outcome if isinstance(outcome, Grant) else (outcome.reason, outcome.detail, outcome.rule)


@given(st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=3), st.sampled_from(MATCHED),
       requests(), delegations(), operations())  # fmt: skip
def test_a_policy_reads_what_its_parts_declare(
    examples: list[tuple[dict[str, Any], Reads]],
    match: tuple[dict[str, Any], Reads],
    request_: Request,
    delegation: Delegation,
    operation: Operation,
) -> None:
    """What no part of a policy declares changes nothing: a Request and a record can do without."""
    parts = (*examples, match)
    policy = Policy(
        [AgentSettings(id=AGENT, grants=("g",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER, **match[0]), grants=("g",))],
        {"g": tuple(rule(keys) for keys, _ in examples)},
        conditions=CONDITIONS,
    )
    less = only_claims(delegation, policy.reads)

    assert policy.reads == Reads.union((CONDITIONS.reads, *(reads for _, reads in parts)))
    full = outcome_of(policy, question(request_, delegation, operation, NOTHING))
    assert full == outcome_of(
        policy, question(only(request_, policy.reads), less, operation, NOTHING)
    )


def test_an_undeclared_header_is_a_fault() -> None:
    """A policy that reads a header which none of its parts declares raises, whoever sent what."""
    policy = Policy(
        [AgentSettings(id=AGENT, grants=("g",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("g",))],
        {"g": (rule({}), rule({"effect": "deny", "headers": {"x-env": ("prod",)}}))},
    )
    delegation = Delegation(ISSUER, "alice", (), frozenset(), NOW, NOW + 60)
    case = question(Request("GET", "h", "/x"), delegation, Operation("GET", "h", ("x",)), NOTHING)
    assert isinstance(policy.judge(case).outcome, Grant)

    policy.reads = NOTHING
    with pytest.raises(UndeclaredReadError):
        policy.judge(case)


def test_a_requirement_has_to_declare() -> None:
    """No requirement can be made of a class that does not say what it reads."""

    class Silent(Requirement):
        def miss(self, _: Case) -> None:
            """Nothing."""

        def steady_until(self, case: Case) -> float:
            """Now."""
            return case.now

    with pytest.raises(TypeError, match="reads"):
        Silent()  # type: ignore[abstract]
