"""Checks rules against the rest of the config: their names and headers.

Works on the data as written, as ``reference_checks`` does, so that all problems come in one list.
"""

from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from authz.config.yaml_document import Place
from authz.core.conditions import CLAIMS, HEADERS, Listed
from authz.edge.header_settings import HeaderSettings, covers, owned_headers

Found = Iterator[tuple[Place, str]]
_LISTS: Final = {CLAIMS: "claims", HEADERS: "headers"}  # of the section conditions
_TOKEN_HEADER: Final = "authorization"  # the default of token.header


def rule_problems(data: dict[str, Any]) -> Found:
    """Yield names that a grant has twice, and headers that rules may not read or add."""
    prefix = _prefix(data)
    token_header = _configured_text(data, "token", "header", _TOKEN_HEADER)
    yield from _conditions(data, token_header)
    for place, rule in _rules(data):
        for name in _keys(rule, "headers"):
            if name == token_header:
                yield (*place, "headers", name), "it carries the token, which rules can't read"
        for name in _keys(rule, "add_headers"):
            if prefix is None:
                continue
            if not name.startswith(prefix):
                message = f"must begin with {prefix}, the prefix of headers that clients can't set"
                yield (*place, "add_headers", name), message
            elif name in owned_headers(prefix):
                yield (*place, "add_headers", name), "it is already one of the identity headers"
            elif name in _removed(data):
                yield (*place, "add_headers", name), "headers.remove removes it: name it once"
    yield from _removed_token(data, token_header)
    yield from _twice(data)


def listed_for_conditions(data: dict[str, Any]) -> Listed:
    """Return the names that conditions may read, without names of a wrong type."""
    section = data.get("conditions", {})
    if not isinstance(section, dict):
        return {}
    lists = ((variable, section.get(key, ())) for variable, key in _LISTS.items())
    return {
        variable: [name for name in names if isinstance(name, str)]
        for variable, names in lists
        if isinstance(names, tuple)
    }


def _conditions(data: dict[str, Any], token_header: str) -> Found:
    conditions = data.get("conditions")
    listed = conditions.get("headers") if isinstance(conditions, dict) else ()
    for at, name in enumerate(listed if isinstance(listed, tuple) else ()):
        if name == token_header:
            message = "it carries the token, which conditions can't read"
            yield ("conditions", "headers", at), message


def _twice(data: dict[str, Any]) -> Found:
    seen: set[tuple[str | int, object]] = set()
    for place, rule in _rules(data):
        name = rule.get("name")
        if isinstance(name, str):
            if (place[1], name) in seen:
                yield (*place, "name"), f"another rule of this grant is already named {name}"
            seen.add((place[1], name))


def _rules(data: dict[str, Any]) -> Iterator[tuple[Place, dict[str, Any]]]:
    grants = data.get("grants")
    for name, rules in grants.items() if isinstance(grants, dict) else ():
        for at, rule in enumerate(rules if isinstance(rules, tuple) else ()):
            if isinstance(rule, dict):
                yield ("grants", name, at), rule


def _keys(rule: dict[str, Any], member: str) -> list[str]:
    value = rule.get(member)
    return [key for key in value if isinstance(key, str)] if isinstance(value, dict) else []


def _removed_token(data: dict[str, Any], token_header: str) -> Found:
    """Find items of ``headers.remove`` that would remove the token's header."""
    for at, listed in enumerate(_removed(data)):
        if isinstance(listed, str) and covers(listed, token_header):
            message = f"{token_header} carries the token: token.forward says whether it stays"
            yield ("headers", "remove", at), message


def _removed(data: dict[str, Any]) -> tuple[object, ...]:
    section = data.get("headers")
    listed = section.get("remove") if isinstance(section, dict) else ()
    return listed if isinstance(listed, tuple) else ()


def _prefix(data: dict[str, Any]) -> str | None:
    """Return the prefix of the identity headers, None if it is invalid."""
    try:
        return HeaderSettings.model_validate(data.get("headers", {})).prefix
    except ValidationError:
        return None


def _configured_text(data: dict[str, Any], section: str, member: str, default: str) -> str:
    part = data.get(section)
    value = part.get(member) if isinstance(part, dict) else None
    return value if isinstance(value, str) else default
