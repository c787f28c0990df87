"""Reads a token exchange request from the parameters of its form (RFC 8693 section 2.1)."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from authz.core import strict_json
from authz.core.sts.errors import BadForm, OAuthError

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
MAX_TOKEN_CHARS: Final = 64 * 1024  # token.max_bytes is checked later, and is never more
MAX_PARAMETERS: Final = 64  # a request has some ten
MAX_TARGETS: Final = 8  # audiences and resources of one token
MAX_TARGET_CHARS: Final = 1024
MAX_SCOPES: Final = 100
MAX_SCOPE_CHARS: Final = 4096
MAX_DETAILS_BYTES: Final = 8 * 1024
MAX_DETAILS: Final = 16
_SCOPE_TOKEN: Final = r"[\x21\x23-\x5b\x5d-\x7e]+"  # RFC 6749 section 3.3
_SCOPES: Final = re.compile(f"{_SCOPE_TOKEN}(?: {_SCOPE_TOKEN})*+")
_VISIBLE: Final = re.compile(r"[!-~]+")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+:[^#]+")  # RFC 8693 section 2.1: resource
# The only parameters that may be sent more than once (RFC 8693 section 2.1, RFC 6749 section 3.2).
_REPEATABLE: Final = frozenset({"audience", "resource"})


class TokenType(StrEnum):
    """The token types that the service knows (RFC 8693 section 3)."""

    ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
    JWT = "urn:ietf:params:oauth:token-type:jwt"
    ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


_ISSUED: Final = (TokenType.ACCESS_TOKEN, TokenType.JWT)


class TokenRequest(msgspec.Struct, frozen=True):
    """A token exchange request, well-formed; nothing of it is verified.

    Attributes:
        subject_token, subject_type: the token of the principal, and what the client says it is.
        targets: the audiences and resources that were asked for, each once, in their order.
        scopes: the scopes that were asked for; None if the request names none.
        requested_type: ACCESS_TOKEN or JWT.
        actor_token: "" if none was sent.
        details: the elements of authorization_details.
        proof: the text of the DPoP header; None if it was not sent.
    """

    subject_token: str
    subject_type: TokenType
    targets: tuple[str, ...] = ()
    scopes: frozenset[str] | None = None
    requested_type: TokenType = TokenType.ACCESS_TOKEN
    actor_token: str = ""
    details: tuple[Mapping[str, Any], ...] = ()
    proof: str | None = None

    def __repr__(self) -> str:
        """Return no part of it: it holds tokens."""
        return "TokenRequest()"


def read_request(form: Iterable[tuple[str, str]], proof: str | None = None) -> TokenRequest:
    """Read the decoded parameters of a form, and the text of the DPoP header if it was sent.

    Parameters without a value count as left out, and unknown ones are ignored (RFC 6749 section
    3.2). Raises BadForm; its detail holds nothing of the request's values.
    """
    given = _Parameters(form)
    grant_type = given.one("grant_type")
    if grant_type != GRANT_TYPE:
        if not grant_type:
            raise _invalid("grant_type is missing")
        raise BadForm(OAuthError.UNSUPPORTED_GRANT_TYPE, "grant_type is not that of RFC 8693")
    return TokenRequest(
        given.token("subject_token", required=True),
        given.type_of("subject_token_type"),
        _targets(given),
        _scopes(given.one("scope")),
        _requested(given),
        _actor(given),
        _details(given.one("authorization_details")),
        proof,
    )


class _Parameters:
    """The parameters of a form, those with a value."""

    def __init__(self, form: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        names: Counter[str] = Counter()
        for name, value in form:
            names[name] += 1
            if names.total() > MAX_PARAMETERS:
                raise _invalid(f"more than {MAX_PARAMETERS} parameters")
            if value:
                self._values.setdefault(name, []).append(value)
        twice = [name for name, times in names.items() if times > 1 and name not in _REPEATABLE]
        if twice:  # even an empty one: another reader may take the first, or the last
            raise _invalid("a parameter was sent twice that may be sent once")

    def one(self, name: str) -> str:
        """Return a parameter's value, "" if it was left out."""
        return self._values.get(name, [""])[0]

    def every(self, name: str) -> list[str]:
        """Return the values of a parameter that may be sent several times."""
        return self._values.get(name, [])

    def token(self, name: str, *, required: bool = False) -> str:
        """Return a token, "" if it was left out and is not required."""
        text = self.one(name)
        if required and not text:
            raise _invalid(f"{name} is missing")
        if text and not (len(text) <= MAX_TOKEN_CHARS and _VISIBLE.fullmatch(text)):
            raise _invalid(f"{name} is too long, or has characters that no token has")
        return text

    def type_of(self, name: str) -> TokenType:
        """Return a token type."""
        text = self.one(name)
        if not text:
            raise _invalid(f"{name} is missing")
        try:
            return TokenType(text)
        except ValueError:
            raise _invalid(f"{name} is not a supported token type") from None


