"""What takes away by a claim also counts where nobody can tell what the claim says."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from authz import cli
from authz.core.decision import Agent, Delegation, Permit
from authz.core.policy import (
    AgentSettings,
    ConditionSettings,
    EarlierActorSettings,
    PrincipalMatch,
    PrincipalSettings,
)
from authz.core.policy.holder_settings import Absence
from authz.core.policy.policy import Policy
from authz.core.policy.settings import EarlierActor
from authz.core.policy.shadow import PolicyWithCandidate
from authz.core.reason import Denied
from authz.core.spiffe import SpiffeId
from authz.review.search import what_can, who_can
from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.costs import steps_of
from support.path_rules import AGENT, ISSUER
from support.rule_keys import ALL, decide, policy, question, rule
from support.world import World, reason_of

DENY: Final = (rule(effect="deny"),)
BAD: Final[dict[str, Any]] = {  # other ways to write that alice is a contractor
    "objects": [{"value": "contractors", "display": "Contractors"}],
    "an object": {"value": "contractors"},
    "nested": [["contractors"]],
    "mixed": ["staff", {"value": "contractors"}],
    "one bad element": ["staff", 7],
    "a null element": ["staff", None],
    "a number": 7,
    "a fraction": 1.5,
    "true": True,
    "words": "staff contractors",
    "commas": "staff,contractors",
    "semicolons": "staff; contractors",
    "a name in LDAP": "cn=contractors,ou=groups",
    "names in LDAP, in a list": ["cn=staff,ou=groups", "cn=contractors,ou=groups"],
    "commas in a list": ["staff,contractors"],
    "semicolons in a list": ["x", "staff;contractors"],
    "JSON in a text": '["contractors"]',
    "an escape in it": '[{"value":"con\\u0074ractors"}]',
    "JSON in a list": ['{"value":"con\\u0074ractors"}'],
    "white space around": ["contractors "],
    "what is not seen": ["contractors\u200b"],
    "a line break": "contractors\n",
}
ELSEWHERE: Final[dict[str, dict[str, Any]]] = {
    "distributed": {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {}}},
    "named in a list": {"_claim_names": ["groups"]},
    "names that can't be read": {"_claim_names": 5},
    "sources of no names": {"_claim_sources": {"src1": {"endpoint": "https://graph"}}},
    "Entra, of an implicit grant": {"hasgroups": True},
    "the same as a text": {"hasgroups": "true"},
    "Entra, as its list of claims has it": {"groups:src1": "https://graph"},
    "Entra, version 1": {"http://schemas.microsoft.com/claims/groups.link": "https://graph"},
    "cut: some are there": {"groups": ["staff"], "_claim_names": {"groups": "src1"}},
}
GOOD: Final[dict[str, dict[str, Any]]] = {
    "others": {"groups": ["staff", "non-contractors", "Domain contractors"]},
    "one other": {"groups": "non-contractors"},
    "others in LDAP": {"groups": ["cn=staff,ou=groups", "cn=non-contractors,ou=groups"]},
    "one of two words": {"groups": "Domain Users"},
    "none": {"groups": []},
    "absent": {},
    "null": {"groups": None},
    "others elsewhere": {"_claim_names": {"email": "src1"}, "_claim_sources": {"src1": {}}},
    "nothing elsewhere": {"_claim_names": {}, "_claim_sources": {}, "hasgroups": False},
}
UNKNOWN: Final = {**{name: {"groups": value} for name, value in BAD.items()}, **ELSEWHERE}


def denies_only(entry: dict[str, Any], **match: Any) -> Policy:
    """A policy that allows all, but for whom an entry takes it away."""
    asked = PrincipalMatch(issuer=ISSUER, **(match or {"groups": ("contractors",)}))
    return Policy(
        [AgentSettings(id=AGENT, grants=("all",))],
        [
            PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("all",)),
            PrincipalSettings(match=asked, **entry),
        ],
        {"all": ALL, "no": DENY},
        conditions=ConditionSettings(claims=("groups",)),
    )


ENTRIES: Final[list[dict[str, Any]]] = [
    {"grants": ("no",)},
    {"suspended": True},
    {"grants": ("no", "all"), "unrestricted": True},
    {"grants": ("no",), "agents": ("spiffe://td/*",)},
]


@pytest.mark.parametrize("claims", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_what_takes_away_counts(entry: dict[str, Any], claims: dict[str, Any]) -> None:
    """A deny or a suspension by a group holds for groups that can't be read or are elsewhere."""
    assert decide(denies_only(entry), question(**claims)) == "policy_denied"
    assert decide(denies_only(entry), question(groups=["contractors"])) == "policy_denied"


