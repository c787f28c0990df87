"""Whether a rule is about a call: its ``mcp``, ``a2a`` or ``models``."""

import re

from support.docs_model.asked import Rule
from support.docs_model.calls import Call
from support.docs_model.paths import text_fits

KEYS = {"mcp": "mcp", "a2a": "a2a", "openai": "models"}


def names_call(rule: Rule, call: Call | None) -> bool:
    """Whether the rule names it; a deny names more than an allow, where in doubt."""
    kinds = set(KEYS.values()) & set(rule)
    if call is None:
        return not kinds
    is_deny = rule.get("effect") == "deny"
    if not kinds:
        return is_deny
    if KEYS[call.protocol] not in kinds:
        return False
    part = rule[KEYS[call.protocol]]
    if call.protocol == "mcp":
        return mcp_deny(part, call) if is_deny else mcp_allow(rule, part, call)
    if call.protocol == "a2a":
        return a2a_deny(part, call) if is_deny else a2a_allow(part, call)
    return model_deny(part, call) if is_deny else model_allow(part, call)


def mcp_allow(rule: Rule, part: Rule, call: Call) -> bool:
    """Named, or of every session, unless the rule reads arguments, which a session has not."""
    if call.key == "resources":
        return uri_allowed(part.get("resources", []), call.name)
    if call.key:
        return text_fits(part.get(call.key, []), call.name)
    if call.method and text_fits(part.get("methods", []), call.method):
        return True
    if "operation.arguments" in rule.get("when", "") or "approval" in rule:
        return False
    return call.is_plain or bool(part.get(call.lists))


def mcp_deny(part: Rule, call: Call) -> bool:
    """Named by what it calls, or by its method."""
    if call.key == "resources" and uri_denied(part.get("resources", []), call.name):
        return True
    named = call.key != "resources" and text_fits(part.get(call.key, []), call.name)
    return named or text_fits(part.get("methods", []), call.method)


def a2a_allow(part: Rule, call: Call) -> bool:
    """The method, and the task and skill that are named; one of them where skills are limited."""
    return (
        text_fits(part["methods"], call.method)
        and (not call.task or text_fits(part.get("tasks", []), call.task))
        and (not call.skill or text_fits(part.get("skills", []), call.skill))
        and ("skills" not in part or bool(call.task or call.skill))
    )


def a2a_deny(part: Rule, call: Call) -> bool:
    """The method or the skill."""
    return text_fits(part["methods"], call.method) or text_fits(part["skills"], call.skill)


def model_allow(part: Rule, call: Call) -> bool:
    """The model, every tool that is offered, and whether a stream may be asked for."""
    return (
        text_fits(part["names"], call.name)
        and ("tools" not in part or all(text_fits(part["tools"], t) for t in call.offered))
        and part.get("streaming", call.streaming) == call.streaming
    )


def model_deny(part: Rule, call: Call) -> bool:
    """The model, or one tool that is offered."""
    names, tools = part["names"], part["tools"]
    return text_fits(names, call.name) or any(text_fits(tools, t) for t in call.offered)


def uri_allowed(patterns: list[str], uri: str) -> bool:
    """Named as it stands, or by a pattern if there is one way only to read it."""
    if "*" in patterns or uri in patterns:
        return True
    return not is_odd(uri) and any("*" in p and uri_fits(p, uri) for p in patterns)


def uri_denied(patterns: list[str], uri: str) -> bool:
    """Named whatever its case and query; a URI that can be read in two ways could be any."""
    if not patterns:
        return False
    plain = re.split("[?#]", uri)[0].lower()
    return is_odd(uri) or any(uri_fits(pattern.lower(), plain) for pattern in patterns)


def uri_fits(pattern: str, uri: str) -> bool:
    """A star stays within a segment; two stars at the end are the rest, or nothing."""
    if pattern.endswith("/**"):
        start = pattern.removesuffix("/**")
        return uri.startswith(start) and uri[len(start) :][:1] in ("", "/", "?", "#")
    made = "[^/?#]*".join(map(re.escape, pattern.split("*")))
    return re.fullmatch(made, uri) is not None


def is_odd(uri: str) -> bool:
    """Whether a server may read it as another URI: dots, escapes, doubled slashes, a user."""
    scheme, _, rest = uri.partition("://")
    path = re.split("[?#]", rest)[0]
    segments = path.split("/")
    return (
        scheme != scheme.lower()
        or "%" in uri
        or "//" in path
        or "@" in segments[0]
        or bool({".", ".."} & set(segments))
    )
