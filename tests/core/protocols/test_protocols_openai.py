"""Model calls: what is read of them, and what is refused."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.protocols.json_members import fold, folded
from authz.core.protocols.message import MessageInput
from authz.core.protocols.reading import read
from authz.core.request import MessageProtocol
from support.messages import JSON, assert_one_of_both, bare, calls, post, respelled, targets, why

CHAT = "/v1/chat/completions"


def chat(**members: object) -> MessageInput:
    """A chat completion, with further members."""
    return post(CHAT, {"model": "m", "messages": []} | members)


@pytest.mark.parametrize(
    "method",
    [
        "chat/completions",
        "completions",
        "responses",
        "embeddings",
        "messages",
        "messages/count_tokens",
        "moderations",
        "images/generations",
        "audio/speech",
    ],
)
@pytest.mark.parametrize("base", ["", "/v1", "/api/v1", "/models", "/openai/v1"])
def test_method(method: str, base: str) -> None:
    """The path's tail is the method, below any base path; the body names the model."""
    assert targets("openai", post(f"{base}/{method}", {"model": "m"})) == [(method, "model", "m")]


@pytest.mark.parametrize(
    ("method", "members"),
    [
        (  # "moderation" is a level here, and names a model elsewhere
            "images/generations",
            {"moderation": "low", "complexity": "high", "frame_count": 9, "frame_duration_ms": 200},
        ),
        (
            "responses",
            {
                "background_options": {"completion_window": "2h"},
                "image": {"context_compression": "auto"},
            },
        ),
        ("messages", {"diagnostics": {"previous_message_id": None}}),
        ("messages", {"compaction": {"type": "summarize"}}),
        ("messages/count_tokens", {"compaction": {"type": "summarize"}}),
    ],
)
def test_members_of_the_public_apis(method: str, members: dict[str, object]) -> None:
    """What OpenAI and Anthropic document passes, where it names no further model and no payer."""
    sent = post(f"/v1/{method}", {"model": "m", **members})
    assert targets("openai", sent) == [(method, "model", "m")]


MCP = {"type": "mcp", "server_label": "s", "server_url": "https://elsewhere.example"}
FUNCTION = {"type": "function", "name": "f"}


def within(*blocks: object) -> dict[str, object]:
    """A message with these blocks."""
    return {"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": blocks}]}


@pytest.mark.parametrize(
    ("method", "members", "wanted"),
    [
        (
            "responses",
            {"input": [{"role": "user"}, {"type": "additional_tools", "tools": [MCP, FUNCTION]}]},
            ("mcp", "f"),
        ),
        ("responses", {"input": [{"type": "tool_search_output", "tools": [MCP]}]}, ("mcp",)),
        ("responses", {"Input": [{"type": "tool_search_output", "TOOLS": [MCP]}]}, ("mcp",)),
        ("responses", {"input": [{"type": "not_known_yet", "tools": [FUNCTION]}]}, ("f",)),
        (
            "messages",
            within({"type": "tool_addition", "tool": {"definition": {"name": "f"}}}),
            ("f",),
        ),
        (
            "messages",
            within(
                {"type": "tool_addition", "tool": {"Definition": {"type": "bash", "name": "b"}}}
            ),
            ("bash", "b"),
        ),
        (
            "chat/completions",
            {"fallbacks": [{"model": "m"} | within({"tool": {"definition": {"name": "f"}}})]},
            ("f",),
        ),
        ("responses", {"input": "tools", "tools": [FUNCTION]}, ("f",)),
        ("responses", {"input": [{"type": "mcp_list_tools", "tools": [{"name": "f"}]}]}, ()),
        ("messages", within({"type": "mcp_tool_listing", "tools": [{"name": "f"}]}), ()),
        ("messages", within({"type": "tool_addition", "tool": {"tool_name": "f"}}), ()),
        ("messages", within({"type": "tool_use", "name": "f", "input": {"a": [{"b": 1}]}}), ()),
    ],
)
def test_tools_within_a_conversation(
    method: str, members: dict[str, object], wanted: tuple[str, ...]
) -> None:
    """Tools that a conversation brings are offered like those among the tools; others are not."""
    (call,) = calls("openai", post(f"/v1/{method}", {"model": "m", **members}))
    assert call.tools == wanted


