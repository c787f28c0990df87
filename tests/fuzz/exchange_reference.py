"""Which exchanged token may be accepted at most, written from RFC 8693 and the settings as data.

Verified with PyJWT; as in ``reference``, never narrower on what is good.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jwt

from fuzz import reference
from lab.mesh import ISSUER, TRAVEL

Members = dict[str, Any]
_OF_OTHERS = {"nonce", "at_hash", "c_hash", "s_hash", "events", "status_list", "htm", "htu"}
# RFC 6749 5.2, RFC 8693 2.2.2, RFC 9396 5, and what issuers say besides of a token or a user.
_REFUSALS = {
    *("invalid_request", "invalid_grant", "invalid_scope", "invalid_target", "access_denied"),
    *("invalid_authorization_details", "insufficient_user_authentication", "invalid_token"),
    *("interaction_required", "consent_required", "login_required"),
}


def is_refusal(body: bytes, code: str) -> bool:
    """Whether a body refuses the token by that code."""
    try:
        return code in _REFUSALS and _object(body)["error"] == code
    except (ValueError, KeyError, RecursionError):
        return False


def why_not(token: str, body: bytes, given: Any, keys: Mapping[str, Any]) -> str:
    """Why this token must not be accepted of that answer; "" for nothing."""
    try:
        members = _object(body)
        return next(_faults(token, members, given, keys), "")
    except (ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def _object(data: bytes) -> Members:
    found = json.loads(
        data.decode(), object_pairs_hook=reference._once, parse_constant=reference._refuse
    )
    if isinstance(found, dict):
        return found
    raise ValueError("no object")


def _faults(token: str, members: Members, given: Any, keys: Mapping[str, Any]) -> Iterator[str]:
    settings, asked = given.settings, given.question.expected
    kind = settings.get("requested_token_type", "access_token")
    if token != members.get("access_token") or token == given.question.token:
        yield "another token"
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", token) or len(token) > 16_384:
        yield "unfit for a header"
    if members.get("issued_token_type") != f"urn:ietf:params:oauth:token-type:{kind}":
        yield "another type"
    if str(members.get("token_type")).lower() != "bearer":
        yield "no bearer's"
    scope = members.get("scope")
    if scope is not None and not _words(scope) <= _most(settings):
        yield f"the scopes {scope}"
    seconds, longest = members.get("expires_in"), 60 if "max_lifetime" in settings else 7200
    if seconds is not None and not reference._is_time(seconds, 0.001, 2**31):
        yield "no seconds"
    is_opaque = token.count(".") != 2
    if is_opaque:
        if not settings.get("accept_opaque") or seconds is None or seconds > longest:
            yield "opaque"
        return
    claims = _verified(token, keys, settings)
    now = 1_790_000_000
    ends = [claims["exp"], *([] if seconds is None else [now + seconds])]
    if not now < min(ends) <= now + longest:
        yield f"it ends at {min(ends)}"
    yield from _claim_faults(claims, asked, settings)
    yield from _subject_faults(claims, given)
    yield from _actor_faults(claims, given)


def _verified(token: str, keys: Mapping[str, Any], settings: Members) -> Members:
    """Return the claims of a JWT of the issuer's. Raises ValueError."""
    if not reference.is_one_text(token):
        raise ValueError("no JWS")
    try:
        header = jwt.get_unverified_header(token)
        payload = jwt.PyJWS().decode(token, keys[header["kid"]], algorithms=["ES256"])
    except (jwt.PyJWTError, KeyError) as error:
        raise ValueError(f"not verified: {type(error).__name__}") from None
    claims = _object(payload)
    typ = str(header.get("typ", "jwt")).lower().removeprefix("application/")
    if typ not in [one.lower() for one in settings.get("typ", ["at+jwt"])]:
        raise ValueError("another typ")
    if typ == "jwt" and _OF_OTHERS & claims.keys():
        raise ValueError("another kind")
    if {"crit", "b64", "zip", "enc", "cty"} & header.keys():
        raise ValueError("not a plain JWS")
    return claims


def _claim_faults(claims: Members, asked: Any, settings: Members) -> Iterator[str]:
    now, audience = 1_790_000_000, claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    known = [*asked.audiences, *settings.get("accept_audiences", ())]
    if claims.get("iss") != ISSUER:
        yield "another issuer's"
    if not all(name in listed for name in asked.audiences):
        yield "not for whom it was asked"
    if not all(name in known for name in listed):
        yield "for others too"
    if not _words(claims.get("scope", "")) <= _most(settings):
        yield "wider scopes"
    if not reference._is_time(claims.get("iat"), 0, now + 30):
        yield "issued later"
    if not reference._is_time(claims.get("nbf", 0), 0, now + 30):
        yield "begins later"
    if "cnf" in claims:
        yield "bound to a key"


def _words(scope: object) -> set[str]:
    if isinstance(scope, list):
        return set(scope)
    return set(str(scope).split(" ")) if scope else set()


def _most(settings: Members) -> set[str]:
    return {"read", *settings.get("accept_scopes", ())}


def _subject_faults(claims: Members, given: Any) -> Iterator[str]:
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        yield "no sub"
    if given.settings.get("subject") == "any":
        return
    for name in given.settings.get("subject_claims", ("sub",)):
        if claims.get(name) != given.claims[name]:
            yield f"another {name}"


def _actor_faults(claims: Members, given: Any) -> Iterator[str]:
    """RFC 8693 4.1: the agent is the current actor, after the same ones; none is left out."""
    chain, holder = [], claims
    while "act" in holder:
        holder = holder["act"]
        named_by = holder.get("iss", ISSUER)
        chain.append(("" if named_by == ISSUER else named_by, holder["sub"]))
    needs_agent = given.settings.get("actor") == "required" or bool(chain)
    if chain and given.actor:
        if chain[0][1] != given.actor:
            yield "the actor token's subject is not the current actor"
        chain = chain[1:]
        if given.mode.value != "act":  # the client's token had no act, so none need follow
            needs_agent = given.settings.get("actor") == "required" or bool(chain)
    if not chain:
        if needs_agent and given.mode.value != "autonomous":
            yield "the agent is left out"
        return
    if chain[0] not in [("", TRAVEL), ("spiffe://corp.example", TRAVEL)]:
        yield f"another current actor: {chain}"
    if chain[1:] != [("", name) for name in given.actors[1:]]:
        yield f"other earlier actors: {chain}"
