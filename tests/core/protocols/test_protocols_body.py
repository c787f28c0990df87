"""Bodies: read when they are certainly all there, in the clear, and JSON that all read alike."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.protocols import body
from authz.core.protocols.json_members import MAX_OWN_MEMBERS
from authz.core.protocols.reading import read
from authz.core.reason import Denied, Reason
from authz.core.request import MessageProtocol
from support.sent import encoded, reason, rpc, sent

CUT = Reason.BODY_TRUNCATED
UNSEEN = Reason.BODY_UNINSPECTABLE
PARSE = Reason.MESSAGE_MALFORMED
CALL = encoded(rpc("tools/call", {"name": "add", "arguments": {"a": 1}}))
LENGTH = str(len(CALL))
MIB = 1 << 20


def refusal(value: object, headers: dict[str, str | None], **changes: Any) -> Reason | None:
    """Why the body is not read; None when it is."""
    try:
        body.parse(sent(value, headers, **changes))
    except Denied as denied:
        return denied.reason
    return None


@pytest.mark.parametrize(
    ("headers", "changes"),
    [
        ({}, {}),
        ({}, {"max_bytes": MIB}),
        ({}, {"max_bytes": len(CALL) + 1}),
        ({"content-length": None}, {"max_bytes": MIB}),
        ({"x-envoy-auth-partial-body": None}, {}),  # agentgateway
        ({"x-envoy-auth-partial-body": None, "content-length": None}, {"max_bytes": MIB}),
        ({}, {"size": 0}),  # with its flag, Envoy's size is of no matter
        ({}, {"is_text": True}),
        ({"content-encoding": "identity"}, {}),
        ({"content-encoding": "Identity"}, {}),
        ({"content-type": "application/json; charset=utf-8"}, {}),
        ({"content-type": "application/json;charset=UTF-8"}, {}),
        ({"content-type": 'application/json ; charset="utf-8"'}, {}),
        ({"content-type": "Application/JSON; Charset=utf-8"}, {}),
    ],
)
def test_whole(headers: dict[str, str | None], changes: dict[str, Any]) -> None:
    """A body that is all there by every sign is read."""
    assert body.parse(sent(CALL, headers, **changes)) == json.loads(CALL)


@pytest.mark.parametrize(
    ("headers", "changes", "reason"),
    [
        ({"x-envoy-auth-partial-body": "true"}, {}, CUT),
        ({"x-envoy-auth-partial-body": "false,false"}, {}, CUT),  # one of them is the client's
        ({"x-envoy-auth-partial-body": "False"}, {}, CUT),
        ({"x-envoy-auth-partial-body": ""}, {}, CUT),
        # Over HTTP/2, in one frame: the flag is true, and the length absent.
        ({"x-envoy-auth-partial-body": "true", "content-length": None}, {"max_bytes": MIB}, CUT),
        # A body of just the proxy's limit: the flag says false while more follows.
        ({"content-length": None}, {"max_bytes": len(CALL)}, CUT),
        ({"content-length": "2048"}, {"max_bytes": len(CALL)}, CUT),
        ({}, {"max_bytes": len(CALL)}, CUT),
        ({}, {"max_bytes": len(CALL) - 1}, CUT),
        ({}, {"max_bytes": 0}, CUT),
        ({"content-length": "2048"}, {}, CUT),
        ({"content-length": str(len(CALL) - 1)}, {}, CUT),
        ({"content-length": f"{LENGTH},{LENGTH}"}, {}, CUT),
        ({"content-length": f"+{LENGTH}"}, {}, CUT),
        ({"content-length": f"0{LENGTH}"}, {}, CUT),
        ({"content-length": ""}, {}, CUT),
        ({"content-length": None}, {}, UNSEEN),  # and no limit: nothing says where it ends
        # agentgateway: no flag, and size -1 for a part. A client may send the flag itself.
        ({"x-envoy-auth-partial-body": None}, {"size": -1}, CUT),
        ({}, {"size": -1}, CUT),
        ({"x-envoy-auth-partial-body": None}, {"size": len(CALL) + 1}, CUT),
        ({"x-envoy-auth-partial-body": None}, {"size": len(CALL) - 1}, CUT),
        ({"x-envoy-auth-partial-body": None}, {"size": 0}, CUT),
        ({"content-encoding": "gzip"}, {}, UNSEEN),
        ({"content-encoding": "identity,gzip"}, {}, UNSEEN),
        ({"content-encoding": ""}, {}, UNSEEN),
        ({"content-type": None}, {}, UNSEEN),
        ({"content-type": ""}, {}, UNSEEN),
        ({"content-type": "text/plain"}, {}, UNSEEN),
        ({"content-type": "application/json-patch+json"}, {}, UNSEEN),
        ({"content-type": "application/json,application/json"}, {}, UNSEEN),
        ({"content-type": "application/json; charset=utf-16"}, {}, UNSEEN),
        ({"content-type": "application/json; charset=utf-8; charset=utf-7"}, {}, UNSEEN),
        ({"content-type": "application/json; boundary=x"}, {}, UNSEEN),
        ({"content-type": "application/json;"}, {}, UNSEEN),
        ({"content-type": "application/x-www-form-urlencoded"}, {}, UNSEEN),
    ],
)
def test_not_whole(headers: dict[str, str | None], changes: dict[str, Any], reason: Reason) -> None:
    """One sign that a part is missing, or that the bytes mean something else, is enough."""
    assert refusal(CALL, headers, **changes) is reason


@pytest.mark.parametrize("changes", [{}, {"max_bytes": MIB}, {"size": -1}])
def test_no_body(changes: dict[str, Any]) -> None:
    """No bytes are no message, whatever the proxy says."""
    assert refusal(b"", {}, **changes) in (UNSEEN, CUT)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'[{"x":[{"a":1,"a":2}]}]',
        CALL + b" {}",
        CALL + b"\x00",
        CALL + CALL,
        CALL[:-1],
        b"\xef\xbb\xbf" + CALL,
        CALL.decode().encode("utf-16"),
        CALL.decode().encode("utf-32-le"),
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\u00"}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 40 + b"}",
        b'{"a":01}',
        b'{"a":1,}',
        b"{'a':1}",
        b"// x\n{}",
        b"[" * (body.MAX_DEPTH + 1) + b"]" * (body.MAX_DEPTH + 1),
        b'{"a":' * (body.MAX_DEPTH + 1) + b"1" + b"}" * (body.MAX_DEPTH + 1),
        b"[" * 10_000 + b"]" * 10_000,
        b"[" * 10_000,
    ],
)
def test_not_json(data: bytes) -> None:
    """What two readers could read in two ways is not read."""
    assert refusal(data, {}) is PARSE


def test_bounds() -> None:
    """A body may be as large, as deep and as full as the bounds say, and no more."""
    deep = b"[" * body.MAX_DEPTH + b"]" * body.MAX_DEPTH
    large = b'"' + b"x" * (body.MAX_BODY_BYTES - 2) + b'"'
    full = b"[" + b",".join([b"1"] * body.MAX_VALUES) + b"]"

    assert [refusal(one, {}) for one in (deep, large, full)] == [None] * 3
    assert refusal(large[:-1] + b'x"', {}) is CUT
    assert refusal(full[:-1] + b",1]", {}) is CUT
    assert refusal(b"{" * (body.MAX_VALUES + 1), {}) is CUT


def test_masked_bytes() -> None:
    """In a text, marks that may stand for bytes are refused where a name would be made of them."""
    for data in ('{"a":"\ufffd"}', '{"\ufffd":1}', '"\ufffd"'):
        assert refusal(data.encode(), {}, is_text=True) is UNSEEN
        assert refusal(data.encode(), {}) is None
    for data in ('{"a!":1}', '[{"x":[{"!":1}]}]', '{"\\u0021":1,"x":"!"}'):
        assert refusal(data.encode(), {}, is_text=True) is UNSEEN
        assert refusal(data.encode(), {}) is None
    for data in ('{"a":"well!"}', '["!",{"x":["!"]}]', '{"a":"\\ufffd"}'):
        assert refusal(data.encode(), {}, is_text=True) is None


def test_another_type() -> None:
    """A protocol may name media types of its own."""
    one = sent(CALL, {"content-type": "application/a2a+json; charset=utf-8"})

    assert body.parse(one, frozenset({"application/a2a+json"})) == json.loads(CALL)
    with pytest.raises(Denied):
        body.parse(one)


@given(
    data=st.binary(max_size=80) | st.just(CALL),
    headers=st.dictionaries(
        st.sampled_from(
            ["content-type", "content-length", "content-encoding", "x-envoy-auth-partial-body"]
        ),
        st.sampled_from(["application/json", "false", "true", "identity", "", LENGTH, "5"])
        | st.text("ae0,;= -\u00e9", max_size=8)  # few characters: no table of all has to be made
        | st.none(),
    ),
    size=st.integers(-2, 90) | st.just(len(CALL)),
    max_bytes=st.none() | st.integers(0, 200),
    is_text=st.booleans(),
)
def test_any_body(
    data: bytes,
    headers: dict[str, str | None],
    size: int,
    max_bytes: int | None,
    is_text: bool,  # noqa: FBT001 - drawn
) -> None:
    """Any bytes under any headers are refused in our words, or read as json.loads reads them."""
    one = sent(data, headers, size=size, max_bytes=max_bytes, is_text=is_text)
    if refusal(data, headers, size=size, max_bytes=max_bytes, is_text=is_text) is not None:
        return
    value = body.parse(one)

    assert value == json.loads(data)
    assert max_bytes is None or len(data) < max_bytes
    assert one.headers.get("content-length") in (None, str(len(data)))
    assert one.headers.get("x-envoy-auth-partial-body") in (None, "false")


@given(st.integers(0, len(CALL) - 1))
def test_cut_anywhere(seen: int) -> None:
    """A part of a message is never read, whichever sign the proxy leaves of the rest."""
    part = CALL[:seen]
    signs: list[tuple[dict[str, str | None], dict[str, Any]]] = [
        ({"content-length": LENGTH}, {}),
        ({"content-length": None}, {"max_bytes": seen}),
        ({"content-length": None}, {"max_bytes": MIB}),  # and no sign: then it is no JSON
        ({"x-envoy-auth-partial-body": "true", "content-length": None}, {"max_bytes": MIB}),
        ({"x-envoy-auth-partial-body": None}, {"size": -1}),
    ]
    for headers, changes in signs:
        assert refusal(part, headers, **changes) is not None


def test_members() -> None:
    """A body has a bound on its members as well, which cost more than other values."""
    full = [{"a": 1}] * (body.MAX_MEMBERS // 2) + [{}, {}]
    assert refusal(full, {}) is None
    assert refusal({f"a{n}": n for n in range(body.MAX_MEMBERS + 1)}, {}) is CUT


@pytest.mark.parametrize(
    ("protocol", "path", "value"),
    [
        ("mcp", "/mcp", lambda odd: rpc("tools/call", {"name": "a", **odd})),
        ("a2a", "/a", lambda odd: rpc("SendMessage", {"message": {"metadata": odd}})),
        (  # whose body has known members only
            "openai",
            "/v1/responses",
            lambda odd: {"model": "m", "tools": [{"type": "t", **odd}]},
        ),
    ],
)
def test_members_of_a_protocol(protocol: str, path: str, value: Any) -> None:
    """What a protocol has names for has some hundred members at most, as nothing real has more."""
    some, many = ({f"x{n}": n for n in range(count)} for count in (400, MAX_OWN_MEMBERS + 1))

    assert read(MessageProtocol(protocol), sent(value(some), path=path)).unread is None
    assert (
        reason(read(MessageProtocol(protocol), sent(value(many), path=path)))
        is Reason.MESSAGE_PARAMS
    )


def test_arguments_have_as_many_members_as_they_like() -> None:
    """A tool's arguments are the agent's own."""
    arguments = {f"x{n}": n for n in range(2 * MAX_OWN_MEMBERS)}
    for reads in (True, False):
        asked = sent(rpc("tools/call", {"name": "a", "arguments": arguments}), path="/mcp",
                     reads_arguments=lambda _, reads=reads: reads)  # fmt: skip
        assert read(MessageProtocol.MCP, asked).unread is None
