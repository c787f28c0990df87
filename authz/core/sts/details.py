"""The authorization details of a new token (RFC 9396): asked for, or passed on, never dropped."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from authz.core.reason import Reason
from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.subject import Subject

CLAIM: Final = "authorization_details"


def granted_details(
    asked: tuple[Mapping[str, Any], ...], subject: Subject, types: frozenset[str]
) -> tuple[Mapping[str, Any], ...]:
    """Return the details of a token for a subject token, of types that the rule lists.

    Those of a subject token limit it, and are not lost on the way: the new token has all of them,
    or those that were asked for, which must then be among them. Each needs consent.

    Raises TokenRequestDenied with ``invalid_authorization_details`` (RFC 9396 section 5).
    """
    held = subject.claims.members.get(CLAIM)
    if held is None:
        return asked  # of the rule's types, or the rule would not fit
    if not isinstance(held, list) or not all(_is_of(each, types) for each in held):
        raise _denied("the subject token has authorization_details that the rule does not list")
    if not set(map(_text, asked)) <= set(map(_text, held)):
        raise _denied("not among the authorization_details of the subject token")
    return asked or tuple(held)


def _is_of(element: object, types: frozenset[str]) -> bool:
    return isinstance(element, dict) and element.get("type") in types


def _text(element: Mapping[str, Any]) -> bytes:
    """Return an element's text, in which ``true`` is not 1, as it is for Python."""
    return msgspec.json.encode(element, order="sorted")


def _denied(detail: str) -> TokenRequestDenied:
    return TokenRequestDenied(OAuthError.INVALID_DETAILS, Reason.POLICY_DENIED, detail)
