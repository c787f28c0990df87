"""Approvals: which element of a token names a call, and what of it is used up."""

import json
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from support.docs_model.asked import Known, Rule
from support.docs_model.calls import Call

MEMBERS = {"type", "locations", "actions", "identifier", "arguments", "jti", "iat", "exp"}
DETAILS = "authorization_details"


def asked_of(rule: Rule, known: Known, call: Call | None) -> tuple[str, str, Any] | None:
    """Method, target and arguments that an approval must name; None if none can."""
    if call is None:
        return known.method, "/" + "/".join(map(written, known.segments)), {}
    held, names = call.arguments or {}, rule["approval"].get("arguments")
    if names is not None and not set(names) <= set(held):
        return None
    chosen = held if names is None else {name: held[name] for name in names}
    return call.method, call.name, chosen


def written(segment: str) -> str:
    """A decoded segment, with what would end it escaped."""
    escapes = {"%": "%25", "/": "%2F", "?": "%3F", "#": "%23"}
    return "".join(escapes.get(char, char) for char in segment)


def approval_of(rule: Rule, known: Known, call: Call | None) -> Any:
    """What names the first element that approves a call, None if none does."""
    asked = asked_of(rule, known, call)
    listed = known.claims.get(DETAILS, [])
    for element in listed if asked else []:
        if element["type"] == rule["approval"]["type"] and is_approval(element, known, asked):
            iss = known.claims["iss"]
            if "jti" in element:
                return iss, element["jti"]
            content = json.dumps(exactly(element), sort_keys=True, default=str)
            return iss, known.claims["jti"], content
    return None


def is_approval(element: Rule, known: Known, asked: Any) -> bool:
    """Whether an element names just that, and has not ended."""
    own = {"jti", "iat", "exp"} & set(element)
    if not set(element) <= MEMBERS or len(own) not in (0, 3):
        return False
    return (
        known.now < element.get("exp", known.now + 1)
        and element.get("iat", 0) <= known.now + 120
        and known.resource in element.get("locations", [known.resource])
        and asked[0] in element.get("actions", [])
        and element.get("identifier") == asked[1]
        and exactly(element.get("arguments", {})) == exactly(asked[2])
    )


def exactly(value: Any) -> Any:
    """A value that is equal for equal JSON alone."""
    if isinstance(value, dict):
        return {name: exactly(child) for name, child in value.items()}
    if isinstance(value, list):
        return [exactly(child) for child in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__, value
    return "number", Fraction(repr(value)) if abs(value) < 2**53 else value


def uses_of(fitting: Iterable[list[Rule]], known: Known, call: Call | None) -> set[Any]:
    """The approvals that are used up, by the rules of each side that allow it."""
    firsts = [rules[0] for rules in fitting if rules and all(map(takes, rules))]
    held = [rule for rule in firsts if rule.get("approval", {}).get("once", "approval" in rule)]
    return {approval_of(rule, known, call) for rule in held}


def takes(rule: Rule) -> bool:
    """Whether it takes something from later requests."""
    return "budget" in rule or ("approval" in rule and rule["approval"].get("once", True))
