"""Checks ID tokens (OpenID Connect Core 1.0 sections 2 and 3.1.3.7): here, and nowhere else.

An ID token says who logged in at a client; it is no access token, and no server takes it for one.
The token service takes it as the beginning of a delegation, if the operator lists its client.
"""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.delegation import IssuerSettings
from authz.core.delegation.actor_settings import ACT
from authz.core.delegation.claims import PLAIN, Claims, audiences_in, name_in
from authz.core.delegation.header import check_signing_header
from authz.core.delegation.restrictions import check_restrictions
from authz.core.delegation.times import check_times
from authz.core.jose.jws import Jws
from authz.core.reason import Denied, Reason
from authz.core.sts.settings import IdTokenSettings

# Claims that ID tokens never have, but access tokens, logout tokens and others do.
_OF_OTHERS: Final = (
    *("scope", "scp", "client_id", "events", "status_list", "token_introspection"),
    *("req_wl", "tctx", "rctx", "htm", "htu", "wth", ACT, "may_act"),
)
# Claims in which some issuers name the kind (Keycloak, Cognito), and their values in ID tokens.
_KINDS: Final = {"typ": "ID", "token_use": "id"}


def check_id_header(jws: Jws, issuer: IssuerSettings) -> None:
    """Check the header: a plain JWT, by the issuer's algorithms. Raises Denied."""
    check_signing_header(jws.header, issuer)
    if jws.header.media_type not in PLAIN:
        raise Denied(Reason.TOKEN_TYP, "its typ is not that of an ID token")


def check_id_token(
    jws: Jws, issuer: IssuerSettings, settings: IdTokenSettings, now: float
) -> Claims:
    """Check the claims of an ID token whose signature is verified, and return them.

    Raises Denied(TOKEN_TYP | TOKEN_AUDIENCE | TOKEN_CLAIM | TOKEN_EXPIRED | TOKEN_NOT_YET_VALID |
    TOKEN_LIFETIME).
    """
    members = jws.payload
    _check_kind(members, issuer)
    _check_clients(members, settings)
    issued_at, expires_at = check_times(members, issuer, now)
    if "iat" not in members:  # required by section 2, whatever the issuer's keys are
        raise Denied(Reason.TOKEN_CLAIM, "it has no iat")
    if now >= issued_at + settings.max_age + issuer.clock_skew:
        raise Denied(Reason.TOKEN_EXPIRED, "its iat is longer ago than max_age")
    check_restrictions(members, issuer)
    token_id = name_in(members, "jti") if "jti" in members or issuer.one_time else ""
    subject = name_in(members, "sub")
    return Claims(subject, issued_at, expires_at, token_id, frozenset(), members, has_scopes=False)


def _check_kind(members: Mapping[str, Any], issuer: IssuerSettings) -> None:
    others = (*_OF_OTHERS, issuer.scope_claim)
    if any(name in members for name in others):
        raise Denied(Reason.TOKEN_TYP, "its claims are typical of another kind of token")
    for name, kind in _KINDS.items():
        if members.get(name, kind) != kind:
            raise Denied(Reason.TOKEN_TYP, f"its {name} says that it is not an ID token")


def _check_clients(members: Mapping[str, Any], settings: IdTokenSettings) -> None:
    """Require that it is for listed clients alone (section 3.1.3.7, steps 3 to 5)."""
    audiences = audiences_in(members, is_plain=False)
    if not audiences or not set(audiences) <= set(settings.client_ids):
        raise Denied(Reason.TOKEN_AUDIENCE, "its aud is not one of client_ids alone")
    if (len(audiences) > 1 or "azp" in members) and (members.get("azp") not in settings.client_ids):
        raise Denied(Reason.TOKEN_AUDIENCE, "its azp is not one of client_ids")
