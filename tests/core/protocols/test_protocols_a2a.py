"""Messages of A2A: what is read of each binding, and what is refused."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.core.protocols.a2a_methods import FORMS, GRPC_METHODS, JSONRPC_METHODS, SEND
from authz.core.protocols.message import MessageInput
from authz.core.protocols.reading import read
from authz.core.request import MessageProtocol
from support.messages import JSON, assert_one_of_both, bare, calls, post, respelled, targets, why

PUSH = "CreateTaskPushNotificationConfig"
URL = "https://hooks.example/x"


def rpc(method: str, params: object = None, **headers: str) -> MessageInput:
    """A request of the JSON-RPC binding."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": "7", "method": method}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return post("/agents/a", body if params is None else body | {"params": params}, named)


def send(message: object, **beside: object) -> MessageInput:
    """A message in the JSON-RPC binding."""
    return rpc("SendMessage", {"message": message} | beside)


@pytest.mark.parametrize(
    ("method", "params", "wanted"),
    [
        ("message/send", {"message": {}}, ("SendMessage", "", "")),
        ("message/stream", {"message": {}}, ("SendStreamingMessage", "", "")),
        ("tasks/get", {"id": "t"}, ("GetTask", "task", "t")),
        ("tasks/list", None, ("ListTasks", "", "")),
        ("tasks/cancel", {"id": "t"}, ("CancelTask", "task", "t")),
        ("tasks/resubscribe", {"id": "t"}, ("SubscribeToTask", "task", "t")),
        ("tasks/pushNotificationConfig/set", {"taskId": "t"}, (PUSH, "task", "t")),
        (
            "tasks/pushNotificationConfig/get",
            {"id": "t", "pushNotificationConfigId": "c"},
            ("GetTaskPushNotificationConfig", "task", "t"),
        ),
        (
            "tasks/pushNotificationConfig/list",
            {"id": "t"},
            ("ListTaskPushNotificationConfigs", "task", "t"),
        ),
        (
            "tasks/pushNotificationConfig/delete",
            {"id": "t"},
            ("DeleteTaskPushNotificationConfig", "task", "t"),
        ),
        ("agent/getAuthenticatedExtendedCard", None, ("GetExtendedAgentCard", "", "")),
        ("SendMessage", {"message": {}}, ("SendMessage", "", "")),
        ("SendStreamingMessage", {"message": {}}, ("SendStreamingMessage", "", "")),
        ("GetTask", {"id": "t"}, ("GetTask", "task", "t")),
        ("ListTasks", {}, ("ListTasks", "", "")),
        ("CancelTask", {"id": "t"}, ("CancelTask", "task", "t")),
        ("SubscribeToTask", {"id": "t"}, ("SubscribeToTask", "task", "t")),
        (PUSH, {"taskId": "t", "id": "c", "url": URL}, (PUSH, "task", "t")),
        (
            "GetTaskPushNotificationConfig",
            {"taskId": "t", "id": "c"},
            ("GetTaskPushNotificationConfig", "task", "t"),
        ),
        (
            "ListTaskPushNotificationConfigs",
            {"taskId": "t"},
            ("ListTaskPushNotificationConfigs", "task", "t"),
        ),
        (
            "DeleteTaskPushNotificationConfig",
            {"taskId": "t", "id": "c"},
            ("DeleteTaskPushNotificationConfig", "task", "t"),
        ),
        ("GetExtendedAgentCard", {}, ("GetExtendedAgentCard", "", "")),
    ],
)
def test_jsonrpc_method(method: str, params: object, wanted: tuple[str, str, str]) -> None:
    """Every method of 0.3 and 1.0 is known by its name of 1.0, with its task."""
    message = read(MessageProtocol.A2A, rpc(method, params))
    assert [(one.method, one.kind, one.name, one.is_known) for one in message.calls] == [
        (*wanted, True)
    ]
    assert message.ids == (b'"7"',)


