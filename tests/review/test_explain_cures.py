"""What explain names as missing is what is missing: whoever follows it is allowed."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from authz.core.decision import Actor, Delegation, Effect, Mode, Permit
from authz.core.delegation.without_token import by_svid
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.reason import Denied, Reason
from authz.core.request import Operation
from authz.review.explain.cures import Cure
from authz.review.explain.rule_report import report_rules
from lab.config_builder import LAB, ConfigBuilder
from lab.mesh import PAYMENTS, TRAVEL
from support.path_rules import AGENT, ISSUER, delegation, query
from support.verbs import edit, run, write_config

GRANTS = """\
mail:
  - {name: send, hosts: ["*"], methods: [POST], paths: [/mail], scopes: []}
calendar:
  - {name: read, hosts: ["*"], methods: [GET], paths: [/calendar], scopes: []}
post:
  - {name: send, hosts: ["*"], methods: [POST], paths: [/mail], scopes: ["mail:send"]}
short:
  - {name: send, hosts: ["*"], methods: [POST], paths: [/mail], scopes: [], max_token_age: 5m}
tools:
  - {name: one, hosts: ["*"], methods: [POST], paths: [/mcp], scopes: [], mcp: {tools: [one]}}
other-tools:
  - {name: two, hosts: ["*"], methods: [POST], paths: [/mcp], scopes: [], mcp: {tools: [two]}}
no-mail:
  - {name: none, effect: deny, hosts: ["*"], methods: ["*"], paths: [/mail]}
