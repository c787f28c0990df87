"""Compares calls with rules: the key that allows them, and the unused parts of a rule.

Clients choose the names in calls. A name that a rule can't state exactly is left out, so that it
never widens a rule.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from authz.core.patterns import ANY
from authz.core.policy import RuleSettings
from authz.core.policy.call_matchers import build_matcher
from authz.core.policy.call_settings import KEYS, KINDS, McpSettings, ModelSettings
from authz.core.policy.name_patterns import NamePatterns, UriPatterns
from authz.core.request import MAX_NAME_CHARS, MAX_URI_CHARS, Call, CallKind, MessageProtocol

SESSION: Final = "a session"


def nameable(call: Call) -> Call:
    """Return a call as evidence keeps it: without a task's ID, which the server chose.

    Raises ValueError for a call that no rule can name.
    """
    is_task = call.kind is CallKind.TASK
    texts = {call.method, *call.tools} | (set() if is_task else {call.name})
    limit = MAX_URI_CHARS if call.kind is CallKind.RESOURCE else MAX_NAME_CHARS
    if any(ANY in text or not text.isprintable() or len(text) > limit for text in texts):
        raise ValueError("no rule can name it")
    name = ANY if is_task or call.hides_name else call.name
    tools = tuple(sorted(set(call.tools)))
    return Call(call.method, call.kind, name, tools=tools, is_streaming=call.is_streaming)


def key_line(protocol: MessageProtocol, calls: Sequence[Call]) -> str:
    """Return the key of an allow that fits these calls of a protocol, in one line of YAML."""
    if protocol is MessageProtocol.MCP:
        said = _mcp(calls)
    elif protocol is MessageProtocol.A2A:
        said = {"methods": sorted({call.method for call in calls}), **_lists(calls)}
    else:
        said = _models(calls)
    return f"{KEYS[protocol]}: {json.dumps(said, ensure_ascii=False)}"


def _lists(calls: Iterable[Call]) -> dict[str, list[str]]:
    names = {
        f"{kind}s": sorted({call.name for call in calls if call.kind is kind}) for kind in KINDS
    }
    return {key: listed for key, listed in names.items() if listed}


def _mcp(calls: Sequence[Call]) -> dict[str, list[str]]:
    lists = _lists(calls)
    settings = McpSettings.model_validate({key: tuple(listed) for key, listed in lists.items()})
    matcher = build_matcher(settings, is_deny=False)
    methods = sorted({call.method for call in calls if matcher.unmet(call) is not None})
    return {**({"methods": methods} if methods else {}), **lists}


def _models(calls: Sequence[Call]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "names": sorted({call.name for call in calls}),
        "tools": sorted({tool for call in calls for tool in call.tools}),
    }
    streaming = {call.is_streaming for call in calls}
    return said if len(streaming) > 1 else {**said, "streaming": streaming.pop()}


def never_called(rule: RuleSettings, calls: Sequence[Call]) -> Iterator[str]:
    """Yield a line for each list with unused items: "mcp.tools: pay was never called"."""
    if rule.calls is None:
        return
    for key, listed in _listed(rule).items():
        unused = [text for text in listed if not any(_fits(key, text, call) for call in calls)]
        if unused:
            was = "was" if len(unused) == 1 else "were"
            yield f"{KEYS[rule.protocol]}.{key}: {', '.join(unused)} {was} never called"


def in_common(rules: Sequence[RuleSettings]) -> str | None:
    """Say in one line the most that all these rules allow to call; "" for plain requests.

    "a* & b*" stands for names that fit both patterns. None if no call fits; for MCP a session
    always does.
    """
    said = [rule for rule in rules if rule.calls is not None]
    if not said:
        return ""
    lists = _listed(said[0])
    for other in map(_listed, said[1:]):
        lists = {key: _both(key, lists[key], listed) for key, listed in other.items()}
    told = [f"{key} {', '.join(listed)}" for key, listed in lists.items() if listed]
    protocol = said[0].protocol
    is_a2a = protocol is MessageProtocol.A2A
    if protocol is not MessageProtocol.MCP and not lists["methods" if is_a2a else "names"]:
        return None
    return f"{KEYS[protocol]}: {'; '.join(told) or SESSION}"


def _both(key: str, listed: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    found = [text for text in listed if ANY not in text and _has(key, other, text)]
    found += [text for text in other if ANY not in text and _has(key, listed, text)]
    for a in (text for text in listed if ANY in text):
        for b in (text for text in other if ANY in text):
            is_wider = b in (ANY, a)
            found.append(a if is_wider else b if a == ANY else f"{a} & {b}")
    return tuple(dict.fromkeys(found))


def _listed(rule: RuleSettings) -> dict[str, tuple[str, ...]]:
    """Return a rule's lists by key; a missing ``models.tools`` means all tools."""
    said = rule.calls
    if said is None:
        return {}
    given = {name: getattr(said, name) for name in type(said).model_fields}
    if isinstance(said, ModelSettings) and said.tools is None:
        given["tools"] = (ANY,)
    return {key: listed for key, listed in given.items() if isinstance(listed, tuple)}


def _fits(key: str, text: str, call: Call) -> bool:
    if key == "tasks":
        return call.kind is CallKind.TASK
    if key == "methods":
        return _has(key, (text,), call.method)
    if key == "tools" and call.kind is CallKind.MODEL:
        return text == ANY or any(_has(key, (text,), tool) for tool in call.tools)
    is_of_kind = key in (f"{call.kind}s", "names")
    return is_of_kind and _has(key, (text,), call.name)


def _has(key: str, listed: Sequence[str], text: str) -> bool:
    if key == "resources":
        return UriPatterns(listed, is_deny=False).fits(text)
    return NamePatterns(listed).fits(text)