def _targets(given: _Parameters) -> tuple[str, ...]:
    audiences, resources = given.every("audience"), given.every("resource")
    if not all(map(_ABSOLUTE.fullmatch, resources)):
        detail = "resource is not an absolute URI without a fragment"
        raise BadForm(OAuthError.INVALID_TARGET, detail)
    targets = tuple(dict.fromkeys((*audiences, *resources)))
    if len(targets) > MAX_TARGETS:
        raise BadForm(OAuthError.INVALID_TARGET, f"more than {MAX_TARGETS} targets")
    if not all(len(text) <= MAX_TARGET_CHARS and _VISIBLE.fullmatch(text) for text in targets):
        raise BadForm(OAuthError.INVALID_TARGET, "audience or resource is not a short name")
    return targets


def _scopes(text: str) -> frozenset[str] | None:
    if not text:
        return None
    if len(text) > MAX_SCOPE_CHARS or not _SCOPES.fullmatch(text):
        raise BadForm(OAuthError.INVALID_SCOPE, "scope is not words with single spaces between")
    words = frozenset(text.split(" "))
    if len(words) > MAX_SCOPES:
        raise BadForm(OAuthError.INVALID_SCOPE, f"more than {MAX_SCOPES} scopes")
    return words


def _requested(given: _Parameters) -> TokenType:
    if not given.one("requested_token_type"):
        return TokenType.ACCESS_TOKEN
    kind = given.type_of("requested_token_type")
    if kind not in _ISSUED:
        raise _invalid("requested_token_type is not a type that the service issues")
    return kind


def _actor(given: _Parameters) -> str:
    """Return the actor token; its type is required with it, and forbidden without it."""
    token = given.token("actor_token")
    if bool(token) != bool(given.one("actor_token_type")):
        raise _invalid("actor_token and actor_token_type need each other")
    if token and given.type_of("actor_token_type") is not TokenType.JWT:
        raise _invalid("actor_token_type is not jwt, the type of the client's own JWT-SVID")
    return token


def _details(text: str) -> tuple[Mapping[str, Any], ...]:
    """Return the elements of authorization_details (RFC 9396 section 2)."""
    if not text:
        return ()
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_DETAILS_BYTES:
        raise BadForm(OAuthError.INVALID_DETAILS, "authorization_details are too long")
    try:
        found = strict_json.loads(data)
    except strict_json.StrictJsonError:
        raise BadForm(OAuthError.INVALID_DETAILS, "authorization_details: no strict JSON") from None
    if not isinstance(found, list) or not 0 < len(found) <= MAX_DETAILS:
        raise BadForm(OAuthError.INVALID_DETAILS, "authorization_details are not a short list")
    if not all(isinstance(each, dict) and _is_name(each.get("type")) for each in found):
        raise BadForm(OAuthError.INVALID_DETAILS, "an element is not an object with a type")
    return tuple(found)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TARGET_CHARS


def _invalid(detail: str) -> BadForm:
    return BadForm(OAuthError.INVALID_REQUEST, detail)
