"""Each key of a rule: a query that fits, and the nearest one that does not."""

from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from pydantic import ValidationError

from authz.config import ConfigError, load_text
from authz.core.decision import Mode, Permit, Verdict
from authz.core.policy import (
    AgentSettings,
    ConditionSettings,
    EarlierActorSettings,
    PrincipalMatch,
    PrincipalSettings,
)
from authz.core.policy.claim_names import claim_values
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.settings import EarlierActor
from authz.core.policy.shadow import PolicyWithCandidate, ShadowedPolicy
from authz.core.policy.time_windows import TimeWindow, WindowSettings
from authz.core.reason import Denied, Reason
from authz.wiring.policy_version import compute_policy_version
from lab.config_builder import AT_ALICE, AT_READ_RULE, LAB
from support.path_rules import AGENT, ISSUER
from support.rule_keys import ALL, NOW, decide, policy, question, rule
from support.world import READ, World, header_of, reason_of

EARLIER = "spiffe://td/earlier"
SCOPES = '      scopes: ["balance:read"]\n'


ALLOWS: list[tuple[dict[str, Any], PolicyQuery, PolicyQuery]] = [
    ({"headers": {"x-env": ("prod",)}}, question(env="prod"), question(env="Prod")),
    ({"headers": {"x-env": ("prod",)}}, question(env="prod"), question(env="prod,prod")),
    ({"headers": {"x-env": ("*",)}}, question(env=""), question()),
    ({"max_actors": 2}, question(earlier=("a",)), question(earlier=("a", "b"))),
    ({"max_token_age": 5.0}, question(NOW + 4.9), question(NOW + 5)),
    ({"via": ()}, question(), question(earlier=(EARLIER,))),
    ({"via": (EARLIER,)}, question(earlier=(EARLIER,)), question(earlier=(EARLIER, "bob"))),
    (
        {"via": ("spiffe://td/*",)},
        question(earlier=(EARLIER,)),
        question(earlier=("spiffe://t/e",)),
    ),
    ({"when": "claims.level == 2"}, question(level=2), question(level=3)),
    ({"when": "claims.level == 2"}, question(level=2), question()),
    ({"when": "request.headers['x-env'] == 'a'"}, question(env="a"), question()),
]


@pytest.mark.parametrize(("keys", "fits", "fails"), ALLOWS)
def test_what_an_allow_asks(keys: dict[str, Any], fits: PolicyQuery, fails: PolicyQuery) -> None:
    """An allow counts only with all that it asks, on whichever side it is."""
    for subject in (policy(agent=(rule(**keys),)), policy(principal=(rule(**keys),))):
        assert decide(subject, fits) == "allow"
        assert decide(subject, fails) == "policy_denied"


DENIES: list[tuple[dict[str, Any], PolicyQuery, PolicyQuery]] = [
    ({}, question(), question()),
    ({"headers": {"x-env": ("prod",)}}, question(env="prod"), question(env="dev")),
    ({"headers": {"x-env": ("prod",)}}, question(env="dev, prod"), question()),
    ({"via": (EARLIER,)}, question(earlier=("bob", EARLIER)), question(earlier=("bob",))),
    ({"when": "claims.level == 2"}, question(level=2), question(level=3)),
    ({"when": "claims.level == 2"}, question(), question(level=3)),
    ({"paths": ("/x/**",)}, question(path="/x/"), question(path="/xy")),
]


@pytest.mark.parametrize(("keys", "fits", "fails"), DENIES)
def test_a_deny_wins(keys: dict[str, Any], fits: PolicyQuery, fails: PolicyQuery) -> None:
    """A deny of either side wins over every allow, and only where it fits."""
    deny = rule(effect="deny", **keys)
    for subject in (policy(agent=(rule(), deny)), policy(principal=(deny, rule()))):
        assert decide(subject, fits) == "policy_denied"
        assert not keys or decide(subject, fails) == "allow"


TOO_WEAK: list[dict[str, Any]] = [
    {},
    {"acr": "hwk", "auth_time": NOW - 60},
    {"acr": "hwk", "auth_time": NOW * 1000},
    {"acr": "pwd", "auth_time": NOW},
    {"acr": ["hwk"], "auth_time": NOW},
    {"acr": "hwk", "auth_time": True},
]