@pytest.mark.parametrize("claims", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_whoever_is_surely_not_meant_is_free(entry: dict[str, Any], claims: dict[str, Any]) -> None:
    """A token that says that its groups are others, or none, loses nothing."""
    assert decide(denies_only(entry), question(**claims)) == "allow"


@pytest.mark.parametrize("claims", UNKNOWN.values(), ids=UNKNOWN)
def test_allows_stay_strict(claims: dict[str, Any]) -> None:
    """What allows by a group never does by one that can't be read; nor is it unrestricted."""
    only = policy(match={"groups": ("contractors",)}, unrestricted=True)

    assert decide(only, question(**claims)) == "policy_denied"
    assert decide(only, question(groups=["contractors"])) == "allow"


@pytest.mark.parametrize(
    ("match", "claims", "is_taken"),
    [
        ({"roles": ("x",)}, {"roles": {"x": 1}}, True),
        ({"roles": ("x",)}, {"_claim_names": {"roles": "s"}}, True),
        ({"roles": ("x",)}, {"hasgroups": True}, False),
        ({"claims": {"wids": ("x",)}}, {"hasgroups": True}, True),
        ({"claims": {"wids": ("x",)}}, {"wids:src1": "https://graph"}, True),
        ({"claims": {"cognito:groups": ("x",)}}, {"cognito:groups": "a x"}, True),
        (
            {"claims": {"https://corp/roles": ("x",)}},
            {"_claim_names": {"https://corp/roles": 1}},
            True,
        ),
        ({"claims": {"/realm/roles": ("x",)}}, {"realm": {"roles": ["y", {"name": "x"}]}}, True),
        ({"claims": {"/realm/roles": ("x",)}}, {"realm": {"roles": ["y"]}}, False),
        ({"claims": {"/realm/roles": ("x",)}}, {"realm": {}}, False),
        ({"claims": {"/realm/roles": ("x",)}}, {"realm": "roles: x"}, True),
        ({"claims": {"/realm/roles": ("x",)}}, {"realm": [{"roles": ["x"]}]}, True),
        ({"claims": {"/realm/roles": ("x",)}}, {"realm": None}, False),
        ({"claims": {"/realm/roles": ("x",)}}, {"_claim_names": {"realm": "s"}}, True),
        ({"claims": {"/realm/roles": ("x",)}}, {"_claim_names": {"realm.roles": "s"}}, True),
        ({"claims": {"/realm/roles": ("x",)}}, {"_claim_names": {"/realm/roles": "s"}}, True),
        ({"claims": {"left": (True,)}}, {"left": "true"}, True),
        ({"claims": {"left": (True,)}}, {"left": 1}, True),
        ({"claims": {"left": (True,)}}, {"left": False}, False),
        ({"claims": {"level": (1, 2)}}, {"level": 1.0}, True),
        ({"claims": {"level": (1, 2)}}, {"level": "1"}, True),
        ({"claims": {"level": (1, "one")}}, {"level": "two"}, False),
        ({"groups": ("x",), "subjects": ("alice",)}, {"groups": [["x"]]}, True),
        ({"groups": ("x",), "subjects": ("bob",)}, {"groups": [["x"]]}, False),
        ({"groups": ("x",), "roles": ("r",)}, {"groups": [["x"]], "roles": ["r"]}, True),
        ({"groups": ("x",), "roles": ("r",)}, {"groups": [["x"]], "roles": ["s"]}, False),
        ({"groups": ("x",), "roles": ("r",)}, {"groups": ["x"], "roles": [5]}, True),
        ({"groups": ("x",), "roles": ("r",)}, {"groups": [["x"]]}, False),
        ({"groups": ("two words",)}, {"groups": "a, two words"}, True),
        ({"groups": ("two words",)}, {"groups": "two other words"}, False),
    ],
    ids=repr,
)
def test_each_member_of_a_match(
    match: dict[str, Any],
    claims: dict[str, Any],
    is_taken: bool,  # noqa: FBT001 - a table
) -> None:
    """Each claim that a match names counts so, by its type; one member that is no is enough."""
    word = decide(denies_only({"suspended": True}, **match), question(**claims))

    assert word == ("policy_denied" if is_taken else "allow")


@pytest.mark.parametrize("entry", ENTRIES, ids=repr)
def test_an_entry_can_count_where_its_claim_is_absent(entry: dict[str, Any]) -> None:
    """With if_absent: deny a token without the claim loses what one with it would."""
    subject = denies_only({**entry, "if_absent": "deny"})

    assert decide(subject, question()) == "policy_denied"
    assert decide(subject, question(groups=None)) == "policy_denied"
    assert decide(subject, question(groups=[])) == "allow"
    assert decide(policy(match={"groups": ("g",)}, if_absent="deny"), question()) == "policy_denied"


def test_absent_from_one_entry_only() -> None:
    """Entries by the same group with and without if_absent are not taken for one."""
    by = {name: PrincipalMatch(issuer=ISSUER, groups=(name,)) for name in "ab"}
    subject = Policy(
        [AgentSettings(id=AGENT, grants=("all",))],
        [
            PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("all",)),
            PrincipalSettings(match=by["a"], suspended=True),
            PrincipalSettings(match=by["b"], grants=("no",), if_absent=Absence.DENY),
        ],
        {"all": ALL, "no": (rule(effect="deny", paths=("/b",)),)},
    )

    assert decide(subject, question(path="/a")) == "allow"
    assert decide(subject, question(path="/b")) == "policy_denied"
    assert decide(subject, question(path="/a", groups=7)) == "policy_denied"


