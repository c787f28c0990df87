"""Which token an agent may get for a form at most, by the rules as data and the standards alone.

Tokens are verified with PyJWT. As in ``reference``: it may be wider than the service, which has
more rules, and is never narrower on what is good.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import jwt

from fuzz import reference
from fuzz.token_world import (
    APPROVAL,
    CONSENT_SECONDS,
    GRANTED,
    PREFIXES,
    REVOKED,
    REVOKED_ID,
    RULES,
    SUSPENDED,
    TOKEN_ID,
    Rule,
    consent_name,
    covers,
)
from lab.dpop import thumbprint
from support.token_service import IDP, PARTNER, STS, WEBAPP

Members = dict[str, Any]
Keys = Mapping[tuple[str, str], Any]
SKEW: Final = 30  # of the issuers
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_OF_OTHERS: Final = {"nonce", "at_hash", "c_hash", "s_hash", "events", "htm", "htu", "req_wl"}
_OURS: Final = {
    *("iss", "sub", "sub_id", "aud", "client_id", "iat", "exp", "jti", "act", "scope", "cnf"),
    "authorization_details",
}
_NAMING: Final = {"jti", "iat", "exp"}  # members of an element, by the consent to it


class Asker:
    """Who asks: the client's SPIFFE ID, its certificate's thumbprint and end, and its proof."""

    def __init__(self, client: Any, proof: str | None, now: float) -> None:
        """Take the facts of the connection."""
        self.name: str = client.spiffe_id.text
        self.thumbprint, self.ends = client.thumbprint, client.expires_at
        self.proof, self.now = proof, now
        self.key = "" if proof is None else _proof_key(proof, now)

    @property
    def has_bad_proof(self) -> bool:
        """Whether a proof was sent that proves nothing."""
        return self.proof is not None and not self.key


def why_not(form: bytes, asker: Asker, keys: Keys, issued: Any) -> str:
    """Why a token must not be issued for a form, with what is wrong in it; "" for nothing."""
    try:
        given = _parameters(form)
        subject = _subject(given, keys, asker.now)
    except (ValueError, RecursionError) as error:
        return str(error) or type(error).__name__
    wrong = _wrong_parties(given, subject, asker, keys)
    if wrong:
        return wrong
    rule = next((one for one in RULES if _fits(one, given, subject, asker)), None)
    if rule is None:
        return "no rule fits"
    if subject["aud"].isdisjoint(rule.subject_audiences) and not _holds(subject, asker):
        return "the client does not hold the subject token's key"
    return next(_differences(rule, given, subject, asker, issued), "")


def _parameters(form: bytes) -> dict[str, list[str]]:
    """Return a form's parameters (WHATWG URL, RFC 6749 section 3.2)."""
    given: dict[str, list[str]] = {}
    for part in form.split(b"&"):
        name, _, value = (
            unquote_to_bytes(half).decode() for half in part.replace(b"+", b" ").partition(b"=")
        )
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if len(values) > 1 and name not in ("audience", "resource"):
            raise ValueError(f"{name} twice")
        given[name] = [value for value in values if value]
    if given.get("grant_type") != [_GRANT]:
        raise ValueError("another grant")
    return given


def _one(given: Mapping[str, list[str]], name: str) -> str:
    return (given.get(name) or [""])[0]


def _verified(token: str, keys: Keys, now: float) -> tuple[Members, Members]:
    """Return header and claims of a token of a known issuer, valid now. Raises ValueError."""
    if not reference.is_one_text(token):
        raise ValueError("no JWS")
    try:
        header: Members = jwt.get_unverified_header(token)
        claims = _object(jwt.utils.base64url_decode(token.split(".")[1]))
        key = keys[(claims["iss"], header["kid"])]
        jwt.PyJWS().decode(token, key, algorithms=["ES256"])
    except (jwt.PyJWTError, KeyError, TypeError) as error:
        raise ValueError(f"not verified: {type(error).__name__}") from None
    if {"crit", "b64", "zip", "enc", "cty"} & header.keys():
        raise ValueError("not a plain JWS")
    times = [claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)]
    if not all(map(reference._is_time, times, (now, 0, 0), (2**53, now + SKEW, now + SKEW))):
        raise ValueError("not now")
    return header, claims


