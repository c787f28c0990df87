"""Which elements of authorization_details approve a call at most (RFC 9396), slowly and plainly."""

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any
from urllib.parse import unquote

from fuzz import reference

Members = dict[str, Any]
_MEMBERS = {"type", "locations", "actions", "identifier", "arguments", "jti", "iat", "exp"}
_FEW = 16


def fitting(asked: Any, kind: str, now: float) -> list[Members]:
    """Return the elements that name the call, in their order."""
    try:
        details = _read(asked.claim)
        arguments = _arguments(asked)
    except (ValueError, RecursionError):
        return []
    if not isinstance(details, list) or arguments is None:
        return []
    return [
        one
        for one in details[:_FEW]
        if isinstance(one, dict) and _fits(one, asked, kind, arguments, now)
    ]


def _read(data: bytes) -> Any:
    return json.loads(
        data.decode(), object_pairs_hook=reference._once, parse_constant=reference._refuse
    )


def _arguments(asked: Any) -> Members | None:
    """Return the arguments that an approval must name; None if none can name them."""
    call, names = asked.operation.call, asked.names
    if call is None:
        return {} if names == () else None
    if names == ():
        return {}
    held = _read(call.arguments)
    if not isinstance(held, dict) or (names is not None and not set(names) <= held.keys()):
        return None
    return held if names is None else {name: held[name] for name in names}


def _fits(one: Members, asked: Any, kind: str, arguments: Members, now: float) -> bool:
    locations = one.get("locations", [asked.resource])
    actions, named = one.get("actions"), one.get("arguments", {})
    call = asked.operation.call
    action = call.method if call else asked.operation.method
    return (
        one.get("type") == kind
        and one.keys() <= _MEMBERS
        and isinstance(locations, list)
        and asked.resource in locations
        and isinstance(actions, list)
        and action in actions
        and _is_target(one.get("identifier"), asked.operation)
        and isinstance(named, Mapping)
        and _written(named) == _written(arguments)
        and "unsure" not in str(_written(named))
        and _lasts(one, now)
    )


def _is_target(identifier: object, operation: Any) -> bool:
    """Whether it is the target's name; of a plain request its path, each segment escaped."""
    if not isinstance(identifier, str):
        return False
    if operation.call is not None:
        named = operation.call.kind.value == "" or operation.call.name != ""
        return named and bool(identifier == operation.call.name)
    return [unquote(part) for part in identifier.split("/")] == ["", *operation.path]


def _lasts(one: Members, now: float) -> bool:
    own = {"jti", "iat", "exp"} & one.keys()
    if not own:
        return True
    is_sane = len(own) == 3 and isinstance(one["jti"], str) and bool(one["jti"])
    return is_sane and reference._is_time(one["exp"], now + 0.001, 2**53)


def _written(value: Any) -> Any:
    """Write a JSON value so that equal ones are written alike, numbers as exact fractions."""
    if isinstance(value, dict):
        return "object", sorted((name, _written(child)) for name, child in value.items())
    if isinstance(value, list):
        return "list", [_written(child) for child in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(value).__name__, repr(value).replace("unsure", "")
    if isinstance(value, float) and abs(value) >= 2**53:
        return "unsure", ""
    return "number", str(Fraction(value))