"""
ALICE = ("principals", 0)
LACKS = "does not hold grant"


def holding(agent: Sequence[str], principal: Sequence[str], *without: str) -> ConfigBuilder:
    """The grants of the travel agent and of alice, without some of the grants."""
    held = LAB.with_keys(("grants",), GRANTS).with_(("agents", TRAVEL, "grants"), list(agent))
    held = held.with_((*ALICE, "grants"), list(principal))
    for name in without:
        held = held.without(("grants", name))
    return held.with_routes("[{name: mcp, paths: [/mcp], protocol: mcp}]")


ALONE = ("post", "short", "no-mail")  # so that mail is the only grant about mail
SUSPENDED = {"value": True}
DENY = '{effect: deny, hosts: ["*"], methods: ["*"], paths: [/mail]}'
SCOPE = "the scope mail:send is missing"
ALICES = "https://as.corp.example; subjects alice"
STAFF = "https://as.corp.example; groups staff; or without"
ABSENT = "in none of its groups: it is not in the token"
OF_AGENT = "mail/send of the agent would allow: "
NO_ENTRY = f"{OF_AGENT}no entry of principals matches the principal, so it {LACKS} mail"
OF_PRINCIPAL = "mail/send of the principal would allow: "
CASES: list[tuple[str, ConfigBuilder, Sequence[str], Sequence[str]]] = [
    ("the agent lacks it", holding(["calendar"], ["mail"]), (),
     [f"{OF_PRINCIPAL}the agent {LACKS} mail"]),
    ("the principal lacks it", holding(["mail"], ["calendar"]), (),
     [f"mail/send of the agent would allow: the principal {LACKS} mail"]),
    ("both lack it", holding(["calendar"], ["calendar"], *ALONE), (),
     [f"mail/send would allow: the agent {LACKS} mail",
      f"mail/send would allow: the principal {LACKS} mail"]),
    ("the scope lacks", holding(["post"], ["mail"]), (),
     ["post/send: the scope mail:send is missing"]),
    ("scope and agent", holding(["calendar"], ["post"]), (),
     [f"post/send of the principal would allow: the agent {LACKS} post; and {SCOPE}",
      f"post/send: {SCOPE}"]),
    ("a limit", holding(["short"], ["mail"]), ("--token-age", "6m"),
     ["short/send: the token was issued more than 300 s ago"]),
    ("a deny", holding(["mail", "no-mail"], ["calendar"]), (), []),
    ("suspended", holding(["mail"], ["calendar"]).with_(("agents", TRAVEL, "suspended"),
                                                         **SUSPENDED), (), []),
    ("no entry of the agent", holding(["calendar"], ["mail"]), ("--agent", f"{TRAVEL}x"),
     [f"{OF_PRINCIPAL}no entry of agents matches the agent, so it {LACKS} mail"]),
    ("no entry of the principal", holding(["mail"], ["mail"]), ("--principal", "carol"),
     [f"{NO_ENTRY} (principals[0] ({ALICES}) has it: the principal is not one of its subjects)"]),
    ("through others", holding(["mail"], ["mail"]).with_((*ALICE, "agents"), [PAYMENTS]), (),
     [f"{NO_ENTRY} (principals[0] ({ALICES}) has it: not through this agent)"]),
    ("its denies alone", holding(["mail"], ["mail", "no-mail"]).with_yaml(
        ("grants", "no-mail", 0, "paths"), "[/other]").without((*ALICE, "match", "subjects"))
        .with_keys((*ALICE, "match"), "{groups: [staff]}").with_((*ALICE, "if_absent"), "deny"), (),
     [f"{OF_AGENT}the principal {LACKS} mail (principals[0] ({STAFF}) has it: {ABSENT})"]),
    ("no rule at all", holding(["calendar"], ["calendar"], "mail", *ALONE), (),
     ["calendar/read: the method POST is not one of GET; the path /mail is not one of /calendar"]),
    ("a grant that denies",
     holding(["calendar"], ["calendar"], "mail", "short", "no-mail").with_items(
         ("grants", "post"), f"[{DENY}]", 1), (),
     ["calendar/read: the method POST is not one of GET; the path /mail is not one of /calendar"]),
]  # fmt: skip


def missed(config: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[list[str], str]:
    """The nearest misses that explain tells, and all that it says."""
    agent = () if "--agent" in flags else ("--agent", TRAVEL)
    who = () if "--principal" in flags else ("--principal", "alice")
    path = "/mcp" if "--tool" in flags else "/mail"
    call = ["explain", str(config), "POST", f"https://h.example{path}", *agent, *who, *flags]
    assert run(*call) == 1
    out = capsys.readouterr().out
    start = "nearest miss: "
    return [line[len(start) :] for line in out.splitlines() if line.startswith(start)], out


@pytest.mark.parametrize(
    ("changes", "flags", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_what_is_named(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: ConfigBuilder,
    flags: Sequence[str],
    expected: Sequence[str],
) -> None:
    """Each side that does not allow is named with what it lacks; nothing where something denies."""
    config = write_config(tmp_path)
    edit(config, changes)
    found, out = missed(config, capsys, *flags)

    assert found == expected
    assert bool(found) != ("denied by: no-mail/none" in out or "suspended: the " in out)


def test_the_least_that_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of grants that neither holds, the one that gives least besides is named, not the first."""
    wide = """\
all:
  - {hosts: ["*"], methods: ["*"], paths: [/**], scopes: []}
any-mail:
  - {hosts: ["*"], methods: [POST], paths: [/mail], scopes: []}
  - {hosts: ["*"], methods: [DELETE], paths: [/mail], scopes: []}
"""
    config = write_config(tmp_path)
    edit(config, holding(["calendar"], ["calendar"], *ALONE).with_keys(("grants",), wide))
    found, _ = missed(config, capsys)
    assert found == [
        f"mail/send would allow: the agent {LACKS} mail",
        f"mail/send would allow: the principal {LACKS} mail",
    ]


def test_a_call_of_another_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where a side holds a rule on other calls, both that rule and the missing grant are named."""
    config = write_config(tmp_path)
    edit(config, holding(["tools"], ["other-tools"]))
    found, _ = missed(config, capsys, "--tool", "two")

    assert found == [
        "tools/one: the tool two is not one of one",
        f"other-tools/two of the principal would allow: the agent {LACKS} other-tools",
    ]


def test_unrestricted_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two unrestricted sides allow nothing, and explain says what it takes."""
    config = write_config(tmp_path)
    free = LAB.with_(("agents", TRAVEL, "unrestricted"), **SUSPENDED)
    edit(config, free.with_((*ALICE, "unrestricted"), **SUSPENDED))
    found, _ = missed(config, capsys)

    assert found == ["both sides are unrestricted: one of them needs a rule that allows"]


