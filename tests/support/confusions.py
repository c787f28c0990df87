"""Ways to confuse two issuers, and which part must refuse each, told as what."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lab.client import Reply
from lab.demo_sts import READ, Hops
from lab.mesh import TRAVEL
from lab.sts import ACCESS_TOKEN, ask
from support.two_issuers import API, HONEST, ORDERS, TwoIssuers


class Place(Enum):
    """The parts that refuse, each where a confusion can first be known."""

    STS = "the token service"
    SERVER = "the server"
    ANSWER = "the server, of the partner's answer"


@dataclass(frozen=True)
class Confusion:
    """A way to confuse the issuers.

    Attributes:
        place: which of the parts refuses.
        error: what the client is told: an OAuth error by the token service, else a reason.
        why: the reason of its record; of an answer, a part of the detail.
        send: makes the request.
    """

    place: Place
    error: str
    why: str
    send: Callable[[TwoIssuers, Hops], Reply]


Token = Callable[[TwoIssuers, Hops], str]


def at_sts(error: str, why: str, token: Token, *, kind: str = ACCESS_TOKEN) -> Confusion:
    """Expect that the token service refuses the travel agent a token for another's token."""

    def send(both: TwoIssuers, hops: Hops) -> Reply:
        client = both.mesh.sts.client(hops.svid(TRAVEL))
        hops.tokens["asked"] = token(both, hops)
        return ask(client, hops.tokens["asked"], kind, audience=API, scope=READ)

    return Confusion(Place.STS, error, why, send)


def at_server(reason: str, token: Token, path: str = ORDERS, agent: str = TRAVEL) -> Confusion:
    """Expect that the server refuses an agent's token."""
    return Confusion(
        Place.SERVER,
        reason,
        reason,
        lambda both, hops: hops.client(agent).get(path, token(both, hops)),
    )


def in_answer(why: str, members: dict[str, Any] | None = None, **claims: object) -> Confusion:
    """Expect that the server does not pass on what the partner answers."""

    def send(both: TwoIssuers, hops: Hops) -> Reply:
        both.endpoint.claims = {**HONEST, **claims}
        both.endpoint.members = members or {}
        return hops.client(TRAVEL).get(ORDERS, hops.tokens["partner"])

    return Confusion(Place.ANSWER, "exchange_unavailable", why, send)