@pytest.mark.parametrize("method", ["tasks/send", "sendMessage", "x/y", "GetAgentCard", "getTask"])
def test_unknown_method(method: str) -> None:
    """A method that is none of the protocol's is not known, and policy may say what it likes."""
    (call,) = calls("a2a", rpc(method, {"id": "t"}))
    assert (call.method, call.kind, call.name, call.is_known) == (method, "", "", False)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({}, [("", "")]),
        ({"taskId": ""}, [("", "")]),
        ({"taskId": None}, [("", "")]),
        ({"taskId": "t"}, [("task", "t")]),
        ({"task_id": "t"}, [("task", "t")]),
        ({"TASKID": "t"}, [("task", "t")]),
        ({"ta\u017fkId": "t"}, [("task", "t")]),
        ({"referenceTaskIds": ["a", "b", "a"]}, [("", ""), ("task", "a"), ("task", "b")]),
        ({"taskId": "t", "reference_task_ids": ["t", "u"]}, [("task", "t"), ("task", "u")]),
        ({"metadata": {"skillId": "s"}}, [("skill", "s")]),
        ({"metadata": {"skill": "s"}}, [("skill", "s")]),
        ({"metadata": {"skill_id": "s", "skill": "r"}}, [("skill", "s"), ("skill", "r")]),
        ({"taskId": "t", "metadata": {"skillId": "s"}}, [("task", "t"), ("skill", "s")]),
        ({"metadata": {"skillId": None, "other": [1]}}, [("", "")]),
    ],
)
@pytest.mark.parametrize("method", ["SendMessage", "message/stream"])
def test_targets_of_a_message(
    method: str, message: dict[str, object], wanted: list[tuple[str, str]]
) -> None:
    """A message gives a call for each task and skill that it names, however members are spelt."""
    canonical = JSONRPC_METHODS[method][0]
    found = targets("a2a", rpc(method, {"message": message}))
    assert found == [(canonical, *target) for target in wanted]


def test_calls_have_one_order() -> None:
    """Calls come in the same order however members are, so that a decision is remembered once."""
    pairs = [("skill", "a"), ("skillId", "b")]
    one, other = (send({"metadata": dict(order)}) for order in (pairs, pairs[::-1]))
    assert calls("a2a", one) == calls("a2a", other)


def test_a_skill_beside_the_message_counts() -> None:
    """A skill in the request's metadata is one that has to be allowed as well."""
    sent = send({"metadata": {"skillId": "a"}}, metadata={"skillId": "b"})
    assert targets("a2a", sent) == [("SendMessage", "skill", "a"), ("SendMessage", "skill", "b")]


@pytest.mark.parametrize(
    "configuration",
    [
        {"taskPushNotificationConfig": {"url": URL}},
        {"task_push_notification_config": {"url": URL}},
        {"pushNotificationConfig": {"url": URL}},
        {"pushNotification": {"url": URL}},
        {"taskPushNotificationConfig": {"pushNotificationConfig": {"url": URL}}},
        {"taskPushNotificationConfig": {}},
    ],
)
def test_a_url_in_a_message_is_a_call_of_its_own(configuration: dict[str, object]) -> None:
    """Where notifications go can't be slipped in with a message, in any version's place."""
    sent = send({"taskId": "t"}, configuration=configuration)
    assert targets("a2a", sent) == [("SendMessage", "task", "t"), (PUSH, "task", "t")]
    assert (PUSH, "", "") in targets("a2a", send({}, configuration=configuration))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"message": None},
        {"message": []},
        {"message": {}, "request": {}},
        {"message": {}, "Message": {}},
        {"message": {"taskId": "t", "task_id": "u"}},
        {"message": {"taskId": 1}},
        {"message": {"taskId": ["t"]}},
        {"message": {"taskId": "t\n"}},
        {"message": {"taskId": " t"}},
        {"message": {"taskId": "t\u200b"}},
        {"message": {"taskId": "t" * 257}},
        {"message": {"referenceTaskIds": "t"}},
        {"message": {"referenceTaskIds": [1]}},
        {"message": {"referenceTaskIds": [""]}},
        {"message": {"referenceTaskIds": ["t"] * 33}},
        {"message": {"metadata": "x"}},
        {"message": {"metadata": {"skillId": {"id": "s"}}}},
        {"message": {"metadata": {"skillId": ""}}},
        {"message": {"metadata": {"skillId": "s", "skill_id": "s"}}},
        {"message": {}, "configuration": 1},
        {"message": {}, "configuration": {"pushNotificationConfig": URL}},
        {"message": {}, "configuration": {"pushNotificationConfig": {"taskId": "t"}}},
        {
            "message": {},
            "configuration": {
                "taskPushNotificationConfig": {
                    "url": URL,
                    "pushNotificationConfig": {"url": "https://other.example/"},
                }
            },
        },
    ],
)
def test_params_of_a_message_that_are_refused(params: object) -> None:
    """What two servers could take for two things, or is of a wrong kind, is refused."""
    message = read(MessageProtocol.A2A, rpc("SendMessage", params))
    assert_one_of_both(message)
    assert message.unread is not None
    assert message.unread[0].code == "message_params"
    assert message.ids == (b'"7"',)


