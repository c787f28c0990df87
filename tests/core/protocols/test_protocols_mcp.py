"""MCP: what a request asks of a server, in every revision, and which ones say nothing certain."""

import base64
import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from authz.core.protocols import mcp_metadata
from authz.core.protocols.jsonrpc import MAX_BATCH, MAX_ID_CHARS
from authz.core.protocols.mcp import MAX_CALLS
from authz.core.protocols.mcp_methods import METHODS
from authz.core.protocols.message import HEADERS, Message, MessageInput
from authz.core.protocols.reading import read
from authz.core.reason import Reason
from authz.core.request import MAX_NAME_CHARS, MAX_URI_CHARS, Call, CallKind, MessageProtocol
from support.sent import META, VERSION, encoded, mcp, reason, rpc, sent

INVALID = Reason.MESSAGE_INVALID
MISMATCH = Reason.MCP_HEADER_MISMATCH
PARAMS = Reason.MESSAGE_PARAMS
PARSE = Reason.MESSAGE_MALFORMED
UNSEEN = Reason.BODY_UNINSPECTABLE
UNTRUSTED = Reason.MCP_UNTRUSTED_HEADERS
OLD = "2025-03-26"
ADD = rpc("tools/call", {"name": "add", "arguments": {"a": 1}})
MODERN = rpc("tools/call", {"name": "add", "arguments": {}, "_meta": META})
MODERN_HEADERS = {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "add"}
NOTE = rpc("notifications/initialized", id=None)
ANSWER = {"jsonrpc": "2.0", "id": 7, "result": {}}


def b64(text: str) -> str:
    """A header's value in MCP's encoding."""
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        (ADD, [Call("tools/call", CallKind.TOOL, "add")]),
        (rpc("tools/call", {"name": "add"}), [Call("tools/call", CallKind.TOOL, "add")]),
        (
            rpc("tools/call", {"name": "ад \U0001f600"}),
            [Call("tools/call", CallKind.TOOL, "ад \U0001f600")],
        ),
        (rpc("tools/call", {"name": "add"}, id=None), [Call("tools/call", CallKind.TOOL, "add")]),
        (rpc("tools/call", {"name": "a", "task": {}}), [Call("tools/call", CallKind.TOOL, "a")]),
        (
            rpc("resources/read", {"uri": "f:///a"}),
            [Call("resources/read", CallKind.RESOURCE, "f:///a")],
        ),
        (
            rpc("resources/subscribe", {"uri": "f:///a"}),
            [Call("resources/subscribe", CallKind.RESOURCE, "f:///a")],
        ),
        (
            rpc("resources/unsubscribe", {"uri": "f:///a"}),
            [Call("resources/unsubscribe", CallKind.RESOURCE, "f:///a")],
        ),
        (rpc("prompts/get", {"name": "p"}), [Call("prompts/get", CallKind.PROMPT, "p")]),
        (rpc("tasks/get", {"taskId": "t"}), [Call("tasks/get", CallKind.TASK, "t")]),
        (rpc("tasks/result", {"taskId": "t"}), [Call("tasks/result", CallKind.TASK, "t")]),
        (rpc("tasks/update", {"taskId": "t"}), [Call("tasks/update", CallKind.TASK, "t")]),
        (rpc("tasks/cancel", {"taskId": "t"}), [Call("tasks/cancel", CallKind.TASK, "t")]),
        (
            rpc("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}}),
            [Call("completion/complete", CallKind.PROMPT, "p")],
        ),
        (
            rpc("completion/complete", {"ref": {"type": "ref/resource", "uri": "f:///{a}"}}),
            [Call("completion/complete", CallKind.RESOURCE, "f:///{a}")],
        ),
        *(
            (rpc(method), [Call(method)])
            for method in (
                "initialize",
                "logging/setLevel",
                "ping",
                "prompts/list",
                "resources/list",
                "resources/templates/list",
                "server/discover",
                "tasks/list",
                "tools/list",
            )
        ),
        (NOTE, [Call("notifications/initialized")]),
        (rpc("notifications/x/of/another", id=None), [Call("notifications/x/of/another")]),
        (ANSWER, [Call("", CallKind.RESPONSE)]),
        ({"jsonrpc": "2.0", "id": "x", "error": {"code": 1}}, [Call("", CallKind.RESPONSE)]),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": 1}}, [Call("", CallKind.RESPONSE)]),
        ({"jsonrpc": "2.0", "error": {"code": 1}}, [Call("", CallKind.RESPONSE)]),
        (rpc("roots/list"), [Call("roots/list", is_known=False)]),  # asked by servers only
        (rpc("sampling/createMessage"), [Call("sampling/createMessage", is_known=False)]),
        (rpc("Tools/Call", {"name": "add"}), [Call("Tools/Call", is_known=False)]),
        (rpc("x", {"name": "add"}), [Call("x", is_known=False)]),
        (
            rpc("subscriptions/listen", {"notifications": {"toolsListChanged": True}}),
            [Call("subscriptions/listen")],
        ),
        (
            rpc(
                "subscriptions/listen",
                {
                    "notifications": {
                        "resourceSubscriptions": ["f:///a", "f:///b"],
                        "taskIds": ["t"],
                    }
                },
            ),
            [
                Call("subscriptions/listen"),
                Call("subscriptions/listen", CallKind.RESOURCE, "f:///a"),
                Call("subscriptions/listen", CallKind.RESOURCE, "f:///b"),
                Call("subscriptions/listen", CallKind.TASK, "t"),
            ],
        ),
    ],
)
def test_calls(message: object, calls: list[Call]) -> None:
    """Each method asks for one thing, by the name that stands where the method has it."""
    assert mcp(message) == Message(tuple(calls), ids_of(message))