@pytest.mark.parametrize(
    "parts",
    [
        [{"tool": 1}] * 300,
        [{"_" * at + "tools": []} for at in range(9)],
        [{"tools": {}}],
        [{"tools": [MCP] * 200}, {"tools": [MCP] * 57}],
    ],
)
def test_conversations_that_are_odd(parts: list[object]) -> None:
    """What has more of these members than anybody needs is refused."""
    assert why("openai", chat(**within(*parts))) == "message_params"


def test_bodies_and_tools_in_all() -> None:
    """Bodies in a body, and the tools of them all, are as many as a call may have and no more."""
    several = [{"tools": [{"type": "t", "name": f"n{at}"} for at in range(50)]}] * 5
    full = [{"fallbacks": [{"model": "m"}] * 15}] + [{"model": "m"}] * 15
    assert targets("openai", chat(fallbacks=several)) == targets("openai", chat())
    assert targets("openai", chat(fallbacks=full)) == targets("openai", chat())

    nested = chat(fallbacks=[{"extra_body": {}}, *full])
    for over in (chat(fallbacks=[*several, *several]), nested):
        assert why("openai", over) == "message_params"


@given(st.lists(st.text(alphabet="aA_\n\u0130\u017f\u1e9ea\u0345\u03a3 "), max_size=40))
def test_letters_of_many_names(written: list[str]) -> None:
    """The letters of names are the same whether they are folded one by one or all at once."""
    assert folded(written) == [fold(name) for name in written]


@pytest.mark.parametrize("method", ["chat/completions", "responses"])
def test_a_moderation_names_a_model(method: str) -> None:
    """The model that looks at a conversation is one more, which is not read: so it is refused."""
    sent = post(f"/v1/{method}", {"model": "m", "moderation": {"model": "n"}})
    assert why("openai", sent) == "body_uninspectable"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v1/models", ("models", "", "")),
        ("/v1/models/gpt-4o", ("models", "model", "gpt-4o")),
        ("/v1/models/meta-llama/Llama-3", ("models", "model", "meta-llama/Llama-3")),
        ("/models/ft:gpt:org::id", ("models", "model", "ft:gpt:org::id")),
    ],
)
def test_models(path: str, wanted: tuple[str, str, str]) -> None:
    """A list of models, and one of them, whose name may have slashes."""
    assert targets("openai", bare("GET", path)) == [wanted]


