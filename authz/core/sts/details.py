"""The authorization details of a new token (RFC 9396): asked for, or passed on, each by consent.

Those of a subject token that are approvals (``approval_types`` of its issuer) add to what it may be
used for: the next agent gets them only if it asks, and the principal consents to that agent. Others
restrict the token, and are never lost on the way.

Each detail gets ``jti``, ``iat`` and ``exp`` of the consent, so that the approval that it is passes
once, however many tokens are made by the consent. A client can't choose them: else each name would
be a further approval. A detail of the subject token that has them already keeps them.
"""

from collections.abc import Collection, Mapping
from typing import Any

from authz.core.approval import DETAILS, OWN_MEMBERS, same_json
from authz.core.reason import Reason
from authz.core.sts.consent import ConsentToCall
from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.subject import Subject


def granted_details(
    asked: tuple[Mapping[str, Any], ...], subject: Subject, types: frozenset[str]
) -> tuple[Mapping[str, Any], ...]:
    """Return the details of a token for a subject token, of types that the rule lists.

    If details restrict the subject token, the new token has all of these, or those that were asked
    for, which must then be among them.

    Raises TokenRequestDenied with ``invalid_authorization_details`` (RFC 9396 section 5).
    """
    held = _restricting(subject)
    if not held:
        if any(each.keys() & OWN_MEMBERS for each in asked):
            raise _denied("jti, iat and exp are for the token service to choose")
        return asked  # of the rule's types, or the rule would not fit
    if not all(isinstance(each, dict) and _of(each, types) for each in held):
        raise _denied("the subject token has authorization_details that the rule does not list")
    if any(0 < len(each.keys() & OWN_MEMBERS) < len(OWN_MEMBERS) for each in held):
        raise _denied("a detail of the subject token has some of jti, iat and exp, and not all")
    if not all(any(same_json(each, detail) for detail in held) for each in asked):
        raise _denied("not among the authorization_details of the subject token")
    return asked or tuple(held)


def consented_parts(details: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    """Return the details as principals consent to them: without names and times of their own."""
    return tuple({name: each[name] for name in each if name not in OWN_MEMBERS} for each in details)


def named_details(
    details: tuple[Mapping[str, Any], ...], consents: tuple[ConsentToCall, ...]
) -> tuple[Mapping[str, Any], ...]:
    """Return the details with the names and times of the consents to them, one for each."""
    return tuple(_named(*each) for each in zip(details, consents, strict=True))


def _named(detail: Mapping[str, Any], consent: ConsentToCall) -> Mapping[str, Any]:
    if detail.keys() >= OWN_MEMBERS:  # the one use that the subject token is good for
        return detail
    own = {"jti": consent.name, "iat": int(consent.since), "exp": int(consent.until)}
    return {**detail, **own}


def _restricting(subject: Subject) -> list[Any]:
    """Return the details that restrict a subject token. Raises TokenRequestDenied."""
    held = subject.claims.members.get(DETAILS, [])
    if not isinstance(held, list):
        raise _denied("the authorization_details of the subject token are not a list")
    approving = subject.issuer.approval_types
    return [each for each in held if not (isinstance(each, dict) and _of(each, approving))]


def _of(element: Mapping[str, Any], types: Collection[str]) -> bool:
    kind = element.get("type")
    return isinstance(kind, str) and kind in types


def _denied(detail: str) -> TokenRequestDenied:
    return TokenRequestDenied(OAuthError.INVALID_DETAILS, Reason.POLICY_DENIED, detail)
