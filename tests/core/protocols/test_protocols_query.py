"""What the query of a request says to a protocol's servers, and the names that no body may have."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.config import ConfigError, load_text
from authz.core.protocols.message import MessageInput
from authz.core.protocols.openai_members import KNOWN
from authz.core.protocols.reading import read
from authz.core.request import MessageProtocol
from lab.config_builder import LAB
from support.messages import bare, calls, post, targets, why
from support.posts import message
from support.sent import sent
from support.world import World, reason_of

CHAT = "/v1/chat/completions"
GET_TASK = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t"}}


def asked(query: str, **headers: str) -> str:
    """The reason why an A2A request with this query is unread."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return why("a2a", sent(GET_TASK, named, path="/agents/a", query=query))


@pytest.mark.parametrize(
    "query",
    [
        "A2A-Version=9.0",
        "a2a-version=9.0",
        "A2A_Version=9.0",
        "x=1&A2A-Version=9.0",
        "x=1;A2A-Version=9.0",
        "%41%32%41%2DVersion=9.0",
        "A2A-Version=%39.0",
        "A2A-Version=1.0&A2A-Version=0.3",
        "A2A-Version=1.0&a2a-version=1.1",
        "A2A-Version=1.0,0.3",
        "A2A-Version=" + "1" * 999,
        "A2A-Version=1.0%00",
    ],
)
def test_a_version_in_the_query(query: str) -> None:
    """A version may stand in the query (A2A 3.6.1): one that is not known, or two, is refused."""
    assert asked(query) == "body_uninspectable"
    rest = MessageInput("GET", "/agents/a/tasks/t", {}, b"", query=query)
    assert why("a2a", rest) == "body_uninspectable"


def test_a_version_in_query_and_header() -> None:
    """Where both say one they say the same; an empty one says none."""
    assert asked("A2A-Version=1.0") == asked("A2A-Version=0.3&historyLength=3") == ""
    assert asked("A2A-Version=1.0", a2a_version="1.0") == ""
    assert asked("A2A-Version=", a2a_version="1.0") == asked("A2A-Version=%201.0") == ""
    assert asked("A2A-Version=0.3", a2a_version="1.0") == "body_uninspectable"
    assert asked("A2A-Version=1.0", a2a_version="9.0") == "body_uninspectable"
    assert asked("myA2A-Version=9.0&A2A-Versions=9.0&x=A2A-Version") == ""


def test_a_query_of_many_parameters() -> None:
    """A query is bounded in what has to be read of it."""
    assert asked("&".join(["%41=1"] * 64)) == ""
    assert asked("&".join(["%41=1"] * 65)) == asked(";" * 64) == "body_uninspectable"


def model(query: str = "", extra: tuple[str, ...] = (), **members: Any) -> MessageInput:
    """A chat completion with this query and these members."""
    body = {"model": "m", "messages": []} | members
    return sent(body, path=CHAT, query=query, extra_members=frozenset(extra))


@pytest.mark.parametrize(
    "query",
    ["model=large", "Model=large", "%6Dodel=large", "x=1", "api-version=1&model=l", "a;model=l"],
)
def test_a_model_in_the_query(query: str) -> None:
    """LiteLLM takes its model from the query, and then not from the body: it is refused."""
    assert why("openai", model(query)) == "body_uninspectable"


def test_known_parameters_of_the_query() -> None:
    """Versions of APIs stand there, and what an operator lists; a list of models has filters."""
    assert (
        why("openai", model("api-version=2024-10-21")) == why("openai", model("beta=true&")) == ""
    )
    assert why("openai", model("trace=1", extra=("trace",))) == ""
    listing = MessageInput("GET", "/v1/models", {}, b"", query="limit=5")
    assert why("openai", listing) == ""


