"""The refusal of restrictions of a token that this server can't check.

An unknown claim alone does not refuse a token (RFC 7519 section 4). A claim that restricts the
token does: a status list may revoke it, authorization details limit its use, and ignoring these
would accept more than was granted.
"""

from collections.abc import Mapping
from typing import Any, Final

from authz.core.approval import DETAILS, MAX_ELEMENTS
from authz.core.delegation.settings import IssuerSettings
from authz.core.delegation.status_list import read_reference
from authz.core.reason import Denied, Reason

_STATUS: Final = "status"
_CLAIMS: Final = (  # in this order: the first that is found is named
    _STATUS,  # token status lists: it may be revoked
    DETAILS,  # RFC 9396: what it may be used for
    "crit",  # claims that must be understood (OpenID Federation)
    *("cdnicrit", "cdniip", "cdniuc"),  # RFC 9246: the same, and its client and URIs
    "exi",  # RFC 9200: expires so many seconds after it is first seen
    *("htm", "htu"),  # for a single method and URI, as in proofs of RFC 9449
)
_ANY_CLAIM: Final = frozenset(_CLAIMS)
# Profiles of actors that call by mutual TLS (draft-mora-oauth-entity-profiles).
_AGENT_PROFILES: Final = frozenset({"ai_agent", "service"})


def check_restrictions(members: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Refuse a token with a restriction that is not checked. Raises Denied(TOKEN_CLAIM).

    The token's place in a status list is only read here: the list is looked up as the last step.
    """
    if _ANY_CLAIM.isdisjoint(members):  # as nearly always
        return
    for name in _CLAIMS:
        if name == _STATUS and issuer.status_list is not None:
            read_reference(members, issuer)
        elif name == DETAILS and issuer.approval_types:
            _check_details(members, issuer)
        elif name in members and name not in issuer.accept_unchecked:
            raise Denied(
                Reason.TOKEN_CLAIM, f"its {name} restricts it, and this server can't check that"
            )


def _check_details(members: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Refuse authorization details that may be anything but approvals. Raises Denied(TOKEN_CLAIM).

    An approval adds to what the token may be used for, and restricts nothing else. Whether an
    element of such a type approves a call is for the rules that ask for it.
    """
    if DETAILS not in members or DETAILS in issuer.accept_unchecked:
        return
    details = members[DETAILS]
    if not isinstance(details, list) or len(details) > MAX_ELEMENTS:
        detail = f"its {DETAILS} is not a list of {MAX_ELEMENTS} elements at most"
        raise Denied(Reason.TOKEN_CLAIM, detail)
    for element in details:
        if not isinstance(element, dict) or element.get("type") not in issuer.approval_types:
            detail = (
                f"its {DETAILS} has a type that is not one of approval_types, and may restrict it"
            )
            raise Denied(Reason.TOKEN_CLAIM, detail)


def check_actor(act: Mapping[str, Any], issuer: IssuerSettings) -> None:
    """Refuse a current actor who is not an agent, or is bound to a key that is not checked.

    Other members of an ``act`` only name the actor; dates and audiences in it mean nothing
    (RFC 8693 section 4.1). Raises Denied(TOKEN_CLAIM | CNF_UNSUPPORTED).
    """
    if "sub_profile" in act and "act.sub_profile" not in issuer.accept_unchecked:
        profile = act["sub_profile"]
        words = profile.split() if isinstance(profile, str) else []
        if not words or not _AGENT_PROFILES.issuperset(words):
            raise Denied(Reason.TOKEN_CLAIM, "its act.sub_profile is not an agent's")
    if "cnf" in act and "act.cnf" not in issuer.accept_unchecked:
        raise Denied(Reason.CNF_UNSUPPORTED, "this server can't check the key in its act.cnf")
