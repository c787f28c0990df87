"""Policy against an independent model: a slow function over the settings says what they mean.

The model reads nothing compiled: it is written from the docstrings of the settings alone.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.core.decision import Actor, Agent, Delegation, Effect, Mode
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.time_windows import WindowSettings
from authz.core.reason import Denied
from authz.core.request import Operation, Request
from authz.core.spiffe import SpiffeId

ISSUER: Final = "https://as.example"
OTHER: Final = "https://other.example"
NOON: Final = datetime(2026, 3, 25, 12, tzinfo=UTC).timestamp()  # the week of a DST change
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
REQUESTS: Final = 10_000

# --- the model -----------------------------------------------------------------------------------


@cache
def segments_fit(pattern: str, text: str) -> bool:
    """Whether a pattern of segments fits, by recursion; both begin with "/"."""

    def fits(wanted: list[str], got: list[str]) -> bool:
        if wanted == ["**"]:
            return True
        if not wanted or not got:
            return wanted == got
        head = wanted[0]
        is_any = head == "*" or (head.startswith("{") and head.endswith("}"))
        same = got[0] != "" if is_any else head == got[0]
        return same and fits(wanted[1:], got[1:])

    return fits(pattern.split("/")[1:], text.split("/")[1:])


@cache
def host_fits(pattern: str, host: str) -> bool:
    """Whether a host is the one, or has one label (``*``) or more (``**``) before the domain."""
    wildcard, _, domain = pattern.partition(".")
    if wildcard == "*" and domain:
        return host.partition(".")[2] == domain
    return pattern in ("*", host) or (wildcard == "**" and host.endswith(f".{domain}"))


@cache
def id_fits(pattern: str, text: str) -> bool:
    """Whether a SPIFFE ID is the one, or fits the pattern."""
    scheme = "spiffe://"
    if pattern == text:
        return True
    if "*" not in pattern or not (pattern.startswith(scheme) and text.startswith(scheme)):
        return False
    wanted, _, wanted_path = pattern[len(scheme) :].partition("/")
    got, _, got_path = text[len(scheme) :].partition("/")
    return wanted == got and segments_fit("/" + wanted_path, "/" + got_path)


def value_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by name or by JSON Pointer, None for none; in a text, say, there can be no member."""
    value: Any = claims
    for step in name[1:].split("/") if name.startswith("/") else [name]:
        if value is not None:
            value = value.get(step) if isinstance(value, dict) else {"no": "members"}
    return value


def same(one: object, other: object) -> bool:
    """Equal, and of one type."""
    return type(one) is type(other) and one == other


def window_fits(window: WindowSettings, now: float) -> bool:
    """Whether it is open, by the wall clock of its zone."""
    moment = datetime.fromtimestamp(now, UTC)
    if window.not_before and moment < window.not_before:
        return False
    if window.not_after and moment >= window.not_after:
        return False
    local = moment.astimezone(ZoneInfo(window.zone))
    day, clock = local.date(), local.strftime("%H:%M")
    if window.hours:
        begin, end = window.hours.split("-")
        if begin < end:
            if not begin <= clock < end:
                return False
        elif clock < end:
            day -= timedelta(days=1)
        elif clock < begin:
            return False
    return window.days is None or DAYS[day.weekday()] in window.days


def rule_fits(rule: RuleSettings, query: PolicyQuery) -> bool:
    """Whether everything that the rule gives fits."""
    delegation, operation, now = query.delegation, query.operation, query.now
    is_deny = rule.effect == "deny"
    earlier = [actor.subject for actor in delegation.actors[1:]]
    path = "/" + "/".join(operation.path)
    if not any(host_fits(pattern, operation.host) for pattern in rule.hosts):
        return False
    if operation.method not in rule.methods and "*" not in rule.methods:
        return False
    if not any(segments_fit(pattern, path) for pattern in rule.paths):
        return False
    fits = [
        all(scope in delegation.scopes for scope in rule.scopes or ()),
        rule.max_actors is None or len(delegation.actors) <= rule.max_actors,
        rule.max_token_age is None or now - delegation.issued_at < rule.max_token_age,
        rule.during is None or any(window_fits(one, now) for one in rule.during),
        not rule.acr_values or delegation.claims.get("acr") in rule.acr_values,
    ]
    if rule.max_age is not None:
        at: Any = delegation.claims.get("auth_time")
        fits.append(type(at) in (int, float) and now - at < rule.max_age)
    for name, wanted in rule.headers.items():
        sent = query.request.header(name)
        parts = [] if sent is None else [sent]
        if sent is not None and is_deny:
            parts += [part.strip() for part in sent.split(",")]
        fits.append(any(part in wanted or "*" in wanted for part in parts))
    if rule.via is not None:
        are_via = [any(id_fits(one, actor) for one in rule.via) for actor in earlier]
        fits.append(any(are_via) if is_deny else all(are_via))
    return all(fits)