REDEFINING = [
    {"user_config": {"model_list": [{"model_name": "m", "litellm_params": {"model": "large"}}]}},
    {"api_base": "https://evil.example"},
    {"api_base": None},
    {"API_BASE": "https://evil.example"},
    {"apiBase": "https://evil.example"},
    {"base_url": "https://evil.example"},
    {"api_key": "k"},
    {"custom_llm_provider": "openai"},
    {"model_list": []},
    {"litellm_params": {}},
    {"router_settings_override": {"model_group_alias": {"m": "large"}}},
    {"deployment_id": "large"},
    {"extra_headers": {"host": "evil.example"}},
    {"extra_query": {"model": "large"}},
    {"mock_response": "x"},
    {"provider": {"order": ["evil"]}},
    {"route": "fallback"},
    {"moderation": {"model": "large"}},
    {"whatever_comes_next": 1},
    {"extra_body": {"api_base": "https://evil.example"}},
    {"extra_body": {"extra_body": {"user_config": {}}}},
    {"metadata": {"tags": ["large"]}},
    {"metadata": {"model_info": {"id": "large"}}},
    {"Metadata": {"x": {}}},
    {"metadata": '{"tags": ["large"]}'},
    {"metadata": {"x": "y" * 513}},
    {"extra_body": {"metadata": {"x": 1}}},
]


@pytest.mark.parametrize("members", REDEFINING, ids=str)
def test_members_that_may_redefine_the_call(members: dict[str, Any]) -> None:
    """What is not known to be harmless may say what a model's name stands for: it is refused."""
    assert why("openai", model(**members)) == "body_uninspectable"


def test_what_an_operator_knows_to_be_harmless() -> None:
    """A route lists further members, in any spelling, and metadata of any form."""
    extra = ("guided_json", "metadata", "top-k")

    assert why("openai", model(extra=extra, guided_json={}, metadata={"tags": ["a"]})) == ""
    assert why("openai", model(extra=extra, guidedJson={})) == ""
    assert why("openai", model(extra=extra, api_base="x")) == "body_uninspectable"


@pytest.mark.parametrize("method", KNOWN)
def test_members_of_the_public_apis(method: str) -> None:
    """Each endpoint's own members are taken, and those of another are not."""
    own: dict[str, dict[str, object]] = {
        "chat/completions": {"reasoning_effort": "low", "response_format": {"type": "text"}},
        "completions": {"suffix": "x", "echo": True},
        "responses": {"input": "x", "instructions": "y", "previous_response_id": "r"},
        "embeddings": {"input": ["x"], "encoding_format": "float"},
        "moderations": {"input": "x"},
        "images/generations": {"size": "1024x1024", "style": "vivid"},
        "audio/speech": {"voice": "alloy", "speed": 1.5},
        "messages": {"system": "x", "thinking": {"type": "enabled"}, "top_k": 5},
        "messages/count_tokens": {"system": "x"},
    }
    for one, members in own.items():
        reason = why("openai", post(f"/v1/{method}", {"model": "m"} | members))
        is_known = all(name.replace("_", "") in KNOWN[method] for name in members)
        assert (reason == "") is is_known
        assert is_known or one != method


def test_the_member_is_named_for_operators() -> None:
    """Its name is told if it is a word; what else a client writes there may be a secret."""

    def detail(name: str) -> str:
        unread = read(MessageProtocol.OPENAI, post(CHAT, {"model": "m", name: 1})).unread
        assert unread is not None
        return unread[1]

    assert "user_config" in detail("user_config")
    assert "extra_members" in detail("user_config")
    for name in ("sk-12345", "a" * 41, "a b", "\u00e9", "eyJhbGciOiJFUzI1NiJ9.e30.x"):
        assert name not in detail(name)


def test_a_model_that_a_tool_brings() -> None:
    """A tool that works with a model of its own gives a call of that model."""
    tools: list[dict[str, Any]] = [{"type": "image_generation", "model": "pictures"}]
    tools += [{"type": "group", "tools": [{"type": "advisor", "name": "a", "model": "sage"}]}]
    found = [(call.name, call.tools) for call in calls("openai", model(tools=tools))]

    assert found == [
        (name, ("image_generation", "group", "advisor", "a")) for name in ("m", "pictures", "sage")
    ]
    assert why("openai", model(tools=[{"type": "x", "model": {"n": 1}}])) == "message_params"


