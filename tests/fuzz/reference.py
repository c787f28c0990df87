"""What may be allowed at most: written from the standards alone, with other libraries than ours.

Each function says whether an allow *could* be right. It may be wider than the server, which has
more rules; it is never narrower on what is good.
"""

import json
import re
import time
import unicodedata
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from math import inf
from typing import Any
from urllib.parse import unquote

import jwt
from cryptography import x509

SKEW_SECONDS = 60


def token_may_pass(
    token: str, keys: Mapping[str, Any], issuer: str, audience: str, agent: str
) -> bool:
    """Whether a token could let the agent act: RFC 7519, RFC 9068 and RFC 8693 section 4.1."""
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(
            token,
            keys[header["kid"]],
            algorithms=["ES256", "RS256", "PS256", "EdDSA"],
            audience=audience,
            issuer=issuer,
            leeway=SKEW_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return False
    typ = str(header.get("typ", "")).lower().removeprefix("application/")
    is_plain = not {"crit", "b64", "zip", "enc", "cty"} & header.keys()
    act = claims.get("act")
    names_agent = isinstance(act, dict) and act.get("sub") == agent
    return typ == "at+jwt" and is_plain and names_agent and claims["sub"] != agent


def answer_may_pass(body: bytes, issuer: str, audience: str, agent: str, scope: str) -> bool:
    """Whether an introspection answer could let the agent act: RFC 7662, RFC 8693 section 4.1."""
    try:
        members = json.loads(body.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    if not isinstance(members, dict) or members.get("active") is not True:
        return False
    now, audiences, act = time.time(), members.get("aud"), members.get("act")
    scopes = members.get("scope")
    return (
        members.get("iss", issuer) == issuer
        and audience in (audiences if isinstance(audiences, list) else [audiences])
        and _is_time(members.get("exp", now + 1), now - SKEW_SECONDS, inf)
        and _is_time(members.get("iat", now), 0, now + SKEW_SECONDS)
        and _is_time(members.get("nbf", now), 0, now + SKEW_SECONDS)
        and str(members.get("token_type", "Bearer")).lower() == "bearer"
        and members.get("token_use", "access") in ("access", "access_token")
        and isinstance(act, dict)
        and act.get("sub") == agent
        and isinstance(members.get("sub"), str)
        and members["sub"] != agent
        and scope in (scopes if isinstance(scopes, list) else str(scopes).split(" "))
        and not {"cnf", "nonce", "status"} & members.keys()
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _refuse(text: str) -> None:
    raise ValueError(text)


def _is_time(value: object, least: float, most: float) -> bool:
    return isinstance(value, int | float) and value is not True and least <= value <= most


def kind_may_pass(
    settings: Mapping[str, Any], typ: str, claims: Mapping[str, Any], agent: str
) -> str:
    """What a verified token could be at most: "" for none, an agent's "own", or "any".

    OIDC Core 2 and 3.1.3.7 have what an ID token is; RFC 9068 2.1 and RFC 8725bis 3.12 that no kind
    may be taken for another; RFC 9068 5 and RFC 9700 4.15 that a client is no user.
    """
    accepted = settings["typ"]
    is_plain = typ in ("", "JWT", "JOSE")
    if (typ or "JWT") not in accepted or not _names_agent(settings, claims, agent):
        return ""
    audience = claims.get("aud", claims.get("client_id"))
    listed = audience if isinstance(audience, list) else [audience]
    clients = [claims.get(name) for name in ("client_id", "azp", "cid", "appid")]
    marks = {"nonce", "at_hash", "c_hash"} & set(claims)
    if not [one for one in listed if one in settings["audiences"]]:
        return ""
    if is_plain and (marks or claims.get("token_use") == "id" or claims.get("typ") == "ID"):
        return ""
    has_scopes = not is_plain or settings["scope_claim"] in claims
    if not has_scopes and "aud" in claims and [one for one in listed if one in clients]:
        return ""
    is_own = claims["sub"] in (agent, *clients) or claims.get("idtyp") == "app"
    return "own" if is_own or not has_scopes else "any"


def _names_agent(settings: Mapping[str, Any], claims: Mapping[str, Any], agent: str) -> bool:
    """Whether the agent is named where the settings look for it: in all such places."""
    actor = settings["actor"]
    names = [actor["claim"]] if isinstance(actor["claim"], str) else actor["claim"]
    named = [claims.get(name) for name in names if claims.get(name) is not None]
    act = claims.get("act")
    if names == ["act"]:
        named = [] if "act" in claims else [claims["sub"]]
    if "act" in claims:
        named.append(act.get("sub") if isinstance(act, dict) else None)
    return bool(named) and all(_may_stand_for(actor, name, agent) for name in named)


def _may_stand_for(actor: Mapping[str, Any], name: object, agent: str) -> bool:
    """Whether a name could be the agent's: its ID, listed, or one that a pattern could fit."""
    if name == agent or actor["map"].get(name if isinstance(name, str) else "") == agent:
        return True
    last = agent.rpartition("/")[2]
    return bool(actor["patterns"]) and isinstance(name, str) and name.endswith(last)


def agent_may_be(text: str, domain: str) -> bool:
    """Whether a text begins as an ID of that trust domain does, whatever reads it (SPIFFE-ID 2)."""
    return re.match(r"spiffe://([^/?#@:\\\s]*)/", text + "/", re.ASCII) is not None and (
        text.split("/")[2] == domain
    )


def is_one_text(token: str) -> bool:
    """Whether a token is written in the one way that its bytes have (RFC 7515 section 2)."""
    if not re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", token):
        return False
    for part in token.split("."):
        spare = {0: "", 2: "AQgw", 3: "AEIMQUYcgkosw048"}.get(len(part) % 4)
        if spare is None or (spare and part[-1] not in spare):
            return False
        urlsafe_b64decode(part + "=" * (-len(part) % 4))
    return True


def certificate_may_pass(url_encoded: str, agent: str) -> bool:
    """Whether a certificate could be the agent's: one leaf, one URI name, now (X509-SVID)."""
    try:
        certificate = x509.load_pem_x509_certificate(unquote(url_encoded).encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except Exception:  # noqa: BLE001 - whatever it is, it is no such certificate
        return False
    now = time.time()
    is_now = (
        certificate.not_valid_before_utc.timestamp() - SKEW_SECONDS
        <= now
        < certificate.not_valid_after_utc.timestamp()
    )
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris == [agent] and is_now and usage.digital_signature and not usage.key_cert_sign


def path_may_pass(path: str, prefix: str) -> bool:
    """Whether a path is plainly below a prefix, however often a server decodes or cuts it."""
    text = path.partition("?")[0]
    for _ in range(4):
        if not text.startswith(prefix) or re.search(r"//|/\.\.?(?:/|$)|[\\;?#\x00-\x1f]", text):
            return False
        text = unquote(text)
    return True


def odd_path_may_pass(path: str, prefix: str) -> bool:
    """Whether nobody finds dots or a control in it, who decodes, folds, separates or cuts it."""
    raw = text = path.partition("?")[0]
    for _ in range(3):
        names = re.split(r"[/\\;?#]", unicodedata.normalize("NFKC", text))
        if not text.startswith(prefix) or {".", ".."} & {*names} or re.search(r"[\0-\x1f]", text):
            return False
        try:
            text = unquote(text, errors="strict")
        except UnicodeDecodeError:
            return False
    return "#" not in raw


def host_may_pass(host: str, domain: str) -> bool:
    """Whether a host is below a domain: whole labels, in any case, and perhaps a port."""
    name = re.sub(r":[0-9]+$", "", host).lower()
    labels = name.removesuffix(f".{domain}").split(".")
    is_plain = all(re.fullmatch(r"[a-z0-9_-]+", label) for label in labels)
    return name.endswith(f".{domain}") and is_plain


def direct_may_pass(text: str, agent: str, proxy: str, principal: str) -> bool:
    """Whether that connection could be the agent's, or the proxy's with such a header.

    The proxy's connection names the writer where the element does not.
    """
    if principal != proxy:
        return principal == agent
    return xfcc_may_pass(text if "By=" in text else f"By={proxy};{text}", agent, proxy)


def xfcc_may_pass(text: str, agent: str, proxy: str) -> bool:
    """Whether a header could be one element by that proxy, of that agent."""
    pairs = [pair.partition("=") for pair in text.split(";")]
    values = {(key, value.strip('"')) for key, _, value in pairs}
    uris = [value for key, _, value in pairs if key == "URI"]
    return ("By", proxy) in values and ("URI", agent) in values and len(uris) == 1
