"""Policy: default deny, agent and principal and scope together, against a plain model."""

from itertools import product

import pytest
from hypothesis import given

from authz.core.decision import Delegation
from authz.core.patterns import path_pattern
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings
from authz.core.policy.policy import Policy
from authz.core.reason import Denied, Reason
from authz.core.request import Operation
from support.path_rules import (
    AGENT,
    ISSUER,
    PATTERNS,
    SEGMENTS,
    decide,
    delegation,
    policy,
    query,
    rule,
)


def test_both_sides_must_allow() -> None:
    """What only one side may is denied."""
    subject = policy((rule("/a /both"),), (rule("/p /both"),))

    assert decide(subject, "/both", delegation()) == "allow"
    assert decide(subject, "/a", delegation()) == "policy_denied"
    assert decide(subject, "/p", delegation()) == "policy_denied"
    assert decide(subject, "/", delegation()) == "policy_denied"


def test_scopes_of_both_sides_are_needed_and_named() -> None:
    """The token needs the scopes of the agent's rule and of the principal's; all are named."""
    subject = policy((rule("/x", "s1"),), (rule("/x", "s2"),))

    assert decide(subject, "/x", delegation("s1", "s2")) == "allow"
    for scopes in ((), ("s1",), ("s2",)):
        with pytest.raises(Denied) as caught:
            subject.evaluate(query(delegation(*scopes), Operation("GET", "h", ("x",)))).permitted()
        assert caught.value.reason is Reason.SCOPE
        assert caught.value.parameters == (("scope", "s1 s2"),)


def test_any_rule_with_its_scopes_allows() -> None:
    """Of several rules that match, one whose scopes are there is enough."""
    subject = policy((rule("/x", "s1"), rule("/**", "s2")), (rule("/**"),))

    assert decide(subject, "/x", delegation("s2")) == "allow"


@pytest.mark.parametrize(
    ("match", "given_", "expected"),
    [
        ({}, delegation(), "allow"),
        ({}, delegation(issuer="https://other"), "policy_denied"),
        ({"subjects": ("alice",)}, delegation(), "allow"),
        ({"subjects": ("bob",)}, delegation(), "policy_denied"),
        ({"groups": ("g",)}, delegation(groups=["x", "g"]), "allow"),
        ({"groups": ("g",)}, delegation(groups=["G"]), "policy_denied"),
        ({"groups": ("g",)}, delegation(groups="g"), "allow"),
        ({"groups": ("g",)}, delegation(groups="g h"), "policy_denied"),
        ({"groups": ("g",)}, delegation(groups={"g": 1}), "policy_denied"),
        ({"groups": ("g",)}, delegation(), "policy_denied"),
        ({"groups": ("g",), "subjects": ("bob",)}, delegation(groups=["g"]), "policy_denied"),
    ],
)
def test_principals(match: dict[str, object], given_: Delegation, expected: str) -> None:
    """A principal is one by issuer and by every further member that is given."""
    subject = policy((rule("/**"),), (rule("/**"),), **match)

    assert decide(subject, "/x", given_) == expected


def test_unknown_and_suspended_agents() -> None:
    """An agent that is not listed, or is suspended, may nothing."""
    grants = {"a": (rule("/**"),)}
    principals = [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("a",))]
    suspended = AgentSettings(id=AGENT, grants=("a",), suspended=True)

    assert decide(Policy([], principals, grants), "/x", delegation()) == "agent_unknown"
    assert decide(Policy([suspended], principals, grants), "/x", delegation()) == "agent_suspended"


def test_hosts_and_methods() -> None:
    """Hosts and methods are exact, or any by an explicit star."""
    anything = (rule("/**", host="*", method="*"),)

    assert decide(policy(anything, anything), "/x", delegation(), "DELETE") == "allow"
    assert decide(policy((rule("/**"),), anything), "/x", delegation(), "HEAD") == "policy_denied"
    assert decide(policy((rule("/**", host="g"),), anything), "/x", delegation()) == "policy_denied"


@given(PATTERNS, PATTERNS, SEGMENTS)
def test_the_tree_finds_what_a_scan_finds(
    of_agent: list[str], of_principal: list[str], segments: list[str]
) -> None:
    """The compiled tree allows exactly what matching every pattern one by one allows."""
    subject = policy((rule(" ".join(of_agent)),), (rule(" ".join(of_principal)),))
    path = tuple(segments)
    expected = all(
        any(path_pattern(text).matches(path) for text in patterns)
        for patterns in (of_agent, of_principal)
    )

    assert (decide(subject, "/" + "/".join(path), delegation()) == "allow") == expected


def test_many_rules_are_no_scan() -> None:
    """With thousands of rules a match still visits a handful of tree nodes."""
    paths = " ".join(f"/{a}/{b}/x" for a, b in product(range(50), range(50)))
    subject = policy((rule(paths),), (rule("/**"),))

    assert decide(subject, "/49/49/x", delegation()) == "allow"
    assert decide(subject, "/49/50/x", delegation()) == "policy_denied"