def test_an_engine_in_the_path() -> None:
    """An engine in the path is the model, as a deployment is: the body's has to be allowed too."""
    path = "/openai/engines/large/chat/completions"

    assert targets("openai", post(path, {"model": "m"})) == [
        ("chat/completions", "model", name) for name in ("large", "m")
    ]
    for odd in ("/engines/a/b/embeddings", "/engines/embeddings", "/engines/a/models"):
        sent_ = bare("GET", odd) if odd.endswith("models") else post(odd, {"model": "m"})
        assert why("openai", sent_) == "body_uninspectable"


def test_skills_come_as_a_tool() -> None:
    """A container, which may bring skills, is offered as a tool of that name."""
    body = {"model": "m", "messages": [], "container": {"skills": [{"skill_id": "x"}]}}
    (call,) = calls("openai", post("/v1/messages", body))

    assert call.tools == ("container",)


NAMES = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=1, max_size=20)


@given(NAMES)
def test_any_other_member_is_refused(name: str) -> None:
    """Whatever a gateway calls it, what is not in the list is not let through."""
    is_known = name.replace("_", "").casefold() in KNOWN["chat/completions"]
    reason = why("openai", post(CHAT, {name: "x", "model": "m"}))

    assert is_known or reason == "body_uninspectable"


def test_through_the_pipeline(tmp_path: Path) -> None:
    """The query that a proxy sends in the path counts, and so does what a route lists."""
    changes = LAB.with_routes("""\
- {name: llm, paths: [/v1/**], protocol: openai, extra_members: [guided_json]}
- {name: a2a, paths: [/a/**], protocol: a2a}
""").with_rules(
        "finance-read",
        """\
- {hosts: ["*"], methods: [POST], paths: [/v1/**], scopes: [], models: {names: [small]}}
- {hosts: ["*"], methods: ["*"], paths: [/a/**], scopes: [], a2a: {methods: ["*"]}}
""",
    )
    with World(tmp_path, changes) as world:
        small: dict[str, Any] = {"model": "small", "messages": []}
        card = "/a/.well-known/agent-card.json"
        reasons = [
            asked_of(world, CHAT, small),
            asked_of(world, CHAT, small | {"guided_json": {}}),
            asked_of(world, f"{CHAT}?model=large", small),
            asked_of(world, CHAT, small | {"user_config": {}}),
            asked_of(world, card, None),
            asked_of(world, f"{card}?A2A-Version=1.0", None),
            asked_of(world, f"{card}?A2A-Version=7.0", None),
        ]
        details = [record["detail"] for record in world.audit_records()]

    unread = "body_uninspectable"
    assert reasons == ["allow", "allow", unread, unread, "allow", "allow", unread]
    assert "user_config" in details[3]


def asked_of(world: World, path: str, body: Any) -> str:
    """What is said of a message, or of a GET."""
    request = message(world, b"" if body is None else body, path=path)
    if body is None:
        request.attributes.request.http.method = "GET"
        request.attributes.request.http.size = 0
    return reason_of(world.check(request))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("protocol: mcp, extra_members: [a]", "extra_members is only for protocol: openai"),
        ("extra_members: [a]", "extra_members is only for protocol: openai"),
        (
            "protocol: openai, trust_mcp_headers: true",
            "trust_mcp_headers is only for protocol: mcp",
        ),
        ("protocol: openai, extra_members: [a b]", "the name of a member"),
        ("protocol: openai, extra_members: a", "list"),
    ],
)
def test_settings_of_another_protocol(shared_world: World, keys: str, line: str) -> None:
    """A setting that would mean nothing on a route is an error, at its place and with words."""
    route = f"[{{name: llm, paths: [/v1/**], {keys}}}]"
    text = LAB.with_routes(route).edit(shared_world.config_text)
    with pytest.raises(ConfigError) as error:
        load_text(text.encode(), "authz.yaml")

    (problem,) = str(error.value).splitlines()
    assert line in problem
    assert problem.startswith("authz.yaml:")