@pytest.mark.parametrize(
    "method", [name for name, (_, member) in JSONRPC_METHODS.items() if member]
)
@pytest.mark.parametrize("params", [None, {}, {"id": "", "taskId": ""}, {"id": 1, "taskId": 1}])
def test_a_task_has_to_be_named(method: str, params: object) -> None:
    """A method for a task that names none is refused."""
    assert why("a2a", rpc(method, params)) == "message_params"


@pytest.mark.parametrize(
    ("http", "path", "body", "wanted"),
    [
        ("POST", "/message:send", {"message": {}}, [("SendMessage", "", "")]),
        ("POST", "/v1/message:send", {"request": {}}, [("SendMessage", "", "")]),
        (
            "POST",
            "/t/message:stream",
            {"message": {"taskId": "t"}},
            [("SendStreamingMessage", "task", "t")],
        ),
        ("GET", "/tasks", None, [("ListTasks", "", "")]),
        ("GET", "/v1/tasks/t", None, [("GetTask", "task", "t")]),
        ("GET", "/a/b/c/tasks/t", None, [("GetTask", "task", "t")]),
        ("POST", "/tasks/t:cancel", {}, [("CancelTask", "task", "t")]),
        ("POST", "/v1/tasks/t:cancel", {"name": "tasks/t"}, [("CancelTask", "task", "t")]),
        ("POST", "/tasks/t:subscribe", {"id": "t"}, [("SubscribeToTask", "task", "t")]),
        ("GET", "/tasks/t:subscribe", None, [("SubscribeToTask", "task", "t")]),
        (
            "POST",
            "/tasks/t/pushNotificationConfigs",
            {"id": "c", "url": URL},
            [(PUSH, "task", "t")],
        ),
        (
            "POST",
            "/v1/tasks/t/pushNotificationConfigs",
            {
                "parent": "tasks/t",
                "config": {
                    "name": "tasks/t/pushNotificationConfigs/c",
                    "pushNotificationConfig": {"url": URL},
                },
            },
            [(PUSH, "task", "t")],
        ),
        (
            "GET",
            "/tasks/t/pushNotificationConfigs",
            None,
            [("ListTaskPushNotificationConfigs", "task", "t")],
        ),
        (
            "GET",
            "/tasks/t/pushNotificationConfigs/c",
            None,
            [("GetTaskPushNotificationConfig", "task", "t")],
        ),
        (
            "DELETE",
            "/tasks/t/pushNotificationConfigs/c",
            None,
            [("DeleteTaskPushNotificationConfig", "task", "t")],
        ),
        ("GET", "/extendedAgentCard", None, [("GetExtendedAgentCard", "", "")]),
        ("GET", "/v1/card", None, [("GetExtendedAgentCard", "", "")]),
        ("GET", "/agent/authenticatedExtendedCard", None, [("GetExtendedAgentCard", "", "")]),
        ("GET", "/.well-known/agent-card.json", None, [("GetAgentCard", "", "")]),
        ("GET", "/agents/a/.well-known/agent.json", None, [("GetAgentCard", "", "")]),
    ],
)
def test_rest_form(http: str, path: str, body: object, wanted: list[tuple[str, str, str]]) -> None:
    """Every path of the HTTP binding is known below any base path."""
    sent = bare(http, path) if body is None else post(path, body)
    assert targets("a2a", sent) == wanted
    if body is not None:
        typed = post(path, body, {"content-type": "application/a2a+json"})
        assert targets("a2a", typed) == wanted


def test_every_rest_form_is_tested() -> None:
    """The table of forms and the one above have the same methods."""
    assert {form.method for form in FORMS.values()} == {
        method for method, _ in JSONRPC_METHODS.values()
    }