def ids_of(message: Any) -> tuple[bytes, ...]:
    """The ids of requests, by another way than the code's."""
    elements = message if isinstance(message, list) else [message]
    return tuple(encoded(one["id"]) for one in elements if "method" in one and "id" in one)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (1, INVALID),
        (None, INVALID),
        ("tools/call", INVALID),
        ({}, INVALID),
        ({**ADD, "jsonrpc": "1.0"}, INVALID),
        ({**ADD, "jsonrpc": 2.0}, INVALID),
        ({"id": 1, "method": "ping"}, INVALID),
        ({**ADD, "method": None}, INVALID),
        ({**ADD, "method": ""}, INVALID),
        ({**ADD, "method": "x" * 129}, INVALID),
        ({**ADD, "method": "tools/call "}, INVALID),
        ({**ADD, "method": "tools/call\n"}, INVALID),
        ({**ADD, "method": "tools/c\u0430ll"}, INVALID),
        ({**ADD, "method": ["tools/call"]}, INVALID),
        ({**ADD, "id": None}, INVALID),
        ({**ADD, "id": True}, INVALID),
        ({**ADD, "id": 1.5}, INVALID),
        ({**ADD, "id": 1.0}, INVALID),
        ({**ADD, "id": []}, INVALID),
        ({**ADD, "id": "x" * (MAX_ID_CHARS + 1)}, INVALID),
        ({**ADD, "Method": "ping"}, INVALID),  # Go's reader takes the last of the two
        ({**ADD, "METHOD": "ping"}, INVALID),
        ({**ADD, "param\u017f": {"name": "ping"}}, INVALID),  # folds to params there
        ({**ADD, "result": {}}, INVALID),
        ({**ADD, "error": {}}, INVALID),
        ({**ADD, "_meta": {}}, INVALID),
        ({**ANSWER, "error": {}}, INVALID),
        ({**ANSWER, "params": {}}, INVALID),
        ({"jsonrpc": "2.0", "id": 1}, INVALID),
        ({"jsonrpc": "2.0", "result": {}}, INVALID),
        ({"jsonrpc": "2.0", "id": None, "result": {}}, INVALID),
        ({"jsonrpc": "2.0", "id": 1.5, "error": {}}, INVALID),
        (rpc("notifications/initialized"), INVALID),  # with an id it is a request
        (rpc("notifications/x"), INVALID),
        ({**ADD, "params": []}, PARAMS),
        ({**ADD, "params": ["add"]}, PARAMS),
        ({**ADD, "params": None}, PARAMS),
        ({**ADD, "params": "add"}, PARAMS),
        (rpc("tools/call"), PARAMS),
        (rpc("tools/call", {}), PARAMS),
        (rpc("tools/call", {"name": None}), PARAMS),
        (rpc("tools/call", {"name": ""}), PARAMS),
        (rpc("tools/call", {"name": 1}), PARAMS),
        (rpc("tools/call", {"name": ["add"]}), PARAMS),
        (rpc("tools/call", {"name": "x" * (MAX_NAME_CHARS + 1)}), PARAMS),
        (rpc("tools/call", {"name": "add\x00"}), PARAMS),
        (rpc("tools/call", {"name": "add\n"}), PARAMS),
        (rpc("tools/call", {"name": "add\x85"}), PARAMS),
        (rpc("tools/call", {"uri": "add"}), PARAMS),
        (rpc("tools/call", {"name": "add", "Name": "sub"}), PARAMS),
        (rpc("tools/call", {"Name": "add"}), PARAMS),
        (rpc("tools/call", {"name": "add", "ARGUMENTS": {}}), PARAMS),
        (rpc("tools/call", {"name": "add", "argument\u017f": {}}), PARAMS),
        (rpc("tools/call", {"name": "add", "arguments": []}), PARAMS),
        (rpc("tools/call", {"name": "add", "arguments": "{}"}), PARAMS),
        (rpc("tools/call", {"name": "add", "_meta": []}), PARAMS),
        (rpc("tasks/get", {"taskid": "t"}), PARAMS),
        (rpc("tasks/get", {"taskId": "t", "taskID": "u"}), PARAMS),
        (rpc("resources/read", {"uri": "x" * (MAX_URI_CHARS + 1)}), PARAMS),
        (rpc("resources/read", {"name": "f:///a"}), PARAMS),
        (rpc("completion/complete"), PARAMS),
        (rpc("completion/complete", {"ref": "p"}), PARAMS),
        (rpc("completion/complete", {"ref": {"type": "ref/tool", "name": "p"}}), PARAMS),
        (rpc("completion/complete", {"ref": {"type": ["ref/prompt"], "name": "p"}}), PARAMS),
        (rpc("completion/complete", {"ref": {"type": "ref/prompt", "uri": "p"}}), PARAMS),
        (
            rpc("completion/complete", {"ref": {"type": "ref/prompt", "name": "p", "Name": "q"}}),
            PARAMS,
        ),
        (rpc("subscriptions/listen"), PARAMS),
        (rpc("subscriptions/listen", {"notifications": []}), PARAMS),
        (rpc("subscriptions/listen", {"notifications": {"resourceSubscriptions": "a"}}), PARAMS),
        (rpc("subscriptions/listen", {"notifications": {"resourceSubscriptions": [1]}}), PARAMS),
        (rpc("subscriptions/listen", {"notifications": {"taskIds": [""]}}), PARAMS),
        (rpc("subscriptions/listen", {"notifications": {"taskids": ["t"]}}), PARAMS),
        (rpc("subscriptions/listen", {"notifications": {"promptNames": ["p"]}}), PARAMS),
        (
            rpc("subscriptions/listen", {"notifications": {"taskIds": ["t"] * (MAX_CALLS + 1)}}),
            PARAMS,
        ),
        (rpc("subscriptions/listen", {"notifications": {"taskIds": ["t"] * MAX_CALLS}}), PARAMS),
    ],
)
def test_no_call(message: object, expected: Reason) -> None:
    """What is not quite a message of JSON-RPC and MCP makes no call."""
    read_message = mcp(message)

    assert reason(read_message) is expected
    assert read_message.calls == ()


