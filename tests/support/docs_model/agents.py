"""Which agents a token names: by claims, maps and patterns, and by nested ``act`` claims."""

import re
from typing import Any

from support.docs_model.asked import Refused, Rule

HELD = "[A-Za-z0-9._-]"  # what a name in braces holds
SEGMENT = "[A-Za-z0-9._-]+"


def stands_for(issuer: Rule, name: str, *, itself: bool = True) -> str | None:
    """The agent that a name stands for: by the map, by a pattern, or as a SPIFFE ID itself."""
    actor = issuer.get("actor", {})
    if name in actor.get("map", {}):
        found: str = actor["map"][name]
        return found
    for pattern, template in actor.get("patterns", {}).items():
        parts = fit(pattern, name)
        if parts is not None:
            made = filled(template, parts)
            return made if is_spiffe_id(made) else None
    return name if itself and is_spiffe_id(name) else None


def fit(pattern: str, name: str) -> dict[str, str] | None:
    """What the names in braces stand for, None if the pattern does not fit."""
    pieces = re.split(r"\{(\w+)\}", pattern)
    names = pieces[1::2]
    made = "".join(
        f"({HELD}+)" if number % 2 else re.escape(piece) for number, piece in enumerate(pieces)
    )
    found = re.fullmatch(made, name)
    return dict(zip(names, found.groups(), strict=True)) if found else None


def filled(template: str, parts: dict[str, str]) -> str:
    """The template with what its names stand for."""
    return re.sub(r"\{(\w+)\}", lambda name: parts[name[1]], template)


def is_spiffe_id(text: str) -> bool:
    """Whether it is an agent's SPIFFE ID: written in one way, with a path, and not too long."""
    return (
        re.fullmatch(rf"spiffe://[a-z0-9._-]+(/{SEGMENT})+", text) is not None
        and not {".", ".."} & set(text.split("/"))
        and len(text) <= 2048
    )


def claims_of(issuer: Rule) -> list[str]:
    """The claims that are mapped."""
    claim = issuer.get("actor", {}).get("claim", "act")
    return [claim] if isinstance(claim, str) else list(claim)


def names_in_claims(issuer: Rule, claims: Rule) -> str:
    """The one agent of which all the mapped claims are that the token has."""
    values = [claims[name] for name in claims_of(issuer) if claims.get(name) is not None]
    if not values:
        raise Refused("actor_missing")
    actor = issuer["actor"]
    itself = not actor.get("map") and not actor.get("patterns")
    agents, wrong = set(), set()
    for value in values:
        if not isinstance(value, str):
            wrong.add("actor_malformed")
            continue
        agent = stands_for(issuer, value, itself=itself)
        if agent is None:
            wrong.add("actor_not_permitted")
        agents.add(agent)
    if wrong:
        raise Refused(*wrong)  # of several claims any may be told
    if len(agents) > 1:
        raise Refused("actor_mismatch")
    return str(agents.pop())


def read_chain(issuer: Rule, claims: Rule) -> list[str]:
    """The actors of nested ``act`` claims, the present one first."""
    actors: list[str] = []
    holder: Rule = claims
    while "act" in holder:
        if len(actors) == issuer.get("max_actors", 4):
            raise Refused("chain_too_deep")
        act = holder["act"]
        if not isinstance(act, dict):
            raise Refused("actor_malformed")
        if not actors and not is_agents(act.get("sub_profile", "service")):
            raise Refused("token_claim")
        if not actors and "cnf" in act:
            raise Refused("cnf_unsupported")
        if not is_name(act.get("sub")) or not is_name(act.get("iss", claims["iss"])):
            raise Refused("actor_malformed")
        is_own = act.get("iss", claims["iss"]) == claims["iss"]
        actors.append((is_own and stands_for(issuer, act["sub"])) or act["sub"])
        holder = act
    return actors


def is_agents(profile: Any) -> bool:
    """Whether a ``sub_profile`` says that the actor is one that calls by mutual TLS."""
    words = profile.split() if isinstance(profile, str) else []
    return words != [] and set(words) <= {"ai_agent", "service"}


def is_name(value: Any) -> bool:
    """Whether a claim can name somebody."""
    if not isinstance(value, str):
        return False
    longest = 2048 if value.startswith("spiffe://") else 1024
    return 0 < len(value) <= longest and value.isprintable()
