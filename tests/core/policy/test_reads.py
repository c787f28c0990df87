"""Each part of a policy reads what it declares, and nothing else."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from authz.core.decision import Delegation, Permit
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.claim_match import HeldClaims
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.requirement import Requirement
from authz.core.reads import NOTHING, Reads, UndeclaredReadError
from authz.core.reason import Denied
from authz.core.request import Operation, Request
from support.read_rules import (
    AGENT,
    CONDITIONS,
    EXAMPLES,
    ISSUER,
    KEYS,
    MATCHED,
    MATCHES,
    NOT_ASKED,
    NOW,
    compiled_rule,
    delegations,
    entry_of,
    operations,
    question,
    requests,
    rule,
)
from support.reading import WatchedClaims, WatchedRequest, only, only_claims


def _name(value: object) -> str:
    return str(value) if isinstance(value, dict) else "reads"


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
        query = question(watched, full, operation, one.reads)
        answer = one.unmet(query), one.stable_until(query)
        shown = CONDITIONS.reads if "when" in keys else NOTHING

        assert watched.looked_for <= one.reads.headers
        assert claims.looked_for <= (one.reads | shown).claims
        less = only_claims(delegation, one.reads)
        again = question(only(request_, one.reads), less, operation, one.reads)
        assert (one.unmet(again), one.stable_until(again)) == answer
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


def outcome_of(policy: Policy, query: PolicyQuery) -> object:
    """What a policy says, to be compared."""
    try:
        outcome = policy.evaluate(query).outcome
    except Denied as denied:
        outcome = denied
    return (
        outcome if isinstance(outcome, Permit) else (outcome.reason, outcome.detail, outcome.rule)
    )


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
    query = question(Request("GET", "h", "/x"), delegation, Operation("GET", "h", ("x",)), NOTHING)
    assert isinstance(policy.evaluate(query).outcome, Permit)

    policy.reads = NOTHING
    with pytest.raises(UndeclaredReadError):
        policy.evaluate(query)


def test_a_requirement_has_to_declare() -> None:
    """No requirement can be made of a class that does not say what it reads."""

    class Silent(Requirement):
        def unmet(self, _: PolicyQuery) -> None:
            """Nothing."""

        def stable_until(self, query: PolicyQuery) -> float:
            """Now."""
            return query.now

    with pytest.raises(TypeError, match="reads"):
        Silent()  # type: ignore[abstract]
