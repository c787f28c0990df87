"""Rules on MCP against an independent model: a slow function over the settings says what they mean.

The model reads nothing compiled: it is written from the reference page of the config alone.
"""

import re
from typing import Any, Final

from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz.core.conditions import Condition
from authz.core.policy import RuleSettings
from authz.core.reason import Denied
from authz.core.request import Call, CallKind
from authz.review.explain.rule_report import report_rules
from authz.review.search import what_can, who_can
from support.call_rules import code, policy, queries, rule

LISTS: Final = {"tool": "tools", "resource": "resources", "prompt": "prompts", "task": "tasks"}
LISTING: Final = {
    "tools/list": "tools",
    "resources/list": "resources",
    "resources/templates/list": "resources",
    "prompts/list": "prompts",
    "tasks/list": "tasks",
}
SPELLED: Final = ("x:/a", "x://h/../a")
SESSION: Final = ("initialize", "ping", "server/discover", "subscriptions/listen")


def fits_name(listed: tuple[str, ...], name: str) -> bool:
    """Whether a name is in a list, by a regular expression."""
    patterns = (re.escape(text).replace(r"\*", ".*") for text in listed)
    return any(re.fullmatch(pattern, name, re.DOTALL) for pattern in patterns)


def fits_uri(listed: tuple[str, ...], uri: str) -> bool:
    """Whether a URI of this tiny universe is in a list."""
    for text in listed:
        pattern = re.escape(text).replace(r"/\*\*", "(/.*)?").replace(r"\*", "[^/?#]+")
        if text in ("*", uri) or (".." not in uri and re.fullmatch(pattern, uri)):
            return True
    return False


def in_list(key: str, listed: tuple[str, ...], call: Call) -> bool:
    """Whether what a call names is in a list."""
    fits = fits_uri if key == "resources" else fits_name
    return fits(listed, call.name)


def denied(said: Any, call: Call) -> bool:
    """Whether the mcp of a deny names a call; a URI of several readings is in each of its lists."""
    key = LISTS.get(call.kind, "")
    if key == "resources" and said.resources and call.name in SPELLED:
        return True
    if key and in_list(key, getattr(said, key), call):
        return True
    return call.method != "" and fits_name(said.methods, call.method)


def allowed(one: RuleSettings, call: Call) -> bool:
    """Whether the mcp of an allow names a call, or a session needs it that the rule brings."""
    said: Any = one.mcp
    key = LISTS.get(call.kind, "")
    if key:
        return in_list(key, getattr(said, key), call)
    is_of_session = call.method in SESSION or call.method.startswith("notifications/")
    can_list = call.method in LISTING and getattr(said, LISTING[call.method])
    is_brought = one.when is None and (call.kind or is_of_session or can_list)
    return bool(is_brought) or fits_name(said.methods, call.method)


def fits(one: RuleSettings, call: Call | None, scopes: set[str]) -> bool:
    """Whether a rule fits, an allow or a deny; without a call the request is a plain one."""
    is_deny = one.effect == "deny"
    if one.mcp is None or call is None:
        is_about = one.mcp is None and (call is None or is_deny)
    else:
        is_about = denied(one.mcp, call) if is_deny else allowed(one, call)
    return is_about and scopes >= set(one.scopes or ())


def model(sides: list[tuple[RuleSettings, ...]], calls: list[Call], scopes: set[str]) -> bool:
    """Whether every call is allowed by a rule of each side, and denied by none."""
    asked: list[Call | None] = [*calls] if calls else [None]
    for call in asked:
        fitting = [{one.effect for one in rules if fits(one, call, scopes)} for rules in sides]
        if any(effects != {"allow"} for effects in fitting):
            return False
    return True


_names = st.lists(st.sampled_from(["a", "ab", "a*", "*b", "*", "a*b*"]), min_size=1, max_size=2)
_uris = st.lists(
    st.sampled_from(["x:/a", "x://h/**", "x://h/*", "x://h/a", "*", "x://h/../a"]),
    min_size=1,
    max_size=2,
)
_methods = st.lists(
    st.sampled_from(["m", "x/*", "*", "ping", "tools/list"]), min_size=1, max_size=2
)
_mcp = st.fixed_dictionaries(
    {},
    optional={
        "tools": _names.map(tuple),
        "prompts": _names.map(tuple),
        "resources": _uris.map(tuple),
        "methods": _methods.map(tuple),
    },
) | st.just(dict.fromkeys(("tools", "prompts", "resources", "methods"), ("*",)))


