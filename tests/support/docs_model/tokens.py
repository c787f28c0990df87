"""For whom: the token, the actors that it names, and how the principal authenticated."""

from typing import Any

from support.docs_model.agents import is_name, names_in_claims, read_chain, stands_for
from support.docs_model.asked import Config, Refused, Rule, Token, seconds
from support.docs_model.persons import is_clients_own, shows_person, surely_clients_own, texts

# What takes something away from a token, and is not checked.
RESTRICTIONS = [
    *("status", "authorization_details", "crit", "exi", "htm", "htu"),
    *("cdnicrit", "cdniip", "cdniuc"),
]
PLAIN = ["JWT", "JOSE", ""]  # types that tell no kind; "" for none
# What only tokens of another kind have.
OF_OTHER_KINDS = [
    *("nonce", "at_hash", "c_hash", "s_hash", "events", "status_list", "token_introspection"),
    *("req_wl", "tctx", "rctx", "htm", "htu", "wth"),
]


def read_token(config: Config, token: Token, route: Rule, now: float) -> frozenset[str]:
    """The scopes of a good token."""
    claims = token.claims
    if token.typ not in ("at+jwt", *PLAIN):
        raise Refused("token_typ")
    issuer = issuer_of(config, claims)
    if token.defect == "alg":
        raise Refused("token_alg")
    if (token.typ or "JWT") not in issuer.get("typ", ["at+jwt"]):
        raise Refused("token_typ")
    if token.defect:
        raise Refused("token_key_unknown" if token.defect == "kid" else "token_signature")
    is_plain = token.typ in PLAIN
    if is_plain and is_other_kind(claims):
        raise Refused("token_typ")
    check_audience(issuer, route, claims, is_plain=is_plain)
    if is_plain:
        check_may_be_access_token(issuer, route, claims)
    check_times(issuer, claims, now)
    client = "azp" if "azp" in claims and "client_id" not in claims else "client_id"
    names = ["sub"] if is_plain else ["sub", client, "jti"]
    for name in names + ["jti"] * ("jti" in claims or issuer.get("one_time", False)):
        if not is_name(claims.get(name)):
            raise Refused("token_claim")
    check_restrictions(issuer, claims)
    return scopes_of(claims.get(issuer.get("scope_claim", "scope"), ""))


def check_restrictions(issuer: Rule, claims: Rule) -> None:
    """Nothing takes something away without being checked."""
    checked = {"status"} & claims.keys() if "status_list" in issuer else set()
    details = claims.get("authorization_details")
    if details is not None and are_approvals(issuer.get("approval_types", []), details):
        checked.add("authorization_details")
    if any(name in claims for name in RESTRICTIONS if name not in checked):
        raise Refused("token_claim")
    if "status" in checked and not is_place(issuer["status_list"], claims["status"]):
        raise Refused("token_claim")


def are_approvals(types: list[str], details: Any) -> bool:
    """Whether all elements are of types by which the issuer approves calls."""
    return (
        isinstance(details, list)
        and len(details) <= 16
        and all(isinstance(one, dict) and one.get("type") in types for one in details)
    )


def is_place(lists: Rule, status: Any) -> bool:
    """Whether a status is a place in a list at one of the config's places, and nothing else."""
    entry = status.get("status_list") if isinstance(status, dict) and len(status) == 1 else None
    if not isinstance(entry, dict):
        return False
    index, uri = entry.get("idx"), entry.get("uri")
    return type(index) is int and index >= 0 and any(is_at(place, uri) for place in lists["uris"])


def is_at(place: str, uri: Any) -> bool:
    """Whether a list is at a place, or below one that ends in a star, by plain names."""
    if not isinstance(uri, str) or not place.endswith("/*"):
        return bool(uri == place)
    above = place[:-1]
    names = uri[len(above) :].split("/")
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
    return uri.startswith(above) and all(
        name and name[0] != "." and set(name) <= set(plain) for name in names
    )


def check_status(config: Config, token: Token) -> None:
    """The last step: the status list that the token names says 0 of it."""
    issuer = issuer_of(config, token.claims)
    if "status_list" not in issuer or "status" not in token.claims:
        return
    index = token.claims["status"]["status_list"]["idx"]
    if not token.statuses:
        raise Refused("status_unavailable")
    if index >= len(token.statuses):
        raise Refused("token_claim")
    if token.statuses[index] != 0:
        raise Refused("token_revoked")


def is_other_kind(claims: Rule) -> bool:
    """Whether a plain JWT has a claim of an ID token, or of any other kind of token."""
    return (
        any(name in claims for name in OF_OTHER_KINDS)
        or claims.get("typ", "Bearer") not in ("Bearer", "DPoP")
        or claims.get("token_use", "access") != "access"
    )


def check_may_be_access_token(issuer: Rule, route: Rule, claims: Rule) -> None:
    """One without scopes may be an agent's own alone, and neither it nor a bare one its client's.

    Whether it is the agent's own is seen with its actors.
    """
    scope = issuer.get("scope_claim", "scope")
    if claims.get(scope):
        return
    clients = [claims.get(name) for name in ("client_id", "azp", "cid", "appid")]
    names_client = [name in clients for name in texts(claims.get("aud"))]
    is_for_client = any(names_client) and (scope not in claims or all(names_client))
    is_delegated = "autonomous" not in route.get("modes", ["delegated"])
    if is_for_client or (scope not in claims and is_delegated):
        raise Refused("token_typ")