@pytest.mark.parametrize(
    ("given_id", "echoed"),
    [
        (0, b"0"),
        (-1, b"-1"),
        (2**53 + 1, b"9007199254740993"),
        (2**70, b"1180591620717411303424"),
        ("", b'""'),
        ("x" * MAX_ID_CHARS, b'"' + b"x" * MAX_ID_CHARS + b'"'),
        ('"\\\n\x00', b'"\\"\\\\\\n\\u0000"'),
        ("\u2028\U0001f600", '"\u2028\U0001f600"'.encode()),
        ("1", b'"1"'),
    ],
)
def test_ids(given_id: object, echoed: bytes) -> None:
    """An id is given back as it was: a number, or a text."""
    for message in ({**ADD, "id": given_id}, {**ADD, "id": given_id, "params": []}):
        assert mcp(message).ids == (echoed,)
        assert json.loads(echoed) == given_id


@pytest.mark.parametrize(
    ("message", "ids"),
    [
        ({**ADD, "params": {}}, (b"1",)),
        ({**ADD, "jsonrpc": "1"}, (b"1",)),
        ({**ADD, "method": 5}, (b"1",)),
        ({**ADD, "id": 1.5}, ()),
        ([{**ADD, "id": 5}, {**ADD, "id": "b", "params": []}, NOTE, ANSWER, 7], (b"5", b'"b"')),
        ([rpc("initialize")], (b"1",)),
        ([ADD] * (MAX_BATCH + 1), ()),
        (ANSWER | {"error": {}}, ()),
        (b'{"jsonrpc":"2.0","method":"ping","id":1,"id":2}', ()),
        (encoded(ADD)[:-1], ()),
    ],
)
def test_ids_of_the_refused(message: object, ids: tuple[bytes, ...]) -> None:
    """A message that is refused still has the ids that are certain, so that clients can be told."""
    read_message = mcp(message)

    assert read_message.unread
    assert read_message.ids == ids


def test_refused_headers_keep_the_id() -> None:
    """Headers at odds with the body take nothing from the id, a body that may be cut does."""
    assert mcp(ADD, {"mcp-method": "ping"}).ids == (b"1",)
    assert mcp(ADD, {"content-length": "2"}).ids == ()


@pytest.mark.parametrize("version", [None, OLD])
def test_batches(version: str | None) -> None:
    """In a batch of the revision that has them, each message makes its calls."""
    batch = [ADD, NOTE, ANSWER, {**rpc("prompts/get", {"name": "p"}), "id": "x"}]

    assert mcp(batch, {"mcp-protocol-version": version}) == Message(
        (
            Call("tools/call", CallKind.TOOL, "add"),
            Call("notifications/initialized"),
            Call("", CallKind.RESPONSE),
            Call("prompts/get", CallKind.PROMPT, "p"),
        ),
        (b"1", b'"x"'),
    )


