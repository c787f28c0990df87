"""For whom: the token, the actors that it names, and how the principal authenticated."""

from typing import Any

from docs_model.asked import Config, Refused, Rule, Token, seconds


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
    if token.typ == "JWT" and claims.get("aud") in (claims["client_id"], [claims["client_id"]]):
        raise Refused("token_typ")  # an ID token is for its client
    check_audience(issuer, route, claims)
    check_times(issuer, claims, now)
    names = ["sub"] if token.typ == "JWT" else ["sub", "client_id", "jti"]
    for name in names + ["jti"] * ("jti" in claims):
        if not is_name(claims.get(name)):
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
    return isinstance(value, str) and 0 < len(value) <= 1024 and value.isprintable()


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
    if claims["exp"] - claims["iat"] > seconds(issuer.get("max_lifetime", "24h")):
        raise Refused("token_lifetime")


def read_actors(config: Config, claims: Rule, agent: str, route: Rule) -> list[str]:
    """Who acts, the present one first."""
    issuer = issuer_of(config, claims)
    actors = mapped(issuer, claims) if "actor" in issuer else chain(issuer, claims, agent)
    if actors[0] != agent:
        raise Refused("actor_mismatch")
    act = claims.get("act") or {}
    domain = agent.split("/")[2]
    if "actor" not in issuer and act.get("iss", claims["iss"]) not in (
        claims["iss"],
        f"spiffe://{domain}",
    ):
        raise Refused("actor_mismatch")
    if domain not in issuer.get("actors_from", config["trust_domains"]):
        raise Refused("issuer_actor_scope")
    check_mode(claims, actors, route)
    return actors


def mapped(issuer: Rule, claims: Rule) -> list[str]:
    """The one actor that the issuer's map has for a client."""
    client = claims.get(issuer["actor"]["claim"])
    if client is None:
        raise Refused("actor_missing")
    return [issuer["actor"]["map"][client]]


def chain(issuer: Rule, claims: Rule, agent: str) -> list[str]:
    """The actors of nested ``act`` claims; none is needed by an agent that acts for itself."""
    actors, act = [], claims.get("act")
    while act is not None:
        if not isinstance(act, dict) or not isinstance(act.get("sub"), str):
            raise Refused("actor_malformed")
        actors.append(act["sub"])
        if len(actors) > issuer.get("max_actors", 4):
            raise Refused("chain_too_deep")
        act = act.get("act")
    if actors:
        return actors
    if claims["sub"] == agent:
        return [agent]
    # Of a token that another agent has for itself both are true.
    of_agent = ["actor_mismatch"] if claims["sub"].startswith("spiffe://") else []
    raise Refused("actor_missing", *of_agent)


def check_mode(claims: Rule, actors: list[str], route: Rule) -> None:
    """Whether the route lets an agent act for itself, or for somebody."""
    modes = route.get("modes", ["delegated"])
    if claims["sub"] == actors[0]:
        if "autonomous" not in modes:
            raise Refused("principal_required")
        if len(actors) > 1:
            raise Refused("actor_not_permitted")
    elif "delegated" not in modes:
        raise Refused("actor_not_permitted")


def is_authenticated(wanted: Rule, claims: Rule, now: float) -> bool:
    """Whether the principal authenticated as a route or rule wants it, and not too long ago."""
    if "acr_values" in wanted and claims.get("acr") not in wanted["acr_values"]:
        return False
    if "max_age" not in wanted:
        return True
    return "auth_time" in claims and now - claims["auth_time"] <= seconds(wanted["max_age"])