@pytest.mark.parametrize(
    ("http", "path"),
    [
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/models/models"),
        ("GET", "/v1/responses/r"),
        ("GET", CHAT),
        ("GET", "/openai/deployments/d/models"),
        ("GET", "/v1/threads/models"),
        ("POST", "/v1/models"),
        ("POST", "/v1/models/m:generateContent"),
        ("POST", "/v1/threads/t/messages"),
        ("POST", "/v1/conversations/c/responses"),
        ("POST", "/v1/chat/completions/c/messages"),
        ("POST", "/v1/responses/r/cancel"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/Chat/Completions"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
        ("POST", "/models/m/v1/chat/completions"),
        ("POST", "/deployments/d/x/chat/completions"),
        ("POST", "/deployments/a/deployments/b/chat/completions"),
        ("POST", "/"),
        ("DELETE", "/v1/models/m"),
        ("PUT", CHAT),
        ("HEAD", "/v1/models"),
    ],
)
def test_other_paths(http: str, path: str) -> None:
    """What is no model call that we know is not read."""
    sent = bare(http, path) if http != "POST" else post(path, {"model": "m"})
    assert why("openai", sent) == "body_uninspectable"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({}, ["d"]),
        ({"model": "d"}, ["d"]),
        ({"model": "m"}, ["d", "m"]),
    ],
)
def test_deployment(body: dict[str, object], wanted: list[str]) -> None:
    """A deployment in the path is the model; another one in the body has to be allowed as well."""
    for path in ("/openai/deployments/d/chat/completions", "/deployments/d/chat/completions"):
        found = targets("openai", post(path, body))
        assert found == [("chat/completions", "model", name) for name in wanted]


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({"models": ["a", "b", "m"]}, ["m", "a", "b"]),
        ({"fallbacks": ["a", {"model": "b"}]}, ["m", "a", "b"]),
        ({"Models": ["a"]}, ["m", "a"]),
        ({"fallbacks": [{"models": ["a"], "fallbacks": ["b"]}]}, ["m", "a", "b"]),
        ({"extra_body": {"model": "a"}}, ["m", "a"]),
        ({"models": None, "fallbacks": []}, ["m"]),
    ],
)
def test_further_models(members: dict[str, object], wanted: list[str]) -> None:
    """Models that a gateway may take instead have to be allowed as well."""
    assert [name for _, _, name in targets("openai", chat(**members))] == wanted


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": None},
        {"model": ""},
        {"model": 1},
        {"model": ["m"]},
        {"model": {"name": "m"}},
        {"model": "m" * 257},
        {"model": "a,b"},
        {"model": "a b"},
        {"model": " m"},
        {"model": "m\n"},
        {"model": "m\u0000"},
        {"model": "\uff4d"},
        {"model": "m", "MODEL": "n"},
        {"model": "m", "models": "n"},
        {"model": "m", "models": ["n"] * 17},
        {"model": "m", "extra_body": "n"},
        {"model": "m", "extra_body": {"model": 1}},
        {"model": "m", "fallbacks": [{"model": 1}]},
        {"model": "m", "fallbacks": [{"m": ["n"]}]},
        {"model": "m", "fallbacks": [{"m": ["n"], "model": "m"}]},
        {"model": "m", "fallbacks": [None]},
        {"model": "m", "fallbacks": [["n"]]},
        {"model": "m", "stream": 1},
        {"model": "m", "stream": "true"},
        {"model": "m", "tools": {}},
        {"model": "m", "tools": [None]},
        {"model": "m", "tools": ["t"]},
        {"model": "m", "tools": [{}]},
        {"model": "m", "tools": [{"type": "function"}]},
        {"model": "m", "tools": [{"type": "function", "function": {}}]},
        {"model": "m", "tools": [{"type": "function", "function": "t"}]},
        {"model": "m", "tools": [{"type": ["function"], "name": "t"}]},
        {"model": "m", "tools": [{"name": "t", "Name": "u"}]},
        {"model": "m", "tools": [{"name": 5}]},
        {"model": "m", "functions": [{}]},
        {"model": "m", "functions": {"name": "t"}},
        {"model": "m", "tools": [{"name": f"t{i}"} for i in range(257)]},
        {"model": "m", "tools": [{"name": f"t{i}"} for i in range(200)],
         "functions": [{"name": f"f{i}"} for i in range(57)]},
        [],
        "m",
        None,
    ],
)  # fmt: skip
def test_bodies_that_are_refused(body: object) -> None:
    """What names no model for certain, or has members of a wrong kind, is refused."""
    assert why("openai", post(CHAT, body)) == "message_params"


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ({}, ()),
        ({"tools": [{"type": "function", "function": {"name": "a"}}]}, ("a",)),
        ({"tools": [{"function": {"name": "a"}}]}, ("a",)),
        ({"tools": [{"type": "function", "name": "a", "parameters": {}}]}, ("a",)),
        ({"tools": [{"name": "a", "input_schema": {}}, {"name": "b"}, {"name": "a"}]}, ("a", "b")),
        ({"tools": [{"type": "custom", "custom": {"name": "a"}}]}, ("a",)),
        ({"tools": [{"type": "custom", "name": "a"}]}, ("a",)),
        ({"tools": [{"type": "web_search"}]}, ("web_search",)),
        ({"tools": [{"type": "mcp", "server_url": "https://x"}]}, ("mcp",)),
        ({"tools": [{"type": "bash_1", "name": "bash"}]}, ("bash_1", "bash")),
        ({"tools": [{"type": "web_search", "name": "weather"}]}, ("web_search", "weather")),
        ({"tools": [{"name": "a", "function": {"name": "b"}}]}, ("a", "b")),
        (
            {"tools": [{"type": "namespace", "name": "n", "tools": [{"name": "a"}]}]},
            ("namespace", "n", "a"),
        ),
        ({"functions": [{"name": "a"}, {"name": "b"}]}, ("a", "b")),
        ({"tools": [{"name": "a"}], "functions": [{"name": "b"}]}, ("a", "b")),
        ({"Tools": [{"Name": "a"}]}, ("a",)),
        ({"mcp_servers": [{"url": "https://x"}], "web_search_options": {"x": 1}},
         ("mcp", "web_search")),
        ({"mcp_servers": None}, ()),
        ({"web_search_options": {}}, ("web_search",)),
        ({"plugins": [{"id": "web"}]}, ("plugins",)),
        ({"extra_body": {"tools": [{"name": "a"}]}}, ("a",)),
    ],
)  # fmt: skip
def test_tools(members: dict[str, object], wanted: tuple[str, ...]) -> None:
    """Every tool that a call offers is known, by each name that a server may know it by."""
    (call,) = calls("openai", chat(**members))
    assert call.tools == wanted