@pytest.mark.parametrize(
    ("batch", "version", "expected"),
    [
        ([], None, INVALID),
        ([ADD] * (MAX_BATCH + 1), None, INVALID),
        ([ADD, 1], None, INVALID),
        ([[ADD]], None, INVALID),
        ([ADD, {**ADD, "jsonrpc": "1"}], OLD, INVALID),
        ([ADD, rpc("tools/call", {})], OLD, PARAMS),
        ([ADD, rpc("initialize")], OLD, INVALID),
        ([rpc("initialize")], None, INVALID),
        ([ADD], "2024-11-05", INVALID),
        ([ADD], "2025-06-18", INVALID),
        ([ADD], "2025-11-25", INVALID),
        ([MODERN], VERSION, INVALID),
        ([ADD], "2025-3-26", INVALID),
        ([ADD], "draft", INVALID),
        ([ADD], "", MISMATCH),
        ([ADD], f"{OLD},{OLD}", MISMATCH),
    ],
)
def test_no_batch(batch: object, version: str | None, expected: Reason) -> None:
    """One bad message refuses a batch; other revisions and the handshake have none."""
    assert reason(mcp(batch, {"mcp-protocol-version": version})) is expected


def test_batch_of_many_calls() -> None:
    """A batch makes no more calls than the bound, subscriptions included."""
    listen = rpc("subscriptions/listen", {"notifications": {"taskIds": ["t"] * (MAX_BATCH - 1)}})

    assert len(mcp([listen] * 4).calls) == MAX_CALLS
    assert reason(mcp([listen] * 4 + [ADD])) is PARAMS


@pytest.mark.parametrize("version", [None, "2024-11-05", OLD, "2025-06-18", "2025-11-25", "draft"])
@pytest.mark.parametrize(
    ("headers", "is_read"),
    [
        ({}, True),
        ({"mcp-method": "tools/call"}, True),
        ({"mcp-method": "tools/call", "mcp-name": "add"}, True),
        ({"mcp-name": b64("add")}, True),
        ({"mcp-method": "tools/list"}, False),
        ({"mcp-method": "Tools/call"}, False),
        ({"mcp-method": ""}, False),
        ({"mcp-method": "tools/call,tools/call"}, False),
        ({"mcp-name": "sub"}, False),
        ({"mcp-name": "ADD"}, False),
        ({"mcp-name": "add,add"}, False),
        ({"mcp-name": ""}, False),
        ({"mcp-name": b64("sub")}, False),
    ],
)
def test_headers_of_earlier_revisions(
    version: str | None,
    headers: dict[str, str],
    is_read: bool,  # noqa: FBT001 - a row
) -> None:
    """Before headers mirrored the body none is needed, but one that is there must be true."""
    message = mcp(ADD, {"mcp-protocol-version": version, **headers})

    assert reason(message) is (None if is_read else MISMATCH)


@pytest.mark.parametrize(
    ("message", "headers", "expected"),
    [
        (MODERN, {}, None),
        (MODERN, {"mcp-name": b64("add")}, None),
        (MODERN, {"mcp-method": None}, MISMATCH),
        (MODERN, {"mcp-name": None}, MISMATCH),
        (MODERN, {"mcp-method": "tools/list"}, MISMATCH),
        (MODERN, {"mcp-name": "sub"}, MISMATCH),
        (MODERN, {"mcp-protocol-version": None}, MISMATCH),
        (MODERN, {"mcp-protocol-version": "2025-11-25"}, MISMATCH),
        (MODERN, {"mcp-protocol-version": "2027-01-01"}, MISMATCH),
        (MODERN, {"mcp-protocol-version": f"{VERSION},{VERSION}"}, MISMATCH),
        (ADD, {}, MISMATCH),  # the body does not say the version
        (ADD, {"mcp-protocol-version": "2027-01-01"}, MISMATCH),
        (rpc("tools/call", {"name": "add", "_meta": {}}), {}, MISMATCH),
        (
            rpc("tools/call", {"name": "add", "_meta": {next(iter(META)): 20260728}}),
            {},
            MISMATCH,
        ),
        (rpc("tools/list", {"_meta": META}), {"mcp-method": "tools/list", "mcp-name": None}, None),
        (rpc("tools/list", {"_meta": META}), {"mcp-method": "tools/list"}, MISMATCH),
        (
            rpc("resources/read", {"uri": "f:///a", "_meta": META}),
            {"mcp-method": "resources/read", "mcp-name": "f:///a"},
            None,
        ),
        (
            rpc("resources/read", {"uri": "f:///a", "name": "b", "_meta": META}),
            {"mcp-method": "resources/read", "mcp-name": "b"},
            MISMATCH,
        ),
        (
            rpc("resources/read", {"uri": "f:///a", "_meta": META}),
            {"mcp-method": "resources/read", "mcp-name": None},
            MISMATCH,
        ),
        (
            rpc("tasks/get", {"taskId": "t", "_meta": META}),
            {"mcp-method": "tasks/get", "mcp-name": "t"},
            None,
        ),
        (
            rpc("tasks/get", {"taskId": "t", "_meta": META}),
            {"mcp-method": "tasks/get", "mcp-name": "u"},
            MISMATCH,
        ),
        (rpc("x/y", {"uri": "u", "_meta": META}), {"mcp-method": "x/y", "mcp-name": "u"}, None),
        (rpc("x/y", {"uri": "u", "_meta": META}), {"mcp-method": "x/y", "mcp-name": "v"}, MISMATCH),
        # Of notifications the revision says nothing; of responses that there are none.
        (NOTE, {"mcp-method": None, "mcp-name": None}, None),
        (NOTE, {"mcp-method": "notifications/initialized", "mcp-name": None}, None),
        (NOTE, {"mcp-method": "tools/call", "mcp-name": None}, MISMATCH),
        (ANSWER, {"mcp-method": None, "mcp-name": None}, INVALID),
    ],
)
def test_headers_that_mirror_the_body(
    message: object, headers: dict[str, str | None], expected: Reason | None
) -> None:
    """From 2026-07-28 on, headers say what the body says: all of it, and nothing else."""
    assert reason(mcp(message, {**MODERN_HEADERS, **headers})) is expected


