"""Policies of so many entries in each shape that operators write, and a question to each of them.

In each the same agent asks for the same path, for the same principal. What differs is how many
other entries and rules there are, and by what they could be told apart.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.decision import Actor, Agent, Delegation, Effect
from authz.core.policy import AgentSettings, Grants, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.holder_settings import Absence
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.request import Operation, Request
from authz.core.spiffe import SpiffeId

ISSUER: Final = "https://as.corp.example"
MAX_GROUPS: Final = 200  # in a token: Entra ID names no more
NOW: Final = 1.5e9  # unix seconds
Entries = list[PrincipalSettings]


def spiffe_id(number: int) -> str:
    """The SPIFFE ID of an agent."""
    return f"spiffe://corp.example/ns/prod/sa/agent-{number}"


AGENT: Final = Agent(SpiffeId.parse(spiffe_id(0)))
OPERATION: Final = Operation("GET", "api.corp.example", ("service-0", "items", "7"))


def rule(path: str, effect: Effect = Effect.ALLOW) -> RuleSettings:
    """A rule about a path."""
    scopes = () if effect is Effect.ALLOW else None
    hosts = (OPERATION.host,)
    return RuleSettings(effect=effect, hosts=hosts, methods=("GET",), paths=(path,), scopes=scopes)


ONE_GRANT: Final[Grants] = {
    "read": (rule("/**"),),
    "never": (rule("/closed/**", Effect.DENY),),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A policy, and the claims of the token that asks."""

    principals: Entries
    claims: Mapping[str, Any]
    grants: Grants
    agents: tuple[AgentSettings, ...] = (AgentSettings(id=spiffe_id(0), grants=("read",)),)

    def policy(self) -> Policy:
        """Compile it."""
        return Policy(self.agents, self.principals, self.grants)

    def delegation(self) -> Delegation:
        """A delegation as a token's verification makes it: each call is another token."""
        actors = (Actor(ISSUER, spiffe_id(0)),)
        return Delegation(
            ISSUER, "user-0", actors, frozenset({"read"}), NOW, 2 * NOW, claims=self.claims
        )


def query(delegation: Delegation) -> PolicyQuery:
    """The question."""
    path = f"/{'/'.join(OPERATION.path)}"
    request = Request(OPERATION.method, OPERATION.host, path)
    return PolicyQuery(AGENT, delegation, OPERATION, request, NOW)


def _entry(
    grant: str = "read", *, agents: tuple[str, ...] | None = None, takes: str = "", **match: object
) -> PrincipalSettings:
    """An entry; ``takes`` is "suspended" or "absent" where it does more than its grant."""
    return PrincipalSettings(
        match=PrincipalMatch.model_validate({"issuer": ISSUER, **match}),
        grants=(grant,),
        agents=agents,
        suspended=takes == "suspended",
        if_absent=Absence.DENY if takes == "absent" else Absence.PASS,
    )


def _shape(principals: Entries, grants: Grants = ONE_GRANT, **claims: object) -> Shape:
    held = {"groups": ["team-0"], "roles": ["role-0"], "dept": "dept-0", **claims}
    return Shape(principals, held, grants)


def _grants_of(count: int, path: str) -> Grants:
    """A grant for each number, about a path of its own."""
    return {**ONE_GRANT, **{f"grant-{n}": (rule(path.format(n)),) for n in range(count)}}


def _team(number: int) -> tuple[str, ...]:
    return (f"team-{number}",)


def _side(count: int, dimensions: int) -> range:
    return range(max(2, round(count ** (1 / dimensions))))