def test_a_method_that_no_rule_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown method is named, and no rule that would seem to miss little."""
    config = write_config(tmp_path)
    edit(
        config, holding(["tools"], ["tools"]).and_(LAB.with_(("grants", "tools", 0, "owner"), "o"))
    )
    call = ("--mcp", "x/y")
    assert run("explain", str(config), "POST", "https://h.example/mcp", "--agent", TRAVEL,
               "--principal", "alice", *call) == 1  # fmt: skip
    out = capsys.readouterr().out
    assert "nearest miss: the method x/y is not one of the protocol's, and no rule lists it" in out


NAMES = ("a", "b", "c")
SOME = st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(tuple)
OPERATION = Operation("GET", "h", ("x",))


def made(
    path: str, scopes: set[str], effect: str, actors: int | None, *, shadow: bool = False
) -> RuleSettings:
    """A rule; a deny has no scopes and no limits."""
    limits: dict[str, Any] = {"scopes": tuple(sorted(scopes)), "max_actors": actors}
    kept = limits if effect == "allow" else {}
    return RuleSettings(
        hosts=("h",),
        methods=("GET",),
        paths=(path,),
        effect=Effect(effect),
        shadow=shadow,
        **kept,
    )


RULES = st.lists(
    st.builds(
        made,
        st.sampled_from(["/x", "/*", "/y"]),
        st.sets(st.sampled_from(["s", "t"])),
        st.sampled_from(["allow", "allow", "allow", "deny"]),
        st.sampled_from([None, None, 1]),
        shadow=st.sampled_from([False, False, True]),
    ),
    min_size=1,
    max_size=2,
).map(tuple)
FLAGS = st.sampled_from([False, False, False, True])
AGENTS = st.lists(
    st.builds(
        AgentSettings,
        id=st.sampled_from([AGENT, "spiffe://td/*", "spiffe://td/other"]),
        grants=SOME,
        suspended=FLAGS,
        unrestricted=FLAGS,
    ),
    max_size=2,
)
MATCHES = st.sampled_from(
    [
        PrincipalMatch(issuer=ISSUER),
        PrincipalMatch(issuer=ISSUER, subjects=("bob",)),
        PrincipalMatch(issuer=ISSUER, groups=("g",)),
    ]
)
PRINCIPALS = st.lists(
    st.builds(
        PrincipalSettings,
        match=MATCHES,
        grants=SOME,
        suspended=FLAGS,
        unrestricted=FLAGS,
        agents=st.sampled_from([None, None, ("spiffe://td/other",)]),
    ),
    max_size=2,
)


def alone() -> Delegation:
    """The agent's own delegation, by its SVID."""
    return by_svid(query(delegation(), OPERATION).agent)


def acting(scopes: set[str], actors: int, groups: object) -> Delegation:
    """A delegation by alice through a chain of so many actors."""
    earlier = tuple(Actor(ISSUER, f"spiffe://td/e{at}") for at in range(actors - 1))
    given_ = delegation(*scopes, groups=groups)
    return replace(given_, actors=(*given_.actors, *earlier), mode=Mode.ACT)


DELEGATIONS = st.one_of(
    st.builds(
        acting,
        st.sets(st.sampled_from(["s", "t"])),
        st.sampled_from([1, 2]),
        st.sampled_from([None, ["g"], {"odd": 1}]),  # absent, listed, and unreadable
    ),
    st.builds(alone),
)