def may_be(value: Any, wanted: tuple[Any, ...], marks: Mapping[str, Any], root: str) -> bool:
    """Whether a claim that holds none of the values may mean one of them all the same."""
    if root in marks.get("_claim_names", {}) or (root == "groups" and marks.get("hasgroups")):
        return True
    if value is None:
        return False
    values = value if isinstance(value, list) else [value]
    kinds = [type(one) for one in wanted]
    if any(type(one) not in kinds for one in values):
        return True
    return isinstance(value, str) and any(str(one) in re.split("[ ,]", value) for one in wanted)


def is_principal(entry: PrincipalSettings, query: PolicyQuery) -> str:
    """Whether the entry is about the principal, through this agent: "yes", "perhaps" or "no"."""
    match, delegation = entry.match, query.delegation
    claims = delegation.claims
    if match.issuer != delegation.issuer:
        return "no"
    caller, subject = query.agent.spiffe_id.text, delegation.subject
    for patterns, text in ((entry.agents, caller), (match.subjects, subject)):
        if patterns is not None and not any(id_fits(one, text) for one in patterns):
            return "no"
    asked = {("groups", match.groups), ("roles", match.roles), *match.claims.items()}
    fits: set[str] = set()
    for name, wanted in asked:
        if wanted is None:
            continue
        value = value_of(claims, name)
        held = value if isinstance(value, list) else [value]
        if any(same(one, word) for one in held for word in wanted):
            fits.add("yes")
        elif may_be(value, wanted, claims, name.split("/")[1] if name[0] == "/" else name):
            fits.add("perhaps")
        else:
            is_absent = value is None and entry.if_absent == "deny"
            fits.add("perhaps" if is_absent else "no")
    return "no" if "no" in fits else "perhaps" if "perhaps" in fits else "yes"


def model(
    agents: list[AgentSettings],
    principals: list[PrincipalSettings],
    grants: dict[str, tuple[RuleSettings, ...]],
    query: PolicyQuery,
) -> bool:
    """Whether the settings allow it."""
    of_agent = [one for one in agents if id_fits(one.id, query.agent.spiffe_id.text)]
    meant = [(one, is_principal(one, query)) for one in principals]
    of_principal = [one for one, is_meant in meant if is_meant == "yes"]
    everybody = [*of_agent, *(one for one, is_meant in meant if is_meant != "no")]
    if any(one.suspended for one in everybody):
        return False
    is_own = query.delegation.mode == "autonomous"
    listing = [one for one in of_principal if one.match.subjects is not None or not is_own]

    def fitting(side: list[Any]) -> list[RuleSettings]:
        names = {name for one in side for name in one.grants}
        rules = [rule for name in names for rule in grants[name]]
        return [rule for rule in rules if not rule.shadow and rule_fits(rule, query)]

    if any(rule.effect == "deny" for rule in fitting(everybody)):
        return False
    giving: list[list[Any]] = [of_agent, listing]
    allows = [bool(fitting(side)) for side in giving]
    free = [any(one.unrestricted for one in side) for side in giving]
    return all(a or f for a, f in zip(allows, free, strict=True)) and any(allows)


# --- a company -----------------------------------------------------------------------------------

HOSTS: Final = [f"s{n}.t{n % 4}.corp.example" for n in range(30)]
BELOW: Final = ["*.t1.corp.example", "**.t2.corp.example", "*.corp.example", "**.corp.example"]
TEAMS: Final = [f"team-{n}" for n in range(12)]
SCOPES: Final = ["read", "write", "admin"]
ZONES: Final = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]
PATHS: Final = ["/**", "/items", "/items/{id}", "/items/*/lines", "/items/**", "/admin/**", "/a/"]
ASKED: Final = [
    "/items",
    "/items/7",
    "/items/7/lines",
    "/items/",
    "/admin/x",
    "/",
    "/a/",
    "/items//lines",
]


