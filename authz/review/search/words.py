"""Words the requirements of a rule, for both questions of the search."""

import json
from collections.abc import Iterable
from typing import Any, Final

from authz.core.policy.call_settings import KEYS
from authz.core.policy.rules import UNRESTRICTED, Rule

CALL_KEYS: Final = frozenset(KEYS.values())
_TARGET: Final = {"name", "description", "owner", "effect", "hosts", "methods", "paths", "shadow"}


def counts(rule: Rule, *, is_deny: bool) -> bool:
    """Tell whether a rule is an allow, or a deny, and not in shadow."""
    return rule.is_deny == is_deny and not rule.is_shadow


def asked_by(rule: Rule) -> str:
    """Return a rule's requirements beside host, method and path, in words."""
    if rule.is_deny or rule is UNRESTRICTED:
        return conditions_of(rule)
    return f": scopes {' '.join(sorted(rule.scopes)) or 'none'}{conditions_of(rule)}"


def conditions_of(rule: Rule, told: frozenset[str] = frozenset()) -> str:
    """Return a rule's conditions in words, without the keys ``told``."""
    conditions = _conditions(rule, told)
    if rule.budget is not None:
        conditions["budget"] = rule.budget.words
    return "".join(
        f", {name} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in conditions.items()
    )


def rule_members(rule: Rule) -> dict[str, Any]:
    """Return a rule's members for ``--json``: its name, and its requirements."""
    return {
        "rule": rule.name,
        "scopes": sorted(rule.scopes),
        "conditions": _conditions(rule, frozenset()),
    }


def _conditions(rule: Rule, told: frozenset[str]) -> dict[str, Any]:
    """Return the keys of a rule beside host, method, path and scopes."""
    return rule.settings.model_dump(
        mode="json", exclude_defaults=True, exclude=_TARGET | {"scopes", "add_headers"} | told
    )


def except_lines(lines: Iterable[str]) -> list[str]:
    """Return the lines of an answer's exceptions, [] if there are none."""
    listed = [f"  {line}" for line in lines]
    return ["except", *listed] if listed else []
