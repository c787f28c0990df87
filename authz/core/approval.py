"""Approvals: elements of a token's ``authorization_details`` (RFC 9396) that name one call each.

An authorization server that asked the principal puts the element into the token that it issues, at
the top level of a JWT (RFC 9396 section 9.1) or of an introspection answer (section 9.2)::

    {
      "type": "https://corp.example/authz/call",
      "locations": ["https://travel.corp.example/mcp"],
      "actions": ["tools/call"],
      "identifier": "book",
      "arguments": {"amount": 620, "trip": "T-17"}
    }

- ``type``: as the rule names it; compared exactly.
- ``locations``: resources that it is for; if present, the route's ``resource`` must be among them.
- ``actions``: the method of the call, such as tools/call; of a plain request the HTTP method.
- ``identifier``: the name of the tool, prompt, task or skill, or the URI of the resource; "" for
  a method without a target. Of a plain request the decoded path.
- ``arguments``: those arguments of the call that the rule lists, and no others; equal as JSON
  values. Left out, it is ``{}``.
- ``jti``, ``iat``, ``exp``: of the approval itself, all three or none, as in RFC 7519. Without
  them the approval is as old as its token, ends with it, and is used up with the token's ``jti``.
  An approval that outlives its token, as one that is put into refreshed tokens, needs them: else
  each of these tokens is a further approval. The token service (``authz.core.sts``) puts in those
  of the consent by which it makes a token.

A further member might narrow what was approved, so an element that has one approves nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from typing import Any, Final

import msgspec

from authz.core.paths import written_path
from authz.core.request import MAX_NAME_CHARS, MAX_URI_CHARS, Operation
from authz.core.strict_json import StrictJsonError, loads

DETAILS: Final = "authorization_details"  # the claim
MAX_ELEMENTS: Final = 16  # of a token that are looked at; each is compared with the call
MAX_LISTED: Final = 16  # locations or actions of an element
OWN_MEMBERS: Final = frozenset({"jti", "iat", "exp"})  # of the approval itself
_MEMBERS: Final = frozenset(
    {"type", "locations", "actions", "identifier", "arguments", *OWN_MEMBERS}
)
MAX_OWN_SECONDS: Final = 366 * 86400.0  # from iat to exp: a use is remembered for as long
_AHEAD_SECONDS: Final = 120.0  # that the issuer's clock may be
_EXACT: Final = 2**53  # above it, floating-point numbers that are written differently are equal
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_NONE: Final[Mapping[str, Any]] = {}


class ApprovalError(ValueError):
    """It is no approval, or none of the call; the text is for operators and holds no argument."""


@dataclass(frozen=True, slots=True)
class NamedCall:
    """A call as an approval names it.

    Attributes:
        action: its method.
        identifier: its target.
        resource: the route's; "" if it has none.
        arguments: those that an approval must name.
    """

    action: str
    identifier: str
    resource: str
    arguments: Mapping[str, Any]

    def element(self, type_: str) -> bytes:
        """Return the element that approves this call, as JSON: for a client to ask for it."""
        locations = {"locations": [self.resource]} if self.resource else {}
        arguments = {"arguments": self.arguments} if self.arguments else {}
        named = {"actions": [self.action], "identifier": self.identifier}
        return _encode({"type": type_, **locations, **named, **arguments})


def name_call(operation: Operation, resource: str, arguments: Iterable[str] | None) -> NamedCall:
    """Return what an approval of this operation must name.

    ``arguments`` are the names of those that it must name, each of which the call must have; None
    for all that the call has.

    Raises ApprovalError if they can't be read, or the target can't.
    """
    call = operation.call
    if call is None:
        if arguments is None or tuple(arguments):
            raise ApprovalError("no message was read, so its arguments can't be approved")
        return NamedCall(operation.method, written_path(operation.path), resource, _NONE)
    if call.hides_name:
        raise ApprovalError("the call's target can't be read, so it can't be approved")
    named = _NONE if arguments == () else _named_arguments(call.arguments, arguments)
    return NamedCall(call.method, call.name, resource, named)


def _named_arguments(data: bytes, names: Iterable[str] | None) -> Mapping[str, Any]:
    try:
        held = loads(data)
    except StrictJsonError:
        held = None
    if not isinstance(held, dict):
        raise ApprovalError("the call's arguments can't be read, so they can't be approved")
    if names is None:
        return held
    names = tuple(names)
    for name in names:
        if name not in held:  # a lax server may read it in another spelling, or elsewhere
            raise ApprovalError(f"the call lacks {name}, which an approval must name")
    return {name: held[name] for name in names}


@dataclass(frozen=True, slots=True)
class Approval:
    """An element of ``authorization_details`` that has the shape of an approval.

    Attributes:
        locations: None if it has none.
        token_id, issued_at, expires_at: of the approval itself; "" and 0 without them.
        digest: of all that it names, the same for every way to write that.
    """

    type: str
    locations: frozenset[str] | None
    actions: frozenset[str]
    identifier: str
    arguments: Mapping[str, Any]
    token_id: str
    issued_at: float
    expires_at: float
    digest: bytes

    def __repr__(self) -> str:
        """Return no argument, so that no log line can hold one."""
        return f"Approval(type={self.type!r})"

    @classmethod
    def read(cls, element: object) -> "Approval":
        """Return the approval that an element of parsed, strict JSON is. Raises ApprovalError."""
        if not isinstance(element, dict):
            raise ApprovalError("an element is not an object")
        if not element.keys() <= _MEMBERS:
            raise ApprovalError("it has a member that may narrow it in a way that is unknown here")
        arguments = element.get("arguments", _NONE)
        if not isinstance(arguments, Mapping):
            raise ApprovalError("its arguments are not an object")
        token_id, issued_at, expires_at = _own(element)
        read = (
            _text(element, "type", 256),
            _texts(element, "locations") if "locations" in element else None,
            _texts(element, "actions"),
            _text(element, "identifier", max(MAX_NAME_CHARS, MAX_URI_CHARS) * 4, at_least=0),
            arguments,
        )
        digest = sha256(_encode(_plain(read))).digest()
        return cls(*read, token_id, issued_at, expires_at, digest)

    def check(self, call: NamedCall, now: float) -> None:
        """Check that it approves this call at this time (unix seconds). Raises ApprovalError.

        Its type is for the caller to look at.
        """
        if self.expires_at and now >= self.expires_at:
            raise ApprovalError("it has ended")
        if self.issued_at > now + _AHEAD_SECONDS:  # its use before then could be forgotten
            raise ApprovalError("it is issued in the future")
        if self.locations is not None and call.resource not in self.locations:
            raise ApprovalError("it is for another resource")
        if call.action not in self.actions or call.identifier != self.identifier:
            raise ApprovalError("it is for another call")
        if not same_json(self.arguments, call.arguments):
            raise ApprovalError("it is for other arguments")


def same_json(first: object, second: object) -> bool:
    """Tell whether two parsed JSON values are the same value (no decision by itself).

    Members have no order, elements have. A number is compared by its value, however it is written:
    620, 620.0 and 6.2e2 are the same. True is not 1. A number that a floating-point number can't
    hold for certain, a fraction or an exponent beyond 2**53, is the same as none.
    """
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            same_json(value, second[name]) for name, value in first.items()
        )
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_json, first, second))
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, int | float) and isinstance(second, int | float):
        return first == second and _is_exact(first) and _is_exact(second)
    return type(first) is type(second) and first == second


def _is_exact(number: float) -> bool:
    return isinstance(number, int) or (isfinite(number) and abs(number) < _EXACT)


def _plain(value: object) -> object:
    """Return the value that is written in one way alone of those that are the same."""
    if isinstance(value, Mapping):
        return {name: _plain(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, float) and value.is_integer() and _is_exact(value):
        return int(value)
    return value


def _own(element: Mapping[str, Any]) -> tuple[str, float, float]:
    """Return the approval's own id and times. Raises ApprovalError."""
    if not element.keys() & OWN_MEMBERS:
        return "", 0.0, 0.0
    times = element.get("iat"), element.get("exp")
    for time in times:
        if isinstance(time, bool) or not isinstance(time, int | float) or not 0 < time < _EXACT:
            raise ApprovalError("its jti, iat and exp are not all there, or not all sane")
    issued_at, expires_at = (float(time or 0) for time in times)
    if not 0 < expires_at - issued_at <= MAX_OWN_SECONDS:
        raise ApprovalError("its exp is before its iat, or more than a year after it")
    return _text(element, "jti", MAX_NAME_CHARS), issued_at, expires_at


def _text(element: Mapping[str, Any], name: str, most: int, at_least: int = 1) -> str:
    value = element.get(name)
    if not isinstance(value, str) or not at_least <= len(value) <= most:
        raise ApprovalError(f"its {name} is not text of a sane length")
    return value


def _texts(element: Mapping[str, Any], name: str) -> frozenset[str]:
    values = element.get(name)
    if not isinstance(values, list) or not 0 < len(values) <= MAX_LISTED:
        raise ApprovalError(f"its {name} is not a list of 1 to {MAX_LISTED}")
    if not all(isinstance(value, str) for value in values):
        raise ApprovalError(f"its {name} is not a list of texts")
    return frozenset(values)


def elements_of(claims: Mapping[str, Any], type_: str) -> list[dict[str, Any]]:
    """Return the elements of a type in a token's ``authorization_details``, unread."""
    details = claims.get(DETAILS)
    listed = details[:MAX_ELEMENTS] if isinstance(details, list) else []
    return [each for each in listed if isinstance(each, dict) and each.get("type") == type_]