@pytest.mark.parametrize("text", ["SPIFFE://td/x", "spiffe://td/x/", "spiffe://td//x", " spiffe:x"])
def test_misspelt_spiffe_ids(text: str) -> None:
    """A subject or an earlier actor that is nearly a SPIFFE ID does not pass a deny by pattern."""
    suspended = denies_only({"suspended": True}, subjects=("spiffe://td/**",))
    via = policy((*ALL, rule(effect="deny", via=("spiffe://td/**",))))
    earlier = Policy(
        [AgentSettings(id=AGENT, grants=("all",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("all",))],
        {"all": ALL},
        EarlierActorSettings(suspended=EarlierActor.DENY),
    )

    assert decide(suspended, question(subject=text)) == "policy_denied"
    assert decide(suspended, question(subject="alice")) == "allow"
    assert decide(via, question(earlier=(text,))) == "policy_denied"
    assert decide(via, question(earlier=("a client",))) == "allow"
    assert decide(earlier, question(earlier=(text,))) == "actor_not_permitted"
    assert decide(earlier, question(earlier=("a client",))) == "allow"


def test_shadow_and_candidate() -> None:
    """A rule in shadow and a candidate note what they would have denied for such a claim."""
    watched = Policy(
        [AgentSettings(id=AGENT, grants=("all",))],
        [
            PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("all",)),
            PrincipalSettings(match=PrincipalMatch(issuer=ISSUER, groups=("x",)), grants=("no",)),
        ],
        {"all": ALL, "no": (rule(effect="deny", shadow=True),)},
    )
    odd = question(groups=[{"value": "x"}])
    noted = watched.evaluate(odd)
    beside = PolicyWithCandidate(policy(), denies_only({"suspended": True})).evaluate(odd)

    for verdict, by in ((noted, "rule"), (beside, "candidate")):
        assert isinstance(verdict.outcome, Permit)
        assert [(one.by, one.decision) for one in verdict.shadows] == [(by, "deny")]