def test_version_in_the_body_alone() -> None:
    """Without any MCP header, as over the SSE transport, a body may be of any revision."""
    assert reason(mcp(MODERN)) is None
    assert reason(mcp(MODERN, {"mcp-method": "tools/call"})) is MISMATCH
    assert reason(mcp(MODERN, {"mcp-name": "add"})) is MISMATCH


@pytest.mark.parametrize(
    ("name", "header", "is_read"),
    [
        ("caf\u00e9", b64("caf\u00e9"), True),
        (" padded ", b64(" padded "), True),
        (b64("x"), b64(b64("x")), True),
        ("=?base64?eA==", "=?base64?eA==", True),  # half a marker is none
        ("=?BASE64?eA==?=", "=?BASE64?eA==?=", True),  # nor one in another case
        (b64("x"), b64("x"), False),
        ("x", "=?BASE64?eA==?=", False),
        ("x", "=?base64?eA?=", False),
        ("x", "=?base64?eB==?=", False),  # decodes to x too, with bits left over
        ("x", "=?base64?eA==\n?=", False),
        ("x", "=?base64? eA==?=", False),
        ("x", "=?base64?eA==eA==?=", False),
        ("x", "x=?base64?eA==?=", False),
        ("??>", "=?base64?Pz8-?=", False),  # the alphabet of URLs
        ("??>", "=?base64?Pz8+?=", True),
        ("\ufffd", "=?base64?/w==?=", False),
        ("caf\u00e9", "caf\u00e9", False),  # no ASCII: other readers see Latin-1
        ("x", "=?base64??=", False),
    ],
)
def test_encoded_names(name: str, header: str, is_read: bool) -> None:  # noqa: FBT001 - a row
    """A name in base64 is decoded strictly before it is compared."""
    message = rpc("tools/call", {"name": name, "_meta": META})
    read_message = mcp(message, {**MODERN_HEADERS, "mcp-name": header})

    assert reason(read_message) is (None if is_read else MISMATCH)


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, Call("", CallKind.STREAM)),
        ("DELETE", {}, Call("", CallKind.SESSION)),
        ("DELETE", {"content-length": "0"}, Call("", CallKind.SESSION)),
        ("GET", {"upgrade": "websocket"}, UNSEEN),
        ("DELETE", {"upgrade": "h2c"}, UNSEEN),
        ("POST", {"upgrade": "websocket"}, UNSEEN),
        ("GET", {"content-length": "5"}, UNSEEN),
        ("GET", {"content-length": "0,5"}, UNSEEN),
        ("HEAD", {}, INVALID),
        ("PUT", {}, INVALID),
        ("OPTIONS", {}, INVALID),
        ("CONNECT", {}, INVALID),
        ("get", {}, INVALID),
        ("", {}, INVALID),
    ],
)
def test_other_http_methods(method: str, headers: dict[str, str], expected: Call | Reason) -> None:
    """GET opens a stream and DELETE ends a session; no other method means anything."""
    given = {"content-type": None, "content-length": None, **headers}
    message = mcp(b"", given, method=method)

    assert (message.calls[0] if message.calls else reason(message)) == expected


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_get_with_a_body(method: str) -> None:
    """What has a body is no GET and no DELETE of MCP."""
    assert reason(mcp(ADD, method=method)) is UNSEEN


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (MODERN_HEADERS, Call("tools/call", CallKind.TOOL, "add")),
        (
            {**MODERN_HEADERS, "mcp-name": b64("caf\u00e9")},
            Call("tools/call", CallKind.TOOL, "caf\u00e9"),
        ),
        (
            {**MODERN_HEADERS, "mcp-method": "resources/read", "mcp-name": "f:///a"},
            Call("resources/read", CallKind.RESOURCE, "f:///a"),
        ),
        (
            {**MODERN_HEADERS, "mcp-method": "prompts/get", "mcp-name": "p"},
            Call("prompts/get", CallKind.PROMPT, "p"),
        ),
        ({"mcp-protocol-version": VERSION, "mcp-method": "tools/list"}, Call("tools/list")),
        (
            {"mcp-protocol-version": VERSION, "mcp-method": "x/y"},
            Call("x/y", is_known=False),
        ),
        ({**MODERN_HEADERS, "mcp-protocol-version": "2025-11-25"}, UNTRUSTED),
        ({**MODERN_HEADERS, "mcp-protocol-version": OLD}, UNTRUSTED),
        ({**MODERN_HEADERS, "mcp-protocol-version": "2099-01-01"}, UNTRUSTED),
        ({"mcp-method": "tools/call", "mcp-name": "add"}, UNTRUSTED),
        ({**MODERN_HEADERS, "mcp-protocol-version": f"{VERSION},{OLD}"}, MISMATCH),
        ({"mcp-protocol-version": VERSION}, MISMATCH),
        ({"mcp-protocol-version": VERSION, "mcp-method": ""}, INVALID),
        ({"mcp-protocol-version": VERSION, "mcp-method": "tools/call"}, PARAMS),
        ({**MODERN_HEADERS, "mcp-name": ""}, PARAMS),
        ({**MODERN_HEADERS, "mcp-name": "x" * (MAX_NAME_CHARS + 1)}, PARAMS),
        ({**MODERN_HEADERS, "mcp-name": "=?base64?!?="}, MISMATCH),
        ({**MODERN_HEADERS, "mcp-name": b64("a\nb")}, PARAMS),
        # A header that came twice: servers take the first, the last, or both.
        ({**MODERN_HEADERS, "mcp-name": "delete_all,add"}, MISMATCH),
        ({**MODERN_HEADERS, "mcp-name": f"add,{b64('delete_all')}"}, MISMATCH),
        ({**MODERN_HEADERS, "mcp-method": "tools/call,ping"}, MISMATCH),
        ({**MODERN_HEADERS, "mcp-name": b64("a,b")}, Call("tools/call", CallKind.TOOL, "a,b")),
        # What these are for stands in the body alone.
        ({**MODERN_HEADERS, "mcp-method": "tasks/get"}, UNTRUSTED),
        ({**MODERN_HEADERS, "mcp-method": "completion/complete"}, UNTRUSTED),
        ({**MODERN_HEADERS, "mcp-method": "subscriptions/listen"}, UNTRUSTED),
        ({**MODERN_HEADERS, "mcp-method": "resources/subscribe"}, UNTRUSTED),
    ],
)
def test_headers_alone(headers: dict[str, str], expected: Call | Reason) -> None:
    """Without a body headers are trusted where the version has servers compare them."""
    message = mcp(b"", headers, trusts_headers=True)

    assert (message.calls[0] if message.calls else reason(message)) == expected
    assert message.ids == ()
    assert reason(mcp(b"", headers)) is UNSEEN


