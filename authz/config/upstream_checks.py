"""Checks what routes give their upstreams against the sections that make it.

Works on the data as written, as ``reference_checks`` does, so that all problems come in one list.
"""

from collections.abc import Iterator
from typing import Any, Final

from authz.adapters.assertions.settings import HEADER, has_another_use
from authz.config.rule_checks import Found
from authz.core.upstream_token import UpstreamToken
from authz.edge.header_settings import covers, owned_headers

_TOKEN_HEADER: Final = "authorization"  # the default of token.header
_PREFIX: Final = "x-agent-"  # the default of headers.prefix


def upstream_problems(data: dict[str, Any]) -> Found:
    """Yield routes whose upstreams could get nothing, and headers that two things would set."""
    yield from _token_header(data)
    assertions = data.get("assertions")
    if assertions is None:
        for at, route in _routes(data):
            if route.get("upstream_token") == UpstreamToken.ASSERT.value:
                message = "assert needs the section assertions, with the keys that sign them"
                yield ("routes", at, "upstream_token"), message
    elif isinstance(assertions, dict):
        yield from _header(data, assertions)


def _token_header(data: dict[str, Any]) -> Found:
    """Find another use of the header that carries the token, and exchanged tokens."""
    name = _text(data, "token", "header", _TOKEN_HEADER)
    place = ("token", "header")
    if name in owned_headers(_text(data, "headers", "prefix", _PREFIX)):
        yield place, f"{name} is one of the identity headers: choose another header"
    gets = {route.get("upstream_token") for _, route in _routes(data)}
    if UpstreamToken.EXCHANGE.value in gets and has_another_use(name):
        message = f"exchanged tokens would take the place of {name}: choose another header"
        yield place, message


def _header(data: dict[str, Any], assertions: dict[str, Any]) -> Found:
    """Find another use of the header that carries assertions."""
    prefix = _text(data, "headers", "prefix", _PREFIX)
    name = _text(data, "assertions", "header", prefix + HEADER)
    place = (
        ("assertions", "header") if isinstance(assertions.get("header"), str) else ("assertions",)
    )
    if name == _text(data, "token", "header", _TOKEN_HEADER):
        yield place, f"{name} carries the client's token: choose another header"
    elif name in owned_headers(prefix):
        yield place, f"{name} is one of the identity headers: choose another header"
    elif any(covers(listed, name) for listed in _listed(data)):
        yield place, f"headers.remove removes {name}: choose another header"
    elif name in _added(data):
        yield place, f"a rule gives the upstream {name} in add_headers: choose another header"


def _routes(data: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    routes = data.get("routes")
    for at, route in enumerate(routes if isinstance(routes, tuple) else ()):
        if isinstance(route, dict):
            yield at, route


def _text(data: dict[str, Any], section: str, key: str, default: str) -> str:
    found = data.get(section)
    value = found.get(key) if isinstance(found, dict) else None
    return value if isinstance(value, str) else default


def _listed(data: dict[str, Any]) -> list[str]:
    section = data.get("headers")
    listed = section.get("remove") if isinstance(section, dict) else None
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, tuple) else []


def _added(data: dict[str, Any]) -> set[object]:
    grants = data.get("grants")
    found: set[object] = set()
    for rules in grants.values() if isinstance(grants, dict) else ():
        for rule in rules if isinstance(rules, tuple) else ():
            added = rule.get("add_headers") if isinstance(rule, dict) else None
            found.update(added if isinstance(added, dict) else ())
    return found