SHAPES: Final[Mapping[str, Callable[[int], Shape]]] = {
    "an agent each, of one group": lambda count: _shape(
        [_entry(groups=_team(0), agents=(spiffe_id(n),)) for n in range(count)]
    ),
    "an agent each": lambda count: _shape([_entry(agents=(spiffe_id(n),)) for n in range(count)]),
    "a pattern of agents each": lambda count: _shape(
        [_entry(agents=(f"spiffe://corp.example/ns/*/sa/agent-{n}",)) for n in range(count)]
    ),
    "a subject each": lambda count: _shape([_entry(subjects=(f"user-{n}",)) for n in range(count)]),
    "a pattern of subjects each": lambda count: _shape(
        [
            _entry(),
            *(_entry(subjects=(f"spiffe://corp.example/t{n}/*",)) for n in range(count)),
        ]
    ),
    "a value of a claim each": lambda count: _shape(
        [_entry(claims={"dept": (f"dept-{n}",)}) for n in range(count)]
    ),
    "a claim each": lambda count: _shape(
        [_entry(claims={f"flag_{n}": (True,)}) for n in range(count)], flag_0=True
    ),
    "groups by agents": lambda count: _shape(
        [
            _entry(groups=_team(team), agents=(spiffe_id(agent),))
            for team in _side(count, 2)
            for agent in _side(count, 2)
        ]
    ),
    "groups by roles": lambda count: _shape(
        [
            _entry(groups=_team(team), roles=(f"role-{role}",))
            for team in _side(count, 2)
            for role in _side(count, 2)
        ]
    ),
    "groups by agents by departments": lambda count: _shape(
        [
            _entry(groups=_team(team), agents=(spiffe_id(agent),), claims={"dept": (f"dept-{n}",)})
            for team in _side(count, 3)
            for agent in _side(count, 3)
            for n in _side(count, 3)
        ]
    ),
    "ten groups and ten agents each": lambda count: _shape(
        [
            _entry(
                groups=tuple(f"team-{n + more}" for more in range(10)),
                agents=tuple(spiffe_id(n + more) for more in range(10)),
            )
            for n in range(count)
        ]
    ),
    "a grant each, of one group": lambda count: _shape(
        [_entry(f"grant-{n}", groups=_team(0)) for n in range(count)],
        _grants_of(count, "/service-{}/**"),
    ),
    "a group each, and a token of many": lambda count: _shape(
        [_entry(f"grant-{n}", groups=_team(n)) for n in range(count)],
        _grants_of(count, "/service-{}/**"),
        groups=[f"team-{n}" for n in range(min(count, MAX_GROUPS))],
    ),
    "one grant of all, through one group": lambda count: _shape(
        [_entry(groups=_team(0)) for _ in range(count)]
    ),
    "an entry each for one agent": lambda count: Shape(
        [_entry()],
        {},
        _grants_of(count, "/service-{}/**"),
        tuple(
            AgentSettings(id="spiffe://corp.example/ns/**", grants=(f"grant-{n}",))
            for n in range(count)
        ),
    ),
    "a deny each, by a group": lambda count: _shape(
        [_entry(), *(_entry("never", groups=(f"left-{n}",)) for n in range(count))]
    ),
    "a deny each, by a group that can't be read": lambda count: _shape(
        [_entry(), *(_entry("never", groups=(f"left-{n}",)) for n in range(count))], groups=[7]
    ),
    "a deny each, by a claim that is absent": lambda count: _shape(
        [
            _entry(),
            *(_entry("never", takes="absent", claims={"left": (n,)}) for n in range(count)),
        ]
    ),
    "a deny each, by two claims that can't be read": lambda count: _shape(
        [
            _entry(),
            *(
                _entry("never", groups=(f"left-{n}",), claims={"dept": (f"closed-{n}",)})
                for n in range(count)
            ),
        ],
        groups=[7],
        dept=[{}],
    ),
    "a deny each, through an agent": lambda count: _shape(
        [
            _entry(),
            *(
                _entry("never", agents=(spiffe_id(n),), claims={"dept": ("closed",)})
                for n in range(count)
            ),
        ]
    ),
    "other agents alone": lambda count: _shape(
        [_entry(groups=_team(0), agents=(spiffe_id(n + 1),)) for n in range(count)]
    ),
    "other agents, suspended": lambda count: _shape(
        [
            _entry(takes="suspended", groups=_team(0), agents=(spiffe_id(n + 1),))
            for n in range(count)
        ]
    ),
    "a rule for each host": lambda count: _shape(
        [_entry()],
        {
            "read": (
                rule("/**"),
                *(
                    rule("/**").model_copy(update={"hosts": (f"api-{n}.corp.example",)})
                    for n in range(count)
                ),
            )
        },
    ),
    "a rule for each path": lambda count: _shape(
        [_entry()], {"read": (rule("/**"), *(rule(f"/service-0/*/{n}") for n in range(count)))}
    ),
}
"""Each shape, by its name: makes the policy of so many entries or rules."""

# Nothing tells these entries apart, so a new token tries each once: `authz check` doubts them.
UNDIVIDED: Final = ("a grant each, of one group", "one grant of all, through one group")