@pytest.mark.parametrize("verb", ["cancel", "subscribe"])
def test_a_path_may_say_it_all(verb: str) -> None:
    """A POST that certainly has no body is read by its path; one whose body may be kept is not."""
    path = f"/tasks/t:{verb}"
    assert len(calls("a2a", bare("POST", path, {"content-length": "0"}))) == 1
    assert why("a2a", bare("POST", path)) == "body_uninspectable"
    assert why("a2a", bare("POST", path, {"content-length": "5"})) == "body_uninspectable"
    sending = bare("POST", "/message:send", {"content-length": "0"})
    assert why("a2a", sending) == "body_uninspectable"


@pytest.mark.parametrize(
    ("http", "path"),
    [
        ("GET", "/x/tasks/tasks"),  # all tasks of "/x/tasks", or one task
        ("GET", "/tasks/extendedAgentCard"),
        ("GET", "/tasks/t/tasks/u"),
        ("GET", "/tasks/t/pushNotificationConfigs/tasks"),
        ("GET", "/tasks/"),
        ("GET", "/tasks/t/"),
        ("GET", "/Tasks/t"),
        ("GET", "/tasks/t:cancel"),
        ("GET", "/tasks/t:other"),
        ("GET", "/tasks/tasks:subscribe"),
        ("GET", "/tasks/:subscribe"),
        ("GET", "/message:send"),
        ("PUT", "/message:send"),
        ("DELETE", "/tasks/t"),
        ("POST", "/tasks"),
        ("POST", "/tasks/t"),
        ("POST", "/message:send/"),
        ("POST", "/MESSAGE:send"),
        ("POST", "/tasks/t:cancel/x"),
        ("POST", "/t:cancel/x"),
        ("POST", "/t:subscribe"),
        ("POST", "/tasks/a:b:cancel"),
        ("POST", "/task/t/pushNotificationConfigs"),
        ("GET", "/tasks/x/v1/card"),
        ("GET", "/tasks/.well-known/agent-card.json"),
    ],
)
def test_path_that_looks_like_rest(http: str, path: str) -> None:
    """What has a word of the HTTP binding and none of its forms is no JSON-RPC either."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}
    sent = bare(http, path) if http == "GET" else post(path, body, method=http)
    assert why("a2a", sent) == "body_uninspectable"


@pytest.mark.parametrize(
    "path", ["/tasks/a%2Fb", "/tasks/..", "//tasks/t", "/a//tasks/t", "/tasks/t;x", "/tasks/%2525"]
)
def test_ambiguous_path(path: str) -> None:
    """A path that servers read in two ways has no task."""
    assert why("a2a", bare("GET", path)) == "path_ambiguous"


@pytest.mark.parametrize("member", ["jsonrpc", "method", "Method"])
def test_body_of_both_bindings(member: str) -> None:
    """A body for REST that a JSON-RPC server could take as well is refused."""
    assert why("a2a", post("/message:send", {"message": {}, member: "2.0"})) == "message_invalid"
    assert why("a2a", post("/tasks/t:cancel", {member: "x"})) == "message_invalid"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tasks/t:cancel", {"id": "u"}),
        ("/tasks/t:cancel", {"taskId": "u"}),
        ("/tasks/t:cancel", {"name": "tasks/u"}),
        ("/tasks/t:cancel", {"name": ["tasks/t"]}),
        ("/tasks/t:cancel", {"name": "tasks/tu"}),
        ("/tasks/t:cancel", []),
        ("/tasks/t/pushNotificationConfigs", {"task_id": "u"}),
        ("/tasks/t/pushNotificationConfigs", {"parent": "tasks/u"}),
        ("/tasks/t/pushNotificationConfigs", {"config": {"name": "tasks/u/x/y"}}),
        ("/tasks/t/pushNotificationConfigs", {"config": {"taskId": "u"}}),
        ("/tasks/t/pushNotificationConfigs", {"pushNotificationConfig": {"taskId": "u"}}),
    ],
)
def test_body_that_contradicts_the_path(path: str, body: object) -> None:
    """The body can't name another task than the path."""
    assert why("a2a", post(path, body)) == "message_params"


