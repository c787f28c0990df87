"""Policy against a walk: every entry tried in turn, and the rules of each in turn.

The walk knows no index, no merged set and nothing remembered. What an entry matches and what a
rule requires is the same code; another model judges that (``test_policy_model``).
"""

import random
from typing import Any, Final

import pytest

from authz.core.decision import Actor, Agent, Delegation, Effect, Mode, Verdict
from authz.core.policy import (
    AgentSettings,
    ConditionSettings,
    PrincipalMatch,
    PrincipalSettings,
    RuleSettings,
)
from authz.core.policy.claim_match import HeldClaims
from authz.core.policy.held_rules import LOOKS
from authz.core.policy.holder_settings import Absence
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.rules import UNRESTRICTED, Rule
from authz.core.policy.verdict import reach_verdict
from authz.core.reason import Denied, Reason
from authz.core.request import Operation, Request
from authz.core.spiffe import SpiffeId, SpiffePattern

ISSUER: Final = "https://as.example"
AGENTS: Final = [f"spiffe://corp/team-{n % 3}/bot-{n}" for n in range(9)]
AGENT_PATTERNS: Final = ["spiffe://corp/**", "spiffe://corp/team-1/*", "spiffe://corp/*/bot-2"]
SUBJECTS: Final = [*(f"u{n}" for n in range(6)), *AGENTS[:2]]
SUBJECT_PATTERNS: Final = ["spiffe://corp/team-0/*", "spiffe://corp/*/bot-1"]
GROUPS: Final = [*(f"g{n}" for n in range(6)), "g0 g1", "old g2"]
VALUES: Final = ["d0", "d1", "d0 d1", 1, True, 0]
CLAIMS: Final = ["dept", "/org/unit", "level"]
HOSTS: Final = [
    *([("h.a.corp",), ("*",)] * 2),
    *(("*.a.corp",), ("**.a.corp",), ("**.a.corp", "h.a.corp", "*.h.a.corp")),
]
PATHS: Final = ["/**", "/a", "/{x}", "/a/*", "/a/**", "/b/c"]
ASKED: Final = [("a",), ("b", "c"), ("a", "x"), ("a", ""), ("z",)]
ODD: Final[list[Any]] = [None, 7, True, {"x": 1}, ["g0", 5], "g0,g1", '["g0"]', "g1 ", [["g0"]]]
QUESTIONS: Final = 40
SEEDS: Final = range(20)


