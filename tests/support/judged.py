"""What the server makes of a token's header and claims, without its signature."""

import json
from dataclasses import dataclass
from typing import Any

from authz.core.decision import Agent
from authz.core.delegation.actor import resolve_actors
from authz.core.delegation.claims import check_claims
from authz.core.delegation.header import check_header, check_kind
from authz.core.delegation.settings import IssuerSettings
from authz.core.jose.jws import parse_compact
from authz.core.reason import Denied
from authz.core.routes import Route, RouteMode
from authz.core.spiffe import SpiffeId
from lab.issuer import b64
from support.docs_model import Token


@dataclass(frozen=True)
class Judged:
    """Refused for a reason, "" if not; then how the agent acts, through whom, and with what."""

    reason: str = ""
    mode: str = ""
    actors: tuple[str, ...] = ()
    scopes: frozenset[str] = frozenset()


def judge(
    settings: dict[str, Any], token: Token, modes: list[str], agent: str, now: float
) -> Judged:
    """Check a token at an issuer, as the caller's on a route with these modes."""
    issuer = IssuerSettings.model_validate(_frozen(settings))
    route = Route(modes=frozenset(map(RouteMode, modes)))
    caller = Agent(SpiffeId.parse(agent))
    header = {"alg": "ES256", "kid": "k"} | ({"typ": token.typ} if token.typ else {})
    parts = [b64(json.dumps(part).encode()) for part in (header, token.claims)]
    try:
        jws = parse_compact(".".join([*parts, "AA"]), 8192)
        check_kind(jws)
        check_header(jws, issuer)
        claims = check_claims(jws, issuer, route, now)
        mode, actors = resolve_actors(claims, issuer, caller, route)
    except Denied as refused:
        return Judged(refused.reason.code)
    return Judged("", mode.value, tuple(actor.subject for actor in actors), claims.scopes)


def _frozen(value: Any) -> Any:
    """Return it as the config's reader does: lists as tuples."""
    if isinstance(value, dict):
        return {name: _frozen(member) for name, member in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