def _object(data: bytes) -> Members:
    found = json.loads(data, object_pairs_hook=reference._once, parse_constant=reference._refuse)
    if isinstance(found, dict):
        return found
    raise ValueError("no object")


def _typ(header: Members) -> str:
    return str(header.get("typ", "jwt")).lower().removeprefix("application/")


def _subject(given: Mapping[str, list[str]], keys: Keys, now: float) -> Members:
    """Return what a subject token says: principal, actors, audiences, scopes. Raises ValueError."""
    header, claims = _verified(_one(given, "subject_token"), keys, now)
    kind = _one(given, "subject_token_type").removeprefix(_TYPE)
    audience = claims.get("aud", [])
    audiences = audience if isinstance(audience, list) else [audience]
    is_id_token = kind == "id_token"
    if kind not in ("access_token", "jwt", "id_token"):
        raise ValueError("unknown type")
    if is_id_token:
        _check_id_token(header, claims, audiences, now)
    else:
        _check_access_token(header, claims)
    scope = claims.get("scope", "")
    actors = list(_actors(claims))
    issuer, name = _principal(claims)
    return {
        "iss": claims["iss"],
        "claims": claims,
        "principal": (issuer, name),
        "name": PREFIXES[issuer] + name,
        "aud": frozenset(audiences),
        "scopes": None
        if is_id_token
        else {*(scope.split(" ") if scope else [])}
        if isinstance(scope, str)
        else set(scope),
        "actors": actors,
    }


def _check_id_token(header: Members, claims: Members, audiences: list[Any], now: float) -> None:
    """OIDC Core 2 and 3.1.3.7. Raises ValueError."""
    is_plain = _typ(header) in ("jwt", "jose") and claims["iss"] == IDP
    is_for_us = audiences and all(name == WEBAPP for name in audiences)
    others = {"scope", "client_id", "act", "may_act", "events", "htm", "htu", "req_wl"}
    if not is_plain or not is_for_us or others & claims.keys():
        raise ValueError("no ID token of the web app's")
    if claims["iat"] <= now - 600 - SKEW or claims.get("azp", WEBAPP) != WEBAPP:
        raise ValueError("an old ID token, or another party's")


def _check_access_token(header: Members, claims: Members) -> None:
    """RFC 9068 2.1 and 4; a plain JWT must look like one. Raises ValueError."""
    typ = _typ(header)
    if typ == "at+jwt":
        return
    if typ not in ("jwt", "jose") or claims["iss"] != IDP or typ == "jose":
        raise ValueError("another kind of token")
    if _OF_OTHERS & claims.keys() or not claims.get("scope"):
        raise ValueError("no access token")


def _actors(claims: Members) -> Iterator[tuple[str, str]]:
    holder = claims
    while "act" in holder:
        holder = holder["act"]
        if not isinstance(holder, dict) or not isinstance(holder.get("sub"), str):
            raise ValueError("an odd actor")  # noqa: TRY004 - of a token, not of a caller
        yield str(holder.get("iss", claims["iss"])), holder["sub"]


def _principal(claims: Members) -> tuple[str, str]:
    """Return a principal's issuer and name. Raises ValueError."""
    issuer, name = claims["iss"], claims.get("sub")
    if issuer == STS:
        told = claims.get("sub_id")
        if not isinstance(told, dict) or told.get("format") != "iss_sub":
            raise ValueError("no sub_id")
        issuer, name = told.get("iss"), told.get("sub")
    if issuer not in PREFIXES or not isinstance(name, str) or not name:
        raise ValueError("nobody's name")
    if claims["iss"] == STS and claims["sub"] != PREFIXES[issuer] + name:
        raise ValueError("another's sub")
    machines = [claims.get(of) for of in ("client_id", "azp", "cid", "appid")]
    if name.startswith("spiffe:") or name in machines or claims.get("idtyp") == "app":
        raise ValueError("a machine's own")
    return issuer, name