@pytest.mark.parametrize(
    "path", ["/tasks/t", "/tasks", "/extendedAgentCard", "/.well-known/agent.json", "/v1/card"]
)
def test_get_with_a_body(path: str) -> None:
    """A GET has no body: a server that reads one could find another message in it."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}
    assert why("a2a", post(path, body, method="GET")) == "body_uninspectable"
    assert why("a2a", bare("GET", path, {"content-length": "9"})) == "body_uninspectable"
    for chunked in (
        MessageInput(method="GET", path=path, headers={}, body=b"{}", size=2),
        MessageInput(method="GET", path=path, headers={}, body=b"", size=-1),
    ):
        assert why("a2a", chunked) == "body_uninspectable"


@pytest.mark.parametrize("http", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_other_http_methods(http: str) -> None:
    """JSON-RPC comes by POST."""
    sent = post("/a", {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}, method=http)
    assert why("a2a", sent) == "message_invalid"


@pytest.mark.parametrize(
    "body",
    [
        [{"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}],
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"message": {}},
        {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "message": {}},
    ],
)
def test_no_request_of_jsonrpc(body: object) -> None:
    """A2A has no batches, no responses of a client, and no messages outside their binding."""
    assert why("a2a", post("/a", body)) == "message_invalid"


def test_a_notification_is_a_call_too() -> None:
    """A request without an id is carried out, and so decided."""
    sent = post("/a", {"jsonrpc": "2.0", "method": "tasks/cancel", "params": {"id": "t"}})
    assert targets("a2a", sent) == [("CancelTask", "task", "t")]
    assert read(MessageProtocol.A2A, sent).ids == ()


@pytest.mark.parametrize("version", ["", "0.2", "0.3", "1.0", "1.1", "0.3.0", "1.0.1"])
def test_version(version: str) -> None:
    """Names differ between versions, meanings don't."""
    sent = rpc("tasks/get", {"id": "t"}, a2a_version=version)
    assert targets("a2a", sent) == [("GetTask", "task", "t")]


@pytest.mark.parametrize(
    "version", ["2.0", "0.1", "1", "10.0", "1.0.0.0", "0.3,1.0", "1. 0", "x", "1.0\n"]
)
def test_unknown_version(version: str) -> None:
    """What a later version means is not guessed."""
    sent = rpc("tasks/get", {"id": "t"}, a2a_version=version)
    assert why("a2a", sent) == "body_uninspectable"


def grpc(path: str, body: bytes = b"\0\0\0\0\0", kind: str = "application/grpc") -> MessageInput:
    """A request of the gRPC binding."""
    return post(path, body, {"content-type": kind})


@pytest.mark.parametrize("service", ["lf.a2a.v1.A2AService", "a2a.v1.A2AService"])
@pytest.mark.parametrize("name", GRPC_METHODS)
def test_grpc(service: str, name: str) -> None:
    """The path has the method; what its body may hold besides has to be allowed as well."""
    method, has_task = GRPC_METHODS[name]
    wanted = [(method, "task" if has_task else "", "")]
    if method in SEND:
        wanted += [(method, "skill", ""), (PUSH, "task", "")]
    assert targets("a2a", grpc(f"/{service}/{name}")) == wanted
    assert targets("a2a", grpc(f"/{service}/{name}", b"", "application/grpc+proto")) == wanted


def test_unknown_grpc_method() -> None:
    """A method that the service has not is not known."""
    (call,) = calls("a2a", grpc("/lf.a2a.v1.A2AService/Other"))
    assert (call.method, call.is_known) == ("Other", False)


@pytest.mark.parametrize(
    "sent",
    [
        grpc("/other.Service/GetTask"),
        grpc("/base/lf.a2a.v1.A2AService/GetTask"),
        grpc("/lf.a2a.v1.A2AService/GetTask/"),
        grpc("/lf.a2a.v1.A2AService"),
        grpc("/lf.a2a.v1.A2AService/GetTask", b'{"jsonrpc":"2.0"}'),
        grpc("/lf.a2a.v1.A2AService/GetTask", kind="application/grpc+json"),
        grpc("/lf.a2a.v1.A2AService/GetTask", kind="application/grpc-web+proto"),
        post(
            "/lf.a2a.v1.A2AService/GetTask", b"", {"content-type": "application/grpc"}, method="GET"
        ),
        grpc("/message:send", json.dumps({"message": {}}).encode()),
    ],
)
def test_no_grpc(sent: MessageInput) -> None:
    """A content-type of gRPC makes no gRPC of another binding's request."""
    assert why("a2a", sent) == "body_uninspectable"