def test_step_up_is_told_with_what_it_asks() -> None:
    """Too weak or too old an authentication is a step-up challenge, with all that is asked."""
    subject = policy(agent=(rule(acr_values=("mfa", "hwk"), max_age=60.0),))

    assert decide(subject, question(acr="hwk", auth_time=NOW - 59)) == "allow"
    for claims in TOO_WEAK:
        with pytest.raises(Denied) as caught:
            subject.evaluate(question(**claims)).permitted()
        assert caught.value.reason is Reason.STEP_UP
        assert caught.value.parameters == (("acr_values", "mfa hwk"), ("max_age", "60"))


def at(text: str) -> float:
    """Unix seconds of a moment in RFC 3339."""
    return datetime.fromisoformat(text).timestamp()


BERLIN = {"zone": "Europe/Berlin"}
WINDOWS: list[tuple[dict[str, Any], str, bool]] = [
    ({"days": ("wed",)}, "2026-03-25T23:59:59Z", True),
    ({"days": ("wed",)}, "2026-03-26T00:00:00Z", False),
    ({"hours": "08:00-18:00"}, "2026-03-25T08:00:00Z", True),
    ({"hours": "08:00-18:00"}, "2026-03-25T18:00:00Z", False),
    ({"hours": "22:00-06:00", "days": ("wed",)}, "2026-03-26T05:59:59Z", True),
    ({"hours": "22:00-06:00", "days": ("wed",)}, "2026-03-25T05:59:59Z", False),
    ({"hours": "22:00-06:00", "days": ("wed",)}, "2026-03-26T06:00:00Z", False),
    ({"hours": "08:00-09:00", **BERLIN}, "2026-03-28T07:30:00Z", True),  # winter time
    ({"hours": "08:00-09:00", **BERLIN}, "2026-03-29T07:30:00Z", False),
    ({"hours": "08:00-09:00", **BERLIN}, "2026-03-29T06:30:00Z", True),  # summer time
    ({"hours": "02:00-03:00", **BERLIN}, "2026-03-29T01:30:00Z", False),  # an hour that is not
    ({"hours": "02:00-03:00", **BERLIN}, "2026-10-25T00:30:00Z", True),  # and one that is twice
    ({"hours": "02:00-03:00", **BERLIN}, "2026-10-25T01:30:00Z", True),
    ({"not_before": "2026-03-25T12:00:00+01:00"}, "2026-03-25T11:00:00Z", True),
    ({"not_before": "2026-03-25T12:00:00+01:00"}, "2026-03-25T10:59:59Z", False),
    ({"not_after": "2026-03-25T12:00:00Z"}, "2026-03-25T12:00:00Z", False),
]


@pytest.mark.parametrize(("window", "moment", "is_open"), WINDOWS)
def test_windows(window: dict[str, Any], moment: str, is_open: bool) -> None:  # noqa: FBT001 - a table
    """A rule counts from the first moment of its window to the last before its end."""
    subject = policy(agent=(rule(during=(WindowSettings(**window),)),))

    assert (decide(subject, question(at(moment))) == "allow") == is_open


@given(
    st.sampled_from([keys for keys, _, _ in WINDOWS]),
    st.floats(at("2026-03-24T00:00:00Z"), at("2026-03-30T00:00:00Z")),
    st.floats(0, 0.999),
)
def test_a_window_is_steady_as_long_as_it_says(
    keys: dict[str, Any], now: float, part: float
) -> None:
    """Whether a window is open never changes before stable_until, which is always to come."""
    window = TimeWindow.of(WindowSettings(**keys))
    until = window.stable_until(now)
    later = now + (until - now) * part

    assert now < until <= now + 60
    assert later >= until or window.is_open(later) == window.is_open(now)


SHORT = (  # ends within a minute, and opens again before that
    WindowSettings(not_after=datetime.fromtimestamp(NOW + 7.5, UTC)),
    WindowSettings(not_before=datetime.fromtimestamp(NOW + 20, UTC)),
)