def _wrong_parties(
    given: Mapping[str, list[str]], subject: Members, asker: Asker, keys: Keys
) -> str:
    claims = subject["claims"]
    if asker.name not in GRANTED or not asker.thumbprint or asker.has_bad_proof:
        return "an unknown client, or one without a certificate or with a bad proof"
    may_act = claims.get("may_act", {"sub": asker.name})
    if not isinstance(may_act, dict) or may_act.get("sub") != asker.name:
        return "another may act"
    names = [name for _, name in subject["actors"]]
    if {SUSPENDED, REVOKED} & {*names} or subject["principal"] == (IDP, "mallory"):
        return "somebody is stopped"
    if claims.get("jti") == REVOKED_ID and claims["iss"] != PARTNER:
        return "the token is revoked"
    earlier = names[1:] if names[:1] == [asker.name] else names
    if asker.name in earlier or len(earlier) > 3:
        return "a loop, or too long a chain"
    token = _one(given, "actor_token")
    return _wrong_actor_token(token, asker, keys) if token else ""


def _wrong_actor_token(token: str, asker: Asker, keys: Keys) -> str:
    try:
        header, claims = _verified(token, keys, asker.now)
    except (ValueError, RecursionError) as error:
        return f"actor token: {error}"
    audience = claims.get("aud")
    is_ours = STS in (audience if isinstance(audience, list) else [audience])
    is_own = claims.get("sub") == asker.name and "act" not in claims
    is_access = _typ(header) == "at+jwt" or not _OF_OTHERS & claims.keys()
    return "" if is_ours and is_own and is_access else "not the client's own actor token"


def _fits(rule: Rule, given: Mapping[str, list[str]], subject: Members, asker: Asker) -> bool:
    asked = _one(given, "scope")
    actors = [name for _, name in subject["actors"]]
    return (
        rule.agent == asker.name
        and not subject["aud"].isdisjoint({*rule.subject_audiences, STS})
        and (not actors or actors[0] in rule.via)
        and subject["principal"][0] in rule.issuers
        and set(_targets(given)) <= set(rule.audiences)
        and bool(_targets(given) or len(rule.audiences) == 1)
        and (not asked or not rule.scopes.isdisjoint(asked.split(" ")))
        and {each["type"] for each in _details(given)} <= rule.details
    )


def _targets(given: Mapping[str, list[str]]) -> list[str]:
    return list(dict.fromkeys([*given.get("audience", []), *given.get("resource", [])]))


def _details(given: Mapping[str, list[str]]) -> list[Members]:
    text = _one(given, "authorization_details")
    found: list[Members] = json.loads(text) if text else []
    return found


def _holds(subject: Members, asker: Asker) -> bool:
    cnf = subject["claims"].get("cnf", {})
    held = {"x5t#S256": asker.thumbprint, "jkt": asker.key or None}
    return isinstance(cnf, dict) and all(
        cnf[name] == held[name] for name in held.keys() & cnf.keys()
    )


def _differences(
    rule: Rule, given: Mapping[str, list[str]], subject: Members, asker: Asker, issued: Any
) -> Iterator[str]:
    """Yield what a token has that it must not have."""
    claims: Members = dict(issued.claims)
    most = _most_scopes(rule, given, subject, asker)
    scopes = set(claims.get("scope", "").split())
    if not scopes <= most:
        yield f"scopes {scopes} of {most}"
    names = list(_actors(claims))
    earlier = subject["actors"]
    earlier = earlier[1:] if [name for _, name in earlier[:1]] == [asker.name] else earlier
    if [name for _, name in names] != [asker.name, *(name for _, name in earlier)]:
        yield f"the chain is {names} after {earlier}"
    for got, was in zip(names[1:], earlier, strict=True):
        if got != was and not was[1].startswith("spiffe://"):
            yield f"{was} became {got}"
    for name, value in _expected(rule, given, subject, asker).items():
        if claims.get(name) != value:
            yield f"its {name} is {claims.get(name)!r} in place of {value!r}"
    yield from _wrong_details(rule, given, subject, scopes, claims)
    yield from _wrong_end(rule, subject, asker, claims)
    yield from _wrong_rest(subject, asker, given, issued)


def _most_scopes(
    rule: Rule, given: Mapping[str, list[str]], subject: Members, asker: Asker
) -> set[str]:
    most = {*rule.scopes} & GRANTED[asker.name]
    if subject["scopes"] is not None:
        most &= subject["scopes"]
    asked = _one(given, "scope")
    return most & set(asked.split(" ")) if asked else most


