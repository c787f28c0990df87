"""The claims of a verified token: well formed, for this audience, valid now (RFC 9068)."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.core.delegation.faults import Check, collect
from authz.core.delegation.jwt_svid import check_workload
from authz.core.delegation.restrictions import check_restrictions
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.status_list import read_reference
from authz.core.delegation.times import check_times, time_faults
from authz.core.jose.jws import Jws
from authz.core.reason import Denied, Reason
from authz.core.routes import Route, RouteMode
from authz.core.spiffe import SCHEME
from authz.core.spiffe.spiffe_id import MAX_ID_BYTES

MAX_NAME_CHARS: Final = 1024  # it becomes a header for the upstream; OIDC Core allows 255
_SCOPE_TOKEN: Final = r"[\x21\x23-\x5b\x5d-\x7e]+"  # RFC 6749 section 3.3
_SCOPE: Final = re.compile(_SCOPE_TOKEN)
_SCOPES: Final = re.compile(f"{_SCOPE_TOKEN}(?: {_SCOPE_TOKEN})*+")
_STRING: Final = frozenset({str})  # the types that JSON's values have here: never a subclass
# Types that say nothing about the kind: a plain JWT, and the one that JWT-SVID section 2.3 allows
# too.
PLAIN: Final = frozenset({"application/jwt", "application/jose"})
_CLIENT: Final = ("client_id", "azp", "cid", "appid")  # claims that name the client
# Claims that only another kind of token has: ID tokens (OIDC Core 2 and 3.3.2.11), security events
# (RFC 8417 2.2), status lists, introspection answers, transaction tokens, and proofs (RFC 9449,
# WIMSE). They matter if the typ is a plain JWT, which says nothing about the kind.
_OF_OTHER_KINDS: Final = (
    *("nonce", "at_hash", "c_hash", "s_hash"),
    *("events", "status_list", "token_introspection"),
    *("req_wl", "tctx", "rctx", "htm", "htu", "wth"),
)
# Claims in which some issuers name the kind (Keycloak, Cognito), and their values in access tokens.
_KIND_CLAIMS: Final = {"typ": ("Bearer", "DPoP"), "token_use": ("access",)}


class Claims(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The claims that decisions read.

    Attributes:
        issued_at, expires_at: unix seconds.
        members: all claims.
        has_scopes: whether it has the claim of scopes, or is certainly an access token.
        may_name_credentials: whether a text in the claims may hold the word "credentials".
    """

    subject: str
    issued_at: float
    expires_at: float
    token_id: str
    scopes: frozenset[str]
    members: Mapping[str, Any]
    has_scopes: bool = True
    may_name_credentials: bool = True

    def __repr__(self) -> str:
        """Return no claim, so that no log line can hold one."""
        return "Claims()"


class OwnClaims(msgspec.Struct, frozen=True, gc=False):
    """The claims about the token alone: its id and its times, in unix seconds."""

    issued_at: float
    expires_at: float
    token_id: str

    def __repr__(self) -> str:
        """Return no claim, so that no log line can hold one."""
        return "OwnClaims()"


def check_claims(jws: Jws, issuer: IssuerSettings, route: Route, now: float) -> Claims:
    """Check the claims by RFC 7519 section 4.1 and RFC 9068 sections 2.2 and 4, and return them.

    Raises Denied(TOKEN_TYP | TOKEN_CLAIM | TOKEN_AUDIENCE | TOKEN_EXPIRED | TOKEN_NOT_YET_VALID |
    TOKEN_LIFETIME).
    """
    members = jws.payload
    is_plain = jws.header.media_type in PLAIN
    if is_plain:
        check_plain_kind(members)
    _check_audience(members, issuer, route, is_plain=is_plain)
    if is_plain:
        _check_is_access_token(members, issuer, route)
    issued_at, expires_at = check_times(members, issuer, now)
    if not is_plain:  # older issuers leave this and jti out
        _check_client(members)
    token_id = _token_id(members, issuer, is_plain=is_plain)
    check_restrictions(members, issuer)
    check_workload(members, issuer)
    return Claims(
        name_in(members, "sub"),
        issued_at,
        expires_at,
        token_id,
        read_scopes(members, issuer.scope_claim),
        members,
        _has_scopes(members, issuer, is_plain=is_plain),
    )