@pytest.mark.parametrize(("stream", "wanted"), [(True, True), (False, False), (None, False)])
def test_streaming(stream: object, wanted: object) -> None:
    """Whether a call asks for a stream."""
    assert [call.is_streaming for call in calls("openai", chat(stream=stream))] == [wanted]
    assert [call.is_streaming for call in calls("openai", chat(Stream=stream))] == [wanted]


def test_a_model_to_fall_back_to_brings_its_own() -> None:
    """What a call would do with another model counts as what it does."""
    other = {
        "model": "n",
        "messages": [],
        "max_tokens": 5,
        "stream": True,
        "tools": [{"name": "a"}],
    }
    one, two = calls("openai", chat(fallbacks=[other]))
    assert (one.name, one.tools, one.is_streaming) == ("m", ("a",), True)
    assert (two.name, two.tools, two.is_streaming) == ("n", ("a",), True)


def test_stored_prompt() -> None:
    """A stored prompt, which brings a model and tools of its own, is not read; a text is."""
    for prompt in ({"id": "p"}, {"id": "p", "version": "2"}):
        body = {"model": "m", "prompt": prompt}
        assert why("openai", post("/v1/responses", body)) == "body_uninspectable"
    for member in ("preset", "prompt_id"):
        assert why("openai", chat(**{member: "x"})) == "body_uninspectable"
        assert why("openai", chat(extra_body={member: "x"})) == "body_uninspectable"
    assert why("openai", post("/v1/completions", {"model": "m", "prompt": "x"})) == ""


