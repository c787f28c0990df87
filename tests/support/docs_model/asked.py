"""What the model is asked, what it knows of the caller, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Config = Mapping[str, Any]
Rule = Mapping[str, Any]


@dataclass
class Token:
    """A token by its claims; ``typ`` "" for none; ``defect`` is "alg", "kid", "signature" or "".

    ``statuses`` are the numbers of the status list that it names, none for a list that is away.
    """

    claims: dict[str, Any]
    typ: str = "at+jwt"
    defect: str = ""
    statuses: tuple[int, ...] = ()


@dataclass
class Asked:
    """A request as the proxy describes it; it is made, and then made a little wrong.

    ``certificate`` is "own", "none", "expired" or "other": somebody else's.
    """

    agent: str
    method: str
    host: str
    path: str
    token: Token | None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_cut: bool = False
    certificate: str = "own"
    route: str = ""
    near_miss: str = ""


@dataclass(frozen=True)
class Known:
    """What is known once the caller and the principal are; no principal before there is a token."""

    agent: str
    method: str
    host: str
    segments: list[str]
    headers: Mapping[str, str]
    now: float
    actors: list[str]
    claims: Mapping[str, Any] = field(default_factory=dict)
    scopes: frozenset[str] = frozenset()
    is_autonomous: bool = False  # the agent acts for itself
    has_token: bool = True
    resource: str = ""

    @property
    def principal(self) -> str | None:
        """Who the agent acts for."""
        return self.claims.get("sub")


@dataclass(frozen=True)
class Spend:
    """A part of a budget, which is named by its rule and by whose it is."""

    budget: tuple[Any, ...]
    cost: Fraction
    limit: Fraction


@dataclass(frozen=True)
class Verdict:
    """Allowed with these headers, if budgets have room and approvals are unused; or refused."""

    reasons: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    spends: frozenset[Spend] = frozenset()
    uses: frozenset[Any] = frozenset()


class Refused(Exception):  # noqa: N818 - a refusal is no error
    """Refused, for any one of the reasons."""

    def __init__(self, *reasons: str) -> None:
        """Take the reasons that the docs allow."""
        super().__init__(*reasons)
        self.reasons = frozenset(reasons)


def seconds(text: str) -> float:
    """A duration of the config."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]