def test_steadiness_lies_ahead() -> None:
    """At the very moment at which a window ends the next change is to come, not now."""
    window = TimeWindow.of(SHORT[0])

    assert window.stable_until(window.until_seconds) > window.until_seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [("/a/b", 1), ("/a/~01", 2), ("/a/~1", 3), ("/a/~0", 4), ("/a", None), ("/a/c", None)],
)
def test_claims_by_json_pointer(name: str, value: int | None) -> None:
    """A pointer's escapes are read in the order of RFC 6901 section 4."""
    claims = {"a": {"b": 1, "~1": 2, "/": 3, "~": 4}}

    assert list(claim_values(claims, name)) == ([] if value is None else [value])


STEADY: list[tuple[dict[str, Any], float]] = [
    ({"during": SHORT[:1]}, NOW + 7.5),
    ({"during": SHORT[1:]}, NOW + 20),
    ({"during": SHORT}, NOW + 7.5),
    ({"during": SHORT[::-1]}, NOW + 7.5),
    ({"max_token_age": 9.0}, NOW + 9),
    ({"max_age": 30.0}, NOW + 25),
    ({"max_age": 30.0, "max_token_age": 9.0, "during": SHORT}, NOW + 7.5),
    ({"acr_values": ("hwk",)}, inf),
]


@pytest.mark.parametrize(("keys", "until"), STEADY)
def test_a_verdict_is_steady_as_long_as_all_of_it(keys: dict[str, Any], until: float) -> None:
    """What either side or a candidate asks of the time bounds how long a verdict is remembered."""
    timed, query = (rule(**keys),), question(auth_time=NOW - 5, acr="hwk")

    assert policy(agent=timed).evaluate(query).stable_until == until
    assert policy(principal=timed).evaluate(query).stable_until == until
    assert policy(agent=timed, principal=timed).evaluate(query).stable_until == until
    assert PolicyWithCandidate(policy(agent=timed), policy()).evaluate(query).stable_until == until
    assert PolicyWithCandidate(policy(), policy(agent=timed)).evaluate(query).stable_until == until


def test_what_came_nearest() -> None:
    """It is an allow, never a deny; of two, the one that another token would mend."""
    scoped = rule(scopes=("s",), acr_values=("hwk",))
    deny = rule(effect="deny", headers={"x-env": ("prod",)})
    other = rule(headers={"x-env": ("prod",)})

    assert decide(policy(agent=(scoped, deny)), question()) == "scope"
    assert decide(policy(agent=(other, scoped)), question()) == "scope"
    assert decide(policy(agent=(deny,)), question()) == "policy_denied"
    refusal = policy(agent=(deny,)).evaluate(question()).outcome
    assert isinstance(refusal, Denied)
    assert refusal.detail == "no rule of the agent allows the operation"


@pytest.mark.parametrize(
    ("value", "held", "fits"),
    [
        (True, True, True), (True, 1, False), (True, "1", False), (1, True, False), (1, 1.0, False),
        (1, [True, 1], True), ("1", 1, False), ("1", ["1"], True), (0, False, False),
        ("a", {"a": 1}, False), ("a", [["a"]], False), ("a", None, False), ("a", [{}, "a"], True),
    ],
    ids=repr,
)  # fmt: skip
def test_claims_have_types(value: Any, held: Any, fits: bool) -> None:  # noqa: FBT001 - a table
    """A claim is, or holds, a value of the same type; what has a hostile shape is none."""
    expected = "allow" if fits else "policy_denied"
    for name, claims in (("c", {"c": held}), ("/c/d", {"c": {"d": held}})):
        subject = policy(match={"claims": {name: (value,)}})
        assert decide(subject, question(**claims)) == expected


def test_whose_subject_fits() -> None:
    """Subjects are exact, or patterns of SPIFFE IDs; an agent for itself has to be listed."""
    for subjects, subject, fits in (
        (("alice",), "alice", True),
        (("alic*",), "alice", False),
        (("spiffe://td/*",), "spiffe://td/u", True),
        (("spiffe://td/*",), "spiffe://td/u/v", False),
        (("spiffe://td/*",), "spiffe://td/", False),
        (("bob", "spiffe://td/u"), "spiffe://td/u", True),
    ):
        given_ = policy(match={"subjects": subjects})
        assert (decide(given_, question(subject=subject)) == "allow") == fits
    assert decide(policy(), question(subject=AGENT, mode=Mode.AUTONOMOUS)) == "policy_denied"