class Subject:
    """A policy and a delegation, which cures can be applied to."""

    def __init__(
        self,
        grants: dict[str, tuple[RuleSettings, ...]],
        agents: Iterable[AgentSettings],
        principals: Iterable[PrincipalSettings],
        given_: Delegation,
    ) -> None:
        """Take the entries."""
        self.grants, self.given = grants, given_
        self.agents, self.principals = list(agents), list(principals)

    @property
    def policy(self) -> Policy:
        """The policy as it is now."""
        return Policy(self.agents, self.principals, self.grants)

    @property
    def query(self) -> PolicyQuery:
        """The question as it is now."""
        return query(self.given, OPERATION)

    def is_allowed(self) -> bool:
        """Ask the policy."""
        try:
            return isinstance(self.policy.evaluate(self.query).outcome, Permit)
        except Denied:
            return False

    def holding(self, who: str, grant: str) -> "Subject":
        """Return it with a grant more on a side."""
        agents, principals = list(self.agents), list(self.principals)
        if who == "agent":
            agents.append(AgentSettings(id=AGENT, grants=(grant,)))
        else:
            match = PrincipalMatch(issuer=ISSUER, subjects=("alice",))
            principals.append(PrincipalSettings(match=match, grants=(grant,)))
        return Subject(self.grants, agents, principals, self.given)

    def cured(self, cures: Iterable[Cure]) -> "Subject":
        """Return it with what cures name."""
        subject = Subject(self.grants, self.agents, self.principals, self.given)
        for cure in cures:
            if cure.grant:
                subject = subject.holding(cure.who, cure.grant)
            assert cure.outcome is not None
            for missing in cure.outcome.misses:
                if missing.reason is Reason.SCOPE:
                    scopes = {*subject.given.scopes, *dict(missing.parameters)["scope"].split()}
                    subject.given = replace(subject.given, scopes=frozenset(scopes))
                else:
                    assert missing.text.startswith("the chain has")
                    subject.given = replace(subject.given, actors=subject.given.actors[:1])
        return subject

    def can_be_cured(self) -> bool:
        """Tell whether any grants, with every scope and no earlier actor, would allow."""
        given_ = replace(self.given, actors=self.given.actors[:1])
        if given_.has_token:
            given_ = replace(given_, scopes=frozenset({"s", "t"}))
        best = Subject(self.grants, self.agents, self.principals, given_)
        return any(
            best.holding("agent", one).holding("principal", two).is_allowed()
            for one in NAMES
            for two in NAMES
        )


X = made("/x", set(), "allow", None)
Y = made("/y", set(), "allow", None)


@settings(max_examples=200)
@example(
    grants=((X,), (Y,), (Y,)),
    agents=[AgentSettings(id=AGENT, grants=("b",))],
    principals=[PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("a",))],
    given_=acting(set(), 1, None),
)
@given(
    grants=st.tuples(RULES, RULES, RULES),
    agents=AGENTS,
    principals=PRINCIPALS,
    given_=DELEGATIONS,
)
def test_following_it_allows(
    grants: tuple[tuple[RuleSettings, ...], ...],
    agents: list[AgentSettings],
    principals: list[PrincipalSettings],
    given_: Delegation,
) -> None:
    """With all that is named the request is allowed, and without any part of it it is not.

    Where something denies, that is told instead; where nothing is named, no grant would allow.
    """
    named = dict(zip(NAMES, grants, strict=True))
    subject = Subject(named, agents, principals, given_)
    report = report_rules(subject.policy, subject.query)
    is_barred = any(side.is_suspended or side.denying for side in report.sides)
    assert report.allows == subject.is_allowed()
    assert bool(report.cures) != (report.allows or is_barred)
    told = [line for line in report.lines() if line.startswith(("denied by", "suspended: the"))]
    assert bool(told) == is_barred
    cures = list(report.cures)
    if not cures:
        return
    if cures[0].text.startswith("both sides are unrestricted"):
        return
    if any(_needs_token(cure, given_) for cure in cures):  # which is told beside: token_missing
        return
    if any(cure.outcome is None or cure.outcome.of_target for cure in cures):
        assert not subject.can_be_cured()
        return
    assert subject.cured(cures).is_allowed()
    for left_out in cures:
        others = [cure for cure in cures if cure is not left_out]
        needed = {need for cure in others for need in _needs(cure)}
        is_shared = not left_out.grant and _needs(left_out) <= needed
        assert is_shared or not subject.cured(others).is_allowed()


def _needs(cure: Cure) -> set[str]:
    """The scopes that a cure names, and "" for a shorter chain."""
    misses = cure.outcome.misses if cure.outcome else ()
    return {
        need
        for missing in misses
        for need in dict(missing.parameters).get("scope", "").split() or [""]
    }


def _needs_token(cure: Cure, given_: Delegation) -> bool:
    misses = cure.outcome.misses if cure.outcome else ()
    return not given_.has_token and any(missing.reason is Reason.SCOPE for missing in misses)