def test_an_index_as_ever() -> None:
    """Of 20,000 entries that take by a group, a token whose groups are unknown meets one."""
    entries = [
        PrincipalSettings(match=PrincipalMatch(issuer=ISSUER, groups=(f"g{n}",)), grants=("no",))
        for n in range(20_000)
    ]
    subject = Policy([AgentSettings(id=AGENT, grants=("no",))], entries, {"no": DENY})
    for claims in ({"groups": [7]}, {"hasgroups": True}):
        case = question(**claims)
        (together,) = subject.principals.through(case.agent, case.delegation)
        assert len(together.rules.rules) == 1
        assert "19999 more" in together.title


TAKES: Final = LAB.with_items(
    ("principals",),
    """\
- match: {issuer: https://as.corp.example, groups: [contractors]}
  suspended: true
- match: {issuer: https://as.corp.example, claims: {/org/unit: [closed]}}
  grants: [never]
""",
    before=2,
).with_grant("never", "[{effect: deny, hosts: ['*'], methods: ['*'], paths: [/**]}]")
OVERAGE: Final = {
    "_claim_names": {"groups": "src1"},
    "_claim_sources": {"src1": {"endpoint": "https://graph", "access_token": "a.secret.token"}},
}


def test_the_record_says_why_and_is_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Record, explain and replay say what the server said, and why; never what a source holds."""
    with World(tmp_path, TAKES) as world:
        for claims in ({}, {"groups": [{"value": "staff"}]}, OVERAGE, {"org": "closed"}):
            world.ask(world.token(**claims))
        records = world.audit_records()
        (tmp_path / "same.yaml").write_text(world.config_text)

    free, unread, elsewhere, unit = records
    assert [one["decision"] for one in records] == ["allow", "deny", "deny", "deny"]
    assert [one["flags"] for one in records] == [
        [],
        ["claim_unreadable:groups"],
        ["claim_elsewhere:groups"],
        ["claim_unreadable:/org/unit"],
    ]
    assert "groups has an unsupported form" in unread["detail"]
    assert "groups is elsewhere" in elsewhere["detail"]
    assert "/org/unit has an unsupported form" in unit["detail"]
    assert elsewhere["claims"] == {"_claim_names": {"groups": "src1"}, "_claim_sources": ["src1"]}
    assert "secret" not in json.dumps(records)
    same, log = str(tmp_path / "same.yaml"), str(world.audit_path)
    assert cli.main(["replay", same, "--audit", log, "--strict"]) == 0
    assert "newly" not in capsys.readouterr().out.replace("newly allowed: 0", "").replace(
        "newly denied: 0", ""
    )
    for record in records:
        told = ["explain", same, "--audit", log, "--decision-id", record["decision_id"]]
        assert cli.main(told) == int(record["decision"] == "deny")
        if record is not free:
            assert record["detail"] in capsys.readouterr().out


def test_reviews_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Explain and test, told such a claim in words, refuse it as the server does."""
    with World(tmp_path, TAKES) as world:
        answer = world.ask(world.token(groups=[{"value": "staff"}]))
        config = tmp_path / "authz.yaml"
        config.write_text(world.config_text)
    words = ["explain", str(config), "GET", "https://mcp.corp.example/finance/balance"]
    words += ["--agent", TRAVEL, "--principal", "alice", "--scope", "balance:read"]
    cases = tmp_path / "cases.yaml"
    cases.write_text(
        "cases:\n"
        f"  - {{name: read, agent: '{TRAVEL}', principal: alice, scopes: ['balance:read'],\n"
        "     method: GET, url: 'https://mcp.corp.example/finance/balance',\n"
        "     claims: {groups: [{value: staff}]}, expect: policy_denied}\n"
    )

    assert reason_of(answer) == "policy_denied"
    assert cli.main(words) == 0
    capsys.readouterr()
    assert cli.main([*words, "--claim", 'groups=[{"value": "staff"}]']) == 1
    told = capsys.readouterr().out
    assert "only its denies and suspension apply: the claim groups has an unsupported form" in told
    assert cli.main(["test", str(config), str(cases)]) == 0