@pytest.mark.parametrize(
    ("everybody", "expected"),
    [
        ({"grants": ("all",)}, "allow"),
        ({"grants": ("no",)}, "policy_denied"),
        ({"suspended": True}, "policy_denied"),
        ({"match": {"groups": ("x",)}, "suspended": True}, "allow"),
        ({"grants": ("no",), "agents": ("spiffe://td/other",)}, "allow"),
    ],
    ids=repr,
)
def test_what_everybody_is_denied_an_agent_for_itself_is(
    everybody: dict[str, Any], expected: str
) -> None:
    """An entry for any subject gives nothing to an agent for itself, but takes from it."""
    match = PrincipalMatch(issuer=ISSUER, **everybody.pop("match", {}))
    of_all = PrincipalSettings(match=match, **everybody)
    listed = PrincipalSettings(
        match=PrincipalMatch(issuer=ISSUER, subjects=(AGENT,)), grants=("all",)
    )
    agents = [AgentSettings(id=AGENT, grants=("all",))]
    grants = {"all": ALL, "no": (rule(effect="deny"),)}
    own = question(subject=AGENT, mode=Mode.AUTONOMOUS)

    assert decide(Policy(agents, [of_all, listed], grants), own) == expected
    assert decide(Policy(agents, [of_all], grants), own) == "policy_denied"


def test_nobody_is_unrestricted_for_being_anybody() -> None:
    """An entry for any subject that is unrestricted and denies leaves an agent for itself none."""
    given_ = policy(principal=(rule(effect="deny", paths=("/no",)),), unrestricted=True)

    assert decide(given_, question()) == "allow"
    assert decide(given_, question(subject=AGENT, mode=Mode.AUTONOMOUS)) == "policy_denied"


def test_roles_and_agents_restrict() -> None:
    """Roles are texts, one or a list, like groups; grants hold through the listed agents only."""
    assert decide(policy(match={"roles": ("r",)}), question(roles=["r"])) == "allow"
    assert decide(policy(match={"roles": ("r",)}), question(roles="r")) == "allow"
    assert decide(policy(match={"roles": ("r",)}), question(roles={"r": 1})) == "policy_denied"
    assert decide(policy(agents=("spiffe://td/*",)), question()) == "allow"
    assert decide(policy(agents=("spiffe://td/a/*",)), question()) == "actor_not_permitted"
    assert decide(policy(suspended=True), question()) == "policy_denied"
    assert decide(policy(suspended=True, agents=(EARLIER,)), question()) == "policy_denied"


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"groups": ["g"], "roles": ["r"]}, "allow"),
        ({"groups": ["g", "x"], "roles": ["x", "r"]}, "allow"),
        ({"groups": ["g"], "roles": ["x"]}, "policy_denied"),
        ({"groups": ["x"], "roles": ["r"]}, "policy_denied"),
        ({"groups": ["G"], "roles": ["r"]}, "policy_denied"),
        ({"groups": "g", "roles": ["r"]}, "allow"),
        ({"groups": [["g"]], "roles": ["r"]}, "policy_denied"),
        ({"groups": {"g": 1}, "roles": ["r"]}, "policy_denied"),
        ({"roles": ["r"]}, "policy_denied"),
    ],
)
@pytest.mark.parametrize("subjects", [None, ("alice",), ("spiffe://td/*", "alice")])
def test_groups_and_roles(
    claims: dict[str, Any], word: str, subjects: tuple[str, ...] | None
) -> None:
    """However an entry is found, its groups and its roles have one of its words."""
    subject = policy(match={"groups": ("g", "1"), "roles": ("r",), "subjects": subjects})

    assert decide(subject, question(**claims)) == word
    assert decide(subject, question(groups=[1], roles=["r"])) == "policy_denied"


def test_an_unrestricted_agent_does_nothing_for_nobody() -> None:
    """Without a token a rule that was written has to allow: no limits are none."""
    agent = AgentSettings(id=AGENT, unrestricted=True)

    assert decide(Policy([agent], [], {}), question(mode=Mode.BOOTSTRAP)) == "policy_denied"