def _expected(
    rule: Rule, given: Mapping[str, list[str]], subject: Members, asker: Asker
) -> Members:
    targets = _targets(given) or list(rule.audiences)
    issuer, name = subject["principal"]
    proof = {"jkt": asker.key} if asker.key else {}
    return {
        "iss": STS,
        "sub": subject["name"],
        "sub_id": {"format": "iss_sub", "iss": issuer, "sub": name},
        "aud": targets if len(targets) > 1 else targets[0],
        "client_id": asker.name,
        "iat": int(asker.now),
        "jti": TOKEN_ID,
        "cnf": {"x5t#S256": asker.thumbprint, **proof},
    }


def _wrong_details(
    rule: Rule,
    given: Mapping[str, list[str]],
    subject: Members,
    scopes: set[str],
    claims: Members,
) -> Iterator[str]:
    named, asked = claims.get("authorization_details", []), _details(given)
    got = [{name: value for name, value in one.items() if name not in _NAMING} for one in named]
    held = subject["claims"].get("authorization_details", [])
    restricting = [one for one in held if one.get("type") != APPROVAL]
    if got != (asked or restricting):
        yield f"details {got} for {asked} of {held}"
    if restricting and not all(one in restricting for one in got):
        yield f"details {got} are not of {restricting}"
    if not {one["type"] for one in got} <= rule.details:
        yield f"details {got} that the rule does not list"
    consent = {"subject": subject["principal"][1], "scopes": scopes, "details": got}
    if (got or rule.needs_consent) and not covers(consent):
        yield "no consent"
    if [one.get("jti") for one in named] != [consent_name(one) for one in got]:
        yield f"details {named} that are not named by their consents"


def _wrong_end(rule: Rule, subject: Members, asker: Asker, claims: Members) -> Iterator[str]:
    ends = [asker.now + rule.seconds, subject["claims"]["exp"], asker.ends]
    if rule.needs_consent or "authorization_details" in claims:
        ends.append(asker.now + CONSENT_SECONDS)
    if not asker.now < claims["exp"] <= min(ends):
        yield f"it ends at {claims['exp']}, and not by {min(ends)}"


def _wrong_rest(
    subject: Members, asker: Asker, given: Mapping[str, list[str]], issued: Any
) -> Iterator[str]:
    claims, before = issued.claims, subject["claims"]
    passed = {IDP: {"auth_time", "groups"}, PARTNER: {"auth_time"}}
    allowed = passed.get(subject["iss"], {"auth_time", "groups"})
    for name in claims.keys() - _OURS:
        if name not in allowed or claims[name] != before.get(name):
            yield f"its {name} is {claims[name]!r}"
    if any(name in before and name not in claims for name in allowed):
        yield "a claim was not passed on"
    uses = {use.kind.value for use in issued.uses}
    needed = {"token"} if subject["iss"] == PARTNER else set()
    if uses < needed | ({"proof"} if asker.key else set()):
        yield f"only {uses} is used up"
    told = issued.answer("token")
    wanted = {
        "access_token": "token",
        "issued_token_type": _one(given, "requested_token_type") or f"{_TYPE}access_token",
        "token_type": "DPoP" if asker.key else "Bearer",
        "expires_in": claims["exp"] - claims["iat"],
    }
    if any(told[name] != value for name, value in wanted.items()):
        yield f"the answer {told}"
    if told.get("scope", "") != claims.get("scope", ""):
        yield f"the answer's scope is {told.get('scope')!r}"


def _proof_key(proof: str, now: float) -> str:
    """Return the thumbprint of a proof's key; "" if it proves nothing here (RFC 9449 4.3)."""
    if not reference.is_one_text(proof):
        return ""
    try:
        header: Members = jwt.get_unverified_header(proof)
        key = jwt.PyJWK(header["jwk"], "ES256").key
        claims = _object(jwt.PyJWS().decode(proof, key, algorithms=["ES256"]))
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        return ""
    is_ours = (claims.get("htm"), claims.get("htu")) == ("POST", f"{STS}/token")
    is_now = reference._is_time(claims.get("iat"), now - 60, now + 5)
    is_proof = _typ(header) == "dpop+jwt" and not re.search("[,]", proof)
    return thumbprint(header["jwk"]) if is_ours and is_now and is_proof else ""