def test_an_upgrade_is_refused() -> None:
    """What comes after an upgrade is never seen."""
    assert why("a2a", bare("GET", "/tasks", {"upgrade": "websocket"})) == "body_uninspectable"


def test_arguments() -> None:
    """Where a decision reads them, tenant, context and URL are told, in one form."""
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "SendMessage",
        "params": {
            "tenant": "é",
            "message": {"context_id": "c", "parts": [{"text": "secret"}]},
            "configuration": {"taskPushNotificationConfig": {"url": URL}},
        },
    }
    sending, push = calls("a2a", post("/a", body, reads=lambda _: True))
    assert sending.arguments == '{"contextId":"c","tenant":"é"}'.encode()
    assert json.loads(push.arguments) == {"tenant": "é", "url": URL}
    sending, push = calls("a2a", post("/a", body, reads=lambda call: call.method == PUSH))
    assert (sending.arguments, push.arguments != b"") == (b"", True)


def test_masked_arguments_are_not_known() -> None:
    """In a body that came as text, a tenant with the proxy's mark may be another: none is told."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {"tenant": "pro!d"}}

    def arguments(*, is_text: bool) -> bytes:
        return calls("a2a", post("/a", body, is_text=is_text, reads=lambda _: True))[0].arguments

    assert arguments(is_text=False) != b""
    assert arguments(is_text=True) == b""


@pytest.mark.parametrize("params", [{"tenant": 1}, {"tenant": "x" * 2049}, {"context_id": []}])
def test_arguments_of_a_wrong_kind(params: object) -> None:
    """What a condition would read has to be a short text."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": params}
    assert why("a2a", post("/a", body, reads=lambda _: True)) == "message_params"


def test_masked_names() -> None:
    """A name in which the proxy may have masked bytes is none."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t!"}}
    assert why("a2a", post("/a", body, is_text=True)) == "body_uninspectable"
    assert why("a2a", post("/a", body)) == ""


METHODS = st.sampled_from([*JSONRPC_METHODS, "x", ""])
MEMBERS = st.sampled_from(
    ["message", "taskId", "task_id", "id", "metadata", "skillId", "configuration", "config",
     "pushNotificationConfig", "taskPushNotificationConfig", "referenceTaskIds", "url", "tenant",
     "name", "parent", "jsonrpc", "method", "params"]
)  # fmt: skip
TREES = st.recursive(
    JSON | st.sampled_from(["t", "tasks/t", "2.0", "GetTask"]),
    lambda inner: st.dictionaries(MEMBERS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)
SEGMENTS = st.sampled_from(
    ["tasks", "t", "t:cancel", "t:subscribe", "message:send", "message:stream", "v1", "card", "",
     "pushNotificationConfigs", "extendedAgentCard", ".well-known", "agent.json", "%2F", "..",
     "lf.a2a.v1.A2AService", "GetTask", "\u00e9", "a b"]
)  # fmt: skip
PATHS = st.lists(SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)) | st.text()


@given(
    PATHS,
    st.sampled_from(["GET", "POST", "DELETE", "PUT", ""]),
    TREES | st.binary(max_size=40) | st.fixed_dictionaries(
        {"jsonrpc": st.just("2.0"), "id": st.just(1), "method": METHODS, "params": TREES}
    ),
    st.sampled_from(["application/json", "application/grpc", "application/a2a+json", ""]),
    st.booleans(),
)  # fmt: skip
@example("/", "POST", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": []}, "", True)
def test_never_raises(path: str, http: str, body: object, kind: str, is_text: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever comes, there are calls or a reason, never an exception and never both."""
    sent = post(path, body, {"content-type": kind}, method=http, is_text=is_text)
    assert_one_of_both(read(MessageProtocol.A2A, sent))
    assert_one_of_both(read(MessageProtocol.A2A, bare(http, path, {"content-length": "0"})))


@given(st.data(), METHODS, st.dictionaries(MEMBERS, TREES, max_size=4))
def test_the_same_json_in_another_form(
    data: st.DataObject, method: str, params: dict[str, object]
) -> None:
    """How JSON is written changes nothing."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    first = read(MessageProtocol.A2A, post("/a", body, reads=lambda _: True))
    again = read(MessageProtocol.A2A, post("/a", respelled(data.draw, body), reads=lambda _: True))
    assert first == again