def test_a_body_is_the_truth() -> None:
    """Trust in headers is no trust against a body that is there."""
    headers = {**MODERN_HEADERS, "mcp-name": "sub"}

    assert reason(mcp(MODERN, headers, trusts_headers=True)) is MISMATCH
    assert reason(mcp(encoded(ADD)[:-1], trusts_headers=True)) is PARSE
    assert reason(mcp(ADD, {"content-length": "2"}, metadata=filtered(ADD))) is not None


@pytest.mark.parametrize(
    ("params", "arguments"),
    [
        ({"name": "add"}, b"{}"),
        ({"name": "add", "arguments": {}}, b"{}"),
        (
            {"name": "add", "arguments": {"b": [1, 2.5, None], "a": {"d": "\u00e9", "c": True}}},
            '{"a":{"c":true,"d":"\u00e9"},"b":[1,2.5,null]}'.encode(),
        ),
        ({"name": "add", "arguments": {"n": 2**80}}, b'{"n":1208925819614629174706176}'),
    ],
)
def test_arguments(params: object, arguments: bytes) -> None:
    """Arguments are a part of the call only where a decision reads them, in one form."""
    message = rpc("tools/call", params)
    asked: list[Call] = []

    def reads(call: Call) -> bool:
        asked.append(call)
        return True

    (call,) = mcp(message, reads_arguments=reads).calls
    assert call == Call("tools/call", CallKind.TOOL, "add", arguments=arguments)
    assert asked == [Call("tools/call", CallKind.TOOL, "add")]
    assert mcp(message).calls[0].arguments == b""


def test_masked_arguments_are_not_known() -> None:
    """In a body that came as text, arguments with the proxy's mark may be others: none are read."""
    message = rpc("tools/call", {"name": "add", "arguments": {"db": [{"a": "pro!d"}]}})

    assert mcp(message, reads_arguments=lambda _: True).calls[0].arguments != b""
    (masked,) = mcp(message, is_text=True, reads_arguments=lambda _: True).calls
    assert masked == Call("tools/call", CallKind.TOOL, "add")


@pytest.mark.parametrize(
    "arguments",
    [
        {"amount": 1, "Amount": 1000},
        {"a": [{"b": {"amount": 1, "AMOUNT": 2}}]},
        {"s": 1, "\u017f": 2},
    ],
)
def test_arguments_that_differ_in_case(arguments: object) -> None:
    """Where arguments are read, none is there twice for a reader that takes names in any case."""
    message = rpc("tools/call", {"name": "add", "arguments": arguments})

    assert reason(mcp(message, reads_arguments=lambda _: True)) is PARAMS
    assert reason(mcp(message)) is None