@st.composite
def _rules(draw: st.DrawFn) -> RuleSettings:
    said = draw(st.one_of(_mcp, _mcp, _mcp, st.none()))
    is_deny = draw(st.integers(0, 7)) == 7
    if said is not None and is_deny:  # there a URI with other spellings is an error
        uris = tuple(uri for uri in said.get("resources", ()) if uri not in SPELLED)
        said = {key: listed for key, listed in (said | {"resources": uris}).items() if listed}
    keys: dict[str, Any] = {} if said is None or (is_deny and not said) else {"mcp": said}
    if is_deny:
        return rule(effect="deny", **keys) if keys else rule(mcp={})
    return rule(scopes=draw(st.sampled_from([(), (), ("s",)])), **keys)


_plain_denies = st.integers(0, 7).map(lambda drawn: (rule(effect="deny"),) if drawn == 7 else ())
_calls = st.one_of(
    st.builds(
        lambda name: Call("tools/call", CallKind.TOOL, name),
        st.sampled_from(["a", "ab", "b", "cb"]),
    ),
    st.builds(lambda name: Call("prompts/get", CallKind.PROMPT, name), st.sampled_from(["a", "b"])),
    st.builds(
        lambda uri: Call("resources/read", CallKind.RESOURCE, uri),
        st.sampled_from(["x:/a", "x://h/a", "x://h/a/b", "x://h", "x://h/../a", "x://h/b"]),
    ),
    st.sampled_from(
        [
            *map(Call, ("m", "x/y", "ping", "initialize", "tools/list", "resources/list")),
            Call("notifications/x"),
            Call("", CallKind.STREAM),
            Call("", CallKind.RESPONSE),
        ]
    ),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(_rules(), min_size=1, max_size=3),
    st.lists(_rules(), min_size=1, max_size=3),
    _plain_denies,
    st.lists(st.lists(_calls, max_size=2), min_size=1, max_size=4),
    st.sets(st.just("s")),
)
def test_tiny_worlds_of_tools(
    of_agent: list[RuleSettings],
    of_principal: list[RuleSettings],
    denies: tuple[RuleSettings, ...],
    asked: list[list[Call]],
    scopes: set[str],
) -> None:
    """Of a few rules on two sides, in any mixture, model and Policy say the same of a message.

    Explain tells the same, and who-can and what-can hide nothing of it.
    """
    sides = [(*of_agent, *denies), tuple(of_principal)]
    subject = policy(*sides[0], principal=sides[1])
    for calls in asked:
        expected = model(sides, calls, scopes)
        event(f"{len(calls)} calls, {'allowed' if expected else 'denied'}")
        said = code(subject, *calls, scopes=" ".join(scopes))
        assert (said == "allow") == expected, calls
        for query in queries(*calls, scopes=" ".join(scopes)):
            is_allowed = not isinstance(subject.evaluate(query).outcome, Denied)
            reaches = what_can(subject, query.agent, query.delegation).reaches
            assert report_rules(subject, query).allows == is_allowed
            assert any(one.matches(query.operation) for one in reaches) or not is_allowed
            assert who_can(subject, query.operation) or not is_allowed


@settings(max_examples=100, deadline=None)
@given(st.lists(_rules(), min_size=1, max_size=3), st.lists(_calls, min_size=1, max_size=9))
def test_arguments_that_could_matter_are_read(held: list[RuleSettings], asked: list[Call]) -> None:
    """Whatever call a rule fits that reads arguments, they are asked for."""
    when = Condition.parse("operation.arguments.a == 1")
    reading = [one.model_copy(update={"when": when}) for one in held]
    subject = policy(*reading, principal=(rule(mcp={}),))
    for call in asked:
        could = any(fits(one, call, {"s"}) for one in reading)
        assert subject.reads_arguments(call) or not could or not call.method
