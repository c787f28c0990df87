"""For whom: the token, the actors that it names, and how the principal authenticated."""

from typing import Any

from support.docs_model.asked import Config, Refused, Rule, Token, seconds
from support.docs_model.persons import is_clients_own, shows_person

# What takes something away from a token, and is not checked.
RESTRICTIONS = [
    *("status", "authorization_details", "crit", "exi", "htm", "htu"),
    *("cdnicrit", "cdniip", "cdniuc"),
]


def read_token(config: Config, token: Token, route: Rule, now: float) -> frozenset[str]:
    """The scopes of a good token."""
    claims = token.claims
    issuer = issuer_of(config, claims)
    if token.defect == "alg":
        raise Refused("token_alg")
    if token.typ not in issuer.get("typ", ["at+jwt"]):
        raise Refused("token_typ")
    if token.defect:
        raise Refused("token_key_unknown" if token.defect == "kid" else "token_signature")
    check_audience(issuer, route, claims)
    if token.typ == "JWT" and claims.get("aud") in (claims["client_id"], [claims["client_id"]]):
        raise Refused("token_typ")  # an ID token is for its client
    check_times(issuer, claims, now)
    names = ["sub"] if token.typ == "JWT" else ["sub", "client_id", "jti"]
    for name in names + ["jti"] * ("jti" in claims):
        if not is_name(claims.get(name)):
            raise Refused("token_claim")
    if any(name in claims for name in RESTRICTIONS):
        raise Refused("token_claim")
    scopes = claims.get(issuer.get("scope_claim", "scope"), "")
    return frozenset(scopes.split() if isinstance(scopes, str) else scopes)


def issuer_of(config: Config, claims: Rule) -> Rule:
    """What the config says of the token's issuer."""
    for issuer in config["issuers"]:
        if issuer["issuer"] == claims["iss"]:
            found: Rule = issuer
            return found
    raise Refused("token_issuer")


def is_name(value: Any) -> bool:
    """Whether a claim can name somebody."""
    if not isinstance(value, str):
        return False
    longest = 2048 if value.startswith("spiffe://") else 1024
    return 0 < len(value) <= longest and value.isprintable()


def check_audience(issuer: Rule, route: Rule, claims: Rule) -> None:
    """One audience has to be the issuer's; and one the route's, where it has any."""
    audience = claims.get("aud")
    audiences = set(audience) if isinstance(audience, list) else {audience}
    of_route = {*route.get("audiences", []), *([route["resource"]] if "resource" in route else [])}
    if not audiences & set(issuer["audiences"]) or (of_route and not audiences & of_route):
        raise Refused("token_audience")


def check_times(issuer: Rule, claims: Rule, now: float) -> None:
    """Not over, begun, and not for longer than the issuer may."""
    skew = seconds("30s")
    if now >= claims["exp"] + skew:
        raise Refused("token_expired")
    if max(claims["iat"], claims.get("nbf", 0)) > now + skew:
        raise Refused("token_not_yet_valid")
    if claims["exp"] <= max(claims["iat"], claims.get("nbf", 0)):
        raise Refused("token_claim")
    if claims["exp"] - claims["iat"] > seconds(issuer.get("max_lifetime", "24h")):
        raise Refused("token_lifetime")


def read_actors(config: Config, claims: Rule, agent: str, route: Rule) -> list[str]:
    """Who acts, the present one first."""
    issuer = issuer_of(config, claims)
    actors = mapped(issuer, claims) if "actor" in issuer else chain(issuer, claims, agent)
    domain = agent.split("/")[2]
    iss = claims.get("act", {}).get("iss", claims["iss"])
    if actors[0] != agent or iss not in (claims["iss"], f"spiffe://{domain}"):
        raise Refused("actor_mismatch")
    if domain not in issuer.get("actors_from", config["trust_domains"]):
        raise Refused("issuer_actor_scope")
    check_mode(config, claims, actors, route)
    return actors


def mapped(issuer: Rule, claims: Rule) -> list[str]:
    """The agent that the issuer's map has for a client, and those before it of an ``act``."""
    client = claims.get(issuer["actor"]["claim"])
    if client is None:
        raise Refused("actor_missing")
    agent: str = issuer["actor"]["map"][client]
    if "act" not in claims:
        return [agent]
    named, *earlier = chain(issuer, claims, agent)
    is_client = named == client and claims["act"].get("iss", claims["iss"]) == claims["iss"]
    if named != agent and not is_client:
        raise Refused("actor_mismatch")
    return [agent, *earlier]


def chain(issuer: Rule, claims: Rule, agent: str) -> list[str]:
    """The actors of nested ``act`` claims; none is needed by an agent that acts for itself."""
    if "act" not in claims:
        if claims["sub"] == agent:
            return [agent]
        # Of a token that another agent has for itself both are true.
        of_agent = ["actor_mismatch"] if claims["sub"].startswith("spiffe://") else []
        raise Refused("actor_missing", *of_agent)
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
        if not is_name(act.get("sub")):
            raise Refused("actor_malformed")
        actors.append(act["sub"])
        holder = act
    return actors


def is_agents(profile: Any) -> bool:
    """Whether a ``sub_profile`` says that the actor is one that calls by mutual TLS."""
    words = profile.split() if isinstance(profile, str) else []
    return words != [] and set(words) <= {"ai_agent", "service"}


def is_own(config: Config, claims: Rule, agent: str) -> bool:
    """Whether the agent, or its client, is the principal too."""
    issuer = issuer_of(config, claims)
    is_client = issuer.get("actor", {}).get("map", {}).get(claims["sub"]) == agent
    return claims["sub"] == agent or is_client or is_clients_own(issuer, claims)


def check_mode(config: Config, claims: Rule, actors: list[str], route: Rule) -> None:
    """Whether the route lets an agent act for itself, or for somebody who is seen in the token."""
    modes = route.get("modes", ["delegated"])
    issuer = issuer_of(config, claims)
    if is_own(config, claims, actors[0]):
        if "autonomous" not in modes:
            raise Refused("principal_required")
        if len(actors) > 1:
            raise Refused("actor_not_permitted")
    elif "delegated" not in modes:
        raise Refused("actor_not_permitted")
    elif "actor" in issuer and not shows_person(issuer, claims):
        raise Refused("principal_required")


def is_authenticated(wanted: Rule, claims: Rule, now: float) -> bool:
    """Whether the principal authenticated as a route or rule wants it, and not too long ago."""
    if "acr_values" in wanted and claims.get("acr") not in wanted["acr_values"]:
        return False
    if "max_age" not in wanted:
        return True
    return "auth_time" in claims and now - claims["auth_time"] <= seconds(wanted["max_age"])