class Company:
    """Agents, principals, services and rules, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        """Draw it."""
        self.draw = random.Random(seed)
        self.grants = {f"g{n}": tuple(self._rule() for _ in range(5)) for n in range(40)}
        names = [f"spiffe://corp/{team}/bot-{n}" for team in TEAMS for n in range(4)]
        self.callers = [*names, "spiffe://corp/x/y/z", "spiffe://else/team-0/bot-0"]
        self.agents = [
            AgentSettings(id="spiffe://corp/team-0/*", grants=("g0",)),
            AgentSettings(id="spiffe://corp/**", grants=("g1",)),
            AgentSettings(id="spiffe://corp/team-1/bot-0", unrestricted=True, grants=("g2",)),
            AgentSettings(id="spiffe://corp/team-2/*", unrestricted=True),
            AgentSettings(id="spiffe://corp/team-11/*", suspended=True),
            *(AgentSettings(id=name, grants=self._grants(8)) for name in names[8:43]),
        ]
        self.people = [self._person(n) for n in range(2_000)]
        self.principals = [
            *(self._entry(groups=(team,)) for team in TEAMS),
            *(self._entry(roles=(role,)) for role in ("dev", "ops")),
            self._entry(groups=("team-3", "team-4"), claims={"level": (1, "1")}),
            self._entry(claims={"/org/unit": ("eu", True)}),
            self._entry(agents=("spiffe://corp/team-4/**",)),
            self._entry(subjects=("spiffe://corp/**",)),
            self._entry(subjects=("u5", "u6", "spiffe://corp/team-5/bot-1")),
            PrincipalSettings(
                match=PrincipalMatch(issuer=ISSUER, subjects=tuple(f"u{n}" for n in range(100))),
                unrestricted=True,
            ),
            self._taking(claims={"left": (True,)}),
            self._taking(groups=("leavers", "team-9 old")),
            self._taking(roles=("barred",), subjects=tuple(f"u{n}" for n in range(900))),
            self._taking(groups=("lost",), if_absent="deny", subjects=("spiffe://corp/**", "u7")),
            self._taking(claims={"/org/unit": ("closed",)}, agents=("spiffe://corp/team-1/*",)),
        ]

    def _grants(self, count: int) -> tuple[str, ...]:
        return tuple(self.draw.sample(sorted(self.grants), count))

    def _entry(self, agents: tuple[str, ...] | None = None, **match: Any) -> PrincipalSettings:
        matched = PrincipalMatch(issuer=ISSUER, **match)
        return PrincipalSettings(match=matched, agents=agents, grants=self._grants(8))

    def _taking(self, **given_: Any) -> PrincipalSettings:
        entry = {name: given_.pop(name) for name in ("if_absent", "agents") if name in given_}
        matched = PrincipalMatch(issuer=ISSUER, **given_)
        return PrincipalSettings(match=matched, suspended=True, **entry)

    def _maybe(self, chance: float, value: object) -> Any:
        return value if self.draw.random() < chance else None

    def _window(self) -> WindowSettings:
        return WindowSettings(
            days=tuple(self.draw.sample(DAYS, 4)),
            hours=self.draw.choice(["08:00-18:00", "22:00-06:00", "00:00-24:00", "12:00-00:00"]),
            zone=self.draw.choice(ZONES),
            not_before=self._maybe(0.2, datetime.fromtimestamp(NOON, UTC)),
            not_after=self._maybe(0.2, datetime.fromtimestamp(NOON + 7200, UTC)),
        )

    def _rule(self) -> RuleSettings:
        draw = self.draw
        is_deny = draw.random() < 0.04
        hosts = draw.sample(HOSTS, 7 if is_deny else 11)
        via = self._maybe(0.2, ("spiffe://corp/team-1/*", "spiffe://corp/team-2/bot-1"))
        given_: dict[str, Any] = {
            "hosts": tuple(hosts) if is_deny or draw.random() < 0.7 else tuple(self._wide()),
            "methods": tuple(draw.sample(["GET", "POST", "*"], 2)),
            "paths": tuple(draw.sample(PATHS, 2)),
            "via": via,
            "during": self._maybe(0.2, (self._window(), self._window())),
            "headers": self._maybe(0.2, {"x-env": ("prod", "*")[: draw.randint(1, 2)]}) or {},
            "shadow": draw.random() < 0.05,
        }
        if is_deny:
            return RuleSettings(effect=Effect.DENY, **given_)
        return RuleSettings(
            scopes=tuple(draw.sample(SCOPES, draw.choice([0, 0, 1, 2]))),
            max_actors=self._maybe(0.2, draw.randint(1, 2)),
            max_token_age=self._maybe(0.2, 300.0),
            acr_values=self._maybe(0.1, ("mfa",)) or (),
            max_age=self._maybe(0.1, 300.0),
            **given_,
        )

    def _wide(self) -> list[str]:
        return self.draw.choice([["*"], ["*"], self.draw.sample(BELOW, 2)])

    def _person(self, number: int) -> tuple[str, dict[str, Any]]:
        draw = self.draw
        claims = {
            "groups": draw.choice(
                [*[draw.sample(TEAMS, 2)] * 30, "team-1", "team-1,leavers", None, ["x", 1, {}, []]]
            ),
            "roles": draw.choice([*[["dev"], ["ops", "dev"], []] * 9, True, None]),
            "level": draw.choice([1, True, "1", 1.0, [1, 2], {"1": 1}]),
            "org": draw.choice([{"unit": "eu"}, {"unit": [True]}, {"unit": 1}, ["unit"], "eu"]),
            "left": draw.choice([True, 1, "true", *[False] * 60, *[None] * 9]),
            "_claim_names": draw.choice([{"roles": "src1"}, {"groups": "s"}, *[{}] * 50]),
            "hasgroups": draw.choice([True, *[False] * 60]),
            "acr": draw.choice(["mfa", "pwd", ["mfa"]]),
            "auth_time": draw.choice([NOON, NOON - 1000, True, "now", None]),
        }
        return f"u{number}", {name: value for name, value in claims.items() if value is not None}

    def query(self) -> PolicyQuery:
        """A random question."""
        draw = self.draw
        now = NOON + draw.choice([0, draw.randint(-8, 8) * 3600, draw.random() * 604_800])
        subject, claims = draw.choice(self.people)
        caller = draw.choice(self.callers)
        mode = Mode.ACT
        if draw.random() < 0.1:
            subject, mode = caller, Mode.AUTONOMOUS
        actors = [caller, *draw.choices([*self.callers, "someone"], k=draw.choice([0, 0, 0, 1, 2]))]
        delegation = Delegation(
            draw.choice([ISSUER] * 20 + [OTHER]),
            subject,
            tuple(Actor(ISSUER, one) for one in actors),
            frozenset(draw.sample(SCOPES, draw.choice([1, 2, 3, 3]))),
            now - draw.choice([0, 10, 299, 300, 301]),
            now + 300,
            mode=mode,
            claims=claims,
        )
        path = draw.choice(ASKED)
        method, host = draw.choice(["GET", "POST", "DELETE"]), draw.choice(HOSTS)
        sent = draw.choice(
            [(), *((("x-env", one),) for one in ("prod", "dev,prod", "prod , x", ""))]
        )
        request = Request(method, host, path, sent)
        operation = Operation(method, host, tuple(path[1:].split("/")))
        return PolicyQuery(Agent(SpiffeId.parse(caller)), delegation, operation, request, now)


def allows(policy: Policy, query: PolicyQuery) -> bool:
    """Whether the policy allows it."""
    try:
        policy.evaluate(query).permitted()
    except Denied:
        return False
    return True


@pytest.mark.drawn
def test_a_company_is_judged_as_its_settings_say() -> None:
    """On every one of 10,000 requests to a company, model and policy agree; a third are allowed."""
    company = Company(7)
    policy = Policy(company.agents, company.principals, company.grants)
    seen: Counter[bool] = Counter()
    for _ in range(REQUESTS):
        query = company.query()
        expected = model(company.agents, company.principals, company.grants, query)
        assert allows(policy, query) == expected, (query.agent, query.delegation, query.operation)
        seen[expected] += 1

    assert REQUESTS / 4 < seen[True] < REQUESTS / 2, seen


# --- tiny universes ------------------------------------------------------------------------------

WHO: Final = ["spiffe://t/a", "spiffe://t/b"]
_ids = st.sampled_from([*WHO, "spiffe://t/*", "spiffe://t/**"])
_rules = st.builds(
    lambda is_deny, path, scopes, is_shadow, via: RuleSettings(
        effect=Effect.DENY if is_deny else Effect.ALLOW,
        hosts=("h",),
        methods=("*",),
        paths=(path,),
        scopes=None if is_deny else scopes,
        shadow=is_shadow,
        via=via,
    ),
    st.integers(0, 4).map(lambda drawn: drawn == 0),
    st.sampled_from(["/**", "/x", "/{y}", "/x/*", "/x/"]),
    st.sampled_from([(), ("s",)]),
    st.integers(0, 5).map(lambda drawn: drawn == 0),
    st.sampled_from([None, None, ("spiffe://t/b",)]),
)
_held: dict[str, Any] = {
    "grants": st.lists(st.sampled_from(["p", "q"]), max_size=2).map(tuple),
    "unrestricted": st.booleans(),
    "suspended": st.integers(0, 9).map(lambda drawn: drawn == 0),
}
_values = st.sampled_from([1, True, "1", 0, False])
_matches = st.fixed_dictionaries(
    {},
    optional={
        "subjects": st.sampled_from([("u",), ("spiffe://t/*",), ("u", "spiffe://t/a")]),
        "groups": st.just(("g",)),
        "claims": st.builds(lambda one: {"/c/d": (one,)}, _values),
    },
).map(lambda given_: PrincipalMatch.model_validate({"issuer": ISSUER, **given_}))
_groups: Any = st.sampled_from([["g"], "g", None, ["x"], [], "x g", ["x", {"value": "g"}], 1])


def _entries(kind: type[Any], **first: Any) -> st.SearchStrategy[Any]:
    drawn = st.fixed_dictionaries({**first, **_held})
    said = drawn.filter(lambda one: one["grants"] or one["unrestricted"] or one["suspended"])
    return st.lists(
        said.map(lambda one: kind(**{key: value for key, value in one.items() if value != ()})),
        min_size=1,
        max_size=3,
    )


@settings(max_examples=100, deadline=None)
@given(
    _entries(AgentSettings, id=_ids),
    _entries(PrincipalSettings, match=_matches, agents=st.sampled_from([None, ("spiffe://t/a",)])),
    st.fixed_dictionaries({name: st.lists(_rules, max_size=3).map(tuple) for name in "pq"}),
    st.data(),
)
def test_tiny_worlds_are_judged_as_their_settings_say(
    agents: list[AgentSettings],
    principals: list[PrincipalSettings],
    grants: dict[str, tuple[RuleSettings, ...]],
    data: st.DataObject,
) -> None:
    """Of a few agents, principals and rules in any mixture, model and Policy say the same."""
    policy = Policy(agents, principals, grants)
    draw = data.draw
    for _ in range(4):
        caller = draw(st.sampled_from(WHO))
        mode = draw(st.sampled_from([Mode.ACT, Mode.ACT, Mode.AUTONOMOUS]))
        earlier = draw(st.lists(st.sampled_from([*WHO, "u"]), max_size=1))
        delegation = Delegation(
            ISSUER,
            "u" if mode == "act" else caller,
            tuple(Actor(ISSUER, one) for one in (caller, *earlier)),
            frozenset(draw(st.sampled_from([(), ("s",)]))),
            0,
            1,
            mode=mode,
            claims={
                "groups": draw(_groups),
                "c": draw(st.one_of(_values, _values.map(lambda one: {"d": one}))),
                "hasgroups": draw(st.sampled_from([False, False, True])),
            },
        )
        path = draw(st.sampled_from(["/x", "/", "/x/", "/x/z"]))
        operation = Operation("GET", "h", tuple(path[1:].split("/")))
        agent = Agent(SpiffeId.parse(caller))
        query = PolicyQuery(agent, delegation, operation, Request("GET", "h", path), 0.5)
        assert allows(policy, query) == model(agents, principals, grants, query)