class Drawn:
    """A policy and questions to it, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        """Draw the policy: from a few entries to some that have to be divided twice."""
        draw = self.draw = random.Random(seed)
        self.grants = {f"r{n}": tuple(self._rule() for _ in range(3)) for n in range(24)}
        count = draw.choice([3, 20, 60, 120])
        self.taking = draw.choice([0.0, 0.2])
        self.agents = [
            AgentSettings(id="spiffe://corp/**", grants=("r0",)),
            *(self._agent() for _ in range(draw.choice([2, 20]))),
        ]
        self.principals = [self._principal() for _ in range(count)]
        self.conditions = ConditionSettings(headers=("x-env",))
        self.policy = Policy(self.agents, self.principals, self.grants, conditions=self.conditions)

    def _rule(self) -> RuleSettings:
        draw = self.draw
        given: dict[str, Any] = {
            "hosts": draw.choice(HOSTS),
            "methods": (draw.choice(["GET", "*"]),),
            "paths": tuple(draw.sample(PATHS, draw.choice([1, 2]))),
            "shadow": draw.random() < 0.1,
            "headers": draw.choice([{}, {}, {}, {"x-env": ("prod",)}]),
        }
        if draw.random() < 0.05:
            return RuleSettings(effect=Effect.DENY, **given)
        scopes: tuple[str, ...] = draw.choice([(), (), ("s",), ("t",)])
        limits: dict[str, Any] = draw.choice([{}, {}, {"max_actors": 1}, {"max_token_age": 50.0}])
        added: dict[str, str] = draw.choice([{}, {}, {"x-dept": "dept"}])
        return RuleSettings(scopes=scopes, add_headers=added, **limits, **given)

    def _some(self, values: list[Any]) -> tuple[Any, ...]:
        return tuple(self.draw.sample(values, self.draw.choice([1, 1, 1, 2, 3])))

    def _held(self) -> dict[str, Any]:
        draw = self.draw
        return {
            "grants": self._some(list(self.grants)),
            "unrestricted": draw.random() < 0.05,
            "suspended": draw.random() < 0.1 * self.taking,
        }

    def _agent(self) -> AgentSettings:
        return AgentSettings(id=self.draw.choice(AGENTS + AGENT_PATTERNS), **self._held())

    def _principal(self) -> PrincipalSettings:
        draw = self.draw
        match: dict[str, Any] = {"issuer": ISSUER}
        for member, values, chance in (
            ("subjects", SUBJECTS + SUBJECT_PATTERNS, 0.4),
            ("groups", GROUPS, 0.5),
            ("roles", GROUPS, 0.2),
        ):
            if draw.random() < chance:
                match[member] = self._some(values)
        names = [name for name in CLAIMS if draw.random() < 0.3]
        match["claims"] = {name: self._some(VALUES) for name in names}
        is_taking = draw.random() < self.taking and len(match) + len(names) > 2
        has_claims = names or "groups" in match or "roles" in match
        return PrincipalSettings(
            match=PrincipalMatch.model_validate(match),
            agents=self._some(AGENTS + AGENT_PATTERNS) if draw.random() < 0.5 else None,
            if_absent=Absence.DENY if is_taking and has_claims else Absence.PASS,
            **self._held(),
        )

    def _claims(self) -> dict[str, Any]:
        draw = self.draw
        claims = {
            "groups": draw.sample(GROUPS, draw.choice([0, 1, 2, 5])),
            "roles": draw.sample(GROUPS, draw.choice([0, 1, 2])),
            "dept": draw.choice([*VALUES, None]),
            "level": draw.choice([*VALUES, [1, "d0"], None]),
            "org": draw.choice([{"unit": "d0"}, {"unit": [True, "d1"]}, "d0", None]),
            "_claim_names": draw.choice([*[None] * 20, {"groups": "s"}, 5]),
        }
        if draw.random() < 0.2:
            claims[draw.choice(["groups", "roles", "dept"])] = draw.choice(ODD)
        return {name: value for name, value in claims.items() if value is not None}

    def query(self) -> PolicyQuery:
        """Draw a question."""
        draw = self.draw
        agent = draw.choice(AGENTS)
        mode = draw.choice([Mode.ACT] * 8 + [Mode.AUTONOMOUS, Mode.BOOTSTRAP])
        is_own, is_nobody = mode is Mode.AUTONOMOUS, mode is Mode.BOOTSTRAP
        by_svid = is_own and draw.random() < 0.5
        subject = agent if is_own else draw.choice([*SUBJECTS, "SPIFFE://corp/team-0/x"])
        actors = [agent, *draw.choice([[], [], [AGENTS[3]], ["nobody"]])]
        delegation = Delegation(
            "" if is_nobody else ISSUER,
            "" if is_nobody else subject,
            tuple(Actor(ISSUER, name) for name in actors),
            frozenset(draw.sample(["s", "t"], draw.choice([0, 1, 2]))),
            draw.choice([0.0, 60.0]),
            1000.0,
            mode=mode,
            claims={} if is_nobody or by_svid else self._claims(),
            by_svid=by_svid,
        )
        segments = draw.choice(ASKED)
        sent = draw.choice([(), (("x-env", "prod"),)])
        method, host = (
            draw.choice(["GET", "PUT"]),
            draw.choice(["h.a.corp", "h.a.corp", "o.h.a.corp", "h"]),
        )
        request = Request(method, host, f"/{'/'.join(segments)}", sent)
        operation = Operation(method, host, segments)
        return PolicyQuery(Agent(SpiffeId.parse(agent)), delegation, operation, request, 100.0)

    def walked(self, query: PolicyQuery) -> Verdict:
        """Decide by trying every entry. Raises Denied as the policy does."""
        query.declared = self.policy.reads
        delegation, held = query.delegation, HeldClaims(query.delegation.claims)
        agents = self.policy.agents.of(query.agent.spiffe_id)  # their order is the patterns'
        assert set(agents) == {
            one
            for one in self.policy.agents.entries
            if SpiffePattern.parse(one.settings.id).matches(query.agent.spiffe_id)
        }
        if any(one.settings.suspended for one in agents):
            raise Denied(Reason.AGENT_SUSPENDED)
        counted = [one.counted(delegation, held) for one in self.policy.principals.entries]
        principals = [one for one in counted if one and one.is_through(query.agent)]
        if delegation.mode is Mode.BOOTSTRAP:
            principals = []
        elif any(one.settings.suspended for one in principals):
            by_agents = all(one.agents for one in principals if one.settings.suspended)
            raise Denied(Reason.ACTOR_NOT_PERMITTED if by_agents else Reason.POLICY_DENIED)
        elif not principals and not delegation.by_svid:
            others = [one for one in counted if one and not one.settings.suspended]
            is_other = any(not one.is_denies_only for one in others)
            return Verdict(Denied(Reason.ACTOR_NOT_PERMITTED if is_other else Reason.POLICY_DENIED))
        of_principal = rules_of(principals, query)
        return reach_verdict(
            rules_of(agents, query),
            None if delegation.mode is Mode.BOOTSTRAP else of_principal,
            query,
        )


def rules_of(entries: list[Any], query: PolicyQuery) -> list[Rule]:
    """The rules of entries about an operation, in the entries' order, each once."""
    found = [rule for entry in entries for rule in entry.rules.find(query.operation)]
    free = [UNRESTRICTED] if any(entry.settings.unrestricted for entry in entries) else []
    return list(dict.fromkeys([*found, *free]))


def said(verdict: Verdict) -> tuple[object, ...]:
    """What a verdict says, to be compared."""
    outcome = verdict.outcome
    told = (outcome.reason, outcome.rule) if isinstance(outcome, Denied) else outcome
    return told, verdict.shadows, verdict.stable_until


def unnamed(told: tuple[object, ...]) -> tuple[object, ...]:
    """The same without the names of rules that deny: merged denies come before others."""
    first, *rest = told
    if not isinstance(first, tuple):
        return told
    notes = [(note.by, note.decision, note.reason) for note in told[1]]  # type: ignore[attr-defined]
    return first[0], notes, *rest[1:]


def outcome_of(decide: Any, query: PolicyQuery) -> tuple[object, ...]:
    """What is decided: a verdict, or a refusal that is enforced in shadow too."""
    try:
        return said(decide(query))
    except Denied as denied:
        return (denied.reason,)


@pytest.mark.parametrize("seed", SEEDS)
def test_index_and_walk_agree(seed: int) -> None:
    """Verdict, named rules, shadow notes and times are those of the walk, asked again as well."""
    drawn = Drawn(seed)
    for _ in range(QUESTIONS):
        query = drawn.query()
        expected = outcome_of(drawn.walked, query.again())
        entries = drawn.policy.principals.through(query.agent, query.delegation)
        shown = unnamed if any(entry.others for entry in entries) else tuple
        for _ in range(2 * LOOKS):  # until the rules are merged, and the permit is remembered
            given = outcome_of(drawn.policy.evaluate, query.again())
            assert shown(given) == shown(expected), query.delegation