def test_the_first_earlier_actor_counts() -> None:
    """Each actor before the current one is looked at, the nearest too."""
    agents = [
        AgentSettings(id=AGENT, grants=("a",)),
        AgentSettings(id=EARLIER, suspended=True),
    ]
    principals = [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("a",))]
    lax = Policy(agents, principals, {"a": ALL})
    strict = [
        Policy(agents, principals, {"a": ALL}, settings)
        for settings in (
            EarlierActorSettings(unregistered=EarlierActor.DENY),
            EarlierActorSettings(suspended=EarlierActor.DENY),
        )
    ]
    known, unknown = question(earlier=(EARLIER,)), question(earlier=("spiffe://td/nobody",))

    assert lax.flags(known.delegation) == ("earlier_actor_suspended",)
    assert lax.flags(unknown.delegation) == ("earlier_actor_unregistered",)
    assert [decide(one, unknown) for one in strict] == ["actor_not_permitted", "allow"]
    assert [decide(one, known) for one in strict] == ["allow", "actor_not_permitted"]


def test_unrestricted_needs_a_rule_on_the_other_side() -> None:
    """One side may ask for nothing, never both; and a rule counts in whichever entry it is."""
    for order in (1, -1):
        agents = [
            AgentSettings(id="spiffe://td/*", unrestricted=True),
            AgentSettings(id="spiffe://td/**", grants=("x",)),
        ][::order]
        free = [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), unrestricted=True)]
        subject = Policy(agents, free, {"x": (rule(paths=("/x",)),)})

        assert decide(subject, question()) == "allow"
        assert decide(subject, question(path="/y")) == "policy_denied"
    deny = (rule(effect="deny"),)
    held = [AgentSettings(id=AGENT, unrestricted=True, grants=("d",))]
    assert decide(Policy(held, free, {"d": deny}), question()) == "policy_denied"


def test_shadow_rules_are_noted_only() -> None:
    """A rule in shadow changes no decision, and is noted where it would have."""
    deny, allow = rule(effect="deny", shadow=True, name="d"), rule(shadow=True, name="s")
    denied = policy(agent=(rule(), deny)).evaluate(question())
    allowed = policy(agent=(allow,)).evaluate(question())
    neither = policy(agent=(rule(), allow)).evaluate(question())

    assert isinstance(denied.outcome, Permit)
    assert [(s.by, s.decision, s.rule) for s in denied.shadows] == [("rule", "deny", "a/d")]
    assert isinstance(allowed.outcome, Denied)
    assert [(s.by, s.decision, s.rule) for s in allowed.shadows] == [("rule", "allow", "a/s")]
    assert neither.shadows == ()


def test_what_is_not_enforced() -> None:
    """Refusals are notes, except of the suspended and of who comes without a token."""
    refusing = ShadowedPolicy(policy(agent=(rule(scopes=("s",)),)))
    verdict = refusing.evaluate(question())

    assert verdict.permitted() == Permit("", "")
    assert [(s.by, s.reason) for s in verdict.shadows] == [("policy", "scope")]
    nobody = refusing.evaluate(question(mode=Mode.BOOTSTRAP))
    assert isinstance(nobody.outcome, Denied)
    assert nobody.outcome.reason is Reason.TOKEN_MISSING
    with pytest.raises(Denied):
        ShadowedPolicy(policy(suspended=True)).evaluate(question())