def claim_faults(jws: Jws, issuer: IssuerSettings, route: Route, now: float) -> list[Denied]:
    """Return every refusal of ``check_claims``, in its order."""
    members = jws.payload
    is_plain = jws.header.media_type in PLAIN
    of_kind: list[tuple[bool, Check]] = [
        (is_plain, lambda: check_plain_kind(members)),
        (True, lambda: _check_audience(members, issuer, route, is_plain=is_plain)),
        (is_plain, lambda: _check_is_access_token(members, issuer, route)),
    ]
    of_rest: list[tuple[bool, Check]] = [
        (not is_plain, lambda: _check_client(members)),
        (True, lambda: _token_id(members, issuer, is_plain=is_plain)),
        (True, lambda: check_restrictions(members, issuer)),
        (True, lambda: check_workload(members, issuer)),
        (True, lambda: name_in(members, "sub")),
        (True, lambda: read_scopes(members, issuer.scope_claim)),
    ]
    return [
        *collect(*(check for applies, check in of_kind if applies)),
        *time_faults(members, issuer, now),
        *collect(*(check for applies, check in of_rest if applies)),
    ]


def unchecked_claims(jws: Jws, issuer: IssuerSettings) -> Claims:
    """Return the claims that decide on actors, for a report on a token that is refused anyway.

    Raises Denied(TOKEN_CLAIM) without a subject.
    """
    members = jws.payload
    is_plain = jws.header.media_type in PLAIN
    has_scopes = _has_scopes(members, issuer, is_plain=is_plain)
    return Claims(name_in(members, "sub"), 0.0, 0.0, "", frozenset(), members, has_scopes)


def check_own_claims(jws: Jws, issuer: IssuerSettings, now: float) -> OwnClaims:
    """Check only what is a token's own, where its other claims were accepted before.

    That is its times, its id, and its place in a status list.

    Raises Denied(TOKEN_CLAIM | TOKEN_EXPIRED | TOKEN_NOT_YET_VALID | TOKEN_LIFETIME).
    """
    issued_at, expires_at = check_times(jws.payload, issuer, now)
    is_plain = jws.header.media_type in PLAIN
    read_reference(jws.payload, issuer)
    return OwnClaims(issued_at, expires_at, _token_id(jws.payload, issuer, is_plain=is_plain))


def _token_id(members: Mapping[str, Any], issuer: IssuerSettings, *, is_plain: bool) -> str:
    must_have = not is_plain or issuer.one_time
    return name_in(members, "jti") if must_have or "jti" in members else ""


def _has_scopes(members: Mapping[str, Any], issuer: IssuerSettings, *, is_plain: bool) -> bool:
    return not is_plain or issuer.scope_claim in members


def check_plain_kind(members: Mapping[str, Any]) -> None:
    """Refuse a plain JWT that is surely of another kind. Raises Denied(TOKEN_TYP)."""
    if any(name in members for name in _OF_OTHER_KINDS):
        raise Denied(Reason.TOKEN_TYP, "its claims are typical of another kind of token")
    for name, kinds in _KIND_CLAIMS.items():
        if name in members and members[name] not in kinds:
            raise Denied(Reason.TOKEN_TYP, f"its {name} says that it is not an access token")


def _check_is_access_token(
    members: Mapping[str, Any], issuer: IssuerSettings, route: Route
) -> None:
    """Refuse a plain JWT that does not look like an access token. Raises Denied(TOKEN_TYP).

    A token without scopes may still be an agent's own; the check of its actors decides that.
    """
    if members.get(issuer.scope_claim):
        return
    has_scope_claim = issuer.scope_claim in members
    if not has_scope_claim and RouteMode.AUTONOMOUS not in route.modes:
        raise Denied(Reason.TOKEN_TYP, f"it has no {issuer.scope_claim}, as an ID token has none")
    if _is_for_client(members, alone=has_scope_claim):
        raise Denied(Reason.TOKEN_TYP, "its audience is the client, as an ID token's is")