@pytest.mark.parametrize(
    "message",
    [
        rpc("tools!"),
        rpc("tools/call", {"name": "add!"}),
        rpc("resources/read", {"uri": "f:///!"}),
        rpc("tools/call", {"name": "add", "arguments": {"a!": 1}}),
        rpc("completion/complete", {"ref": {"type": "ref/prompt", "name": "!"}}),
        rpc("subscriptions/listen", {"notifications": {"taskIds": ["!"]}}),
    ],
)
def test_masked_names(message: object) -> None:
    """In a body that came as text, a name with the proxy's mark may be another."""
    assert reason(mcp(message, is_text=True)) is UNSEEN
    assert reason(mcp(message)) is None


def filtered(message: object, **more: object) -> bytes:
    """What Envoy's filter would set of the message: the same bytes each time, as names of tests."""
    struct = Struct()
    json_format.ParseDict({**json.loads(encoded(message)), "is_mcp_request": True, **more}, struct)
    return struct.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "message",
    [
        ADD,
        rpc("resources/read", {"uri": "f:///a"}, id="x"),
        rpc("tasks/get", {"taskId": "t"}),
        rpc("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}}),
        rpc("tools/list"),
        rpc("ping", id=2**53 - 1),
        rpc("x/y"),
        NOTE,
        rpc("tools/call"),
        rpc("tools/call", {"name": 5}),
        rpc("tools/call", {"name": "a\nb"}),
        rpc("notifications/initialized"),
        rpc("completion/complete", {"ref": "p"}),
    ],
)
def test_metadata_says_what_the_body_says(message: object) -> None:
    """The call and the id that the proxy's filter found are those of the body."""
    from_body = mcp(message)
    from_metadata = mcp(b"", metadata=filtered(message))

    assert from_metadata.calls == from_body.calls
    assert from_metadata.ids == from_body.ids
    assert reason(from_metadata) is reason(from_body)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (b"", UNSEEN),
        (b"\xff", UNSEEN),
        (filtered({"jsonrpc": "2.0", "id": 1}), UNSEEN),
        (filtered(ADD, is_mcp_request=False), UNSEEN),
        (filtered(ADD, is_mcp_request="true"), UNSEEN),
        (filtered(ADD, is_exceeding_limit=True), Reason.BODY_TRUNCATED),
        # Envoy 1.40 of a message with more behind it, where its filter refuses nothing.
        (filtered(ADD, status="mcp_ok", passthrough_reason="mcp_not_jsonrpc"), UNSEEN),
        (filtered({**ADD, "method": 5}), INVALID),
        (filtered({**ADD, "method": "a b"}), INVALID),
        (filtered({**ADD, "params": "add"}), PARAMS),
        (filtered(rpc("subscriptions/listen", {"notifications": {}})), UNSEEN),
        (filtered({**ADD, "x": "x" * mcp_metadata.MAX_METADATA_BYTES}), UNSEEN),
    ],
)
def test_metadata_that_says_nothing(metadata: bytes, expected: Reason) -> None:
    """Where the filter found no message, or may have missed a part of it, there is none."""
    assert reason(mcp(b"", metadata=metadata)) is expected


def test_metadata_and_headers() -> None:
    """Headers have to agree with metadata too; arguments are in none."""
    metadata = filtered(MODERN)

    assert reason(mcp(b"", MODERN_HEADERS, metadata=metadata)) is None
    assert reason(mcp(b"", {**MODERN_HEADERS, "mcp-name": "x"}, metadata=metadata)) is MISMATCH
    assert mcp(b"", {**MODERN_HEADERS, "mcp-name": "x"}, metadata=metadata).ids == (b"1",)
    (call,) = mcp(b"", metadata=filtered(ADD), reads_arguments=lambda _: True).calls
    assert call.arguments == b""


def test_metadata_of_responses_and_ids() -> None:
    """A response has no method there; an id that a double can't hold is no id."""
    response = filtered({"jsonrpc": "2.0", "method": "__jsonrpc_response", "id": 1})

    assert mcp(b"", metadata=response) == Message((Call("", CallKind.RESPONSE),))
    for odd in (1.5, 2**53, -(2**60), True, None, [1], "x" * (MAX_ID_CHARS + 1)):
        message = mcp(b"", metadata=filtered({**ADD, "id": odd}))
        assert message.ids == ()
        assert message.calls


