"""Rules on messages: what mcp, a2a and models name, alone, on two sides, and in batches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, ValidationError

from authz.core.decision import Effect, Permit, Shadow, ShadowBy
from authz.core.policy import AgentSettings, PrincipalMatch, PrincipalSettings, RuleSettings
from authz.core.policy.message_evaluation import evaluate_all
from authz.core.policy.name_patterns import Glob, UriPatterns
from authz.core.policy.policy import Policy
from authz.core.policy.query import PolicyQuery
from authz.core.policy.shadow import PolicyWithCandidate, ShadowedPolicy
from authz.core.reason import Reason
from authz.core.request import MESSAGE_KINDS, Call, CallKind, MessageProtocol, Operation
from support.call_rules import code, policy, queries, refusal, rule
from support.path_rules import AGENT, ISSUER


def tool(name: str, arguments: bytes = b"") -> Call:
    """A tool call."""
    return Call("tools/call", CallKind.TOOL, name, arguments=arguments)


def resource(uri: str, method: str = "resources/read") -> Call:
    """A call on a resource."""
    return Call(method, CallKind.RESOURCE, uri)


def model(name: str, *tools: str, streams: bool = False) -> Call:
    """A call of a model."""
    return Call("chat/completions", CallKind.MODEL, name, tools=tools, is_streaming=streams)


def task(method: str, name: str = "t1") -> Call:
    """A call about a task."""
    return Call(method, CallKind.TASK, name)


SESSION = [
    *map(Call, ("initialize", "ping", "notifications/initialized", "server/discover")),
    Call("subscriptions/listen"),
    Call("", kind=CallKind.STREAM),
    Call("", kind=CallKind.SESSION),
    Call("", kind=CallKind.RESPONSE),
    Call("notifications/new", is_known=False),
]
FITS: list[tuple[dict[str, Any], list[Call], list[Call]]] = [
    (
        {},
        SESSION,
        [tool("search"), *map(Call, ("tools/list", "resources/list", "prompts/list", "tasks/list")),
         Call("logging/setLevel"), resource("file:///a"), task("tasks/get")],
    ),
    (
        {"tools": ("search", "get_*")},
        [*SESSION, Call("tools/list"), tool("search"), tool("get_"), tool("get_price")],
        [tool("Search"), tool("search2"), tool("forget_x"), tool(""), Call("prompts/list"),
         Call("prompts/get", CallKind.PROMPT, "search"),
         Call("completion/complete", CallKind.PROMPT, "search")],
    ),
    (
        {"resources": ("file:///docs/**", "urn:a")},
        [Call("resources/list"), Call("resources/templates/list"), resource("file:///docs/a/b"),
         resource("urn:a"), resource("file:///docs/a", "resources/subscribe"),
         resource("file:///docs/a", "completion/complete"),
         resource("file:///docs/a", "subscriptions/listen")],
        [resource("file:///doc"), resource("file:///docs/../etc"), resource("FILE:///docs/a"),
         resource("file:///docs/%2e%2e/etc"), resource("file:///docs/a%2fb"), resource("urn:b"),
         resource("file:///%64ocs/a"), resource("file://localhost/docs/a"),
         tool("file:///docs/a"), Call("tools/list")],
    ),
    (
        {"prompts": ("*",), "tasks": ("t*",)},
        [Call("prompts/list"), Call("prompts/get", CallKind.PROMPT, "any"), Call("tasks/list"),
         task("tasks/get"), task("tasks/cancel", "t")],
        [task("tasks/get", "x"), tool("t1")],
    ),
    (
        {"methods": ("logging/*", "x/new")},
        [Call("logging/setLevel"), Call("x/new", is_known=False)],
        [Call("completion/complete"), Call("x/newer"), tool("logging/a"), Call("tools/list")],
    ),
    ({"methods": ("*",)}, [Call("tools/list"), Call("any", is_known=False)],
     [tool("a"), resource("a:b"), task("tasks/get"), Call("prompts/get", CallKind.PROMPT, "p")]),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "fits", "fails"), FITS)
def test_what_an_allow_of_mcp_names(
    keys: dict[str, Any], fits: list[Call], fails: list[Call]
) -> None:
    """An allow is for a session and for what it names, on whichever side it is; nothing else."""
    for subject in (
        policy(rule(mcp=keys)),
        policy(rule(mcp=keys), principal=(rule(mcp={"tools": ("*",), "methods": ("*",),
               "resources": ("*",), "prompts": ("*",), "tasks": ("*",)}),)),
    ):  # fmt: skip
        assert [one for one in fits if code(subject, one) != "allow"] == []
        assert [one for one in fails if code(subject, one) == "allow"] == []


OTHERS: list[tuple[str, dict[str, Any], list[Call], list[Call]]] = [
    (
        "a2a",
        {"methods": ("SendMessage", "*Task"), "tasks": ("t*",)},
        [Call("SendMessage"), task("SendMessage"), task("GetTask"), task("CancelTask")],
        [task("GetTask", "x"), Call("ListTasks"), task("CreateTaskPushNotificationConfig"),
         Call("SendMessage", CallKind.SKILL, "plan"), Call("initialize"),
         Call("", kind=CallKind.STREAM)],
    ),
    ("a2a", {"methods": ("*",)}, [Call("SendMessage"), Call("New", is_known=False)],
     [task("GetTask"), Call("SendMessage", CallKind.SKILL, "plan")]),
    ("a2a", {"methods": ("*",), "skills": ("plan",)}, [Call("SendMessage", CallKind.SKILL, "plan")],
     [Call("SendMessage", CallKind.SKILL, "pay"), Call("SendMessage"), task("GetTask")]),
    ("openai", {"names": ("small-*",)}, [model("small-1", "any", streams=True), model("small-")],
     [model("large"), Call("chat/completions"), tool("small-1")]),
    ("openai", {"names": ("*",), "tools": ("get_*",), "streaming": False},
     [model("x"), model("x", "get_a", "get_b")],
     [model("x", "get_a", "shell"), model("x", streams=True)]),
    ("openai", {"names": ("*",), "tools": (), "streaming": True}, [model("x", streams=True)],
     [model("x", "a", streams=True), model("x")]),
]  # fmt: skip
KEY = {"mcp": "mcp", "a2a": "a2a", "openai": "models"}


@pytest.mark.parametrize(("protocol", "keys", "fits", "fails"), OTHERS)
def test_what_an_allow_of_others_names(
    protocol: str, keys: dict[str, Any], fits: list[Call], fails: list[Call]
) -> None:
    """An allow of A2A names methods, tasks and skills; one of models what is asked of which."""
    subject = policy(rule(**{KEY[protocol]: keys}))

    assert [one for one in fits if code(subject, one, protocol=protocol) != "allow"] == []
    assert [one for one in fails if code(subject, one, protocol=protocol) == "allow"] == []


ALL: dict[str, dict[str, Any]] = {
    "mcp": dict.fromkeys(("tools", "methods", "resources", "prompts", "tasks"), ("*",)),
    "a2a": dict.fromkeys(("methods", "tasks"), ("*",)),
    "openai": {"names": ("*",)},
}
DENIES: list[tuple[str, dict[str, Any], list[Call], list[Call]]] = [
    ("mcp", {"tools": ("pay*",)}, [tool("pay"), tool("pays")],
     [tool("get"), Call("tools/list"), *SESSION]),
    ("mcp", {"methods": ("tools/call", "ping")}, [tool("x"), Call("ping")],
     [Call("initialize"), Call("tools/list"), Call("", kind=CallKind.STREAM)]),
    ("mcp", {"resources": ("file:///secret/**",)},
     [*map(resource, ("file:///secret", "file:///secret/a?b", "file:///SECRET/a", "FILE:///a",
                      "file:///%73ecret/a", "file:///a/../secret", "file:////secret/a", "file:/a",
                      "file://localhost/secret/a", "file:///a\\secret", "no uri"))],
     [resource("file:///secrets"), resource("urn:a"), tool("file:///secret")]),
    ("mcp", {"resources": ("file:///secret",)}, [resource("file:///Secret#x")],
     [resource("file:///secret/a")]),
    ("a2a", {"methods": ("CancelTask",), "tasks": ("x*",)},
     [task("CancelTask"), task("GetTask", "x")], [task("GetTask"), Call("SendMessage")]),
    ("openai", {"tools": ("shell",)}, [model("x", "get", "shell")],
     [model("x", "get"), model("shell")]),
    ("openai", {"names": ("large",), "streaming": True}, [model("large"), model("x", streams=True)],
     [model("x")]),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "keys", "denied", "free"), DENIES)
def test_what_a_deny_names(
    protocol: str, keys: dict[str, Any], denied: list[Call], free: list[Call]
) -> None:
    """A deny is for what it names, in whichever spelling, and for nothing else."""
    allow = rule(**{KEY[protocol]: ALL[protocol]})
    deny = rule(effect="deny", **{KEY[protocol]: keys})
    for subject in (policy(allow, deny), policy(allow, principal=(allow, deny))):
        assert [one for one in denied if code(subject, one, protocol=protocol) == "allow"] == []
        assert [one for one in free if code(subject, one, protocol=protocol) != "allow"] == []


def test_protocols_are_apart() -> None:
    """A rule fits messages of its protocol alone; a plain allow none, a plain deny all of them."""
    every = {name: rule(**{KEY[name]: keys}) for name, keys in ALL.items()}
    calls = {"mcp": tool("x"), "a2a": Call("SendMessage"), "openai": model("x")}
    for protocol, call in calls.items():
        for other, allow in every.items():
            expected = "allow" if other == protocol else "policy_denied"
            assert code(policy(allow), call, protocol=protocol) == expected
        assert code(policy(rule()), call, protocol=protocol) == "policy_denied"
        assert code(policy(rule(), every[protocol]), call, protocol=protocol) == "allow"
        denying = policy(every[protocol], rule(effect="deny"))
        assert code(denying, call, protocol=protocol) == "policy_denied"
    assert code(policy(rule())) == "allow"
    assert code(policy(*every.values())) == "policy_denied"
    assert code(policy(rule(), rule(effect="deny", mcp={"methods": ("*",)}))) == "allow"


def test_both_sides_name_the_tool() -> None:
    """What only one side may call is refused, and the nearest miss says what it names instead."""
    subject = policy(
        rule(mcp={"tools": ("search", "get_*")}),
        principal=(rule(mcp={"tools": ("search", "pay")}),),
    )

    assert code(subject, tool("search")) == "allow"
    assert code(subject, tool("get_x")) == "policy_denied"
    denied = refusal(subject, queries(tool("pay")))
    assert denied is not None
    assert denied.detail == "a/0: the tool pay is not one of search, get_*"


def test_scopes_of_a_tool() -> None:
    """Where a tool lacks scopes only, the challenge names what both sides ask for this tool."""
    subject = policy(
        rule(mcp={"tools": ("get",)}),
        rule(mcp={"tools": ("pay",)}, scopes=("pay", "b")),
        principal=(rule(mcp={"tools": ("get",)}), rule(mcp={"tools": ("*",)}, scopes=("all",))),
    )

    assert code(subject, tool("get")) == "allow"
    for scopes in ("", "pay b", "all"):
        denied = refusal(subject, queries(tool("pay"), scopes=scopes))
        assert denied is not None
        assert (denied.reason, denied.parameters) == (Reason.SCOPE, (("scope", "all b pay"),))
    assert code(subject, tool("other"), scopes="pay b all") == "policy_denied"


def test_a_message_that_was_not_read() -> None:
    """Without a call no rule allows, and a deny of its protocol denies."""
    [query] = queries(tool("x"))
    operation = Operation("POST", "h", ("x",), protocol=MessageProtocol.MCP)
    unread = PolicyQuery(query.agent, query.delegation, operation, query.request, query.now)
    allow, deny = rule(mcp=ALL["mcp"]), rule(effect="deny", mcp={"tools": ("y",)})

    assert refusal(policy(allow), [query]) is None
    for rules, name in (((allow,), "a/0"), ((allow, deny), "a/1")):
        denied = refusal(policy(*rules), [unread])
        assert denied is not None
        assert denied.rule == name


def test_unknown_methods() -> None:
    """A method that is not known is refused as such, unless some rule lists it: then as all are."""
    new = Call("x/new", is_known=False)
    lists = rule(mcp={"methods": ("x/*",)})

    assert code(policy(rule(mcp=ALL["mcp"])), new) == "allow"
    assert code(policy(rule(mcp={"tools": ("*",)})), new) == "method_unknown"
    assert code(policy(rule(a2a={"methods": ("*",)})), new) == "method_unknown"
    assert code(policy(rule(mcp={})), Call("x/new")) == "policy_denied"
    assert code(policy(lists), new) == "allow"
    assert code(policy(lists, principal=(rule(mcp={}),)), new) == "policy_denied"
    held_by_nobody = Policy(
        [AgentSettings(id=AGENT, grants=("a",))],
        [PrincipalSettings(match=PrincipalMatch(issuer=ISSUER), unrestricted=True)],
        {"a": (rule(mcp={}),), "b": (lists,)},
    )
    assert code(held_by_nobody, new) == "policy_denied"
    assert code(ShadowedPolicy(policy(rule(mcp={}))), new) == "allow"


def test_batches() -> None:
    """All calls of a message must be allowed; the grant names each rule once, in order."""
    subject = policy(
        rule(name="get", mcp={"tools": ("get",)}),
        rule(name="put", mcp={"tools": ("put",)}),
        principal=(rule(name="all", mcp=ALL["mcp"]), rule(effect="deny", mcp={"tools": ("bad",)})),
    )
    verdict = evaluate_all(subject, queries(tool("put"), Call("ping"), tool("get"), tool("put")))

    assert verdict.outcome == Permit("a/put,a/get", "p/all")
    assert code(subject, tool("get"), tool("bad"), tool("x")) == "policy_denied"
    denied = refusal(subject, queries(tool("get"), tool("bad"), tool("x")))
    assert denied is not None
    assert denied.rule == "p/1"


def test_headers_of_a_batch() -> None:
    """A batch whose calls would give the upstream different headers is refused."""
    subject = policy(
        rule(mcp={"tools": ("get",)}, add_headers={"x-agent-d": "d"}), rule(mcp={"tools": ("put",)})
    )

    assert code(subject, tool("get"), tool("get"), d="x") == "allow"
    assert code(subject, tool("get"), tool("put"), d="x") == "policy_denied"
    assert code(subject, tool("get"), tool("put")) == "allow"


def test_shadows_of_a_batch() -> None:
    """A note on a batch says what the other policy says of all of it, where that differs."""
    allow = policy(rule(name="all", mcp=ALL["mcp"]))
    some = policy(rule(name="get", mcp={"tools": ("get",)}))
    get, put = tool("get"), tool("put")

    assert evaluate_all(PolicyWithCandidate(allow, some), queries(get, put)).shadows == (
        Shadow(ShadowBy.CANDIDATE, Effect.DENY, "policy_denied", "a/get"),
    )
    assert evaluate_all(PolicyWithCandidate(some, allow), queries(get, put)).shadows == (
        Shadow(ShadowBy.CANDIDATE, Effect.ALLOW, "", "a/all"),
    )
    assert evaluate_all(PolicyWithCandidate(some, allow), queries(get, get)).shadows == ()
    other = policy(rule(name="put", mcp={"tools": ("put",)}))
    assert evaluate_all(PolicyWithCandidate(some, other), queries(get, put)).shadows == ()
    noted = evaluate_all(ShadowedPolicy(some), queries(get, put, put))
    assert noted.outcome == Permit("a/get", "unrestricted")
    assert noted.shadows == (Shadow(ShadowBy.POLICY, Effect.DENY, "policy_denied", "a/get"),)


def test_a_batch_is_steady_as_long_as_its_calls() -> None:
    """The verdict on a batch holds until that on one of its calls could change."""
    subject = policy(
        rule(mcp={"tools": ("get",)}, max_token_age=5.0), rule(mcp={"tools": ("put",)})
    )

    assert evaluate_all(subject, queries(tool("put"), tool("get"))).stable_until == 5.0


def test_arguments_that_conditions_read() -> None:
    """Arguments decide; unknown ones do not allow, and in a deny deny."""
    limit = "operation.arguments.amount <= 500"
    subject = policy(rule(mcp={"tools": ("pay",)}, when=limit))
    denying = policy(
        rule(mcp=ALL["mcp"]), rule(effect="deny", mcp={"tools": ("pay",)}, when=f"!({limit})")
    )
    for one in (subject, denying):
        assert code(one, tool("pay", b'{"amount":500}')) == "allow"
        assert code(one, tool("pay", b'{"amount":500.5}')) == "policy_denied"
        assert code(one, tool("pay", b'{"amount":"1"}')) == "policy_denied"
        assert code(one, tool("pay")) == "policy_denied"
    assert code(denying, tool("get")) == "allow"


@pytest.mark.parametrize("when", ["operation.arguments.n == 1", "!has(operation.arguments.n)"])
def test_a_rule_on_arguments_brings_no_session(when: str) -> None:
    """Whatever a client sends as arguments of a session: only methods that the rule names fit."""
    mcp = {"tools": ("pay",), "methods": ("custom/*",)}
    arguments = b'{"n":1}' if "==" in when else b'{"m":1}'
    subject = policy(rule(mcp=mcp, when=when))
    for method in ("initialize", "ping", "server/discover", "notifications/x", "tools/list"):
        assert code(subject, Call(method, arguments=arguments)) == "policy_denied", method
        assert code(policy(rule(mcp=mcp)), Call(method, arguments=arguments)) == "allow"
    for kind in MESSAGE_KINDS:
        assert code(subject, Call("", kind, arguments=arguments)) == "policy_denied", kind
    for call in (tool("pay", arguments), Call("custom/x", arguments=arguments)):
        assert code(subject, call) == "allow"


def test_whose_arguments_are_read() -> None:
    """A call's arguments are asked for where a rule that could fit it reads them, nowhere else."""
    when = "operation.arguments.n == 1"
    assert not policy(rule(mcp=ALL["mcp"], when="operation.name == 'x'")).reads_arguments(tool("x"))
    for effect in ("allow", "deny"):
        subject = policy(rule(effect=effect, mcp={"tools": ("pay*",)}, when=when, shadow=True))
        assert subject.reads_arguments(tool("pay"))
        assert not subject.reads_arguments(tool("get"))
        assert not subject.reads_arguments(Call("ping"))
    plain = policy(rule(effect="deny", when=when))
    assert plain.reads_arguments(tool("x"))
    assert plain.reads_arguments(model("x"))