def test_arguments() -> None:
    """Where a decision reads them: numbers, flags and short texts, and nothing of what is said."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "secret"}],
        "prompt": "secret",
        "user": "u",
        "MAX_tokens": 5,
        "temperature": 0.5,
        "n": None,
        "store": True,
        "tool_choice": {"name": "x"},
        "safety_identifier": "x" * 257,
    }
    (call,) = calls("openai", post(CHAT, body, reads=lambda call: call.name == "m"))
    assert call.arguments == b'{"max_tokens":5,"store":true,"temperature":0.5,"user":"u"}'
    (call,) = calls("openai", post(CHAT, body))
    assert call.arguments == b""


@pytest.mark.parametrize(
    "member", [{"extra_body": {"n": 9}}, {"fallbacks": [{"model": "o", "n": 9}]}]
)
def test_arguments_that_may_change(member: dict[str, object]) -> None:
    """Where the body says two things, neither is known, and a condition on it fails."""
    sent = post(CHAT, {"model": "m", "n": 1} | member, reads=lambda _: True)
    assert {call.arguments for call in calls("openai", sent)} == {b""}


def test_too_many_models() -> None:
    """Models are bounded in all, however deep they stand."""
    inner = {"model": "a", "models": [f"b{i}" for i in range(16)]}
    further = {"models": [f"c{i}" for i in range(14)], "fallbacks": [inner]}
    assert len(calls("openai", chat(**further))) == 32
    assert why("openai", chat(**further, extra_body={"model": "d"})) == "message_params"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-encoding": "gzip"},
        {"upgrade": "websocket"},
    ],
)
def test_bodies_that_are_not_read(headers: dict[str, str]) -> None:
    """A form, a coding and an upgrade hide what is asked."""
    assert why("openai", post(CHAT, {"model": "m"}, headers)) == "body_uninspectable"


def test_get_with_a_body() -> None:
    """A GET has no body."""
    assert why("openai", post("/v1/models", {"model": "m"}, method="GET")) == "body_uninspectable"


@pytest.mark.parametrize("path", ["/v1/../chat/completions", "/v1//responses", "/v1/models/a%2Fb"])
def test_ambiguous_path(path: str) -> None:
    """A path that servers read in two ways is refused."""
    sent = post(path, {"model": "m"}) if "models" not in path else bare("GET", path)
    assert why("openai", sent) == "path_ambiguous"


def test_masked_names() -> None:
    """A name in which the proxy may have masked bytes is none."""
    for members in ({"model": "m!"}, {"tools": [{"name": "t!"}]}):
        body = {"model": "m"} | members
        assert why("openai", post(CHAT, body, is_text=True)) == "body_uninspectable"
        assert why("openai", post(CHAT, body)) == ""
    body = {"model": "m", "user": "u!"}
    assert why("openai", post(CHAT, body, is_text=True)) == ""
    sent = post(CHAT, body, is_text=True, reads=lambda _: True)
    assert why("openai", sent) == "body_uninspectable"


MEMBERS = st.sampled_from(
    ["model", "Model", "models", "fallbacks", "stream", "tools", "functions", "name", "function",
     "custom", "type", "mcp_servers", "web_search_options", "prompt", "n", "user", "max_tokens"]
)  # fmt: skip
TREES = st.recursive(
    JSON | st.sampled_from(["m", "function", "web_search"]),
    lambda inner: st.dictionaries(MEMBERS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)
BODIES = st.dictionaries(MEMBERS, TREES, max_size=5).map(lambda rest: {"model": "m"} | rest)
SEGMENTS = st.sampled_from(
    ["v1", "chat", "completions", "responses", "messages", "models", "deployments", "m", "", "..",
     "threads", "%2F", "count_tokens", "a b"]
)  # fmt: skip
PATHS = st.lists(SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)) | st.text()


@given(
    PATHS | st.just(CHAT), st.sampled_from(["GET", "POST", "PUT"]), BODIES | TREES, st.booleans()
)
@example(CHAT, "POST", {"model": "m", "tools": [{"type": {}}]}, True)
def test_never_raises(path: str, http: str, body: object, is_text: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever comes, there are calls or a reason, never an exception and never both."""
    sent = post(path, body, method=http, is_text=is_text, reads=lambda _: True)
    assert_one_of_both(read(MessageProtocol.OPENAI, sent))
    assert_one_of_both(read(MessageProtocol.OPENAI, bare(http, path)))
    assert_one_of_both(read(MessageProtocol.OPENAI, post(path, json.dumps(body).encode()[:-1])))


@given(st.data(), BODIES)
def test_the_same_json_in_another_form(data: st.DataObject, body: dict[str, object]) -> None:
    """How JSON is written changes nothing."""
    first = read(MessageProtocol.OPENAI, post(CHAT, body, reads=lambda _: True))
    again = read(
        MessageProtocol.OPENAI, post(CHAT, respelled(data.draw, body), reads=lambda _: True)
    )
    assert first == again
