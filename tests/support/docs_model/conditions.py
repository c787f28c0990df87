"""The conditions of the company's rules, each with what it means in Python.

One that raises has no value: an allow with it does not allow, a deny denies.
"""

from collections.abc import Callable, Mapping
from typing import Any

from support.docs_model.asked import Known
from support.docs_model.calls import Call
from support.docs_model.elsewhere import elsewhere


class NoValueError(Exception):
    """CEL has no value for it."""


def number(value: Any) -> float:
    """A number; a bool is none in CEL."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoValueError
    return value


def text(value: Any) -> str:
    """A text: nothing else is compared with one."""
    if not isinstance(value, str):
        raise NoValueError
    return value


def claim(known: Known, name: str, kind: type | None = None) -> Any:
    """A claim that has to be there, and of a type where it is compared with one."""
    if name not in known.claims:
        raise NoValueError
    return maybe(known, name, kind)


def maybe(known: Known, name: str, kind: type | None) -> Any:
    """A claim that may be missing, but not be elsewhere or of another type."""
    value = known.claims.get(name)
    is_other = kind is not None and name in known.claims and type(value) is not kind
    if is_other or name in elsewhere(known.claims):
        raise NoValueError
    return value


def arguments(call: Call | None) -> Mapping[str, Any]:
    """The arguments of a call that has them."""
    if call is None or call.arguments is None:
        raise NoValueError
    return call.arguments


def argument(call: Call | None, name: str) -> Any:
    """An argument that has to be there."""
    if name not in arguments(call):
        raise NoValueError
    return arguments(call)[name]


def is_finance(known: Known) -> bool:
    """``in`` takes a list or a map; a text has no members."""
    groups = claim(known, "groups")
    if not isinstance(groups, list | dict) or not all(isinstance(one, str) for one in groups):
        raise NoValueError
    if isinstance(groups, dict) and "finance" not in groups and "finance" in groups.values():
        raise NoValueError
    return "finance" in groups


Condition = Callable[[Known, Call | None], bool]

# Of every kind of rule.
LEVEL = "claims.level >= 3"
REGION = 'has(claims.region) && claims.region in ["eu", "us"]'
HEADER = 'request.headers["x-env"] == "prod"'
SEGMENT = 'principal.id != "u0007" && request.segments[0] == "v1"'
DEPTH = 'delegation.depth == 1 || agent.path[1] == "ops"'
FINANCE = '"finance" in claims.groups'
SHORT = 'request.path.startsWith("/v1/") && size(request.segments) < 6'
ADMIN = 'delegation.scopes.exists(s, s.endsWith(":admin"))'
# Of rules on calls.
AMOUNT = "operation.arguments.amount <= 500"
CURRENCY = f'{AMOUNT} && operation.arguments.currency in ["EUR", "USD"]'
GETS = 'operation.name.startsWith("get_") || claims.level > 4'
TENANT = 'operation.arguments.tenant == "blue"'
COOL = "operation.arguments.temperature < 1.0"
NO_STREAM = '!operation.streaming || principal.issuer == "https://as.corp.example"'
# Of denies.
JUNIOR = "claims.level < 2"
UNCLEARED = "!(claims.clearance == true)"
HUGE = "has(operation.arguments.amount) && operation.arguments.amount > 10000"
LEGACY = '"legacy:all" in delegation.scopes'
WEAK = 'has(claims.acr) && claims.acr == "pwd"'
DEEP = "delegation.depth > 2"

CONDITIONS: dict[str, Condition] = {
    LEVEL: lambda k, _: number(claim(k, "level")) >= 3,
    REGION: lambda k, _: maybe(k, "region", str) in ("eu", "us"),
    HEADER: lambda k, _: k.headers.get("x-env") == "prod",
    SEGMENT: lambda k, _: k.principal != "u0007" and k.segments[0] == "v1",
    DEPTH: lambda k, _: len(k.actors) == 1 or k.agent.split("/")[4:5] == ["ops"],
    FINANCE: lambda k, _: is_finance(k),
    SHORT: lambda k, _: k.segments[0] == "v1" and 1 < len(k.segments) < 6,
    ADMIN: lambda k, _: any(s.endswith(":admin") for s in k.scopes),
    AMOUNT: lambda _, c: number(argument(c, "amount")) <= 500,
    CURRENCY: lambda _, c: (
        number(argument(c, "amount")) <= 500 and text(argument(c, "currency")) in ("EUR", "USD")
    ),
    GETS: lambda k, c: (
        (c is not None and c.name.startswith("get_")) or number(claim(k, "level")) > 4
    ),
    TENANT: lambda _, c: text(argument(c, "tenant")) == "blue",
    COOL: lambda _, c: number(argument(c, "temperature")) < 1.0,
    NO_STREAM: lambda k, c: (
        c is None or not c.streaming or k.claims.get("iss") == "https://as.corp.example"
    ),
    JUNIOR: lambda k, _: number(claim(k, "level")) < 2,
    UNCLEARED: lambda k, _: claim(k, "clearance", bool) is not True,
    HUGE: lambda _, c: "amount" in arguments(c) and number(argument(c, "amount")) > 10000,
    LEGACY: lambda k, _: "legacy:all" in k.scopes,
    WEAK: lambda k, _: maybe(k, "acr", str) == "pwd",
    DEEP: lambda k, _: len(k.actors) > 2,
}