def test_what_can_knows_it() -> None:
    """What an agent can for such a principal is nothing; who-can names whom it is taken from."""
    subject = denies_only({"suspended": True, "if_absent": "deny"})
    agent = Agent(SpiffeId.parse(AGENT))

    def delegation(**claims: Any) -> Delegation:
        return question(**claims).delegation

    assert not what_can(subject, agent, delegation(groups=[7]))
    assert not what_can(subject, agent, delegation())
    assert what_can(subject, agent, delegation(groups=["staff"]))
    excepted = who_can(subject, question().operation).excepted
    assert any("groups contractors; or without" in one for one in excepted)


CONDITIONS: Final = [
    'has(claims.groups) && "contractors" in claims.groups',
    '"contractors" in claims.groups',
    'has(claims.groups) && claims.groups.exists(g, g == "contractors")',
]


# Of these a condition sees what it asks for: a list of texts.
SEEN: Final = (
    *("JSON in a list", "white space around", "what is not seen", "commas in a list"),
    *("names in LDAP, in a list", "semicolons in a list"),
)


@pytest.mark.parametrize("when", CONDITIONS)
@pytest.mark.parametrize("name", sorted(UNKNOWN.keys() - set(SEEN)))
def test_conditions_of_denies(when: str, name: str) -> None:
    """A deny's condition on a claim that is elsewhere, or compared with another type, denies."""
    conditions = ConditionSettings(claims=("groups",))

    def judged(subject: Policy) -> str:
        return decide(subject, question(**UNKNOWN[name]))

    def ruled(*rules: Any) -> Policy:
        principals = [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("a",))]
        agents = [AgentSettings(id=AGENT, grants=("a",))]
        return Policy(agents, principals, {"a": rules}, conditions=conditions)

    assert judged(ruled(*ALL, rule(effect="deny", when=when))) == "policy_denied"
    assert judged(ruled(rule(when=f"!({when})"))) == "policy_denied"


def test_a_condition_that_names_no_claim_reads_all() -> None:
    """One that looks a claim up by a name it computes has no value where any is elsewhere."""
    conditions = ConditionSettings(claims=("groups", "alice"))
    deny = rule(effect="deny", when='claims[principal.id] == "no"')
    subject = Policy(
        [AgentSettings(id=AGENT, grants=("a",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), grants=("a",))],
        {"a": (*ALL, deny)},
        conditions=conditions,
    )

    assert decide(subject, question(alice="yes")) == "allow"
    assert decide(subject, question(alice="yes", hasgroups=True)) == "policy_denied"
    assert decide(subject, question()) == "policy_denied"


def test_a_condition_is_flagged() -> None:
    """The record names claims that conditions read and that are elsewhere."""
    deny = rule(effect="deny", when="has(claims.level) && claims.level < 2")
    subject = policy((*ALL, deny))
    query = question(_claim_names={"level": "s"})

    assert subject.flags(query.delegation) == ("claim_elsewhere:level",)
    with pytest.raises(Denied) as caught:
        subject.evaluate(query).permitted()
    assert "level is elsewhere" in caught.value.detail


def test_a_text_of_many_words_is_read_once() -> None:
    """However many entries look at one text, its words are taken apart once for all of them."""
    names = [f"team-{number}" for number in range(300)]
    groups = [PrincipalMatch(issuer=ISSUER, groups=(name,)) for name in names]
    texts = [PrincipalMatch(issuer=ISSUER, claims={"teams": (f"the {name}",)}) for name in names]
    entries = [PrincipalSettings(match=match, grants=("no",)) for match in (*groups, *texts)]
    known = Policy([AgentSettings(id=AGENT, grants=("no",))], entries, {"no": DENY}).principals
    packed = " ".join(names)
    case = question(groups=packed, teams=f"the {packed}")
    asked = case.agent, case.delegation

    steps = steps_of(lambda: known.through(*asked))
    assert len(known.through(*asked)) == len(names) + 1
    assert steps < 100 * len(entries)  # read anew for each it took 400 for each
