"""Who can, what can: policy asked the other way round never hides what it would allow."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision import Agent, Effect
from authz.core.patterns import SegmentPattern, path_pattern
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.policy import Policy
from authz.core.request import Operation
from authz.core.spiffe import SpiffeId
from authz.review.search import what_can, who_can
from lab.config_builder import AT_READ_RULE, LAB
from lab.mesh import TRAVEL
from support.path_rules import (
    AGENT,
    ISSUER,
    RULES,
    SEGMENTS,
    decide,
    delegation,
    policy,
    query,
    rule,
)
from support.verbs import URL, edit, run

SEGMENT_PATTERNS = st.builds(
    SegmentPattern,
    st.lists(st.sampled_from(["a", "b", "", None]), max_size=4).map(tuple),
    st.booleans(),
)


@given(SEGMENT_PATTERNS, SEGMENT_PATTERNS, st.lists(st.sampled_from(["a", "b", ""]), max_size=5))
def test_an_intersection_matches_what_both_match(
    one: SegmentPattern, other: SegmentPattern, segments: list[str]
) -> None:
    """A path fits the intersection of two patterns exactly when it fits both."""
    both = one.intersection(other)
    path = tuple(segments)

    is_of_both = both is not None and both.matches(path)
    assert is_of_both == (one.matches(path) and other.matches(path))


@given(RULES, RULES, SEGMENTS)
def test_what_is_allowed_is_told(
    of_agent: tuple[RuleSettings, ...],
    of_principal: tuple[RuleSettings, ...],
    segments: list[str],
) -> None:
    """What policy allows is in what-can and who-can; what they tell is allowed or in a deny."""
    subject = policy(of_agent, of_principal)
    path = tuple(segments)
    operation = Operation("GET", "h", path)
    is_allowed = decide(subject, "/" + "/".join(path), delegation()) == "allow"
    what = what_can(subject, Agent(SpiffeId.parse(AGENT)), delegation())
    who = who_can(subject, operation)
    is_denied = any(
        path_pattern(text).matches(path)
        for one in (*of_agent, *of_principal)
        if one.effect == "deny"
        for text in one.paths
    )

    is_told = any(reach.matches(operation) for reach in what.reaches)
    assert is_told or not is_allowed
    assert bool(who) or not is_allowed
    assert is_allowed or is_denied or not (is_told or bool(who))
    assert bool(who.excepted) == is_denied


def test_hosts_of_both() -> None:
    """The hosts are those that both sides have in common, less what a deny holds whole."""
    agent = Agent(SpiffeId.parse(AGENT))
    ours = rule("/**", host="**.corp.example")
    theirs = (rule("/a", host="*.t.corp.example"), rule("/b", host="x.t.corp.example"))
    deny = RuleSettings(
        effect=Effect.DENY, hosts=("*.t.corp.example",), methods=("*",), paths=("/b",)
    )

    found = what_can(policy((ours, rule("/c")), theirs), agent, delegation())
    assert [reach.hosts for reach in found.reaches] == [
        ("*.t.corp.example",),
        ("x.t.corp.example",),
    ]
    assert found.reaches[0].matches(Operation("GET", "y.t.corp.example", ("a",)))
    assert not found.reaches[0].matches(Operation("GET", "y.x.t.corp.example", ("a",)))
    found = what_can(policy((ours, deny), theirs), agent, delegation())
    assert [reach.hosts for reach in found.reaches] == [("*.t.corp.example",)]
    assert who_can(policy((ours,), theirs), Operation("GET", "x.t.corp.example", ("b",)))
    assert not who_can(policy((ours,), theirs), Operation("GET", "y.t.corp.example", ("b",)))


def test_a_deny_takes_away_what_it_holds_whole() -> None:
    """A deny that asks nothing else removes a path; one with a condition is listed only."""
    agent = Agent(SpiffeId.parse(AGENT))
    cases: list[tuple[dict[str, tuple[str, ...]], list[str]]] = [
        ({}, ["/a"]),
        ({"x-env": ("prod",)}, ["/a", "/b/*"]),
    ]
    for headers, left in cases:
        deny = RuleSettings(
            effect=Effect.DENY, hosts=("*",), methods=("*",), paths=("/b/**",), headers=headers
        )
        found = what_can(policy((rule("/a /b/{id}"), deny), (rule("/**"),)), agent, delegation())

        assert [str(path) for reach in found.reaches for path in reach.paths] == left
        assert any("/b/**" in line for line in found.excepted)


def test_scopes_and_names_of_both() -> None:
    """An intersection tells the scopes and the rules of both sides."""
    subject = policy((rule("/a/**", "s1"),), (rule("/*/x", "s2"),))
    found = what_can(subject, Agent(SpiffeId.parse(AGENT)), delegation())

    assert found.lines()[1:] == ["  GET h /a/x", "    scopes s1 s2; by a/0 and p/0"]


def test_suspended_ones_are_left_out() -> None:
    """A suspended agent is in no list of who can, also by a pattern; and it can nothing."""
    subject = Policy(
        [
            AgentSettings(id=AGENT, grants=("g",)),
            AgentSettings(id="spiffe://td/*", suspended=True),
            AgentSettings(id="spiffe://td/x/*", grants=("g",)),
        ],
        [
            PrincipalSettings(
                match=PrincipalMatch(issuer=ISSUER), grants=("g",), agents=("spiffe://td/x/*",)
            ),
            PrincipalSettings(match=PrincipalMatch(issuer="https://b"), suspended=True),
        ],
        {"g": (rule("/a"),)},
    )
    asked = query(delegation(), Operation("GET", "h", ("a",)))
    who = who_can(subject, asked.operation)
    what = what_can(subject, asked.agent, None)

    assert [one.name for one in who.agents] == ["spiffe://td/x/*"]
    assert [one.name for one in who.principals] == [
        f"principals[0] ({ISSUER}) through spiffe://td/x/*"
    ]
    assert len(who.excepted) == 2
    assert not what
    assert "suspended by agents spiffe://td/*" in what.excepted


def test_two_without_limits_allow_nothing() -> None:
    """Where both sides are unrestricted no rule allows, and none is told."""
    subject = Policy(
        [AgentSettings(id=AGENT, unrestricted=True)],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), unrestricted=True)],
        {"g": (rule("/a"),)},
    )

    assert not who_can(subject, Operation("GET", "h", ("a",)))
    assert not what_can(subject, Agent(SpiffeId.parse(AGENT)), delegation())


def test_verbs(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verbs list what there is with 0, and end with 1 where there is nothing."""
    assert run("who-can", str(config), "GET", URL) == 0
    out = capsys.readouterr().out
    assert f"  {TRAVEL}\n    finance-read/0: scopes balance:read" in out
    assert "sa/retired: suspended" in out
    assert run("who-can", str(config), "DELETE", URL) == 1
    assert run("who-can", str(config), "GET", f"{URL}/..%2fx") == 1
    capsys.readouterr()
    assert run("what-can", str(config), TRAVEL) == 0
    assert "GET * /public/**" in capsys.readouterr().out
    assert run("what-can", str(config), TRAVEL, "--for", "bob", "--group", "readers") == 0
    out = capsys.readouterr().out
    assert "GET mcp.corp.example /finance/**" in out
    assert "/public" not in out
    assert run("what-can", str(config), TRAVEL, "--for", "bob") == 1
    assert run("what-can", str(config), "travel") == 1
    assert f"; did you mean {TRAVEL}?" in capsys.readouterr().err