TEXTS = st.text("ab.", max_size=6)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TEXTS, min_size=4, max_size=4))
def test_globs(parts: list[str], between: list[str]) -> None:
    """A pattern fits what its stars are filled with, and nothing that lacks its parts in order."""
    glob = Glob(tuple(parts))
    filled = parts[0] + "".join(a + b for a, b in zip(between, parts[1:], strict=False))

    assert glob.matches(filled)
    assert not glob.matches(f"{filled}z") or (len(parts) > 1 and parts[-1] == "")
    assert Glob.parse("*".join(parts)) == glob
    assert not Glob.parse("ab*ba").matches("aba")


URI_PARTS = st.lists(st.sampled_from(["a", "b", "..", "%2e", "%41", "", "a%20b", "*", "?", "#"]))


@given(st.sampled_from(["file:///", "db://h/", "FILE:///", "urn:"]), URI_PARTS)
def test_a_uri_never_passes_between_two_lists(scheme: str, parts: list[str]) -> None:
    """What a pattern of an allow fits, the same pattern in a deny denies."""
    uri = scheme + "/".join(parts)
    for listed in ("file:///a/**", "file:///*/b", "db://h/**", "db://**", "urn:*", uri):
        try:
            allow, deny = (UriPatterns((listed,), is_deny=is_deny) for is_deny in (False, True))
        except ValueError:
            continue
        assert deny.fits(uri) or not allow.fits(uri)
        assert listed != uri or allow.fits(uri)