def test_a_candidate_reads_what_it_lists() -> None:
    """A candidate's conditions see its own claims, and its verdict is a note at most."""
    when = (rule(when="claims.level == 2"),)
    theirs = Policy(
        [AgentSettings(id=AGENT, grants=("a",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("a",))],
        {"a": (rule(when="claims.rank == 2"),)},
        conditions=ConditionSettings(claims=("rank",)),
    )
    both = PolicyWithCandidate(policy(agent=when), theirs)

    assert both.evaluate(question(level=2, rank=2)).shadows == ()
    noted = both.evaluate(question(level=2, rank=3))
    assert isinstance(noted, Verdict)
    assert isinstance(noted.outcome, Permit)
    assert [(s.by, s.decision) for s in noted.shadows] == [("candidate", "deny")]


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ("eu", ("eu",)), (["a", 1, True, {}, None], ("a", "1", "true")), (7, ("7",)),
        (False, ("false",)), ({}, None), (None, None), (1.5, None), ("x" * 1024, ("x" * 1024,)),
    ],
)  # fmt: skip
def test_added_headers(held: Any, expected: tuple[str, ...] | None) -> None:
    """Texts, whole numbers and booleans of a claim become a header's values; else there is none."""
    for name, claims in (("c", {"c": held}), ("/c/d~1e", {"c": {"d/e": held}})):
        subject = policy(principal=(rule(add_headers={"x-agent-c": name}),))
        grant = subject.evaluate(question(**claims)).permitted()
        assert grant.headers == ((("x-agent-c", expected),) if expected else ())


def test_the_agents_header_counts() -> None:
    """Where the rules of both sides add one header, it is the agent's claim that upstreams get."""
    agent, principal = (rule(add_headers={"x-agent-a": name}) for name in ("mine", "theirs"))
    both = policy(agent=(agent,), principal=(principal,))

    assert both.evaluate(question(mine="m", theirs="t")).permitted().headers == (
        ("x-agent-a", ("m",)),
    )


def test_a_claim_too_long_for_a_header_is_refused() -> None:
    """Cut, it could mean another thing."""
    subject = policy(agent=(rule(add_headers={"x-agent-c": "c"}),))

    assert decide(subject, question(c=["x" * 1024, "y"])) == "token_claim"


@pytest.mark.parametrize("keys", [{"scopes": None}, {"effect": "deny", "scopes": ("s",)},
                                  {"effect": "deny", "via": ()},
                                  {"effect": "deny", "mcp": {}}, {"effect": "deny", "models": {}},
                                  {"effect": "deny", "models": {"tools": ()}}])  # fmt: skip
def test_rules_that_say_too_little_or_too_much(keys: dict[str, Any]) -> None:
    """An allow has to say its scopes, and a deny has no limits of an allow."""
    with pytest.raises(ValidationError):
        rule(**keys)


SAID = [
    ("mcp:", "mcp: is empty; write its keys below it, or leave it out"),
    ("mcp: {tols: [x]}", "mcp.tols: unknown key; did you mean tools?"),
    ("a2a: [x]", "must be a mapping, not a list; its keys: methods, skills, tasks"),
    ("models: x", "must be a mapping, not text; its keys: names, streaming, tools"),
    ("mcp: {tools: [x]}\n      a2a: {methods: [y]}", "mcp and a2a are two protocols: write a rule"),
    ("mcp: {tools: []}", "mcp.tools: must not be empty"),
    (
        "mcp: {methods: [tools/call]}",
        'rules match tools/call by what it names: list it in tools, or ["*"]',
    ),
    ("mcp: {resources: [docs/*]}", "must begin with a scheme, as in file:///docs/**"),
    ("mcp: {resources: ['file:///**/x']}", "'**' is allowed only at the end"),
    ('mcp: {tools: ["a\\tb"]}', "must be 1 to 256 printable characters"),
    ("a2a: {tasks: ['*']}", "a2a: methods must list what may be called"),
    ("models: {}", "models: names must list the models"),
    ("models: {names: [x], streaming: yes}", "models.streaming: must be true or false: write true"),
    ("add_headers: {authorization: sub}", "must begin with x-agent-"),
    ("add_headers: {x-agent-id: sub}", "already one of the identity headers"),
    ("name: a\n    - {name: a, hosts: [h], methods: [GET], paths: [/], scopes: []}", "named a"),
]


@pytest.mark.parametrize(("line", "words"), SAID)
def test_a_config_that_promises_too_much(shared_world: World, line: str, words: str) -> None:
    """What is reserved, and headers that could forge an identity, are refused with words."""
    text = shared_world.config_text.replace(SCOPES, f"{SCOPES}      {line}\n")
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "test.yaml")

    assert words in "".join(caught.value.lines())


