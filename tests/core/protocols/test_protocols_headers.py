"""Headers that go with a message: what is no difference, and what says nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.protocols.message import HEADERS, MessageInput
from authz.core.protocols.reading import read
from authz.core.request import Call, CallKind, MessageProtocol
from support.messages import why
from support.sent import META, VERSION, mcp, rpc, sent

CALL = rpc("tools/call", {"name": "add", "_meta": META})
GOOD = {
    "mcp-protocol-version": VERSION,
    "mcp-method": "tools/call",
    "mcp-name": "add",
    "content-encoding": "identity",
    "x-envoy-auth-partial-body": "false",
}
SPACE = st.text(" \t", max_size=3)


def spaced(draw: st.DataObject, request: MessageInput) -> MessageInput:
    """The request, with white space around the values of its headers."""
    headers = {
        name: draw.draw(SPACE) + value + draw.draw(SPACE) for name, value in request.headers.items()
    }
    return MessageInput(
        **{name: getattr(request, name) for name in request.__struct_fields__}
        | {"headers": headers}
    )


@given(st.data())
def test_white_space_around_a_value_is_no_difference(data: st.DataObject) -> None:
    """A field's value has no white space around it (RFC 9110 5.5), in any header that is read."""
    a2a = {"jsonrpc": "2.0", "id": 1, "method": "GetTask", "params": {"id": "t"}}
    requests = {
        MessageProtocol.MCP: sent(CALL, GOOD),
        MessageProtocol.A2A: sent(
            a2a, {"a2a-version": "1.0", "content-type": "application/json; charset=utf-8"}
        ),
        MessageProtocol.OPENAI: sent({"model": "m"}, path="/v1/embeddings"),
    }
    for protocol, request in requests.items():
        assert request.headers.keys() <= HEADERS
        assert why(protocol, request) == ""
        assert read(protocol, spaced(data, request)) == read(protocol, request)


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-name": "a dd"},
        {"mcp-name": "add\u00a0"},
        {"mcp-name": "add\u2003"},
        {"mcp-name": "add\x0b"},
        {"mcp-name": "add\r\n"},
        {"mcp-name": "add ,add"},
        {"mcp-method": "tools /call"},
        {"mcp-method": "tools/call\x0c"},
        {"mcp-protocol-version": f"{VERSION}\x0b"},
        {"content-encoding": "identity\x0b"},
        {"content-type": "application/json\x0b"},
        {"content-type": "application/json;charset=utf-8\u00a0"},
    ],
)
def test_what_is_no_white_space(headers: dict[str, str]) -> None:
    """What HTTP does not take for white space is a part of the value, and so is what is inside."""
    assert mcp(CALL, GOOD | headers).unread is not None


def test_a_name_with_white_space_is_encoded() -> None:
    """A name that has blanks itself is another one, and comes in base64."""
    named = rpc("tools/call", {"name": " add", "_meta": META})

    assert mcp(named, GOOD | {"mcp-name": " add"}).unread is not None
    assert mcp(named, GOOD | {"mcp-name": "=?base64?IGFkZA==?= "}).calls == (
        Call("tools/call", CallKind.TOOL, " add"),
    )


def test_headers_alone() -> None:
    """Where headers stand for the body, white space around them is none of their meaning too."""
    headers = {
        "mcp-protocol-version": f" {VERSION}",
        "mcp-method": "tools/call ",
        "mcp-name": "\tadd",
    }
    alone = MessageInput("POST", "/mcp", headers, b"", trusts_headers=True)

    assert read(MessageProtocol.MCP, alone).calls == (Call("tools/call", CallKind.TOOL, "add"),)


@pytest.mark.parametrize("method", ["tools/list", "ping", "initialize", "notifications/x"])
def test_params_that_are_null(method: str) -> None:
    """Params of null are none: whoever takes them at all reads them so."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
    message |= {} if method.startswith("notifications/") else {"id": 1}

    assert mcp(message | {"params": None}) == mcp(message)


def test_what_needs_params_has_none_in_null() -> None:
    """What names its target in the params names none in null; and only null is none."""
    for protocol, method in (("mcp", "tools/call"), ("a2a", "GetTask"), ("a2a", "SendMessage")):
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": None}
        assert why(protocol, sent(message)) == "message_params"
    odd: list[object] = [False, 0, "", [], "null"]
    for params in odd:
        assert why("mcp", sent(rpc("tools/list") | {"params": params})) == "message_params"
    tasks = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks"}
    assert read(MessageProtocol.A2A, sent(tasks | {"params": None})) == read(
        MessageProtocol.A2A, sent(tasks)
    )


def test_arguments_that_are_null() -> None:
    """Arguments of null are none, and a condition sees that there are none."""
    given_null, absent = (
        mcp(rpc("tools/call", {"name": "add", **further}), reads_arguments=lambda _: True).calls
        for further in ({"arguments": None}, {})
    )

    assert given_null == absent
    assert json.loads(given_null[0].arguments) == {}


def test_subscriptions_that_are_null() -> None:
    """A list of subscriptions of null is none."""
    params = {"notifications": {"resourceSubscriptions": None, "taskIds": None}}

    assert mcp(rpc("subscriptions/listen", params)).calls == (Call("subscriptions/listen"),)