@pytest.mark.parametrize(
    ("denied", "uri"),
    [
        ("file:///secret/**", "file:secret/a"),
        ("https://h.example/secret/**", "https:h.example/secret/a"),
        ("https://h.example/secret/**", "https:///h.example/secret/a"),
        ("https://h.example/secret/**", "https://h.example:/secret/a"),
        ("https://h.example/secret/**", "https://h.example:443/secret/a"),
        ("https://h.example:8443/secret/**", "https://h.example:08443/secret/a"),
        ("db://h/secret/**", "db://h:/secret/a"),
    ],
)
def test_uris_that_a_server_normalises(denied: str, uri: str) -> None:
    """What the SDK's servers make into a URI that a pattern denies is denied, and not allowed."""
    assert UriPatterns([denied], is_deny=True).fits(str(AnyUrl(uri)))
    assert UriPatterns([denied], is_deny=True).fits(uri)
    assert not UriPatterns([denied], is_deny=False).fits(uri)
    assert UriPatterns(["https://**"], is_deny=False).fits("https://h.example:8443/a")


@pytest.mark.parametrize("uri", ["file:///a/../b", "https://h:443/a", "file:secret"])
def test_a_deny_of_a_uri_with_other_spellings_is_an_error(uri: str) -> None:
    """What a server takes for another URI too can't be denied by one spelling of it."""
    rule = {"effect": "deny", "hosts": ("*",), "methods": ("*",), "paths": ("/**",)}
    with pytest.raises(ValidationError, match="has other spellings"):
        RuleSettings.model_validate({**rule, "mcp": {"resources": (uri,)}})