def test_through_the_service(tmp_path: Path) -> None:
    """Steady time, notes and added headers reach proxy, audit and metrics; a twin never passes."""
    keys = """\
add_headers: {x-agent-team: groups, x-agent-none: absent}
during: [{hours: "00:00-24:00"}]
"""
    shadow = "{effect: deny, shadow: true, name: no, hosts: ['*'], methods: ['*'], paths: [/**]}"
    changes = LAB.with_keys(AT_READ_RULE, keys)
    changes = changes.with_items(("grants", "finance-read"), f"[{shadow}]", before=1)
    with World(tmp_path, changes) as world:
        answer = world.ask(world.token(scope=READ, groups=["a,b", "c"]))
        record = world.audit_records()[-1]
        metrics = generate_latest(world.registry).decode()

    assert reason_of(answer) == "allow"
    assert header_of(answer, "x-agent-team") == "a%2Cb,c"
    removed = set(answer.ok_response.headers_to_remove)
    assert {"x-agent-none", "x_agent_none", "x_agent_team", "x-agent_team"} <= removed
    assert "x-agent-team" not in removed
    assert answer.dynamic_metadata["shadow"] == "rule:deny"
    assert record["shadows"] == [
        {"by": "rule", "decision": "deny", "reason": "policy_denied", "rule": "finance-read/no"}
    ]
    assert 'authz_shadow_decisions_total{by="rule",decision="deny"} 1.0' in metrics
    moment = datetime.fromisoformat(record["time"]).timestamp()
    assert float(str(answer.dynamic_metadata["valid_until"])) <= (moment // 60 + 1) * 60


OF_CLAIMS = LAB.without((*AT_ALICE, "match", "subjects"))
CHANGES = [
    LAB.with_keys(AT_READ_RULE, "scopes: []"),
    LAB.with_keys(AT_READ_RULE, "max_actors: 2"),
    LAB.with_keys(AT_READ_RULE, "when: 'delegation.depth == 1'"),
    LAB.with_keys(AT_READ_RULE, "shadow: true"),
    LAB.with_(("routes", "finance", "paths"), ["/finance/*"]),
    OF_CLAIMS.with_((*AT_ALICE, "match", "claims"), {"c": [1]}),
    OF_CLAIMS.with_((*AT_ALICE, "match", "claims"), {"c": [True]}),
    LAB.with_section("conditions", "{claims: [c]}"),
]


def test_the_version_changes_with_what_decides(shared_world: World) -> None:
    """Each change of a rule, route or condition is another version of the policy."""
    text = shared_world.config_text
    texts = [text, *(change.edit(text) for change in CHANGES)]
    versions = {compute_policy_version(load_text(one.encode(), "test.yaml")) for one in texts}

    assert len(versions) == len(texts)


@pytest.mark.parametrize(
    "reads",
    ["conditions: {headers: [x-delegation]}", "grants: {g: [{headers: {x-delegation: [a]}}]}"],
)
def test_the_token_is_never_read(reads: str) -> None:
    """No rule and no condition reads the header that carries the token, whatever its name."""
    with pytest.raises(ConfigError, match="carries the token"):
        load_text(f"token: {{header: x-delegation}}\n{reads}\n".encode(), "test.yaml")


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ('{hours: "8-18"}', "such as 08:00-18:00"),
        ('{hours: "08:00-08:00"}', "the span is empty"),
        ('{hours: "08:00-24:30"}', "ends after 24:00"),
        ('{hours: "08:00-18:00", zone: Berlin}', "no time zone 'Berlin'"),
        ("{not_before: soon}", "RFC 3339"),
        ('{not_after: "2026-12-31T18:00:00"}', "RFC 3339"),
        ("{zone: UTC}", "give days, hours"),
        (
            '{not_before: "2026-02-01T00:00:00Z", not_after: "2026-01-01T00:00:00Z"}',
            "is not after",
        ),
    ],
)
def test_windows_that_mean_nothing(shared_world: World, window: str, words: str) -> None:
    """A window that can't be meant is an error with words that say what would be right."""
    text = LAB.with_keys(AT_READ_RULE, f"during: [{window}]").edit(shared_world.config_text)
    with pytest.raises(ConfigError) as caught:
        load_text(text.encode(), "test.yaml")

    assert words in "".join(caught.value.lines())