def test_whom_no_entry_is_about() -> None:
    """Who is not known at all is told so, and not only that it may nothing."""
    agent = Agent(SpiffeId.parse(AGENT))
    nobody = Agent(SpiffeId.parse("spiffe://corp.example/nobody"))
    subject = policy((rule("/a"),), (rule("/a"),))
    unknown = delegation(issuer="https://other.example")

    assert what_can(subject, nobody, None).lines()[1] == "  nothing: no entry of agents matches it"
    assert "no entry of principals" in what_can(subject, agent, unknown).lines()[1]
    assert what_can(subject, agent, None)


def test_suspended_elsewhere() -> None:
    """An agent that is suspended is told where it could be one that has a rule, nowhere else."""
    ids = ("spiffe://corp.example/a", "spiffe://corp.example/b", "spiffe://corp.example/*")
    grants = {"g": (rule("/a"),), "none": (rule("/b"),)}
    agents = [
        AgentSettings(id=ids[0], grants=("g",)),
        AgentSettings(id=ids[1], grants=("none",), suspended=True),
    ]
    found = who_can(Policy(agents, (), grants), Operation("GET", "h", ("a",)))
    assert found.excepted == ()
    agents.append(AgentSettings(id=ids[2], grants=("none",), suspended=True))
    found = who_can(Policy(agents, (), grants), Operation("GET", "h", ("a",)))
    assert found.excepted == (f"agents {ids[2]}: suspended",)


def test_budgets_are_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who holds a rule with a budget is listed with it, as is what a caller can do."""
    edit(config, LAB.with_((*AT_READ_RULE, "budget"), {"limit": 7, "per": "pair", "window": "1h"}))
    assert run("who-can", str(config), "GET", URL) == 0
    assert "scopes balance:read, budget 7 in 1h per pair" in capsys.readouterr().out
    assert run("what-can", str(config), TRAVEL) == 0
    assert "budget 7 in 1h per pair" in capsys.readouterr().out