TEXTS = st.sampled_from(
    ["tools/call", "add", "initialize", "notifications/x", VERSION, OLD, b64("add"), "false", "12"]
) | st.text(max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["jsonrpc", "id", "method", "params", "name", "uri", "arguments", "_meta", "ref"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": st.integers() | TEXTS | JSON,
        "method": st.sampled_from(
            [
                "tools/call",
                "resources/read",
                "tasks/get",
                "completion/complete",
                "subscriptions/listen",
                "ping",
                "notifications/x",
            ]
        )
        | TEXTS,
        "params": JSON
        | st.fixed_dictionaries(
            {"name": TEXTS, "uri": TEXTS, "taskId": TEXTS},
            optional={"arguments": JSON, "_meta": JSON, "ref": JSON, "notifications": JSON},
        ),
        "result": JSON,
    },
)
BODIES = st.one_of(
    st.binary(max_size=40),
    JSON.map(encoded),
    MESSAGES.map(encoded),
    st.lists(MESSAGES, max_size=3).map(encoded),
)


@st.composite
def requests(draw: Any) -> MessageInput:
    """Any request with any message; half of them are whole by every sign."""
    data = draw(BODIES | st.just(b""))
    headers = draw(st.dictionaries(st.sampled_from(sorted(HEADERS)), TEXTS, max_size=5))
    if draw(st.booleans()):
        whole = {"content-type": "application/json", "content-length": str(len(data))}
        headers |= {**whole, "x-envoy-auth-partial-body": "false"}
    reads = draw(st.booleans())
    return MessageInput(
        draw(st.sampled_from(["POST", "POST", "GET", "DELETE", "PUT"]) | st.text(max_size=5)),
        "/mcp",
        headers,
        data,
        is_text=draw(st.booleans()),
        size=len(data),
        metadata=draw(st.none() | st.binary(max_size=20) | MESSAGES.map(filtered)),
        trusts_headers=draw(st.booleans()),
        reads_arguments=lambda _: reads,
    )


@given(requests())
def test_anything(request_: MessageInput) -> None:
    """Any bytes under any headers make calls, or have a reason why not, and never both."""
    message = read(MessageProtocol.MCP, request_)

    assert bool(message.calls) != bool(message.unread)
    assert len(message.calls) <= MAX_CALLS
    assert len(message.ids) <= MAX_BATCH
    assert all(isinstance(json.loads(one), str | int) for one in message.ids)
    hash(message.calls)
    if message.unread:
        assert message.unread[1]


GOOD = st.builds(
    lambda row, id_, arguments: {
        **rpc(row[0], {row[1]: row[2], "arguments": arguments}),
        "id": id_,
    },
    st.tuples(
        st.sampled_from(
            [("tools/call", "name"), ("resources/read", "uri"), ("prompts/get", "name")]
        ),
        st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=9),
    ).map(lambda pair: (*pair[0], pair[1])),
    st.integers(-(10**9), 10**9) | st.text(max_size=9),
    st.dictionaries(st.text(max_size=4).map(str.casefold), JSON.filter(bool), max_size=3),
)


def shuffled(value: Any, draw: Any) -> Any:
    """The same value with the members of each object in another order."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: shuffled(value[name], draw) for name in names}
    return [shuffled(one, draw) for one in value] if isinstance(value, list) else value


@given(GOOD, st.data(), st.booleans(), st.sampled_from([None, 0, 1, "\t"]))
def test_one_reading_of_each_writing(
    message: dict[str, Any],
    data: Any,
    ascii_only: bool,  # noqa: FBT001 - drawn
    indent: int | str | None,
) -> None:
    """Order, space and escapes change nothing; and method and name are what json.loads finds."""
    written = json.dumps(shuffled(message, data.draw), ensure_ascii=ascii_only, indent=indent)
    calls = mcp(message).calls

    assert mcp(written.encode()).calls == calls
    plain = json.loads(written)
    params = plain["params"]
    (call,) = calls
    assert (call.method, call.name) == (plain["method"], params.get("uri", params.get("name")))


@given(GOOD, st.data())
def test_doubled_members(message: dict[str, Any], data: Any) -> None:
    """A message with one member twice, at any depth and in any place, makes no call."""
    members: list[tuple[str, str]] = []

    def write(value: Any) -> str:
        """The JSON; members are collected, so that one can be repeated."""
        if isinstance(value, dict):
            pairs = [(json.dumps(name), write(child)) for name, child in value.items()]
            members.extend(pairs)
            return "{" + ",".join(map(":".join, pairs)) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(write, value)) + "]"
        return json.dumps(value)

    whole = write(message)
    name, written = data.draw(st.sampled_from(members))
    at = whole.index(f"{name}:{written}")
    twin = f"{name}:{data.draw(st.sampled_from([written, 'null', '[]']))}"
    doubled = whole[:at] + twin + "," + whole[at:]

    assert mcp(whole.encode()).calls
    assert reason(mcp(doubled.encode())) is PARSE


def test_sent_as_envoy_sends_it() -> None:
    """The helper of these tests makes what is read: else none of them says anything."""
    assert mcp(ADD).unread is None
    assert sent(ADD).size == len(encoded(ADD))


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.member])
def test_no_name_has_a_twin(method: str) -> None:
    """Whatever member the table says names a target, it is refused beside one in another case."""
    member = METHODS[method].member
    params = {member: "a:b", member.upper(): "a:c"}

    assert reason(mcp(rpc(method, params))) is Reason.MESSAGE_PARAMS
