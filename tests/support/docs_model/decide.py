"""The whole decision, in the order of the docs: what is asked, who asks, for whom, may they."""

import re
from collections.abc import Mapping
from dataclasses import replace

from support.docs_model.asked import Asked, Config, Known, Refused, Rule, Verdict
from support.docs_model.calls import Call, read_calls
from support.docs_model.paths import accepted_by, host_fits, host_of, path_fits, read_path
from support.docs_model.policy import check_policy
from support.docs_model.tokens import (
    check_status,
    is_authenticated,
    is_own,
    read_actors,
    read_token,
)


def decide(config: Config, asked: Asked, now: float) -> Verdict:
    """What the docs say of a request at a time, in seconds of Unix time."""
    try:
        return allowed(config, asked, now)
    except Refused as refused:
        return Verdict(refused.reasons)


def allowed(config: Config, asked: Asked, now: float) -> Verdict:
    """The identity headers of an allowed request, and what it spends. Raises Refused."""
    host = host_of(asked.host)
    if not re.fullmatch("[A-Z][A-Z-]*", asked.method):
        raise Refused("path_ambiguous")
    segments, forms = read_path(asked.path)
    route = find_route(config, host, segments, asked.route)
    if not forms <= accepted_by(route):
        raise Refused("path_ambiguous")
    check_identity(config, asked)
    known = Known(
        asked.agent,
        asked.method,
        host,
        segments,
        asked.headers,
        now,
        actors=[asked.agent],
        resource=route.get("resource", ""),
    )
    if asked.token is None and takes_svid_alone(route):
        claims = {"iss": "/".join(asked.agent.split("/")[:3]), "sub": asked.agent}
        known = replace(known, claims=claims, is_autonomous=True, has_token=False)
        calls = read_calls(config, route, asked, segments)
    elif asked.token is None:
        known = replace(known, has_token=False)
        calls = bootstrap_calls(config, route, asked, segments)
    else:
        claims = asked.token.claims
        scopes = read_token(config, asked.token, route, now)
        actors = read_actors(config, asked.token, asked.agent, route)
        if not is_authenticated(route, claims, now):
            raise Refused("step_up")
        check_status(config, asked.token)
        known = replace(
            known,
            actors=actors,
            claims=claims,
            scopes=scopes,
            is_autonomous=is_own(config, claims, asked.agent),
        )
        calls = read_calls(config, route, asked, segments)
    spends, uses = check_policy(config, known, calls)
    return Verdict(headers=headers_of(known), spends=frozenset(spends), uses=frozenset(uses))


def find_route(config: Config, host: str, segments: list[str], name: str) -> Rule:
    """The route that the proxy names, or the first that fits."""
    for route in config["routes"]:
        hosts, paths = route.get("hosts", ["*"]), route.get("paths", ["/**"])
        fits = host_fits(hosts, host) and path_fits(paths, segments)
        if name == route["name"] if name else fits:
            found: Rule = route
            return found
    return {}


def check_identity(config: Config, asked: Asked) -> None:
    """Who asks: a SPIFFE ID of a trusted domain, and a certificate that says the same."""
    if not asked.agent:
        raise Refused("agent_missing")
    if not re.fullmatch(r"spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+", asked.agent):
        raise Refused("agent_invalid")
    if asked.agent.split("/")[2] not in config["trust_domains"]:
        raise Refused("agent_untrusted_domain")
    if asked.certificate != "own":
        raise Refused("identity_conflict" if asked.certificate == "other" else "agent_invalid")


def takes_svid_alone(route: Rule) -> bool:
    """Whether an agent may act there for itself without any token."""
    asks = {"acr_values", "max_age"} & set(route)
    needs = "required" in (route.get("token"), route.get("proof"))
    return set(route.get("modes", [])) == {"autonomous"} and not asks and not needs


def bootstrap_calls(
    config: Config, route: Rule, asked: Asked, segments: list[str]
) -> list[Call | None]:
    """What may be asked without a token: the methods of the route's ``bootstrap``."""
    try:
        calls = read_calls(config, route, asked, segments)
    except Refused:
        raise Refused("token_missing") from None
    if not all(call and call.method in route.get("bootstrap", []) for call in calls):
        raise Refused("token_missing")
    return calls


def headers_of(known: Known) -> Mapping[str, str]:
    """What the upstream is told; "" for a header that must not reach it."""
    return {
        "x-agent-id": known.agent,
        "x-agent-principal": visible(known.principal or ""),
        "x-agent-issuer": known.claims.get("iss", ""),
        "x-agent-scope": " ".join(sorted(known.scopes)),
        "x-agent-chain": ",".join(known.actors[1:]),
    }


def visible(text: str) -> str:
    """As headers have it: bytes that are not visible ASCII, and the percent sign, escaped."""
    return "".join(
        chr(b) if 0x20 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in text.encode()
    )