def _is_for_client(members: Mapping[str, Any], *, alone: bool) -> bool:
    """Tell whether a token is for one of its clients; with ``alone``, for no other audience.

    An ``aud`` of another form is for nobody here: ``_check_audience`` refuses it.
    """
    audience = members.get("aud")
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list):
        return False
    clients = [members[name] for name in _CLIENT if name in members]
    found = [name in clients for name in listed]
    return any(found) and (all(found) or not alone)


def _check_audience(
    members: Mapping[str, Any], issuer: IssuerSettings, route: Route, *, is_plain: bool
) -> None:
    listed = audiences_in(members, is_plain=is_plain)
    named = [name for name in listed if name in issuer.audiences]
    if not named:
        raise Denied(Reason.TOKEN_AUDIENCE, _for_others(members, listed))
    if route.audiences and route.audiences.isdisjoint(named):
        raise Denied(Reason.TOKEN_AUDIENCE, "its aud does not name any of the route's audiences")


def audiences_in(members: Mapping[str, Any], *, is_plain: bool) -> list[str]:
    """Return the audiences of ``aud``. Raises Denied(TOKEN_CLAIM).

    Cognito's tokens, which are plain JWTs, have no ``aud``: their client stands for it.
    """
    audience = members.get("aud", [])
    if is_plain and "aud" not in members:
        audience = [members["client_id"]] if "client_id" in members else []
    listed = [audience] if isinstance(audience, str) else audience
    if not isinstance(listed, list) or not _STRING.issuperset(map(type, listed)):
        raise Denied(Reason.TOKEN_CLAIM, "its aud is neither a string nor a list of strings")
    return listed


def _for_others(members: Mapping[str, Any], listed: list[str]) -> str:
    """Name the claim that is not an audience of the issuer.

    ``aud``, or the client that stands for it.
    """
    if "aud" in members:
        return "its aud does not name any of the issuer's audiences"
    stands = "its client_id, which stands for it, is not one of the issuer's audiences"
    return f"it has no aud, and {stands}" if listed else "it has no aud"


def _check_client(members: Mapping[str, Any]) -> None:
    """Require the client's name (RFC 9068 section 2.2). Raises Denied(TOKEN_CLAIM)."""
    name_in(members, "azp" if "azp" in members and "client_id" not in members else "client_id")


def name_in(
    members: Mapping[str, Any],
    member: str,
    *,
    default: str = "",
    of: str = "its",
    reason: Reason = Reason.TOKEN_CLAIM,
) -> str:
    """Return the name that a member holds, of a subject, actor or token. Raises Denied(reason)."""
    value = members.get(member, default)
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable():
        return value  # as nearly always
    if not isinstance(value, str) or not 0 < len(value) <= _longest(value):
        raise Denied(reason, f"{of} {member} is missing or not a short string")
    if not value.isprintable():
        raise Denied(reason, f"{of} {member} has control characters")
    return value


def _longest(name: str) -> int:
    """Return a name's maximum length; for a SPIFFE ID, that of SPIFFE-ID section 2.3."""
    return MAX_ID_BYTES if name.startswith(SCHEME) else MAX_NAME_CHARS


def read_scopes(members: Mapping[str, Any], name: str) -> frozenset[str]:
    """Return the scopes in a claim, a line or a list of words. Raises Denied(TOKEN_CLAIM)."""
    value = members.get(name, "")
    if value == "":
        return frozenset()
    if isinstance(value, str):
        is_words, words = _SCOPES.fullmatch(value) is not None, value.split(" ")
    else:
        is_words = isinstance(value, list) and all(map(_is_scope, value))
        words = value
    if not is_words:
        detail = f"its {name} is neither words with single spaces between nor a list of words"
        raise Denied(Reason.TOKEN_CLAIM, detail)
    return frozenset(words)


def _is_scope(value: object) -> bool:
    return isinstance(value, str) and _SCOPE.fullmatch(value) is not None
