"""Policies of many entries in the shapes that operators write: does a decision know how many?

A check of a known token for a new path is measured with 10 entries and with 10,000 of each shape,
in turns. The entries are put into a config that was read, because YAML of that length would take
longer to read than everything that is measured here.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from authz.config import Config
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.holder_settings import GROUPS
from bench.in_process import Core, compare
from lab.mesh import ISSUER, TRAVEL

FEW, MANY = 10, 10_000
BAR: Final = 1.3
READ: Final = "finance-read"
DEPARTMENT: Final = "department"
MINE: Final = 3  # the number of what is the caller's, in all shapes


@dataclass(frozen=True)
class Shape:
    """A way to write many entries; ``claims`` are further ones of the token."""

    name: str
    change: Callable[[Config, int], Config]
    claims: dict[str, Any]


def _agent(number: int) -> str:
    return TRAVEL if number == MINE else f"spiffe://corp.example/ns/agents/sa/agent-{number}"


def _entry(*, agents: tuple[str, ...] | None = None, **match: Any) -> PrincipalSettings:  # noqa: ANN401 - keys of PrincipalMatch
    return PrincipalSettings(
        match=PrincipalMatch(issuer=ISSUER, **match), grants=(READ,), agents=agents
    )


def _principals(make: Callable[[int], PrincipalSettings]) -> Callable[[Config, int], Config]:
    """Return what replaces the principals by so many of these."""

    def change(config: Config, count: int) -> Config:
        return config.model_copy(update={"principals": tuple(map(make, range(count)))})

    return change


def _with_agents(config: Config, count: int) -> Config:
    """Add so many agents, by patterns that do not fit the caller."""
    patterns = (f"spiffe://corp.example/ns/*/sa/agent-{number}" for number in range(count))
    agents = tuple(AgentSettings(id=pattern, grants=(READ,)) for pattern in patterns)
    return config.model_copy(update={"agents": (*config.agents, *agents)})


def _with_rules(**keys: Any) -> Callable[[Config, int], Config]:  # noqa: ANN401 - of RuleSettings
    """Return what puts so many rules for other paths before those of a grant."""

    def change(config: Config, count: int) -> Config:
        rules = tuple(
            RuleSettings(hosts=("*",), methods=("GET",), paths=(f"/r{number}/**",), **keys)
            for number in range(count)
        )
        grants = {**config.grants, READ: (*rules, *config.grants[READ])}
        return config.model_copy(update={"grants": grants})

    return change


SHAPES: Final = (
    Shape(
        "an entry for each group",
        _principals(lambda n: _entry(groups=(f"team-{n}",))),
        {GROUPS: [f"team-{MINE}"]},
    ),
    Shape(
        "an entry for each agent, of one group",
        _principals(lambda n: _entry(agents=(_agent(n),), groups=("team",))),
        {GROUPS: ["team"]},
    ),
    Shape(
        "an entry for each group and agent",
        _principals(lambda n: _entry(agents=(_agent(n),), groups=(f"team-{n % 10}",))),
        {GROUPS: [f"team-{MINE}"]},
    ),
    Shape(
        "an entry for each group, and 100 groups in the token",
        _principals(lambda n: _entry(groups=(f"team-{n}",))),
        {GROUPS: [f"other-{n}" for n in range(99)] + [f"team-{MINE}"]},
    ),
    Shape(
        "an entry for each value of a claim",
        _principals(lambda n: _entry(claims={DEPARTMENT: (f"d-{n}",)})),
        {DEPARTMENT: f"d-{MINE}"},
    ),
    Shape(
        "entries for patterns of agents",
        _principals(
            lambda n: _entry(
                agents=(TRAVEL if n == MINE else f"spiffe://corp.example/ns/*/sa/agent-{n}",),
                groups=("team",),
            )
        ),
        {GROUPS: ["team"]},
    ),
    Shape("entries that all fit", _principals(lambda _: _entry(subjects=("alice",))), {}),
    Shape("agents by patterns", _with_agents, {}),
    Shape("denies for other paths", _with_rules(effect="deny"), {}),
    Shape("rules with conditions", _with_rules(scopes=(), when="request.method == 'GET'"), {}),
)


def report(folder: Path, count: int) -> list[str]:
    """Return the table, as Markdown."""
    lines = [
        f"| shape | {FEW} entries, us | {MANY} entries, us | ratio, at most {BAR} |",
        "|---|---|---|---|",
    ]
    for number, shape in enumerate(SHAPES):
        with ExitStack() as stack:
            few, many = _measure(folder / str(number), stack, shape, count)
        missed = " **missed**" if many / few > BAR else ""
        lines.append(f"| {shape.name} | {few:.0f} | {many:.0f} | {many / few:.2f}{missed} |")
    return lines


def _measure(folder: Path, stack: ExitStack, shape: Shape, count: int) -> tuple[float, float]:
    makers = {}
    folder.mkdir()
    for size in (FEW, MANY):

        def change(config: Config, size: int = size) -> Config:
            return shape.change(config, size)

        core = Core(folder / str(size), stack, change)
        makers[str(size)] = (core, core.messages.new_paths(**shape.claims))
    found = compare(makers, count)
    return found[str(FEW)], found[str(MANY)]