def scopes_of(value: Any) -> frozenset[str]:
    """The words of a text, with a space between two, or of a list."""
    if value == "":
        return frozenset()
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(is_word(word) for word in words):
        raise Refused("token_claim")
    return frozenset(words)


def is_word(value: Any) -> bool:
    """Whether it is a text of visible ASCII, without quotes and backslashes."""
    return (
        isinstance(value, str)
        and value != ""
        and all("!" <= c <= "~" and c not in '"\\' for c in value)
    )


def issuer_of(config: Config, claims: Rule) -> Rule:
    """What the config says of the token's issuer."""
    for issuer in config["issuers"]:
        if issuer["issuer"] == claims.get("iss"):
            found: Rule = issuer
            return found
    raise Refused("token_issuer")


def check_audience(issuer: Rule, route: Rule, claims: Rule, *, is_plain: bool) -> None:
    """One audience has to be the issuer's; and one the route's, where it has any."""
    audience = claims.get("aud", [])
    if is_plain and "aud" not in claims and "client_id" in claims:
        audience = [claims["client_id"]]
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise Refused("token_claim")
    audiences = set(listed)
    of_route = {*route.get("audiences", []), *([route["resource"]] if "resource" in route else [])}
    if not audiences & set(issuer["audiences"]) or (of_route and not audiences & of_route):
        raise Refused("token_audience")


def check_times(issuer: Rule, claims: Rule, now: float) -> None:
    """Not over, begun, and not for longer than the issuer may."""
    skew = seconds("30s")
    times = [claims.get(name, "none") for name in ("exp", "iat", *["nbf"] * ("nbf" in claims))]
    if not all(type(time) in (int, float) and 0 <= time < 2**53 for time in times):
        raise Refused("token_claim")
    if now >= claims["exp"] + skew:
        raise Refused("token_expired")
    if max(claims["iat"], claims.get("nbf", 0)) > now + skew:
        raise Refused("token_not_yet_valid")
    if claims["exp"] <= max(claims["iat"], claims.get("nbf", 0)):
        raise Refused("token_claim")
    if claims["exp"] - claims["iat"] > seconds(issuer.get("max_lifetime", "24h")):
        raise Refused("token_lifetime")


def read_actors(config: Config, token: Token, agent: str, route: Rule) -> list[str]:
    """Who acts, the present one first."""
    claims = token.claims
    issuer = issuer_of(config, claims)
    actors = name_actors(issuer, claims, agent)
    domain = agent.split("/")[2]
    iss = claims.get("act", {}).get("iss", claims["iss"])
    if actors[0] != agent or iss not in (claims["iss"], f"spiffe://{domain}"):
        raise Refused("actor_mismatch")
    if domain not in issuer.get("actors_from", config["trust_domains"]):
        raise Refused("issuer_actor_scope")
    check_mode(issuer, token, actors, route)
    return actors


def name_actors(issuer: Rule, claims: Rule, agent: str) -> list[str]:
    """The actors of mapped claims, of nested ``act`` claims, or the agent that acts for itself."""
    if is_mapped(issuer):
        mapped = names_in_claims(issuer, claims)
        actors = read_chain(issuer, claims) if "act" in claims else [mapped]
        if actors[0] != mapped:
            raise Refused("actor_mismatch")
        return actors
    if "act" in claims:
        return read_chain(issuer, claims)
    if stands_for(issuer, claims["sub"]) == agent:
        return [agent]
    # Of a token that another agent has for itself both are true.
    is_agents = claims["sub"].startswith("spiffe://") or stands_for(issuer, claims["sub"])
    raise Refused("actor_missing", *["actor_mismatch"] * bool(is_agents))


def is_mapped(issuer: Rule) -> bool:
    """Whether claims other than ``act`` name the agent."""
    return issuer.get("actor", {}).get("claim", "act") not in ("act", ["act"])


def is_own(config: Config, claims: Rule, agent: str) -> bool:
    """Whether the agent, or its client, is the principal too."""
    issuer = issuer_of(config, claims)
    return names_caller(issuer, claims, agent) or is_clients_own(issuer, claims)


def names_caller(issuer: Rule, claims: Rule, agent: str) -> bool:
    """Whether the subject is the agent, by its SPIFFE ID or by another name."""
    return agent in (claims["sub"], stands_for(issuer, claims["sub"]))


def check_mode(issuer: Rule, token: Token, actors: list[str], route: Rule) -> None:
    """Whether the route lets an agent act for itself, or for somebody who is seen in the token."""
    modes = route.get("modes", ["delegated"])
    claims = token.claims
    is_agent = names_caller(issuer, claims, actors[0])
    has_scopes = token.typ not in PLAIN or issuer.get("scope_claim", "scope") in claims
    if not (has_scopes or is_agent or surely_clients_own(claims)):
        raise Refused("token_typ")
    if is_agent or is_clients_own(issuer, claims):
        if "autonomous" not in modes:
            raise Refused("principal_required")
        if len(actors) > 1:
            raise Refused("actor_not_permitted")
    elif "delegated" not in modes:
        raise Refused("actor_not_permitted")
    elif is_mapped(issuer) and not shows_person(issuer, claims):
        raise Refused("principal_required")


def is_authenticated(wanted: Rule, claims: Rule, now: float) -> bool:
    """Whether the principal authenticated as a route or rule wants it, and not too long ago."""
    if "acr_values" in wanted and claims.get("acr") not in wanted["acr_values"]:
        return False
    if "max_age" not in wanted:
        return True
    return "auth_time" in claims and now - claims["auth_time"] <= seconds(wanted["max_age"])
